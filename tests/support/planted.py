"""Whether bytes that were planted lie on a disk in clear."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

_PIECE = 1 << 20


def holds(path: Path, planted: bytes) -> bool:
    """Whether they stand in this file. Its holes are passed over: a folder's image may be of many gigabytes."""
    return any(planted in piece for piece in _pieces(path, len(planted) - 1))


def _pieces(path: Path, overlap: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        end, size = 0, os.fstat(file.fileno()).st_size
        while end < size:
            try:
                start = os.lseek(file.fileno(), end, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:  # nothing but a hole is left
                    raise
                return
            end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            for at in range(start, end, _PIECE):
                yield os.pread(file.fileno(), min(_PIECE + overlap, end - at), at)
