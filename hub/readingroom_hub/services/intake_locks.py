"""Who stores objects below a data key, and what killed processes left: a lock file a key, made before them.

A lock file that nobody holds belongs to a process that is gone. Objects that no published version names are removed."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from readingroom_hub.errors import Conflict, IntegrityError, KeyUnavailable, NotFound, StoreUnavailable
from readingroom_hub.model.ids import KeyId
from readingroom_hub.services.leftovers import Leftovers


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

    def tidy(self, leftovers: Leftovers) -> int:
        """Remove what killed processes left; returns how many there were.

        Where it is not known what a version still needs (its key does not answer), that waits for the next time."""
        found = 0
        for path in sorted(self._folder.glob("k-*")):
            key_id = KeyId(path.name)
            fd = _try_lock(path)
            if fd is None:
                continue
            try:
                with suppress(IntegrityError, KeyUnavailable, NotFound):
                    leftovers.remove(key_id)
                    path.unlink()
                    found += 1
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
