# ruff: noqa: PTH116  # system calls under their own names
"""Images that are decrypted before they are opened: who gets them, and what the record says."""

import errno
import os

import pytest
from tests.support.mount_process import soon
from tests.support.mount_world import MountedWorld as Room
from tests.support.mount_world import read, refused

from readingroom_hub.mount import early

pytestmark = pytest.mark.fuse


def test_the_next_image_is_decrypted_early_and_given_to_nobody_without_an_open(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(early, "PAUSE", 0.0)
    monkeypatch.setattr(early, "KEPT", 3600.0)
    monkeypatch.setattr(early, "PAUSES", 1)
    published = room.publish(room.project("ordered"), "ordered", [[50_000 + n for n in range(6)]])
    grant = room.grant(published.version.project, published.version)
    session = room.session(published.version.project)
    data = room.attach(session) / "ordered"
    plain = {data / path: content for path, content in published.plain.items()}
    files = sorted(plain, key=lambda path: os.stat(path).st_ino)
    damaged = published.object_file(room, next(i for i in published.manifest.instances if i.instance == files[4].stem))
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    ours, memory = room.daemon._attached[session.id]._operations.early, room.daemon._library.memory

    assert read(files[0]) == plain[files[0]]
    assert read(files[1]) == plain[files[1]]
    soon(lambda: ours.held == len(plain[files[2]]))
    assert memory.total == ours.held
    soon(lambda: len(room.ends()) == 2)
    assert {e["instance"]: e["bytes"] for e in room.ends()} == {f.stem: len(plain[f]) for f in files[:2]}
    assert room.subjects("instance-opened") == []

    assert read(files[2]) == plain[files[2]]
    soon(lambda: ours.held == len(plain[files[3]]))
    assert read(files[3]) == plain[files[3]]
    soon(lambda: ours._making is None)
    assert not room.subjects("integrity-failure"), "nobody asked for the damaged one yet"
    assert refused(files[4], errno.EIO)
    assert len(room.subjects("integrity-failure")) == 1

    other = room.attach(room.session(published.version.project)) / "ordered"
    theirs = room.daemon._attached[other.parent.parent.name]._operations.early
    for path in files[:2]:
        assert read(other / path.relative_to(data)) == plain[path]
    soon(lambda: theirs.held > 0)
    room.revoke(grant)
    room.daemon.refresh()
    soon(lambda: (theirs.held, memory.total) == (0, 0))
    assert refused(other / files[2].relative_to(data), errno.EACCES)
