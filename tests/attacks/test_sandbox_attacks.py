"""Hostile code in a real sandbox, with the hub as root and with the hub as an ordinary user."""

import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.support.ordinary import as_ordinary
from tests.support.sandbox_runner import SECRET

import readingroom_hub
from readingroom_hub.sandbox import seccomp
from readingroom_hub.sandbox.bubblewrap import program

pytestmark = pytest.mark.sandbox

ORDINARY = 390_000 + os.getpid() % 10_000
"""An account of this run: limits on processes count those of an account on the whole machine."""
SUPPORT = Path(__file__).parents[1] / "support"
SCRIPT = (SUPPORT / "attacks.py").read_text()
ATTEMPTS = re.findall(r"^@attempt\ndef (\w+)", SCRIPT, re.MULTILINE)
ROOT = os.geteuid() == 0
MODES = ("root", "ordinary") if ROOT else ("ordinary",)


class World:
    """A machine with things to reach, and programs run in a sandbox on it."""

    def __init__(self, mode: str, stack: ExitStack) -> None:
        self.drop = ROOT and mode == "ordinary"
        self.folder = Path(tempfile.mkdtemp(prefix="readingroom-attack-"))
        stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.state = self.folder / "state"
        self.other_home = self.state / "vaults" / "home.u-other.lung" / "content"
        self.other_home.mkdir(parents=True, mode=0o700)
        (self.other_home / "finding").write_text("theirs")
        self.port = self._listen(stack, socket.AF_INET, ("127.0.0.1", 0))[1]
        self.port6 = self._listen(stack, socket.AF_INET6, ("::1", 0))[1]
        self.abstract = f"readingroom-test-{os.getpid()}"
        self._listen(stack, socket.AF_UNIX, "\0" + self.abstract)
        if self.drop:
            for path in (self.folder, self.state, self.state / "vaults", self.other_home.parent, self.other_home):
                os.chown(path, ORDINARY, ORDINARY)

    def _listen(self, stack: ExitStack, family: int, address: object) -> tuple:
        server = stack.enter_context(socket.socket(family))
        server.bind(address)
        server.listen()
        with socket.socket(family) as control:  # it can be reached, only not from inside
            control.connect(server.getsockname())
        return server.getsockname()

    def run(self, script: str, *arguments: str) -> str:
        asked = {"state": str(self.state), "script": script, "arguments": arguments}
        program = [sys.executable, str(SUPPORT / "sandbox_runner.py")]
        done = subprocess.run(
            as_ordinary(ORDINARY, self.folder, program) if self.drop else program,
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd="/",
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    @property
    def given(self) -> dict:
        numbers = seccomp.numbers(platform.machine())
        conditional = {"clone", "clone3", "ioctl", "personality", "socket"}
        return {
            "state": str(self.state),
            "other_home": str(self.other_home),
            "hub": str(Path(readingroom_hub.__file__).parent),
            "port": self.port,
            "port6": self.port6,
            "abstract": self.abstract,
            "pid": os.getpid(),
            "bwrap": str(program()),
            "terces": SECRET[::-1],
            "numbers": numbers,
            "refused": sorted(set(numbers) - conditional),
        }


@pytest.fixture(scope="module", params=MODES)
def outcome(request):
    with ExitStack() as stack:
        world = World(request.param, stack)
        text = world.run(SCRIPT, json.dumps(world.given))
        try:
            return json.loads(text.splitlines()[-1])
        except (IndexError, ValueError):
            pytest.fail(text)


@pytest.fixture(params=MODES)
def world(request):
    with ExitStack() as stack:
        yield World(request.param, stack)


@pytest.mark.parametrize("name", ATTEMPTS)
def test_attempt_fails(outcome, name):
    answer = outcome["attempts"][name]
    assert answer
    assert not answer.startswith("escaped"), answer


def test_filter_refuses_every_call_of_the_table(outcome):
    assert outcome["refused"]
    assert {n: e for n, e in outcome["refused"].items() if e != "EPERM"} == {}


def test_ordinary_work_goes_on(outcome):
    expected = {"uid": 1000, "thread": True, "numpy": 0, "loopback": True, "data": True}
    assert outcome["ordinary"] == expected


FORK_BOMB = """
import os, sys, time
made = 0
try:
    while made < 5000:
        if os.fork() == 0:
            time.sleep(60)
        made += 1
except OSError as error:
    print(f"stopped after {made}: {error}", flush=True)
"""


def test_fork_bomb_is_stopped(world):
    text = world.run(FORK_BOMB)
    assert "Resource temporarily unavailable" in text
    assert int(re.search(r"stopped after (\d+)", text)[1]) < 100


MEMORY_BOMB = """
import subprocess, sys
bomb = "x = []\\nfor i in range(64): x.append(b'x' * (128 << 20))\\nprint('all of it')"
done = subprocess.run([sys.executable, "-c", bomb], capture_output=True, text=True)
print("all of it" in done.stdout, done.returncode)
"""


def test_memory_bomb_is_stopped(world):
    text = world.run(MEMORY_BOMB)
    assert "True" not in text


TALKATIVE = "import os\nfor _ in range(64): os.write(1, b'x' * (1 << 20))\nprint('done')"


def test_log_on_the_host_is_bounded(world):
    assert len(world.run(TALKATIVE)) <= 8 << 20
