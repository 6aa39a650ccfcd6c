"""Whole slide microscopy (PS3.3 C.8.12.4): the levels of a slide and their tiles, each read when it is asked for.

wsidicom reads headers, offset tables and tile positions (TILED_FULL and TILED_SPARSE) and chooses the decoders; what it
would silently leave out is an error here."""

import io
import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)
from wsidicom.cache import DecodedFrameCache, EncodedFrameCache
from wsidicom.config import Settings, use_settings
from wsidicom.file.io.wsidicom_reader import WsiDicomReader
from wsidicom.file.wsidicom_file_image_data import WsiDicomFileImageData
from wsidicom.geometry import Point
from wsidicom.options import DecoderOption

from readingroom import slide_optics
from readingroom.errors import BadInput
from readingroom.slide_files import (
    Reopened,
    Wrong,
    all_held,
    check,
    flavour,
    frame_bytes,
    frames_needed,
    head_of,
    naming,
    opened,
    same_size,
)
from readingroom.slide_jpeg import Jpeg, plain
from readingroom.slide_levels import Level, LevelImage

_REGION_BYTES = 2 * 1024**3

# The decoders that are among this package's dependencies: the same pixels wherever it runs.
_DECODERS = {
    JPEGBaseline8Bit: DecoderOption.PILLOW,
    RLELossless: DecoderOption.PYLIBJPEG_RLE,
    **dict.fromkeys((JPEGLSLossless, JPEGLSNearLossless), DecoderOption.PYLIBJPEG_LS),
    **dict.fromkeys(
        (JPEG2000, JPEG2000Lossless, HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL), DecoderOption.PYLIBJPEG_OPENJPEG
    ),
}
_SIZED = frozenset(_DECODERS) - {RLELossless, JPEGLSLossless, JPEGLSNearLossless}

Pixels = npt.NDArray[Any]


class Slide:
    """The levels of a slide, finest first. Reads headers when it is made, and of pixels only the tiles asked for.

    Labels, overviews and thumbnails (Image Type value 3 is not VOLUME) are never read: a label names the patient."""

    def __init__(self, paths: Sequence[Path], dataset: str) -> None:
        """Raises BadInput where there is no VOLUME image, AccessEnded, NotFound; Damaged, which says what is wrong with
        which object."""
        self.dataset = dataset
        # Neither are all decoders made for several threads, nor is one stream.
        self._lock = threading.Lock()
        heads = {path: head_of(path, dataset) for path in paths}
        shown = [path for path, head in heads.items() if flavour(head) == "VOLUME"]
        self.profiles: list[slide_optics.Profile] = []
        """ICC profiles of its optical paths, each once."""
        self.notes: list[str] = []
        """What cannot be shown as the file means it, and why."""
        self._known_profiles: dict[bytes, int | None] = {}
        self.left_out = len(heads) - len(shown)
        """Files that are no VOLUME image: labels, overviews, thumbnails."""
        if not shown:
            raise BadInput(
                f"This series of {dataset} holds no slide, only {self.left_out} label, overview or thumbnail images, "
                "which are not shown: a label may name the patient."
            )
        instances: dict[Any, list[tuple[Path, WsiDicomReader, Reopened]]] = defaultdict(list)
        for path in shown:
            with naming(path, dataset):
                check(heads[path], path)
                reader, source = opened(path)
                instances[reader.uids.identifier].append((path, reader, source))
        images = [self._image(found, heads) for found in instances.values()]
        self.levels = self._levels(images)
        first = heads[self.levels[0].images[next(iter(self.levels[0].images))].paths[0]]
        self.title = f"{first.get('Modality') or 'SM'} {first.get('SeriesDescription') or ''}".strip()
        self.paths = tuple(dict.fromkeys(path for path, _ in self.levels[0].images))
        """Identifiers of the optical paths."""
        self.planes = tuple(sorted({plane for _, plane in self.levels[0].images}))
        """Focal planes, in µm."""
        self.names = slide_optics.names(first, self.paths)
        """What each optical path is called."""
        self.objective = slide_optics.objective(first)
        """Magnification of the objective, or None."""

    def _image(self, found: list[tuple[Path, WsiDicomReader, Reopened]], heads: Mapping[Path, Any]) -> LevelImage:
        found.sort(key=lambda one: one[1].frame_offset)
        paths = tuple(path for path, *_ in found)
        readers = [reader for _, reader, _ in found]
        with naming(paths[0], self.dataset), all_held(found):
            syntax, head = readers[0].transfer_syntax, heads[paths[0]]
            count, needs = sum(reader.frame_count for reader in readers), frames_needed(head)
            if readers[0].dataset.states_tiled_full and count != needs:
                raise Wrong(
                    f"it has {count} frames of {head.Columns} x {head.Rows}, but its Total Pixel Matrix of "
                    f"{head.TotalPixelMatrixColumns} x {head.TotalPixelMatrixRows} needs {needs}"
                )
            with use_settings(Settings(preferred_decoder=_DECODERS.get(syntax))):
                data = WsiDicomFileImageData(readers, DecodedFrameCache(0), EncodedFrameCache(0))
            if data.pixel_spacing is None or not all(map(np.isfinite, data.pixel_spacing.to_tuple())):
                raise Wrong("it has no Pixel Spacing, or one that is not more than 0")
            if not (data.tiles.focal_planes and data.tiles.optical_paths):
                raise Wrong("it has no tile")
            if not syntax.is_encapsulated:
                for path, reader, _ in found:
                    needs = reader.frame_count * frame_bytes(heads[path])
                    if path.stat().st_size < needs:
                        raise Wrong(f"it is cut short: its {reader.frame_count} frames are {needs} bytes")
        numbers = {}
        if data.samples_per_pixel == 3:
            found_profiles = slide_optics.profiles(head).items()
            numbers = {path: self._profile(stored, paths[0]) for path, stored in found_profiles}
        known = {path: number for path, number in numbers.items() if number is not None}
        return LevelImage(paths, tuple((reader, source) for _, reader, source in found), data, known)

    def _profile(self, stored: bytes, path: Path) -> int | None:
        if stored not in self._known_profiles:
            self._known_profiles[stored] = None
            try:
                self.profiles.append(slide_optics.Profile(stored))
                self._known_profiles[stored] = len(self.profiles) - 1
            except ValueError as error:
                self.notes.append(f"Colours are shown as stored: {path.name} has an ICC profile, but {error}.")
        return self._known_profiles[stored]

    def _levels(self, images: Sequence[LevelImage]) -> tuple[Level, ...]:
        sizes: dict[tuple[int, int], list[LevelImage]] = defaultdict(list)
        for image in images:
            sizes[image.data.image_size.to_tuple()].append(image)
        base: Any = None
        levels: list[Level] = []
        for (width, height), group in sorted(sizes.items(), reverse=True):
            data = group[0].data
            base = base or data
            spacing = (float(data.pixel_spacing.height), float(data.pixel_spacing.width))
            by_size = base.image_size.width / width
            by_spacing = spacing[1] / float(base.pixel_spacing.width)
            places: dict[tuple[str, float], LevelImage] = {}
            for image in group:
                with naming(image.paths[0], self.dataset):
                    # Rounding to whole pixels and to a spacing of a few digits, no more.
                    if abs(by_size - by_spacing) > max(0.05 * by_size, 2 * by_size / width):
                        raise Wrong(
                            f"by its size ({width} of {base.image_size.width} columns) a pixel is {by_size:.4g} of the "
                            f"finest level's wide, by its Pixel Spacing {by_spacing:.4g}"
                        )
                    if image.data.tile_size != data.tile_size or image.data.samples_per_pixel != data.samples_per_pixel:
                        raise Wrong("its tiles are of another size or kind than those of the same level")
                    for path in image.data.optical_paths:
                        for plane in image.data.focal_planes:
                            if (path, plane) in places:
                                other = places[path, plane].paths[0].name
                                raise Wrong(f"it holds what {other} holds, too: the same level, path and plane")
                            places[path, plane] = image
            if levels and {path for path, _ in places} < {path for path, _ in levels[0].images}:
                continue  # of some optical paths only: what is shown of the others comes from a finer level
            levels.append(Level(width, height, data.tile_size.to_tuple(), spacing, by_size, places))
        return tuple(levels)

    def tile(self, level: int, column: int, row: int, path: int = 0, plane: int = 0) -> Pixels:
        """One tile as it is stored, cut off at the level's edges: (rows, columns) or, of uint8, (rows, columns, 3).

        `path`, `plane`: numbers in `paths` and `planes`. White, or black for grey images, where a sparse level has no
        tile. Raises BadInput where there is no such tile, AccessEnded, Damaged, NotFound."""
        return cast(Pixels, self._tile((level, path, plane), column, row, encoded=False))

    def encoded(self, level: int, column: int, row: int, path: int = 0, plane: int = 0) -> Pixels | Jpeg:
        """As `tile`; but where it is a baseline JPEG, that, for a browser to decode. Raises as `tile`."""
        return self._tile((level, path, plane), column, row, encoded=True)

    def profile(self, level: int, path: int, plane: int) -> int | None:
        """Which of `profiles` the colours of an image are of; None where none is told."""
        at, name, z = self._at(level, path, plane)
        return at.image(name, z)[0].profiles.get(name)

    def _tile(self, which: tuple[int, int, int], column: int, row: int, *, encoded: bool) -> Pixels | Jpeg:
        at, name, z = self._at(*which)
        across, down = at.tiles
        if not (0 <= column < across and 0 <= row < down):
            raise BadInput(f"Level {which[0]} has no tile {column}, {row}: it has {across} x {down}.")
        rows, columns = min(at.tile[1], at.height - row * at.tile[1]), min(at.tile[0], at.width - column * at.tile[0])
        image, nearest = at.image(name, z)
        data, file = image.data, image.paths[0]
        with self._lock:
            with naming(file, self.dataset):
                found = image.frame(Point(column, row), nearest, name)
            if found is None:
                return cast(Pixels, data.blank_tile)[:rows, :columns]
            file, stored = found
            with naming(file, self.dataset):
                if encoded and data.transfer_syntax == JPEGBaseline8Bit:
                    rgb = data.photometric_interpretation == "RGB"
                    if (jpeg := plain(stored, at.tile, data.samples_per_pixel, rgb)) is not None:
                        return Jpeg(jpeg, rows, columns)
                return self._decoded(data, stored, at.tile)[:rows, :columns]

    def _decoded(self, data: Any, stored: bytes, size: tuple[int, int]) -> Pixels:
        if data.transfer_syntax in _SIZED:
            # Before it is decoded: a few bytes may say that they are a picture of gigabytes.
            with Image.open(io.BytesIO(stored)) as head:
                same_size(head.size, size)
        pixels: Pixels = data.decoder.decode(stored)
        same_size(pixels.shape[1::-1], size)
        return pixels

    def region(self, x: int, y: int, width: int, height: int, level: int = 0, path: int = 0, plane: int = 0) -> Pixels:
        """A rectangle in pixels of `level`, counted from its upper left corner, as one array: (height, width), or of
        uint8 (height, width, 3). Reads the tiles that it touches.

        Raises BadInput where it reaches over the level's edges or 2 GiB, AccessEnded, Damaged, NotFound."""
        at, _, _ = self._at(level, path, plane)
        if min(x, y) < 0 or min(width, height) < 1 or x + width > at.width or y + height > at.height:
            raise BadInput(
                f"region({x}, {y}, {width}, {height}) reaches over level {level}, which is {at.width} x {at.height}."
            )
        data = next(iter(at.images.values())).data
        shape = (height, width) if data.samples_per_pixel == 1 else (height, width, data.samples_per_pixel)
        if int(np.prod(shape, dtype=object)) * data.dtype.itemsize > _REGION_BYTES:
            raise BadInput(f"A region of {width} x {height} is more than 2 GiB: read it in parts, or a coarser level.")
        wide, high = at.tile
        made = np.empty(shape, data.dtype)
        for row in range(y // high, (y + height - 1) // high + 1):
            for column in range(x // wide, (x + width - 1) // wide + 1):
                pixels = self.tile(level, column, row, path, plane)
                left, top = column * wide, row * high
                rows = slice(max(y, top), min(y + height, top + pixels.shape[0]))
                columns = slice(max(x, left), min(x + width, left + pixels.shape[1]))
                made[rows.start - y : rows.stop - y, columns.start - x : columns.stop - x] = pixels[
                    rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
                ]
        return made

    def _at(self, level: int, path: int, plane: int) -> tuple[Level, str, float]:
        for name, value, count in (
            ("level", level, len(self.levels)),
            ("optical path", path, len(self.paths)),
            ("focal plane", plane, len(self.planes)),
        ):
            if not 0 <= value < count:
                raise BadInput(f"There is no {name} {value}: this slide has {count}, counted from 0.")
        return self.levels[level], self.paths[path], self.planes[plane]
