"""The whole Reading Room, every part real: the demo's walk, attacks from inside a server, and killed parts."""

import hashlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tests.support.planted import holds
from tests.support.ports import free_ports
from tests.support.views import kill_gocryptfs

from readingroom_hub import compose
from readingroom_hub.demo.browser import Visitor, chromium, until
from readingroom_hub.demo.room import DemoRoom, demo_settings
from readingroom_hub.model.ids import ProjectId
from readingroom_hub.mount import mounting
from readingroom_hub.ports.records import Filter

REPOSITORY = Path(__file__).parents[2]
PLANTED = secrets.token_hex(32).encode()
ATTACKS = REPOSITORY / "tests" / "support" / "room_attacks.py"

pytestmark = [pytest.mark.browser, pytest.mark.fuse, pytest.mark.sandbox, pytest.mark.timeout(600)]


@pytest.fixture
def short_folder():
    # Not pytest's: the path of a unix socket has at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="rr-", dir="/var/tmp"))
    yield folder
    assert str(folder) not in Path("/proc/mounts").read_text()
    shutil.rmtree(folder)


def test_the_demo_checks_itself(short_folder):
    (short_folder / ".venv-idp").symlink_to(REPOSITORY / ".venv-idp")
    command = [sys.executable, "-m", "readingroom_hub.cli.main", "demo", "--check", "--port", str(free_ports(42))]
    done = subprocess.run(
        [*command, "--state", str(short_folder)],
        cwd=short_folder,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    report = json.loads((short_folder / "demo-check.json").read_text())
    assert report["ok"]
    assert report["audit"]["verified"]
    assert report["audit"]["records"] > 30
    assert all(s["ok"] and s["seconds"] >= 0 for s in report["steps"])
    assert {"notebook.png", "steward-reads.png"} <= {p.name for p in (short_folder / "demo-check").iterdir()}


@pytest.fixture(scope="module")
def room():
    folder = Path(tempfile.mkdtemp(prefix="rr-", dir="/var/tmp"))
    room = DemoRoom(demo_settings(folder, free_ports(42)), lambda _: None, lambda _: None, REPOSITORY / ".venv-idp")
    try:
        room.start()
        yield room
    finally:
        room.stop()
        assert str(folder) not in Path("/proc/mounts").read_text()
        files = [p for p in folder.rglob("*") if p.is_file() and not p.is_symlink()]
        assert not [p for p in files if holds(p, PLANTED)]  # homes are in their vaults
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def rosa(room):
    with chromium() as browser:
        visitor = Visitor(browser, room.settings.public_url, room.person("rosa"))
        visitor.sign_in()
        visitor.start_server("chest-ct")
        yield visitor


@pytest.fixture
def audit(room):
    return compose.audit(room.settings, "test")


def secrets_of(room: DemoRoom) -> list[str]:
    """SHA-256 of every secret of the trusted wing that is a word in a file of the state folder."""
    state = room.settings.state
    files = [p for f in ("keys", "idp", "demo") for p in (state / f).rglob("*") if p.is_file()]
    files += [p for p in (state / "hub").iterdir() if p.suffix in {".secret", ".key"}]
    words: set[bytes] = set()
    for path in files:
        if path.suffix not in {".dcm", ".sqlite", ".TXT"} and path.stat().st_size < 1 << 20:
            words |= set(re.findall(rb"[A-Za-z0-9+/=_-]{20,512}", path.read_bytes()))
    assert len(words) > 8
    return sorted(hashlib.sha256(w).hexdigest() for w in words)


def test_attacks_from_inside_fail_and_what_the_mount_saw_is_on_the_record(room, rosa, audit):
    settings, supervisor = room.settings, room.supervisor
    port = settings.internal_port
    given = {
        "state": str(settings.state),
        "ports": [port, port + 1, port + 2, port + 3, port - 38, port - 37, 22],
        "pids": [supervisor.pid(n) for n in ("audit repository", "mount daemon", "hub")] + [os.getpid()],
        "secrets": secrets_of(room),
        "dataset": "brain-mr-demo",
    }
    rosa.upload("attack.py", ATTACKS.read_text())
    rosa.upload("given.json", json.dumps(given))
    told = rosa.in_terminal("python3 ~/attack.py ~/given.json", "attacks.txt")
    found = re.search(r"RESULTS (.*)", told)
    assert found, told
    results = json.loads(found[1])
    assert len(results) == 15, told
    assert not {n: r for n, r in results.items() if not r.startswith("refused")}
    denied = audit.query(Filter(project=ProjectId("chest-ct"), events=("read-denied",)), None)
    assert any("brain-mr-demo" in str(f.record) and f.person_name == "Rosa Rossi" for f in denied)


def test_a_home_and_the_project_folder_take_what_is_written(room, rosa):
    rosa.upload("finding.txt", PLANTED.decode())
    told = rosa.in_terminal("cp ~/finding.txt /project/ && cat /project/finding.txt ~/finding.txt | wc -c", "wrote.txt")
    assert told.split()[0] == str(2 * len(PLANTED)), told


def test_a_killed_mount_daemon_comes_back_in_the_running_server(room, rosa):
    before = room.supervisor.pid("mount daemon")
    os.kill(before, signal.SIGKILL)

    def restarted() -> bool:
        room.supervisor.watch()
        return room.supervisor.pid("mount daemon") != before

    until(restarted, "the mount daemon is started again")
    room.supervisor.wait("mount daemon")
    told = rosa.in_terminal("cat $(ls /data/*/*/*/*/*.dcm | head -3) | wc -c", "again.txt")
    assert int(told.split()[0]) > 100_000, told


def test_a_killed_gocryptfs_comes_back_in_the_running_server_and_what_is_open_there_can_be_saved(room, rosa, audit):
    notebook = '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'
    rosa.upload("before.txt", "kept")
    rosa.upload("open.ipynb", notebook)  # opens the server's database of trusted notebooks, in the home
    views = [p for p, _ in mounting.mount_points(room.settings.paths.vaults, "fuse.gocryptfs")]
    assert len(views) == 2
    for view in views:
        kill_gocryptfs(view)

    def back() -> bool:
        of = audit.query(Filter(project=ProjectId("chest-ct"), events=("service-started",)), None)
        return {f.record["subject"]["vault"] for f in of} == {view.parents[1].name for view in views}

    until(back, "both folders are back")
    rosa.upload("after.txt", "new")
    rosa.upload("open.ipynb", notebook)
    told = rosa.in_terminal("cat ~/before.txt ~/after.txt; ls -d /project/*; cat /data/README.txt", "back.txt")
    assert told.startswith("keptnew"), told
    assert told.count("was away for a moment and is back. Files that were open must be opened again") == 2, told
    rosa.upload("make.py", _NOTEBOOK)
    run = "cd ~ && python3 make.py && python3 -m nbconvert --to markdown --stdout --execute reads.ipynb"
    assert "read it" in rosa.in_terminal(run, "reads.txt")


def test_without_the_audit_repository_nothing_is_read_and_with_it_again_without_a_new_server(room, rosa):
    pid = room.supervisor.pid("audit repository")
    read = "cat $(ls /data/*/*/*/*/*.dcm | tail -{n} | head -1) | wc -c"
    os.kill(pid, signal.SIGSTOP)
    try:
        told = rosa.in_terminal("timeout 20 " + f"bash -c '{read.format(n=2)}'", "refused.txt")
        assert "temporarily unavailable" in told or "Connection timed out" in told, told
        assert "\n0\n" in "\n" + told
    finally:
        os.kill(pid, signal.SIGCONT)
    told = rosa.in_terminal(read.format(n=3), "works.txt")
    assert int(told.split()[0]) > 100_000, told


_NOTEBOOK = """
import nbformat
cell = nbformat.v4.new_code_cell("open('/data/chest-ct-demo/dataset.json').close(); print('read ' + 'it')")
nbformat.write(nbformat.v4.new_notebook(cells=[cell]), "reads.ipynb")
"""


def test_withdrawn_access_is_a_sentence_in_the_notebook_and_ends_with_a_new_grant(room, rosa, audit):
    rosa.upload("make.py", _NOTEBOOK)
    run = "cd ~ && python3 make.py && python3 -m nbconvert --to markdown --stdout --execute --allow-errors reads.ipynb"
    grants = compose.grants(room.settings, audit)
    grant = compose.open_catalogue(room.settings).grants.all(ProjectId("chest-ct"))[0]
    by = audit.identify("test", "steward", "Sam Steward")
    grants.revoke(grant.id, by)
    try:
        told = rosa.in_terminal(run, "withdrawn.txt")
    finally:
        grants.issue(grant.project, str(grant.version), grant.ends_at, by)
    assert "Access to chest-ct-demo was withdrawn or has ended; see /data/README.txt; ask your data steward." in told
    assert "Traceback" not in told
    assert "read it" not in told
    assert "read it" in rosa.in_terminal(run, "given.txt")
