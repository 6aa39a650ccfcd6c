# system calls under their own names
"""Reading through the mount: the bytes, many readers at once, and the limits of a session."""

import contextlib
import errno
import multiprocessing
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.mount_process import soon
from tests.support.mount_world import MountedWorld as Room
from tests.support.mount_world import Published, read, refused

from readingroom_hub.mount.budget import Memory
from readingroom_hub.mount.limits import Limits

pytestmark = pytest.mark.fuse


def test_files_are_equal_to_their_plaintext(data: Path, lung: Published) -> None:
    for path, plain in lung.plain.items():
        assert read(data / "lung-ct" / path) == plain


def test_a_session_opens_only_so_many_files_at_once(
    room: Room, lung: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    room.grant(lung.version.project, lung.version)
    monkeypatch.setattr(room.daemon, "_limits", Limits(open_files=2))
    data = room.attach(room.session(lung.version.project))
    path = data / "lung-ct" / next(iter(lung.plain))
    held = [os.open(path, os.O_RDONLY) for _ in range(2)]
    assert refused(path, errno.EMFILE)
    assert "holds 2 images open, which is its limit" in read(data / "README.txt").decode()
    assert room.reasons("read-denied") == ["too-many-open-files"]
    for fd in held:
        os.close(fd)
    soon(lambda: not refused(path, errno.EMFILE))


def test_a_session_reads_only_so_much_in_a_minute_and_others_go_on(
    room: Room, lung: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    room.grant(lung.version.project, lung.version)
    free = room.attach(room.session(lung.version.project))
    monkeypatch.setattr(room.daemon, "_limits", Limits(bytes_a_minute=50_000))
    data = room.attach(room.session(lung.version.project))
    path = "lung-ct/" + next(p for p, d in lung.plain.items() if len(d) == 70_000)
    assert len(read(data / path)) == 70_000  # the read that reaches the limit is still answered
    assert refused(data / path, errno.EDQUOT)
    assert "MB within a minute, its limit. Go on in" in read(data / "README.txt").decode()
    assert room.reasons("read-denied") == ["too-many-bytes"]
    assert len(read(free / path)) == 70_000
    monkeypatch.setattr("readingroom_hub.mount.limits._MINUTE", 0.0)
    assert len(read(data / path)) == 70_000


def test_plaintext_of_all_sessions_together_is_bounded_and_what_fell_out_is_read_again(room: Room) -> None:
    """Sessions that open images and read a little of each hold no more than the bound, whoever came first."""
    library = room.daemon._library
    library.memory = Memory(all_bytes=16 << 20)
    scans = room.publish(room.project("lung"), "scans", [[3 << 20] * 3 + [9 << 20]])
    room.grant(scans.version.project, scans.version)
    folders = [room.attach(room.session(scans.version.project)) / "scans" for _ in range(6)]
    with contextlib.ExitStack() as held:
        fds = {}
        for folder in folders:
            for path in scans.plain:
                fds[folder, path] = fd = os.open(folder / path, os.O_RDONLY)
                held.callback(os.close, fd)
                assert os.pread(fd, 1000, 0) == scans.plain[path][:1000]
                assert library.memory.total <= 16 << 20
        assert library.memory.total > 8 << 20
        for (_, path), fd in fds.items():
            assert os.pread(fd, 1000, 2 << 20) == scans.plain[path][2 << 20 : (2 << 20) + 1000]
            assert library.memory.total <= 16 << 20
    soon(lambda: library.memory.total == 0)


_MMAP = """
import mmap, sys, hashlib
with open(sys.argv[1], "rb") as f, mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as m:
    print(hashlib.sha256(m).hexdigest())
"""


def test_files_can_be_mapped(data: Path, lung: Published) -> None:
    instance = max(lung.manifest.instances, key=lambda i: i.size)
    path = data / "lung-ct" / instance.study / instance.series / f"{instance.instance}.dcm"
    done = subprocess.run([sys.executable, "-c", _MMAP, path], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout.strip() == instance.sha256


def _digests(paths: list[str]) -> list[str]:
    import hashlib

    return [hashlib.sha256(read(p)).hexdigest() for p in paths]


def test_several_processes_read_at_once(room: Room) -> None:
    published = room.publish(room.project("crowd"), "crowd", [[40_000 + i for i in range(20)], [150_000] * 10])
    room.grant(published.version.project, published.version)
    data = room.attach(room.session(published.version.project))
    paths = [str(data / "crowd" / i.study / i.series / f"{i.instance}.dcm") for i in published.manifest.instances]
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        results = pool.map_async(_digests, [paths, paths[::-1], paths], chunksize=1).get(timeout=60)
    wanted = [i.sha256 for i in published.manifest.instances]
    assert results == [wanted, wanted[::-1], wanted]
    soon(lambda: len(room.ends()) == 3 * len(paths))
    assert len(room.subjects("read-intent")) == 2


def test_large_objects_are_read_at_random(room: Room) -> None:
    size = (17 << 20) + 12_345
    published = room.publish(room.project("large"), "large", [[size]])
    room.grant(published.version.project, published.version)
    data = room.attach(room.session(published.version.project))
    (path, plain), *_ = published.plain.items()
    fd = os.open(data / "large" / path, os.O_RDONLY)
    try:
        rng = random.Random(3)
        places = [
            (0, 10),
            (size - 5, 100),
            (size, 1),
            ((1 << 20) - 3, 7),
            *((rng.randrange(size), rng.randrange(300_000)) for _ in range(60)),
        ]
        for offset, length in places:
            assert os.pread(fd, length, offset) == plain[offset : offset + length]
    finally:
        os.close(fd)
    assert read(data / "large" / path) == plain
