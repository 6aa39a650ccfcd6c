"""The object store as a directory: one file an object, written once, durable when `put` returns."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from readingroom_hub.durable import sync
from readingroom_hub.errors import BadInput, Conflict, NotFound, StoreUnavailable
from readingroom_hub.ports.objects import ObjectStore, check_name

_TEMPORARY = ".new-"


@contextmanager
def _reported(name: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise NotFound(f"the object store holds no object {name}") from error
    except OSError as error:
        raise StoreUnavailable(f"object {name}: {error.strerror}; free or repair the store, then try again") from error


class DirectoryObjectStore(ObjectStore):
    """Objects below `root`, which is made (mode 0700) at the first `put`."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._top = str(root)

    def put(self, name: str, data: bytes) -> None:
        """Write a temporary file, make it durable, then link it to its name, which never replaces one."""
        path = self._path(name)
        with _reported(name):
            self._make_folder(path.parent)
            fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=_TEMPORARY)
            try:
                with open(fd, "wb", buffering=0) as file:  # noqa: PTH123  # takes over the descriptor
                    view = memoryview(data)
                    while view:
                        view = view[file.write(view) :]
                    os.fsync(file.fileno())
                os.link(temporary, path)
            except FileExistsError as error:
                raise Conflict(f"object {name} exists; objects are never replaced") from error
            finally:
                with suppress(OSError):
                    os.unlink(temporary)  # noqa: PTH108
            sync(path.parent)

    def read(self, name: str, offset: int = 0, size: int | None = None) -> bytes:
        """Read with `pread`; the file is open only for this call."""
        with _reported(name):
            fd = os.open(self._file(name), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                left = max(0, os.fstat(fd).st_size - offset)
                left = left if size is None else min(left, size)
                parts = []
                while left and (part := os.pread(fd, left, offset)):  # one call reads at most 2 GiB
                    parts.append(part)
                    offset += len(part)
                    left -= len(part)
            finally:
                os.close(fd)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def expect(self, name: str, offset: int = 0, size: int | None = None) -> None:
        """Have the kernel read it into its cache (posix_fadvise(2)): no thread of ours waits, no byte is copied."""
        with suppress(OSError):
            fd = os.open(self._file(name), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                os.posix_fadvise(fd, offset, size or 0, os.POSIX_FADV_WILLNEED)
            finally:
                os.close(fd)

    def size(self, name: str) -> int:
        """By `stat`."""
        path = self._path(name)
        with _reported(name):
            status = path.lstat()
        if not path.is_file():
            raise NotFound(f"the object store holds no object {name}")
        return status.st_size

    def names(self, prefix: str) -> Iterator[str]:
        """Walk the folder; temporary files of a writer are no objects."""
        folder = self._path(prefix)
        with _reported(prefix):
            for at, _, files in os.walk(folder):
                for file in files:
                    if not file.startswith(_TEMPORARY):
                        yield (Path(at) / file).relative_to(self._root).as_posix()

    def remove(self, name: str) -> None:
        """Unlink it, then make that durable."""
        path = self._path(name)
        with _reported(name), suppress(FileNotFoundError):
            path.unlink()
            sync(path.parent)

    def delete(self, prefix: str) -> None:
        """Remove the folder, temporary files of killed writers too, then make the removal durable."""
        folder = self._path(prefix)
        with _reported(prefix):
            with suppress(FileNotFoundError):
                shutil.rmtree(folder)
            with suppress(FileNotFoundError):
                sync(folder.parent)

    def sweep(self, prefix: str) -> None:
        """Remove temporary files."""
        with _reported(prefix):
            for path in self._path(prefix).rglob(f"{_TEMPORARY}*"):
                path.unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return Path(self._file(name))

    def _file(self, name: str) -> str:
        """As text: a `Path` costs as much as the system call that it is for."""
        check_name(name)
        if f"/{_TEMPORARY}" in f"/{name}":
            raise BadInput(
                f"{name[:80]!r} is no object name: {_TEMPORARY} begins the name of a file that is being written"
            )
        return f"{self._top}/{name}"

    def _make_folder(self, folder: Path) -> None:
        if folder.is_dir():
            return
        if folder != self._root:
            self._make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True, parents=folder == self._root)
        sync(folder.parent)
