"""Pictures of a slide made in Python: which level a field is shown from, the whole slide small, a field as a PNG."""

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from readingroom.errors import BadInput
from readingroom.slide_levels import Level
from readingroom.slides import Pixels, Slide
from readingroom.viewers.render import Grey

ASPECT = 4 / 3
"""Width of a view by its height."""
WIDTH = 640
"""Pixels of a still picture."""
_HEIGHT, _BAND, _INSET = 480, 18, 128
_MOST_TILES, _MOST_PIXELS = 256, 48 * 1024 * 1024
"""What may be read for one field; slide.ts has the same numbers."""
_OVERVIEW_PIXELS = 4 * 1024 * 1024
_PAPER, _INK, _MARK = (238, 238, 238), (20, 20, 20), (190, 0, 0)

Place = tuple[float, float]
"""x, y in pixels of the finest level."""


class Shades:
    """How stored values are shown: colours in sRGB where the file has their ICC profile, 8 bits as they are, more bits
    between the least and the most of the slide."""

    def __init__(self, slide: Slide) -> None:
        self._slide = slide
        self._ranges: dict[int, tuple[float, float]] = {}

    def shown(self, pixels: Pixels, level: int, path: int, plane: int) -> Grey:
        """Pixels of a level, optical path and focal plane as uint8. Reads the smallest level once where it needs its
        range."""
        if pixels.dtype == np.uint8:
            profile = self._slide.profile(level, path, plane)
            return pixels if profile is None else self._slide.profiles[profile].shown(pixels)
        if path not in self._ranges:
            low, high = 0.0, 65535.0
            if has_overview(self._slide):
                low, high = (float(v) for v in np.percentile(_whole(self._slide, path, 0), [0.5, 99.5]))
            self._ranges[path] = (low, max(high, low + 1))
        low, high = self._ranges[path]
        return (np.clip((pixels - low) / (high - low), 0, 1) * 255 + 0.5).astype(np.uint8)


def has_overview(slide: Slide) -> bool:
    """Whether its smallest level is small enough to be read whole."""
    return slide.levels[-1].width * slide.levels[-1].height <= _OVERVIEW_PIXELS


def _whole(slide: Slide, path: int, plane: int) -> Pixels:
    last = slide.levels[-1]
    return slide.region(0, 0, last.width, last.height, len(slide.levels) - 1, path, plane)


def overview(slide: Slide, shades: Shades, path: int, plane: int, side: int) -> Grey:
    """The smallest level, its longer side `side` pixels."""
    last = slide.levels[-1]
    scale = side / max(last.width, last.height)
    size = (max(round(last.width * scale), 1), max(round(last.height * scale), 1))
    whole = Image.fromarray(shades.shown(_whole(slide, path, plane), len(slide.levels) - 1, path, plane))
    return np.asarray(whole.resize(size, Image.Resampling.BOX))


def thumbnail(paths: Sequence[Path], dataset: str, side: int) -> Grey:
    """A small picture of a whole slide, of its smallest level. Raises BadInput where no level is small enough,
    AccessEnded, Damaged, NotFound."""
    slide = Slide(paths, dataset)
    if not has_overview(slide):
        raise BadInput(f"A slide of {dataset} has no level small enough for a thumbnail.")
    return overview(slide, Shades(slide), 0, len(slide.planes) // 2, side)


def box_of(level: Level, first: Level, centre: Place, field: float) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a field in pixels of a level, within it."""
    across, down = level.width / first.width, level.height / first.height
    half = (field / 2, field / ASPECT / 2)
    left, top = math.floor((centre[0] - half[0]) * across), math.floor((centre[1] - half[1]) * down)
    right, bottom = math.ceil((centre[0] + half[0]) * across), math.ceil((centre[1] + half[1]) * down)
    return max(left, 0), max(top, 0), min(right, level.width), min(bottom, level.height)


def level_for(slide: Slide, centre: Place, field: float) -> int | None:
    """The coarsest level that is no coarser than a still picture; a coarser one where too much would have to be read;
    None where that holds of all."""
    levels = slide.levels
    fine = max((n for n, one in enumerate(levels) if one.downsample <= field / WIDTH * 1.001), default=0)
    for number in range(fine, len(levels)):
        left, top, right, bottom = box_of(levels[number], levels[0], centre, field)
        wide, high = levels[number].tile
        tiles = (-(-right // wide) - left // wide) * (-(-bottom // high) - top // high)
        if tiles <= _MOST_TILES and (tiles == 1 or tiles * wide * high <= _MOST_PIXELS):
            return number
    return None


def still(slide: Slide, shades: Shades, centre: Place, field: float, path: int, plane: int, caption: str) -> bytes:
    """A PNG of a field with a scale bar, the whole slide in a corner, and its caption below. Raises AccessEnded,
    Damaged, NotFound; BadInput where the slide has no level that could show so much."""
    number = level_for(slide, centre, field)
    if number is None:
        raise BadInput(f"{caption}: the slide has no level that shows so much of it; set a smaller field.")
    page = Image.new("RGB", (WIDTH, _HEIGHT + _BAND), _PAPER)
    _lay_field(page, slide, shades, centre, field, (number, path, plane))
    draw = ImageDraw.Draw(page)
    draw.rectangle((0, _HEIGHT, WIDTH, _HEIGHT + _BAND), fill=_PAPER)
    draw.text((6, _HEIGHT + 3), _plain(caption), fill=_INK)
    mm = field * slide.levels[0].spacing[1]
    bar = nice(mm / 4)
    end = 12 + bar / mm * WIDTH
    draw.rectangle((6, _HEIGHT - 30, max(end, 60) + 6, _HEIGHT - 4), fill=_PAPER)
    draw.line((12, _HEIGHT - 9, end, _HEIGHT - 9), fill=_INK, width=3)
    draw.text((12, _HEIGHT - 26), _plain(length(bar)), fill=_INK)
    if has_overview(slide):
        inset = Image.fromarray(overview(slide, shades, path, plane, _INSET)).convert("RGB")
        scale = inset.width / slide.levels[0].width
        x, y, w, h = (v * scale for v in (*centre, field, field / ASPECT))
        ImageDraw.Draw(inset).rectangle((x - w / 2, y - h / 2, x + w / 2, y + h / 2), outline=_MARK, width=2)
        page.paste(_PAPER, (WIDTH - inset.width - 8, 4, WIDTH - 4, inset.height + 8))
        page.paste(inset, (WIDTH - inset.width - 6, 6))
    out = io.BytesIO()
    page.save(out, "PNG", compress_level=1)
    return out.getvalue()


def _lay_field(
    page: Image.Image, slide: Slide, shades: Shades, centre: Place, field: float, which: tuple[int, int, int]
) -> None:
    first, level = slide.levels[0], slide.levels[which[0]]
    left, top, right, bottom = box_of(level, first, centre, field)
    if right <= left or bottom <= top:
        return
    part = shades.shown(slide.region(left, top, right - left, bottom - top, *which), *which)
    # Pixels of the page that one of the level is wide and high.
    wide, high = (WIDTH / field * f / n for f, n in ((first.width, level.width), (first.height, level.height)))
    x = left * wide - centre[0] * WIDTH / field + WIDTH / 2
    y = top * high - centre[1] * WIDTH / field + _HEIGHT / 2
    shape = (max(round((right - left) * wide), 1), max(round((bottom - top) * high), 1))
    method = Image.Resampling.BOX if wide < 1 else Image.Resampling.NEAREST
    page.paste(Image.fromarray(part).resize(shape, method).convert("RGB"), (round(x), round(y)))


def _plain(words: str) -> str:
    """Pillow's own font has no µ."""
    return words.replace("µ", "u")


def nice(most: float) -> float:
    """The greatest of 1, 2 and 5 times a power of ten that is no more than `most`."""
    power = 10.0 ** math.floor(math.log10(most))
    return max(step * power for step in (1, 2, 5) if step * power <= most * 1.0001)


def length(mm: float) -> str:
    """A length in words: in µm below a millimetre."""
    return f"{mm:.3g} mm" if mm >= 1 else f"{mm * 1000:.3g} µm"
