"""What a running sandbox sees of mounts that are made and taken away on the host."""

import ctypes
import os
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from tests.support.sandbox_runner import close_all, log_of, order, settings

from readingroom_hub.errors import StoreUnavailable, SystemUnfit
from readingroom_hub.model.ids import ProjectId
from readingroom_hub.sandbox.accounts import Accounts
from readingroom_hub.sandbox.servers import Servers

pytestmark = [pytest.mark.sandbox, pytest.mark.skipif(os.geteuid() != 0, reason="root mounts for this test")]

_BIND, _SHARED, _DETACH = 4096, 1 << 20, 2
_libc = ctypes.CDLL(None, use_errno=True)


def mount(source, target, kind, flags):
    if _libc.mount(source.encode(), str(target).encode(), kind, ctypes.c_ulong(flags), None):
        raise OSError(ctypes.get_errno(), f"mount {target}")


def unmount(target):
    _libc.umount2(str(target).encode(), _DETACH)


def until(what, seconds=20):
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def made():
    with tempfile.TemporaryDirectory(prefix="readingroom-mounts-") as folder, ExitStack() as stack:
        made = settings(Path(folder))
        mounts = made.paths.mounts
        mount(str(mounts), mounts, None, _BIND)
        stack.callback(unmount, mounts)
        mount("none", mounts, None, _SHARED)
        stack.callback(close_all, made)
        yield made


WATCH = """
import os, time
seen = None
while seen != ["last"]:
    now = sorted(os.listdir("/data"))
    if now != seen:
        print(now, flush=True)
        seen = now
    time.sleep(0.01)
"""


def test_new_mount_of_a_restarted_daemon_arrives_and_an_old_one_leaves(made):
    servers = Servers(made)
    wanted = order(made, [sys.executable, "-I", "-c", WATCH])
    data = wanted.volume / "data"
    running = servers.start(wanted)
    try:
        until(lambda: "[]" in log_of(made, running.session))
        mount("one", data, b"tmpfs", 0)
        (data / "first").touch()
        until(lambda: "['first']" in log_of(made, running.session))
        unmount(data)
        mount("two", data, b"tmpfs", 0)
        (data / "last").touch()
        until(lambda: not servers.alive(running))
    finally:
        servers.stop(running)
        unmount(data)


def test_what_a_server_mounts_is_never_seen_on_the_host(made):
    def seen():
        return {line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()}

    servers = Servers(made)
    wanted = order(made, ["/bin/sleep", "60"])
    before = seen()
    running = servers.start(wanted)
    try:  # the home is mounted for it, by the mount daemon
        assert seen() - before == {str(wanted.folders.home / "researcher")}
    finally:
        servers.stop(running)


def test_start_that_fails_leaves_nothing(made):
    servers = Servers(made)
    wanted = order(made, ["/bin/true"])
    shutil.rmtree(wanted.volume)
    with pytest.raises(SystemUnfit, match="No such file"):
        servers.start(wanted)
    assert servers.running() == []
    assert list((made.paths.run / "doors").glob("*")) == []
    assert not list(Path("/sys/fs/cgroup").glob(f"*/readingroom/{wanted.session}"))


def test_image_of_a_home_is_let_go(made):
    before = set(Path("/sys/block").glob("loop*/loop/backing_file"))
    servers = Servers(made)
    running = servers.start(order(made, ["/bin/sleep", "60"]))
    servers.stop(running)
    close_all(made)
    until(lambda: set(Path("/sys/block").glob("loop*/loop/backing_file")) <= before)


def test_door_does_not_run_as_root(made):
    servers = Servers(made)
    running = servers.start(order(made, ["/bin/sleep", "60"]))
    try:
        door = psutil.Process(running.pid)
        for process in [door, *door.children(recursive=True)]:
            assert min(process.uids()) >= made.uid_range[0]
            assert min(process.gids()) >= made.uid_range[0]
    finally:
        servers.stop(running)


def test_user_ids_are_kept_apart_for_ever(tmp_path):
    first = Accounts(tmp_path / "accounts.json", (400, 405))
    a, b = first.get("u-a", ProjectId("lung")), first.get("u-b", ProjectId("lung"))
    assert a.project_gid == b.project_gid
    assert len({a.uid, b.uid, a.project_gid}) == 3
    again = Accounts(tmp_path / "accounts.json", (400, 405))
    assert again.get("u-a", ProjectId("lung")) == a
    assert again.get("u-a", ProjectId("head")).uid not in {a.uid, b.uid, a.project_gid}
    with pytest.raises(StoreUnavailable, match="UID_RANGE"):
        again.get("u-c", ProjectId("head-two"))
