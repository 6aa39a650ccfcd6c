"""From stored values to grey levels, and to the still picture: the reference that the browser's code must equal.

PS3.3 C.11.2.1.2.1 (LINEAR), C.11.2.1.3.1 (SIGMOID) and C.11.2.1.3.2 (LINEAR_EXACT), output range 0 to 255, rounded half
up. The order of the operations is part of the rule: both sides compute in IEEE 754 binary64, so they agree to the bit
(SIGMOID: but for the last bit of the exponential, which no level here has been seen to show)."""

import io
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from readingroom.planes import Stored
from readingroom.voi import Window

Grey = npt.NDArray[np.uint8]

_SIDE = 512
"""Longest side of the still picture, in pixels."""
_VALUES = 1 << 14
"""Pixels that are turned to grey at a time."""
_BAND = 18
_INK, _PAPER = 230, 16


def grey_levels(
    stored: Stored, window: Window, *, function: str = "LINEAR", inverted: bool = False, lut: int | None = None
) -> Grey:
    """Grey levels (rows, columns) of one picture; colour (rows, columns, 3) passes as it is, or inverted.

    `lut`: the number of the stored VOI LUT that takes the window's place, where the picture has that many."""
    if stored.pixels.ndim == 3:
        colour = stored.pixels.astype(np.uint8)
        return 255 - colour if inverted else colour
    grey = np.empty(stored.pixels.shape, np.uint8)
    # Some rows at a time: of a whole picture, what lies between would stay in the kernel's memory, four times 8 bytes a
    # pixel, and leave the processor's cache.
    step = max(_VALUES // max(stored.pixels.shape[1], 1), 1)
    for row in range(0, len(grey), step):
        values = stored.pixels[row : row + step].astype(np.float64) * stored.slope + stored.intercept
        if lut is not None and lut < len(stored.luts):
            grey[row : row + step] = stored.luts[lut].grey(values)
        else:
            grey[row : row + step] = np.floor(shares(values, window, function) * 255 + 0.5)
    return 255 - grey if inverted else grey


def shares(values: npt.NDArray[np.float64], window: Window, function: str) -> npt.NDArray[np.float64]:
    """Where modality values lie in a window, 0 to 1."""
    centre, width = window
    if function == "SIGMOID":
        with np.errstate(over="ignore"):
            share = 1 / (1 + np.exp(-4 * (values - centre) / width))
    elif function == "LINEAR_EXACT":
        share = (values - centre) / width + 0.5
    elif width == 1:
        # C.11.2.1.2.1 leaves a step at centre - 0.5 for this width.
        share = np.where(values > centre - 0.5, 1.0, 0.0)
    else:
        share = (values - (centre - 0.5)) / (width - 1) + 0.5
    clipped: npt.NDArray[np.float64] = np.clip(np.nan_to_num(share, nan=0.0), 0.0, 1.0)
    return clipped


def full_window(stored: Stored) -> Window:
    """A window over the middle 98 % of the values of one picture: what to show where no window is stored."""
    if stored.pixels.ndim == 3:
        return 128.0, 256.0
    values = stored.pixels.astype(np.float64) * stored.slope + stored.intercept
    finite = values[np.isfinite(values)]
    low, high = (float(v) for v in np.percentile(finite, [1, 99])) if finite.size else (0.0, 1.0)
    if high <= low and finite.size:
        low, high = float(finite.min()), float(finite.max())
    if stored.whole:
        return round((low + high) / 2), max(round(high - low), 1)
    return (low + high) / 2, (high - low) or 1.0


def still(
    grey: Grey,
    spacing: tuple[float, float],
    zoom: float,
    pan: tuple[float, float],
    caption: str,
    cross: Sequence[int] = (),
    lines: Sequence[tuple[Any, tuple[int, int, int] | None]] = (),
    bar: tuple[Grey, str, str] | None = None,
    presented: tuple[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]] = ((), ()),
) -> bytes:
    """A PNG of what the view shows: the picture at `zoom`, moved by `pan` (picture pixels), and its caption below.

    `cross`: row and column of the crosshair, or nothing. `lines`: what was drawn, each a list of
    (row, column) from the first pixel's centre and a colour, or None for ink. `bar`: colours (n, 3) from the
    least to the most, for a scale at the right edge, and the words at its two ends. `presented`: graphics and texts
    of a presentation state, see viewers.presented."""
    rows, columns = grey.shape[:2]
    height, width = rows * spacing[0], columns * spacing[1]
    scale = _SIDE / max(height, width)
    size = (max(round(width * scale), 64), max(round(height * scale), 64))
    # The box of picture pixels that the frame shows; PIL fills what lies outside with black.
    centre = (columns / 2 - pan[0], rows / 2 - pan[1])
    box = (centre[0] - columns / 2 / zoom, centre[1] - rows / 2 / zoom, columns / zoom, rows / zoom)
    matrix = (box[2] / size[0], 0, box[0], 0, box[3] / size[1], box[1])
    shown = Image.fromarray(grey).transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST)

    def placed(line: Any) -> list[tuple[float, ...]]:
        return [tuple((v + 0.5 - box[1 - i]) / box[3 - i] * size[1 - i] for i, v in enumerate(p))[::-1] for p in line]

    graphics, texts = presented
    if any(colour for _, colour in lines) or graphics or texts:
        shown = shown.convert("RGB")
    for one in graphics:
        if one["filled"]:
            ImageDraw.Draw(shown).polygon([v for p in placed(one["line"]) for v in p], fill=tuple(one["colour"]))
    drawn = [(one["line"], tuple(one["colour"])) for one in graphics]
    for line, colour in [*drawn, *lines]:
        ImageDraw.Draw(shown).line([v for p in placed(line) for v in p], fill=colour or _ink(shown))
    for one in texts:
        x, y = placed([one["at"]])[0]
        # Pillow fails on words that lie very far outside.
        if max(abs(x), abs(y)) > 4 * _SIDE:
            continue
        ImageDraw.Draw(shown).text(
            (x, y), one["text"], fill=tuple(one["colour"]), stroke_width=1, stroke_fill=_paper(shown)
        )
    page = Image.new(shown.mode, (size[0], size[1] + _BAND), _paper(shown))
    page.paste(shown)
    if cross:
        y, x = ((at + 0.5 - box[1 - i]) / box[3 - i] * size[1 - i] for i, at in enumerate(cross))
        ImageDraw.Draw(page).line((0, y, size[0], y), fill=_ink(shown))
        ImageDraw.Draw(page).line((x, 0, x, size[1] - 1), fill=_ink(shown))
    ImageDraw.Draw(page).text((6, size[1] + 3), caption, fill=_ink(shown))
    if bar:
        page = _with_bar(page.convert("RGB"), *bar)
    return _png(page)


def side_by_side(stills: Sequence[bytes]) -> bytes:
    """One PNG of several, from left to right."""
    parts = [Image.open(io.BytesIO(still)) for still in stills]
    size = (sum(p.width for p in parts) + 8 * (len(parts) - 1), max(p.height for p in parts))
    page = Image.new("RGB" if any(p.mode == "RGB" for p in parts) else "L", size, "white")
    left = 0
    for part in parts:
        page.paste(part, (left, 0))
        left += part.width + 8
    return _png(page)


def _png(page: Image.Image) -> bytes:
    # The picture on the screen waits for this one: a sixth of the time for a few more bytes.
    out = io.BytesIO()
    page.save(out, "PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return out.getvalue()


def _with_bar(page: Any, colours: Grey, least: str, most: str) -> Any:
    wide = Image.new("RGB", (page.width + 84, page.height), (_PAPER,) * 3)
    wide.paste(page)
    height = page.height - 2 * _BAND
    wide.paste(Image.fromarray(colours[::-1][:, None]).resize((14, height)), (page.width + 6, _BAND))
    for text, y in ((most, 3), (least, page.height - _BAND + 3)):
        ImageDraw.Draw(wide).text((page.width + 6, y), text, fill=(_INK,) * 3)
    return wide


def _paper(image: Any) -> Any:
    return _PAPER if image.mode == "L" else (_PAPER,) * 3


def _ink(image: Any) -> Any:
    return _INK if image.mode == "L" else (_INK,) * 3
