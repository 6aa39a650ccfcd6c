import subprocess
import sys

import pytest
from typer.testing import CliRunner

from readingroom_hub.cli.main import app

NAMES = (
    "audit", "crosswalk", "dataset", "deid", "demo", "doctor", "edge", "grant", "key", "mount", "portal", "project",
    "serve",
)  # fmt: skip
HEAVY = {"numpy", "pydicom", "pyarrow", "jupyterhub", "fastapi", "onnxruntime"}
"""Each takes a tenth of a second or more, and megabytes in every process that has it."""


def test_help_lists_every_command_with_its_line():
    done = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "120", "TERM": "dumb"})
    assert done.exit_code == 0, done.output
    lines = {words[1]: words[2:] for words in (line.split() for line in done.output.splitlines()) if len(words) > 3}
    assert all(len(lines[name]) > 2 for name in NAMES), done.output


@pytest.mark.parametrize("name", NAMES)
def test_every_command_answers_for_itself(name):
    done = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "120", "TERM": "dumb"})
    assert done.exit_code == 0, done.output
    assert f" {name} " in done.output


def test_a_mistyped_command_is_told_of_the_near_one():
    done = CliRunner().invoke(app, ["moutn", "serve"], env={"COLUMNS": "120", "TERM": "dumb"})
    assert done.exit_code == 2
    assert "Did you mean 'mount'" in done.output


@pytest.mark.parametrize("command", ["audit serve", "audit feed serve", "audit monitor serve", "mount serve", "serve"])
def test_a_long_running_process_starts_without_what_only_others_need(command):
    code = (
        "import sys; from readingroom_hub.cli.main import app\n"
        f"try: app([*{command.split()!r}, '--help'])\n"
        f"finally: print('loaded:', sorted({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded: []"
