"""One small picture for a series: its middle image, read below /data like any other, and so on the record."""

import io
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from readingroom.viewers.pictures import FramePictures
from readingroom.viewers.render import Grey, full_window, grey_levels
from readingroom.volume import Frames

SIDE = 96
"""Longest side of a thumbnail in pixels."""
_LINE = 16


def thumbnail(path: Path, dataset: str) -> Grey:
    """The middle frame of a file as its own window shows it: (rows, columns) of uint8, or colours (rows, columns, 3).

    Raises AccessEnded, Damaged, NotFound, NotAVolume where it holds no picture."""
    pictures = FramePictures(Frames.of_files([path], dataset))
    about = pictures.about
    stored = pictures.stored(about.count // 2)
    grey = grey_levels(
        stored,
        about.window or full_window(stored),
        function=about.function,
        lut=None if about.window else 0,
        inverted=about.flipped,
    )
    height, width = (n * mm for n, mm in zip(grey.shape, about.spacing, strict=False))
    scale = SIDE / max(height, width)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    return np.asarray(Image.fromarray(grey).resize(size, Image.Resampling.BOX))


def of_slide(paths: Sequence[Path], dataset: str) -> Grey:
    """The smallest level of a slide, never its label. Raises AccessEnded, BadInput, Damaged, NotFound."""
    # Imported where there is a slide: it brings much along.
    from readingroom.viewers.slide_pictures import thumbnail as whole

    return whole(paths, dataset, SIDE)


class Kept:
    """Thumbnails by the number of their series: what was used last stays, up to so many bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0
        self._pictures: OrderedDict[int, Grey] = OrderedDict()

    def get(self, number: int) -> Grey | None:
        """The picture, or None."""
        if number in self._pictures:
            self._pictures.move_to_end(number)
        return self._pictures.get(number)

    def put(self, number: int, picture: Grey) -> None:
        """Keep one more; the ones used longest ago go."""
        self._pictures[number] = picture
        self._held += picture.nbytes
        while self._held > self._most and len(self._pictures) > 1:
            self._held -= self._pictures.popitem(last=False)[1].nbytes

    def clear(self) -> None:
        """Keep nothing."""
        self._pictures.clear()
        self._held = 0


def sheet(tiles: Sequence[tuple[Grey | None, str]], columns: int = 6) -> bytes:
    """A PNG of thumbnails with a line of words below each; None is an empty place."""
    wide, high = SIDE + 36, SIDE + _LINE + 8
    size = (columns * wide, max(-(-len(tiles) // columns), 1) * high)
    page = Image.new("RGB", size, (16, 16, 16))
    draw = ImageDraw.Draw(page)
    for i, (picture, words) in enumerate(tiles):
        left, top = i % columns * wide, i // columns * high
        if picture is not None:
            rows, across = picture.shape[:2]
            page.paste(Image.fromarray(picture), (left + (wide - across) // 2, top + 4 + (SIDE - rows) // 2))
        draw.text((left + 4, top + SIDE + 6), words[:20], fill=(230, 230, 230))
    out = io.BytesIO()
    page.save(out, "PNG", compress_level=1)
    return out.getvalue()
