"""Running ingests and what killed ones left: a lock file per data key, made before its first object.

A lock file that nobody holds belongs to a process that is gone. Its objects are removed unless its version is out."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from readingroom_hub.errors import Conflict, StoreUnavailable
from readingroom_hub.model.ids import KeyId
from readingroom_hub.ports.catalogue import Versions
from readingroom_hub.ports.objects import ObjectStore


class IntakeLocks:
    """Lock files below `folder`, on a file system of this machine (flock)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def hold(self, wanted: KeyId | None = None) -> Iterator[KeyId]:
        """A data key's id, a fresh one or `wanted`, held until the block ends; then its lock file is gone.

        Raises StoreUnavailable; Conflict where another process holds `wanted`."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            key_id, fd = self._take(wanted)
        except OSError as error:
            raise StoreUnavailable(f"{self._folder} cannot be written: {error.strerror}") from error
        try:
            yield key_id
            self._path(key_id).unlink()  # only after a clean end: else the next ingest tidies up
        finally:
            os.close(fd)

    def tidy(self, versions: Versions, objects: ObjectStore) -> int:
        """Remove what killed ingests left; returns how many there were."""
        found = 0
        for path in sorted(self._folder.glob("k-*")):
            key_id = KeyId(path.name)
            fd = _try_lock(path)
            if fd is None:
                continue
            try:
                if key_id not in versions.key_ids():
                    objects.delete(key_id)
                    found += 1
                path.unlink()
            finally:
                os.close(fd)
        return found

    def _take(self, wanted: KeyId | None) -> tuple[KeyId, int]:
        while True:
            key_id = wanted or KeyId.new()
            path = self._path(key_id)
            path.touch(mode=0o600, exist_ok=wanted is not None)
            fd = _try_lock(path)
            if fd is None and wanted:
                raise Conflict(f"another process stores objects of {wanted} now: try again when it has ended")
            if fd is None:  # another ingest tidied it up before it was locked
                continue
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)  # an object must not outlive the lock file that leads to it
            finally:
                os.close(folder)
            return key_id, fd

    def _path(self, key_id: KeyId) -> Path:
        return self._folder / key_id


def _try_lock(path: Path) -> int | None:
    """Lock an existing file; None where somebody holds it or it is gone."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if path.exists() and path.stat().st_ino == os.fstat(fd).st_ino:
            return fd
    except BlockingIOError:
        pass
    os.close(fd)
    return None
