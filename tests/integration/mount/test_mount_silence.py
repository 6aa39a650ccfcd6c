# ruff: noqa: PTH116, PTH208  # system calls under their own names
"""A store, an audit record or a catalogue that does not answer while a session reads."""

import errno
import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.support.mount_process import soon
from tests.support.mount_world import MountedWorld as Room
from tests.support.mount_world import Published, read, refused
from tests.support.seaweed import KEYS
from tests.support.silent import SilentService

from readingroom.errors import NotNow
from readingroom.files import reading
from readingroom_hub.adapters import aws
from readingroom_hub.adapters.objects_s3 import S3ObjectStore
from readingroom_hub.errors import StoreUnavailable
from readingroom_hub.ports.objects import ObjectStore

pytestmark = pytest.mark.fuse


def test_a_store_that_is_gone_gives_errors_not_hangs(room: Room, lung: Published, data: Path) -> None:
    path = data / "lung-ct" / next(p for p, d in lung.plain.items() if d)
    os.stat(path)
    shutil.rmtree(room.settings.paths.objects)
    assert refused(path, errno.EIO)


class Moving(ObjectStore):
    """What is read, `now`."""

    def __init__(self, store: ObjectStore) -> None:
        self.now = store

    def put(self, name: str, data: bytes) -> None:
        raise NotImplementedError

    def read(self, name: str, offset: int = 0, size: int | None = None) -> bytes:
        return self.now.read(name, offset, size)

    def size(self, name: str) -> int:
        return self.now.size(name)

    def names(self, prefix: str) -> Iterator[str]:
        raise NotImplementedError

    def remove(self, name: str) -> None:
        raise NotImplementedError

    def delete(self, prefix: str) -> None:
        raise NotImplementedError


def test_a_silent_store_ends_reads_with_a_sentence_and_a_record_and_they_go_on_with_it(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the kernel has stays readable; nobody waits behind others for a store that is known to be silent."""
    monkeypatch.setattr(aws, "_READ_SECONDS", 0.2)
    monkeypatch.setattr(aws, "_ATTEMPTS", 1)
    monkeypatch.setattr("readingroom_hub.mount.library.RETRY_UNAVAILABLE", 60.0)
    project = room.project("lung")
    known, other = room.publish(project, "lung-ct", [[50_000] * 3]), room.publish(project, "chest-ct", seed=2)
    store = room.daemon._library.objects = Moving(room.objects)
    for version in (known.version, other.version):
        room.grant(project, version)
    data = room.attach(room.session(project))
    seen, *unseen = (data / "lung-ct" / p for p in known.plain)
    before = read(seen)
    with SilentService() as service:
        store.now = S3ObjectStore(service.endpoint, "bucket", "us-east-1", dict.fromkeys(KEYS, "k"))
        for path in unseen:
            with pytest.raises(NotNow, match=r"its store, .* does not answer"), reading(path, "lung-ct"):
                read(path)
        for _ in range(5):
            with pytest.raises(TimeoutError):
                os.listdir(data / "chest-ct")
        assert read(seen) == before
        assert 3 <= service.attempts() <= 6  # the kernel asks twice for a page; a manifest has two possible names
        told = read(data / "README.txt").decode()
        for name in ("lung-ct", "chest-ct"):
            assert f"Images of {name} cannot be read now, since their store does not answer." in told
        assert service.endpoint.rpartition(":")[2] not in told
    failed = [r for r in room.audit.records if r["event"] == "read-denied"]
    assert [(r["outcome"], r["subject"]["path"]) for r in failed] == [("failure", "lung-ct"), ("failure", "chest-ct")]
    assert {r["reason"].partition(":")[0] for r in failed} == {"store-unavailable"}
    store.now = room.objects
    assert [read(p) for p in unseen] == list(known.plain.values())[1:]


@pytest.mark.parametrize("hangs", ["store", "audit"])
def test_a_session_whose_reads_hang_still_lists_and_reads_on_once_they_do_not(
    room: Room, lung: Published, data: Path, monkeypatch: pytest.MonkeyPatch, hangs: str
) -> None:
    path, plain = next((data / "lung-ct" / p, d) for p, d in lung.plain.items() if len(d) > 60_000)
    listed = sorted(os.listdir(path.parent))
    waiting, go_on = threading.Semaphore(0), threading.Event()
    held = room.objects if hangs == "store" else room.audit
    name = "read" if hangs == "store" else "append"
    work = getattr(held, name)

    def hang(*args: object) -> object:
        waiting.release()
        assert go_on.wait(20)
        return work(*args)

    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)  # a request for each page, so that two wait for one object
    monkeypatch.setattr(held, name, hang)
    with ThreadPoolExecutor(4) as pool:
        try:
            if hangs == "store":
                reads = [pool.submit(os.pread, fd, 4096, at) for at in (0, 40_960)]
                expected = [plain[at : at + 4096] for at in (0, 40_960)]
            else:
                reads = [pool.submit(read, data / "lung-ct" / "index.csv") for _ in range(2)]
                expected = []
            assert waiting.acquire(timeout=5)
            for _ in range(20):
                assert sorted(pool.submit(os.listdir, path.parent).result(5)) == listed
                assert pool.submit(read, data / "lung-ct" / "dataset.json").result(5)
            assert not any(r.done() for r in reads)
        finally:
            go_on.set()
        found = [r.result(5) for r in reads]
    os.close(fd)
    assert found == (expected or [found[0]] * 2)
    assert read(path) == plain


def test_without_the_catalogue_reading_stops_and_goes_on_with_it(
    room: Room, lung: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A revocation could be in it. An open says EAGAIN; a read ETIMEDOUT, which nobody takes for the file's end."""
    monkeypatch.setattr("readingroom_hub.mount.session.CATALOGUE_TRUST", 0.3)
    room.grant(lung.version.project, lung.version)
    data = room.attach(room.session(lung.version.project))
    room.daemon.refresh()
    path, unread = (data / "lung-ct" / p for p, d in lung.plain.items() if d)
    fd = os.open(unread, os.O_RDONLY)
    try:
        with monkeypatch.context() as broken:
            broken.setattr(type(room.catalogue.sessions), "open_ones", _fail)
            soon(lambda: refused(path, errno.EAGAIN))
            with pytest.raises(OSError) as caught:
                os.pread(fd, 10, 0)
            assert caught.value.errno == errno.ETIMEDOUT
            assert b"The catalogue does not answer" in read(data / "README.txt")
        soon(lambda: not refused(path, errno.EAGAIN))
        assert len(os.pread(fd, 10, 0)) == 10
    finally:
        os.close(fd)


def _fail(_self: object) -> None:
    raise StoreUnavailable("switched off by the test")
