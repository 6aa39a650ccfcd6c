"""Views whose gocryptfs was killed under a running server come back to it, and nothing is ever written in clear."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tests.support.ordinary import as_ordinary

pytestmark = [pytest.mark.sandbox, pytest.mark.fuse]
ROOT = os.geteuid() == 0
root_only = pytest.mark.skipif(not ROOT, reason="root makes the machine that an ordinary user has")
ORDINARY = 380_000 + os.getpid() % 10_000
LOST_VIEWS = Path(__file__).parents[1] / "support" / "lost_views.py"


def seen(mode: str, how: str) -> dict:
    """What `lost_views` saw."""
    folder = Path(tempfile.mkdtemp(prefix="readingroom-return-"))
    try:
        folder.chmod(0o755)
        state = folder / "state"
        state.mkdir(mode=0o700)
        program = [sys.executable, str(LOST_VIEWS), str(state), how]
        if mode == "ordinary" and ROOT:
            os.chown(state, ORDINARY, ORDINARY)
            program = as_ordinary(ORDINARY, folder, program, shared=how != "unreached")
        done = subprocess.run(program, capture_output=True, text=True, timeout=200, check=False, cwd="/")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("mode", ["root", "ordinary"] if ROOT else [])
def test_lost_views_come_back_to_a_running_server_and_meanwhile_nothing_is_written_in_clear(mode):
    told = seen(mode, "fixed")
    assert told["away"]["project"] in {"ENOENT", "EACCES"}
    assert set(told["away"]["bare"]) <= {"EROFS", "EACCES"}
    assert told["in clear"] == told["in clear at last"] == []
    assert told["back"]["lost"] == []
    home, project = "home.u-aaaaaaaaaaaaaaaaaaaa.lung", "project.lung"
    for vault in (home, project):
        of_one = [(event, outcome) for event, outcome, about in told["records"] if about == vault]
        assert of_one == [("service-stopped", "failure"), ("service-started", "success")]
    for folder in ("Your home folder", "The project's folder /project"):
        first, second = [said for said in told["news"] if said.startswith(folder)]
        assert "is away for a moment" in first
        assert "Files that were open must be opened again: restart kernels" in second
    assert told["left"] == []


@root_only
def test_without_the_read_only_folder_above_it_the_attack_works():
    """Else the test above would show nothing."""
    assert set(seen("ordinary", "naive")["in clear"]) >= {"planted-5d41402abc4b2a76", "view/planted-5d41402abc4b2a76"}


@root_only
def test_where_mounts_do_not_reach_servers_the_user_is_told_to_start_again():
    told = seen("ordinary", "unreached")
    assert told["in clear"] == told["in clear at last"] == []
    assert [outcome for event, outcome, _ in told["records"] if event == "service-started"] == ["success"] * 2
    assert sum("stop your server and start it again" in said for said in told["news"]) == 2
    assert told["left"] == []
