"""The files of a slide (PS3.3 C.8.12.4): opened for each look, and their sizes held to what they may be."""

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pydicom
from PIL import Image
from pydicom.filereader import read_partial
from upath import UPath
from wsidicom import errors as wsi
from wsidicom.file.io.wsidicom_io import WsiDicomReadIO
from wsidicom.file.io.wsidicom_reader import WsiDicomReader

from readingroom.errors import Damaged
from readingroom.files import reading
from readingroom.objects import UNREADABLE, undecodable

CLASS = "1.2.840.10008.5.1.4.1.1.77.1.6"
"""VL Whole Slide Microscopy Image Storage."""

_HEAD_ENDS = 0x0048FFFF
"""The groups after this may tell of each of a million frames."""
FRAME_BYTES = 64 * 1024 * 1024
MOST_TILES = 16_000_000
_BUFFER = 64 * 1024

_WRONG: tuple[type[Exception], ...] = (
    *UNREADABLE, AssertionError, MemoryError, Image.DecompressionBombError, Image.DecompressionBombWarning,
    wsi.WsiDicomError, wsi.WsiDicomFileError, wsi.WsiDicomMatchError, wsi.WsiDicomUidDuplicateError,
    wsi.WsiDicomNotFoundError, wsi.WsiDicomOutOfBoundsError, wsi.WsiDicomStrictRequirementError,
    wsi.WsiDicomNoResolutionError, wsi.WsiDicomNotSupportedError,
)  # fmt: skip


class Wrong(Exception):
    """What is wrong with an object, in words that end a sentence on it."""


class Reopened(io.RawIOBase):  # its methods are io's, documented there
    """A file that is open only while something of it is read: each look is an open on the record, and a view that stays
    in a notebook for days holds none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0
        self._held: int | None = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Open it once for many reads."""
        self._held = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            yield
        finally:
            os.close(self._held)
            self._held = None

    def readable(self) -> bool:  # noqa: D102
        return True

    def seekable(self) -> bool:  # noqa: D102
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:  # noqa: D102
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at}.get(whence)
        self._at = (self._path.stat().st_size if start is None else start) + offset
        return self._at

    def readinto(self, buffer: Any) -> int:  # noqa: D102
        if self._held is None:
            with self.held():
                return self.readinto(buffer)
        count = os.preadv(self._held, [buffer], self._at)
        self._at += count
        return count


@contextmanager
def naming(path: Path, dataset: str) -> Iterator[None]:
    """Turn what is wrong with an object into an error that names it."""
    try:
        with reading(path, dataset):
            yield
    except Wrong as error:
        raise Damaged(f"{path.name} of {dataset} cannot be shown: {error}; tell your data steward.") from error
    except _WRONG as error:
        raise undecodable(path, dataset) from error


def head_of(path: Path, dataset: str) -> pydicom.Dataset:
    """What stands before the functional groups: it is small, however large the slide."""
    with naming(path, dataset), path.open("rb") as file:
        return read_partial(file, lambda tag, _vr, _length: int(tag) > _HEAD_ENDS)


def flavour(head: pydicom.Dataset) -> str:
    """Value 3 of Image Type (PS3.3 C.8.12.4.1.1): VOLUME, LABEL, OVERVIEW, THUMBNAIL; empty where there is none."""
    kinds: Any = head.get("ImageType") or ()
    return str(kinds[2]) if not isinstance(kinds, str) and len(kinds) > 2 else ""


def frame_bytes(head: pydicom.Dataset) -> int:
    """What one frame takes where it is not compressed."""
    return int(head.Rows) * int(head.Columns) * int(head.SamplesPerPixel) * (-(-int(head.BitsAllocated) // 8))


def _tiles(head: pydicom.Dataset) -> int:
    across = -(-int(head.TotalPixelMatrixColumns) // int(head.Columns))
    return across * -(-int(head.TotalPixelMatrixRows) // int(head.Rows))


def frames_needed(head: pydicom.Dataset) -> int:
    """How many frames a TILED_FULL object has (PS3.3 C.7.6.17.3): each tile in each focal plane and optical path."""
    paths = head.get("NumberOfOpticalPaths") or len(head.get("OpticalPathSequence") or ()) or 1
    return _tiles(head) * int(paths) * int(head.get("TotalPixelMatrixFocalPlanes") or 1)


def check(head: pydicom.Dataset, path: Path) -> None:
    """Hold the sizes that an object claims to what they may be, before anything is made of them."""
    if str(head.get("SOPClassUID")) != CLASS:
        raise Wrong("it is no whole slide image, as others of its series are")
    for name in ("TotalPixelMatrixColumns", "TotalPixelMatrixRows", "Columns", "Rows"):
        if not 0 < int(head.get(name) or 0) < 2**31:
            raise Wrong(f"its {name} is {head.get(name)}")
    if frame_bytes(head) > FRAME_BYTES:
        raise Wrong(f"a frame of it is {head.Columns} x {head.Rows} pixels, more than 64 MiB")
    if _tiles(head) > MOST_TILES:
        raise Wrong(
            f"its Total Pixel Matrix is {head.TotalPixelMatrixColumns} x {head.TotalPixelMatrixRows}, "
            f"more than {MOST_TILES:,} tiles"
        )
    if not path.stat().st_size:
        raise Wrong("it is empty")


def same_size(said: tuple[int, ...], size: tuple[int, int]) -> None:
    """Hold the size of a tile (width, height) to that of its header. Raises Wrong."""
    if tuple(said) != size:
        raise Wrong(f"a tile of it is {said[0]} x {said[1]} pixels, its header says {size[0]} x {size[1]}")


def opened(path: Path) -> tuple[WsiDicomReader, Reopened]:
    """The reader of a file, which has read its header, and what it reads from."""
    source = Reopened(path)
    with source.held():
        buffered = io.BufferedReader(source, _BUFFER)
        return WsiDicomReader(WsiDicomReadIO(cast(Any, buffered), UPath(path))), source


@contextmanager
def all_held(found: Sequence[tuple[Path, WsiDicomReader, Reopened]]) -> Iterator[None]:
    """Positions of tiles stand in the functional groups, which are read when first asked for."""
    if not found:
        yield
        return
    with found[0][2].held(), all_held(found[1:]):
        yield
