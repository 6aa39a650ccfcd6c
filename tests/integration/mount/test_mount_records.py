# ruff: noqa: PTH208  # system calls under their own names
"""What the audit record holds of reads through the mount, and that nothing is read without it."""

import errno
import os
from pathlib import Path

import pytest
from tests.support.mount_process import soon
from tests.support.mount_world import MountedWorld as Room
from tests.support.mount_world import Published, read, refused

from readingroom.data import dataset
from readingroom.errors import AccessEnded, Damaged

pytestmark = pytest.mark.fuse


def test_a_thumbnail_is_one_read_on_the_record_and_ends_with_the_grant(room: Room) -> None:
    lung = room.publish(room.project("lung"), "lung-ct", ((3000, 4000, 5000),))
    grant = room.grant(lung.version.project, lung.version)
    data = room.attach(room.session(lung.version.project))
    grid = dataset("lung-ct", data).browse(static="none").grid
    grid.check()
    assert [s.get("path") for s in room.subjects("read-intent")] == ["index.csv"], "to look costs no image"
    series = [i for i in lung.manifest.instances if i.series == grid.row(0).series]
    middle = sorted(series, key=lambda i: i.number)[len(series) // 2]
    with pytest.raises(Damaged, match=f"{middle.instance}.dcm of lung-ct"):  # it is random bytes, and no image
        grid.thumbnail(0)
    soon(room.ends)
    assert {s["instance"] for s in room.ends()} == {middle.instance}

    room.revoke(grant)
    room.daemon.refresh()
    with pytest.raises(AccessEnded, match="Access to lung-ct was withdrawn"):
        grid.check()
    with pytest.raises(AccessEnded, match="Access to lung-ct was withdrawn"):
        grid.thumbnail(0)


def test_without_audit_nobody_looks_at_the_index(room: Room, data: Path, lung: Published) -> None:
    os.listdir(data / "lung-ct")
    room.audit.available = False
    assert refused(data / "lung-ct/index.csv", errno.EAGAIN)


def test_a_read_is_on_the_record_before_its_bytes(room: Room, data: Path, lung: Published) -> None:
    path, plain = next((p, d) for p, d in lung.plain.items() if d)
    fd = os.open(data / "lung-ct" / path, os.O_RDONLY)
    intent = room.subjects("read-intent")[0]
    assert intent["instances"] == len(lung.plain)
    assert intent["bytes"] == lung.version.size
    assert (intent["dataset"], intent["version"]) == ("lung-ct", lung.version.digest)
    soon(lambda: room.subjects("instance-opened"))
    opened = room.subjects("instance-opened")[0]
    assert opened["instance"] == Path(path).stem
    os.read(fd, len(plain))
    os.close(fd)
    soon(room.ends)
    end = room.ends()[0]
    assert end["bytes"] == end["size"] == len(plain)
    assert (end["intent"], end["instance"]) == (opened["intent"], opened["instance"])


def test_a_second_read_from_the_kernels_cache_is_still_on_the_record(room: Room, data: Path, lung: Published) -> None:
    path = data / "lung-ct" / next(p for p, d in lung.plain.items() if d)
    first = read(path)
    soon(lambda: len(room.ends()) == 1)
    assert read(path) == first
    soon(lambda: len(room.ends()) == 2)
    second = room.ends()[1]
    assert second["bytes"] == 0
    assert second["cached"] is True


def test_without_audit_nothing_is_opened_and_with_it_everything_is_again(
    room: Room, data: Path, lung: Published
) -> None:
    path = data / "lung-ct" / next(iter(lung.plain))
    os.listdir(path.parent)
    room.audit.available = False
    assert refused(path, errno.EAGAIN)
    assert b"audit record repository did not answer" in read(data / "README.txt")
    room.audit.available = True
    assert read(path) == lung.plain[next(iter(lung.plain))]


def test_without_audit_a_warm_file_is_refused_too(room: Room, data: Path, lung: Published) -> None:
    path = data / "lung-ct" / next(iter(lung.plain))
    read(path)
    room.audit.available = False
    assert refused(path, errno.EAGAIN)
