"""Masks painted with a round brush: what one stroke covers, and masks that keep what was painted."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from readingroom.errors import BadInput

Mask = npt.NDArray[np.bool_]

_MOST_POINTS = 4000
_UNDONE = 50


@dataclass(frozen=True, slots=True)
class Stroke:
    """One move of the brush over one picture."""

    index: int
    points: tuple[tuple[float, float], ...]
    """Rows and columns, fractions included, from the first pixel's centre."""
    radius: float
    """In mm, or pixels where Pixel Spacing is unknown."""
    erase: bool

    @classmethod
    def of(cls, content: Mapping[str, Any], count: int) -> Self:
        """A stroke as it comes from a browser, which is believed in nothing. Raises BadInput."""
        index, points, radius = content.get("z"), content.get("points"), content.get("radius")
        if type(index) is not int or not 0 <= index < count:
            raise BadInput("What was painted lies on no picture of this view.")
        if not isinstance(points, list) or not 0 < len(points) <= _MOST_POINTS:
            raise BadInput(f"A stroke has 1 to {_MOST_POINTS} points.")
        if not all(isinstance(p, list) and len(p) == 2 and all(_number(v) for v in p) for p in points):
            raise BadInput("A stroke is a list of rows and columns.")
        if not _number(radius) or not 0 < radius <= 1000:  # type: ignore[operator]  # it is a number
            raise BadInput("The brush has a radius of more than 0, up to 1000 mm.")
        return cls(index, tuple((float(r), float(c)) for r, c in points), float(radius), content.get("erase") is True)  # type: ignore[arg-type]  # likewise


def _number(value: Any) -> bool:
    return type(value) in {int, float} and abs(value) <= 1e5


def stamp(mask: Mask, stroke: Stroke, spacing: tuple[float, float]) -> None:
    """Set or clear the pixels whose centres lie within the radius of the stroke's line. Changes `mask`.

    `spacing`: between rows and columns, in the radius' unit."""
    step = np.array(spacing)
    line = np.array(stroke.points)
    for start, end in zip(line, [*line[1:], line[-1]] if len(line) > 1 else line, strict=True):
        reach = stroke.radius / step
        low = np.clip(np.ceil(np.minimum(start, end) - reach), 0, mask.shape).astype(int)
        high = np.clip(np.floor(np.maximum(start, end) + reach) + 1, 0, mask.shape).astype(int)
        rows, columns = np.ogrid[low[0] : high[0], low[1] : high[1]]
        y, x = (rows - start[0]) * step[0], (columns - start[1]) * step[1]
        dy, dx = (end - start) * step
        length = dy * dy + dx * dx
        along = np.clip((y * dy + x * dx) / length, 0, 1) if length else 0.0
        near = (y - along * dy) ** 2 + (x - along * dx) ** 2 <= stroke.radius**2 + 1e-9
        mask[low[0] : high[0], low[1] : high[1]][near] = not stroke.erase


@dataclass(frozen=True, slots=True, eq=False)
class PaintedMasks:
    """Masks that can be painted on. Pictures without a mark cost nothing."""

    shape: tuple[int, int, int]
    _marks: dict[int, Mask] = field(default_factory=dict)
    _before: deque[tuple[int, Mask]] = field(default_factory=lambda: deque(maxlen=_UNDONE))

    @classmethod
    def of(cls, mask: Mask) -> Self:
        """Begin with what a mask (slices, rows, columns) has."""
        return cls((len(mask), *mask.shape[1:]), {i: picture.copy() for i, picture in enumerate(mask) if picture.any()})

    @property
    def largest(self) -> int | None:
        """The picture with the most of it; None where there is nothing."""
        counts = {i: int(mask.sum()) for i, mask in self._marks.items()}
        most = max(counts, key=lambda i: (counts[i], -i), default=None)
        return most if most is not None and counts[most] else None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int) -> Mask:
        """(rows, columns) of one picture, a copy."""
        if index not in self._marks:
            return np.zeros(self.shape[1:], np.bool_)
        return self._marks[index].copy()

    def paint(self, stroke: Stroke, spacing: tuple[float, float]) -> None:
        """Paint or erase. See `stamp`."""
        mask = self[stroke.index]
        self._before.append((stroke.index, mask.copy()))
        stamp(mask, stroke, spacing)
        self._marks[stroke.index] = mask

    def undo(self) -> int | None:
        """Take the last stroke back, up to 50 of them; the picture that it was on, or None where there is none."""
        if not self._before:
            return None
        index, mask = self._before.pop()
        self._marks[index] = mask
        return index
