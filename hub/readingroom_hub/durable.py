"""Files and names that are still there after a power failure."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from readingroom_hub.errors import StoreUnavailable


@contextmanager
def whole_file(target: Path) -> Iterator[BinaryIO]:
    """A file that appears at `target` when the block ends well, and not at all otherwise; mode 0600, durable.

    Until then it lies beside it, at the path that is the yielded file's `name`. Raises StoreUnavailable."""
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with open(part, "xb", opener=_private) as file:  # Path.open takes no opener
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
        sync(target.parent)
    except OSError as error:
        raise StoreUnavailable(f"{target} cannot be written: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


def make(folder: Path, mode: int = 0o777) -> None:
    """A folder, and those above it, durable when this returns: what lies in one that is gone is gone too."""
    if not folder.is_dir():
        make(folder.parent)
        folder.mkdir(mode=mode, exist_ok=True)
        sync(folder.parent)


def sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
