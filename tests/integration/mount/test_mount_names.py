# ruff: noqa: PTH101, PTH102, PTH104, PTH106, PTH108, PTH116, PTH208, PTH211  # system calls under their own names
"""What a session finds below /data: names, indexes, attributes; and that nothing can be written there."""

import contextlib
import csv
import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from tests.support.mount_world import MountedWorld as Room
from tests.support.mount_world import Published, listed, read, refused

from readingroom_hub.errors import NotFound
from readingroom_hub.model.ids import SessionId

pytestmark = pytest.mark.fuse


def test_listing_names_every_instance_with_its_size(data: Path, lung: Published) -> None:
    found = {}
    for at, _, files in os.walk(data / "lung-ct"):
        found |= {str((Path(at) / f).relative_to(data / "lung-ct")): os.stat(Path(at) / f).st_size for f in files}
    description = found.pop("dataset.json")
    assert found.pop("index.csv") == len(read(data / "lung-ct/index.csv"))
    assert found.pop("index.parquet") == len(read(data / "lung-ct/index.parquet"))
    assert found.pop("README.md") == len(read(data / "lung-ct/README.md"))
    assert found == listed(lung)
    text = read(data / "lung-ct/dataset.json")
    assert len(text) == description
    assert json.loads(text)["version"] == lung.version.digest


def test_the_index_names_every_instance_and_looking_at_it_is_on_the_record(
    room: Room, data: Path, lung: Published
) -> None:
    rows = list(csv.DictReader(read(data / "lung-ct/index.csv").decode().splitlines()))
    assert {r["path"]: int(r["bytes"]) for r in rows} == listed(lung)
    by_uid = {r["path"]: f"{r['study']}/{r['series']}/{r['instance']}.dcm" for r in rows}
    assert all(read(data / "lung-ct" / path) == lung.plain[uids] for path, uids in by_uid.items())
    assert all((data / "lung-ct" / path).samefile(data / "lung-ct" / uids) for path, uids in by_uid.items())
    assert rows[0]["patient"] == 'P-1, "the first"'
    intents = [(s.get("path"), "series" in s) for s in room.subjects("read-intent")]
    assert intents == [("index.csv", False), (None, True)], "one series, whatever its images are called"
    assert b"1 patients" in read(data / "lung-ct/README.md")


def test_the_parquet_index_holds_the_same_rows_typed_and_looking_at_it_is_on_the_record(
    room: Room, data: Path, lung: Published
) -> None:
    found = pyarrow.parquet.read_table(pa.BufferReader(read(data / "lung-ct/index.parquet"))).to_pylist()
    assert [s["path"] for s in room.subjects("read-intent")] == ["index.parquet"]
    rows = list(csv.DictReader(read(data / "lung-ct/index.csv").decode().splitlines()))
    assert [s["path"] for s in room.subjects("read-intent")] == ["index.parquet", "index.csv"]
    assert [{k: str(v) for k, v in row.items()} for row in found] == rows
    assert [row["bytes"] for row in found] == list(listed(lung).values())


def test_a_folder_of_many_instances_is_listed_whole(room: Room) -> None:
    published = room.publish(room.project("many"), "many", [[1] * 400])
    room.grant(published.version.project, published.version)
    data = room.attach(room.session(published.version.project))
    series = data / "many" / "2.25.1.0" / "2.25.1.1"
    assert sorted(os.listdir(series)) == sorted(Path(p).name for p in published.plain)


def test_two_sessions_see_only_their_projects_grants(room: Room, lung: Published, data: Path) -> None:
    brain = room.publish(room.project("brain"), "brain-mr", seed=2)
    room.grant(brain.version.project, brain.version)
    other = room.attach(room.session(brain.version.project))
    assert sorted(os.listdir(data)) == ["README.txt", "lung-ct"]
    assert sorted(os.listdir(other)) == ["README.txt", "brain-mr"]
    assert refused(other / "lung-ct" / next(iter(lung.plain)), errno.ENOENT)
    assert refused(data / "brain-mr/dataset.json", errno.ENOENT)


def test_a_look_at_what_is_not_granted_is_on_the_record_once_and_then_counted(room: Room, data: Path) -> None:
    for _ in range(5):
        assert refused(data / "secret-ct", errno.ENOENT)
    assert refused(data / ".git", errno.ENOENT)
    assert [s["path"] for s in room.subjects("read-denied")] == ["secret-ct"]
    assert room.reasons("read-denied") == ["not-granted"]
    room.daemon.stop()
    assert [s.get("count") for s in room.subjects("read-denied")] == [None, 4]


_ATTEMPTS: dict[str, Callable[[Path, Path], object]] = {
    "write": lambda d, f: os.open(f, os.O_WRONLY),
    "update": lambda d, f: os.open(f, os.O_RDWR),
    "truncate": lambda d, f: os.truncate(f, 0),
    "unlink": lambda d, f: os.unlink(f),
    "chmod": lambda d, f: os.chmod(f, 0o666),
    "utime": lambda d, f: os.utime(f),
    "rename": lambda d, f: os.rename(f, d / "x"),
    "mkdir": lambda d, f: os.mkdir(d / "x"),
    "symlink": lambda d, f: os.symlink("/", d / "x"),
    "link": lambda d, f: os.link(f, d / "x"),
    "create": lambda d, f: os.open(d / "x", os.O_CREAT | os.O_WRONLY),
    "setxattr": lambda d, f: os.setxattr(f, "user.x", b""),
    "rmdir": lambda d, f: os.rmdir(d / "lung-ct"),
}


@pytest.mark.parametrize("attempt", _ATTEMPTS)
def test_nothing_can_be_written(data: Path, lung: Published, attempt: str) -> None:
    with pytest.raises(OSError) as caught:
        _ATTEMPTS[attempt](data, data / "lung-ct" / next(iter(lung.plain)))
    assert caught.value.errno == errno.EROFS


def test_attributes_and_odd_requests_are_answered(data: Path, lung: Published) -> None:
    path = data / "lung-ct" / next(iter(lung.plain))
    assert os.stat(path).st_mode & 0o777 == 0o444
    assert os.access(path, os.R_OK)
    with pytest.raises(OSError, match="not supported"):
        os.getxattr(path, "user.x")
    assert os.statvfs(data).f_files == lung.version.instances
    with pytest.raises(NotADirectoryError):
        os.listdir(path)


def test_two_versions_of_a_dataset_are_told_apart(room: Room, lung: Published) -> None:
    project = lung.version.project
    room.grant(project, lung.version)
    data = room.attach(room.session(project))
    newer = room.publish(project, "lung-ct", [[10, 20]], seed=9)
    room.grant(project, newer.version)
    room.daemon.refresh()
    old = f"lung-ct@{lung.version.digest.short}"
    assert sorted(os.listdir(data)) == ["README.txt", "lung-ct", old]
    assert json.loads(read(data / "lung-ct/dataset.json"))["version"] == newer.version.digest
    assert json.loads(read(data / old / "dataset.json"))["version"] == lung.version.digest
    for path, plain in newer.plain.items():
        assert read(data / "lung-ct" / path) == plain


def test_attach_again_gives_the_same_folder_and_detach_leaves_nothing(room: Room, lung: Published) -> None:
    room.grant(lung.version.project, lung.version)
    session = room.session(lung.version.project)
    data = room.attach(session)
    assert room.attach(session) == data
    path = next(p for p, d in lung.plain.items() if d)
    fd = os.open(data / "lung-ct" / path, os.O_RDONLY)
    try:
        os.pread(fd, 10, 0)
        room.daemon.detach(session.id)
        with pytest.raises(OSError):
            os.pread(fd, 10, 0)
    finally:
        with contextlib.suppress(OSError):  # the connection is gone, which close reports too
            os.close(fd)
    assert not data.parent.exists()
    assert set(room.daemon.status().values()) == {0}
    assert len(room.ends()) == 1
    room.daemon.detach(session.id)


def test_an_unknown_session_is_not_found(room: Room) -> None:
    with pytest.raises(NotFound):
        room.daemon.attach(SessionId.new())


def test_inode_numbers_are_the_same_in_every_session(room: Room, lung: Published, data: Path) -> None:
    other = room.attach(room.session(lung.version.project))
    for path in ["lung-ct", "lung-ct/dataset.json", *(f"lung-ct/{p}" for p in lung.plain)]:
        assert os.stat(data / path).st_ino == os.stat(other / path).st_ino
