# ruff: noqa: PTH116, PTH208  # system calls under their own names
"""Access that ends while a session reads: revoked, expired or on hold; and what it takes away."""

import errno
import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.mount_process import soon
from tests.support.mount_world import RESEARCHER, STEWARD, Published, listed, read, refused, withheld
from tests.support.mount_world import MountedWorld as Room

from readingroom.errors import AccessEnded
from readingroom.files import check_readable
from readingroom_hub.errors import Denied
from readingroom_hub.mount.clock import SteadyClock
from readingroom_hub.mount.daemon import OBEY, POLL
from readingroom_hub.services.holds import HoldService

pytestmark = pytest.mark.fuse


def test_a_view_on_the_screen_learns_of_a_revocation_and_of_a_new_grant_and_costs_no_record(room: Room) -> None:
    lung = room.publish(room.project("lung"), "lung-ct", ((3000, 4000),))
    grant = room.grant(lung.version.project, lung.version)
    data = room.attach(room.session(lung.version.project))
    folder = (data / "lung-ct" / next(iter(lung.plain))).parent
    check_readable(folder, "lung-ct")
    before = len(room.audit.records)
    check_readable(folder, "lung-ct")
    assert len(room.audit.records) == before
    room.revoke(grant)
    room.daemon.refresh()
    with pytest.raises(AccessEnded, match="Access to lung-ct was withdrawn"):
        check_readable(folder, "lung-ct")
    room.grant(lung.version.project, lung.version)
    room.daemon.refresh()
    check_readable(folder, "lung-ct")


def test_a_revocation_takes_an_image_under_both_its_names(room: Room, lung: Published) -> None:
    grant = room.grant(lung.version.project, lung.version)
    folder = room.attach(room.session(lung.version.project)) / "lung-ct"
    paths = [folder / list(names)[-1] for names in (listed(lung), lung.plain)]
    opened = [path.open("rb", buffering=0) for path in paths]
    assert opened[0].read(100) == opened[1].read(100) != b""
    room.revoke(grant)
    room.daemon.refresh()
    for path, file in zip(paths, opened, strict=True):
        with file, pytest.raises(PermissionError):
            file.seek(0), file.read(100)
        assert refused(path, errno.EACCES)


def test_a_revocation_takes_an_open_index_too(room: Room, lung: Published) -> None:
    grant = room.grant(lung.version.project, lung.version)
    path = room.attach(room.session(lung.version.project)) / "lung-ct/index.csv"
    fd = os.open(path, os.O_RDONLY)
    try:
        assert os.pread(fd, 4, 0) == b"path"
        room.revoke(grant)
        room.daemon.refresh()
        with pytest.raises(PermissionError):
            os.pread(fd, 4, 0)
    finally:
        os.close(fd)


def test_revocation_reaches_open_files_cached_pages_and_names(room: Room, lung: Published) -> None:
    project = lung.version.project
    grant = room.grant(project, lung.version)
    data = room.attach(room.session(project))
    path, plain = next((p, d) for p, d in lung.plain.items() if d)
    fd = os.open(data / "lung-ct" / path, os.O_RDONLY)
    try:
        assert os.pread(fd, len(plain), 0) == plain
        room.revoke(grant)  # nobody tells the daemon: it finds out, and looks twice within a second
        assert POLL + OBEY < 1

        def withdrawn() -> bool:
            try:
                os.pread(fd, 10, 0)
            except OSError as error:
                return error.errno == errno.EACCES
            return False

        soon(withdrawn)
        assert os.listdir(data) == ["README.txt"]
        assert refused(data / "lung-ct" / path, errno.EACCES)
        assert room.daemon.status()["keys"] == 0
        assert set(room.reasons("read-denied")) == {"grant-revoked"}
        assert b"Access to lung-ct was withdrawn on" in read(data / "README.txt")
        room.grant(project, lung.version)
        room.daemon.refresh()
        assert read(data / "lung-ct" / path) == plain
        assert os.pread(fd, len(plain), 0) == plain
    finally:
        os.close(fd)


_MAPPED = """
import mmap, sys
f = open(sys.argv[1], "rb")
m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
m[0]; print("mapped", flush=True); sys.stdin.readline(); m[0]; print("still there", flush=True)
"""


def test_revocation_takes_mapped_pages(room: Room, lung: Published) -> None:
    grant = room.grant(lung.version.project, lung.version)
    data = room.attach(room.session(lung.version.project))
    path = data / "lung-ct" / next(p for p, d in lung.plain.items() if d)
    with subprocess.Popen(
        [sys.executable, "-c", _MAPPED, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "mapped\n"
        room.revoke(grant)
        room.daemon.refresh()
        out, _ = child.communicate("\n", timeout=20)
    assert out == ""
    assert child.returncode == -7  # SIGBUS


def test_a_folder_that_is_somebodys_working_directory_is_closed_too(room: Room, lung: Published) -> None:
    grant = room.grant(lung.version.project, lung.version)
    data = room.attach(room.session(lung.version.project))
    path = Path(next(iter(lung.plain)))
    folder = os.open(data / "lung-ct" / path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.stat(data / "lung-ct" / path)
        room.revoke(grant)
        room.daemon.refresh()
        with pytest.raises(PermissionError):  # though the kernel had been told to believe the names for a while
            os.stat(data / "lung-ct" / path)
        for attempt in (lambda: os.open(path.name, os.O_RDONLY, dir_fd=folder), lambda: os.listdir(folder)):
            with pytest.raises(PermissionError):
                attempt()
    finally:
        os.close(folder)


def test_an_expired_grant_ends_on_time_and_is_recorded_once(room: Room, lung: Published) -> None:
    grant = room.grant(lung.version.project, lung.version, timedelta(seconds=2))
    one = room.attach(room.session(lung.version.project))
    two = room.attach(room.session(lung.version.project))
    path = next(p for p, d in lung.plain.items() if d)
    fd = os.open(one / "lung-ct" / path, os.O_RDONLY)
    try:
        os.pread(fd, 10, 0)
        soon(lambda: os.listdir(one) == os.listdir(two) == ["README.txt"])
        soon(lambda: withheld(fd))  # what the kernel had read goes a moment after the name
    finally:
        os.close(fd)
    soon(lambda: room.subjects("grant-expired"))
    room.daemon.refresh()
    assert [s["grant"] for s in room.subjects("grant-expired")] == [grant.id]
    assert set(room.reasons("read-denied")) == {"grant-expired"}


def test_an_access_that_ended_stays_ended_when_the_clock_is_set_back_a_day(room: Room, lung: Published) -> None:
    hour = 3_600 * 10**9
    later, back = [0], [0]
    room.daemon._clock = SteadyClock(
        lambda: time.time_ns() + later[0] - back[0], lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME) + later[0]
    )
    room.grant(lung.version.project, lung.version, timedelta(hours=1))
    other = room.publish(lung.version.project, "chest-ct", seed=3)
    room.grant(lung.version.project, other.version, timedelta(hours=3))
    data = room.attach(room.session(lung.version.project, timedelta(hours=10)))
    assert os.listdir(data) == ["README.txt", "chest-ct", "lung-ct"]
    later[0] = 2 * hour
    room.daemon.refresh()
    assert os.listdir(data) == ["README.txt", "chest-ct"]
    back[0] = 24 * hour
    room.daemon.refresh()
    assert os.listdir(data) == ["README.txt", "chest-ct"]
    wanted = data / "chest-ct" / next(p for p, d in other.plain.items() if d)
    read(wanted)
    later[0] = 4 * hour  # three hours last three hours, not a day more
    room.daemon.refresh()
    assert refused(wanted, errno.EACCES)
    assert os.listdir(data) == ["README.txt"]
    soon(lambda: len(room.subjects("grant-expired")) == 2)


def test_an_expired_session_reads_nothing(room: Room, lung: Published) -> None:
    room.grant(lung.version.project, lung.version)
    session = room.session(lung.version.project, timedelta(seconds=0.6))
    data = room.attach(session)
    path = data / "lung-ct" / next(p for p, d in lung.plain.items() if d)
    read(path)
    soon(lambda: refused(path, errno.EACCES))
    assert b"This session ended by itself" in read(data / "README.txt")
    room.daemon.detach(session.id)
    with pytest.raises(Denied, match="Start a new server"):
        room.daemon.attach(session.id)
    assert room.reasons("request-refused") == ["session-expired"]


def test_a_hold_stops_the_next_read_and_lifting_it_gives_reads_back(room: Room, data: Path, lung: Published) -> None:
    holds = HoldService(room.catalogue.holds, room.catalogue.sessions, room.audit, room.daemon)
    path = data / "lung-ct" / next(iter(lung.plain))
    fd = os.open(path, os.O_RDONLY)
    try:
        assert os.pread(fd, 10, 0) == lung.plain[next(iter(lung.plain))][:10]
        holds.suspend(RESEARCHER, "studies", None)  # it returns when the daemon knows
        with pytest.raises(PermissionError):
            os.pread(fd, 10, 0)
        assert refused(path, errno.EACCES) or refused(path, errno.ENOENT)
    finally:
        os.close(fd)
    assert "on-hold" in room.reasons("read-denied")
    assert "ask a data steward, who can lift the hold" in (data / "README.txt").read_text()
    holds.resume(RESEARCHER, STEWARD)
    soon(path.exists)
    assert read(path) == lung.plain[next(iter(lung.plain))]
