"""Frames as a person would see them: 8-bit RGB, and composites of many frames that show text which stands still."""

from collections.abc import Iterable, Iterator

import numpy as np
import pydicom
from pydicom.pixels.processing import apply_color_lut, convert_color_space

from readingroom_hub.deid.pixels.stored import Pixels, Stored, meant

_WINDOW, _BLOCK = 32, 8
_OUTLINE = (0, 140, 255)  # orange, as blue, green, red
_CUT_CHANGE, _CUT_SHARE = 24, 0.25  # a new scene: this share of the pixels changes by this much (of 255)


def thumbnail(image: Pixels, boxes: Iterable[tuple[int, int, int, int]], side: int = 320) -> bytes:
    """PNG of an RGB frame, at most `side` pixels wide and high, with a frame drawn around each of `boxes`."""
    import cv2

    scale = min(1.0, side / max(image.shape[:2]))
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    small = cv2.resize(np.ascontiguousarray(image[..., ::-1]), size, interpolation=cv2.INTER_AREA)
    for left, top, right, bottom in boxes:
        corners = [round(v * scale) for v in (left, top, right - 1, bottom - 1)]
        cv2.rectangle(small, (corners[0], corners[1]), (corners[2], corners[3]), _OUTLINE)
    return bytes(cv2.imencode(".png", small)[1])


class Rendered:
    """The frames of `stored` as RGB."""

    def __init__(self, stored: Stored, header: pydicom.Dataset) -> None:
        self._stored, self._header = stored, header
        self._range = self._grey_range() if stored.photometric.startswith("MONOCHROME") else (0, 255)

    def rgb(self, frame: int) -> Pixels:
        """(rows, columns, 3) of unsigned 8 bit."""
        values, photometric = self._stored.values[frame], self._stored.photometric
        if photometric.startswith("MONOCHROME"):
            return self._grey(values[..., 0])
        if photometric == "PALETTE COLOR":
            return self._coloured(values[..., 0])
        if self._stored.paired:
            luma, chroma = values[..., :2].reshape(values.shape[0], -1), np.repeat(values[..., 2:], 2, axis=1)
            values = np.concatenate([luma[..., None], chroma], axis=-1)
        colours = _eight(values)
        if photometric.startswith("YBR"):
            return np.asarray(convert_color_space(np.ascontiguousarray(colours), "YBR_FULL", "RGB"))
        return colours

    def darkest(self) -> Pixels:
        """A stored colour that is dark on a screen: the darkest of the first frame, so that no new value comes in."""
        frame = self.rgb(0).sum(axis=-1, dtype=np.int64)
        row, column = np.unravel_index(int(frame.argmin()), frame.shape)
        if not self._stored.paired:
            return np.array(self._stored.values[0, row, column])
        pair = np.array(self._stored.values[0, row, column // 2])
        pair[:2] = pair[column % 2]
        return pair

    def scenes(self) -> Iterator[list[Pixels]]:
        """Composite images, one or two a scene, that show, together, the text of all frames.

        Frames of one scene give their minimum, on which bright text stands out whatever moves behind it, and their
        maximum for dark text and for text that is there for a moment only."""
        first = self.rgb(0)
        low = high = last = first
        count = 1
        for index in range(1, self._stored.frames):
            frame = self.rgb(index)
            if count == _WINDOW or _another_scene(last, frame):
                yield _pair(low, high)
                low = high = frame
                count = 0
            low, high, last = np.minimum(low, frame), np.maximum(high, frame), frame
            count += 1
        yield _pair(low, high)

    def _grey_range(self) -> tuple[int, int]:
        lows, highs = zip(*((v.min(), v.max()) for v in map(self._meant, self._stored.values)), strict=True)
        return int(min(lows)), int(max(highs))

    def _meant(self, values: Pixels) -> Pixels:
        return meant(values, self._header)

    def _coloured(self, values: Pixels) -> Pixels:
        """By the tables of PS3.3 C.7.9, of which some are half filled, and pydicom reads one byte order only."""
        colours = apply_color_lut(values, self._header)[..., :3]
        if colours.itemsize == 2 and self._header.original_encoding[1] is False:
            colours = colours.byteswap()
        return colours.astype(np.uint8) if colours.max() < 256 else _eight(colours)

    def _grey(self, values: Pixels) -> Pixels:
        low, high = self._range
        grey = ((self._meant(values) - low) * 255 // max(1, high - low)).clip(0, 255).astype(np.uint8)
        if self._stored.photometric == "MONOCHROME1":
            grey = 255 - grey
        return np.repeat(grey[..., None], 3, axis=-1)


def _eight(values: Pixels) -> Pixels:
    return values if values.dtype == np.uint8 else (values >> 8 * (values.itemsize - 1)).astype(np.uint8)


def _another_scene(before: Pixels, after: Pixels) -> bool:
    changed = np.abs(_coarse(before) - _coarse(after)).max(axis=-1) > _CUT_CHANGE
    return bool(changed.mean() > _CUT_SHARE)


def _coarse(image: Pixels) -> Pixels:
    """Means of blocks, in which noise and speckle cancel."""
    block = min(_BLOCK, *image.shape[:2])
    rows, columns = image.shape[0] // block, image.shape[1] // block
    blocks = image[: rows * block, : columns * block].reshape(rows, block, columns, block, 3)
    return np.asarray(blocks.mean(axis=(1, 3), dtype=np.float32))


def _pair(low: Pixels, high: Pixels) -> list[Pixels]:
    moves = (np.abs(high.astype(np.int16) - low).max(axis=-1) > _CUT_CHANGE).any()
    return [low, high] if moves else [low]
