# ruff: noqa: PTH208  # system calls under their own names
"""Stored objects that are damaged, swapped or missing: an error and a record, never a wrong byte."""

import errno
import os
from pathlib import Path

import pytest
from tests.support.mount_world import MountedWorld as Room
from tests.support.mount_world import Published, read, refused

pytestmark = pytest.mark.fuse


def test_a_flipped_byte_is_an_error_and_a_security_record_and_spares_others(
    room: Room, lung: Published, data: Path
) -> None:
    bad, *others = [i for i in lung.manifest.instances if i.size]
    stored = lung.object_file(room, bad)
    raw = bytearray(stored.read_bytes())
    raw[len(raw) // 2] ^= 1
    stored.write_bytes(raw)
    folder = data / "lung-ct" / bad.study / bad.series
    assert refused(folder / f"{bad.instance}.dcm", errno.EIO)
    assert refused(folder / f"{bad.instance}.dcm", errno.EIO)
    for other in others:
        assert len(read(folder / f"{other.instance}.dcm")) == other.size
    assert [s["path"] for s in room.subjects("integrity-failure")] == [f"lung-ct/{bad.instance}"]
    assert b"is damaged and was not given out" in read(data / "README.txt")


def test_swapped_objects_are_errors(room: Room, lung: Published, data: Path) -> None:
    one, two = [i for i in lung.manifest.instances if i.size][:2]
    a, b = lung.object_file(room, one), lung.object_file(room, two)
    raw = a.read_bytes()
    a.write_bytes(b.read_bytes())
    b.write_bytes(raw)
    for i in (one, two):
        assert refused(data / "lung-ct" / i.study / i.series / f"{i.instance}.dcm", errno.EIO)
    assert len(room.subjects("integrity-failure")) == 2


def test_a_damaged_large_object_gives_no_wrong_byte(room: Room) -> None:
    published = room.publish(room.project("large"), "large", [[9 << 20]])
    room.grant(published.version.project, published.version)
    data = room.attach(room.session(published.version.project))
    (path, plain), *_ = published.plain.items()
    stored = published.object_file(room, published.manifest.instances[0])
    raw = bytearray(stored.read_bytes())
    raw[5 << 20] ^= 1
    stored.write_bytes(raw)
    fd = os.open(data / "large" / path, os.O_RDONLY)
    try:
        assert os.pread(fd, 1000, 0) == plain[:1000]
        with pytest.raises(OSError) as caught:
            os.pread(fd, 16_384, (5 << 20) - 16_384)  # tags move the flipped byte to before 5 MiB of plaintext
        assert caught.value.errno == errno.EIO
    finally:
        os.close(fd)
    assert len(room.subjects("integrity-failure")) == 1


def test_a_missing_object_is_an_error_and_a_security_record(room: Room, lung: Published, data: Path) -> None:
    i = lung.manifest.instances[0]
    lung.object_file(room, i).unlink()
    assert refused(data / "lung-ct" / i.study / i.series / f"{i.instance}.dcm", errno.EIO)
    assert len(room.subjects("integrity-failure")) == 1


def test_a_damaged_manifest_takes_only_its_dataset_away(room: Room, lung: Published, data: Path) -> None:
    other = room.publish(lung.version.project, "other-ct", seed=5)
    room.grant(lung.version.project, other.version)
    room.daemon.refresh()
    manifest = room.settings.paths.objects / lung.version.key / "manifest"
    raw = bytearray(manifest.read_bytes())
    raw[-1] ^= 1
    manifest.write_bytes(raw)
    with pytest.raises(OSError) as caught:
        os.listdir(data / "lung-ct")
    assert caught.value.errno == errno.EIO
    assert read(data / "other-ct" / next(iter(other.plain))) == next(iter(other.plain.values()))
    assert len(room.subjects("integrity-failure")) == 1
