"""One resolution of a slide (PS3.3 C.8.12.4), and the files that hold its tiles."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsidicom.file.io.wsidicom_reader import WsiDicomReader
from wsidicom.geometry import Point

from readingroom.slide_files import FRAME_BYTES, Reopened, Wrong


@dataclass(frozen=True, slots=True, eq=False)
class LevelImage:
    """One image of one level: the files of an instance, or of its concatenation."""

    paths: tuple[Path, ...]
    sources: tuple[tuple[WsiDicomReader, Reopened], ...]
    data: Any
    profiles: Mapping[str, int]
    """Numbers in Slide.profiles, by optical path."""

    def frame(self, tile: Point, plane: float, path: str) -> tuple[Path, bytes] | None:
        """The stored bytes of a tile, and whose they are; None where a sparse level has none."""
        number = self.data.tiles.get_frame_index(tile, plane, path)
        if number < 0:
            return None
        for file, (reader, source) in zip(self.paths, self.sources, strict=True):
            if not reader.frame_offset <= number < reader.frame_offset + reader.frame_count:
                continue
            with source.held():
                position, length = reader.frame_index[number - reader.frame_offset]
                if length > FRAME_BYTES or position + length > file.stat().st_size:
                    raise Wrong("it is cut short, or its offset table is wrong")
                return file, reader.read_frame(number)
        raise Wrong(f"it holds no frame {number + 1}")


@dataclass(frozen=True, slots=True, eq=False)
class Level:
    """One resolution of a slide."""

    width: int
    height: int
    """Of the whole level, in its pixels."""
    tile: tuple[int, int]
    """Width and height of a tile."""
    spacing: tuple[float, float]
    """mm between rows, between columns."""
    downsample: float
    """Pixels of the finest level that one pixel is as wide as."""
    images: Mapping[tuple[str, float], LevelImage]
    """By optical path and focal plane (µm)."""

    @property
    def tiles(self) -> tuple[int, int]:
        """How many tiles across, and down."""
        return -(-self.width // self.tile[0]), -(-self.height // self.tile[1])

    def image(self, path: str, plane: float) -> tuple[LevelImage, float]:
        """The image of an optical path whose focal plane lies nearest, and that plane."""
        nearest = min((z for p, z in self.images if p == path), key=lambda z: abs(z - plane))
        return self.images[path, nearest], nearest
