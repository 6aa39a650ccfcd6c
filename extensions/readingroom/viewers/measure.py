"""Measurements in patient millimetres: what an annotation may be, how long or wide it is, and the values inside it."""

import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from readingroom.errors import BadInput

Points = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

KINDS: Mapping[str, tuple[int, int]] = {
    "length": (2, 2), "angle": (3, 3), "cobb": (4, 4), "ellipse": (4, 4), "rectangle": (4, 4), "freehand": (3, 4000),
}  # fmt: skip
"""Least and most points of each kind, in mm. Angle: end, vertex, end. Cobb: both ends of one line, then of the other.
Ellipse: both ends of the major axis, then of the minor one, as in SCOORD3D (PS3.3 C.18.9.1.2)."""
AREAS = frozenset({"ellipse", "rectangle", "freehand"})
MOST = 500
_FURTHEST = 1e6
_LABEL = 200


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """How one picture lies: `origin + row * down + column * right` is a pixel's centre, mm, LPS.

    Where a picture has no place: mm, or pixels, from the first pixel's centre, along columns and rows."""

    origin: Points
    down: Points
    right: Points

    def points(self, pixels: Points) -> Points:
        """(n, 3) of (row, column) pairs (n, 2)."""
        found: Points = self.origin + pixels[:, :1] * self.down + pixels[:, 1:] * self.right
        return found

    def pixels(self, points: Points) -> Points:
        """(n, 2) of rows and columns, fractions included: the feet of the points in this plane."""
        axes = np.stack([self.down, self.right], axis=1)
        found: Points = np.asarray(np.linalg.lstsq(axes, (points - self.origin).T, rcond=None)[0].T, np.float64)
        return found


def cleaned(value: Any) -> list[dict[str, Any]]:
    """Annotations as they are kept: id, kind, points, label and nothing else. Raises BadInput that says what is wrong.

    The value may come from a browser: it is believed in nothing."""
    if not isinstance(value, (list, tuple)) or len(value) > MOST:
        raise BadInput(f"annotations: give a list of up to {MOST} dicts with kind and points.")
    made = [_one(item, at) for at, item in enumerate(value)]
    if len({one["id"] for one in made}) < len(made):
        raise BadInput("annotations: two of them have the same id.")
    return made


def _one(item: Any, at: int) -> dict[str, Any]:
    where = f"annotations[{at}]"
    if not isinstance(item, Mapping) or set(item) - {"id", "kind", "points", "label"}:
        raise BadInput(f"{where}: give a dict of kind, points, and where wanted label and id.")
    kind, label, name = item.get("kind"), item.get("label", ""), item.get("id", "")
    if not isinstance(kind, str) or kind not in KINDS:
        raise BadInput(f"{where}: kind is none of {', '.join(KINDS)}.")
    if not all(isinstance(text, str) and len(text) <= _LABEL and text.isprintable() for text in (label, name)):
        raise BadInput(f"{where}: label and id are texts of up to {_LABEL} printable characters.")
    points = _numbers(item.get("points"), KINDS[kind][1])
    least = KINDS[kind][0]
    if points is None or len(points) < least:
        raise BadInput(f"{where}: {kind} needs {least} or more points of three numbers in mm, up to {KINDS[kind][1]}.")
    return {"id": name or _name(kind, points), "kind": kind, "points": points, "label": label}


def _numbers(points: Any, most: int) -> list[list[float]] | None:
    if not isinstance(points, (list, tuple)) or len(points) > most:
        return None
    for point in points:
        if not isinstance(point, (list, tuple)) or len(point) != 3:
            return None
        if not all(type(v) in {int, float} and abs(v) <= _FURTHEST for v in point):
            return None
    return [[float(v) for v in point] for point in points]


def _name(kind: str, points: list[list[float]]) -> str:
    # The same drawing has the same name, whoever names it first: this view, or one that is linked to it.
    return f"{kind}-{zlib.crc32(repr(points).encode()):08x}"


def drawn(kind: Any, pixels: Any, place: Place) -> dict[str, Any]:
    """An annotation of what was drawn on one picture: (row, column) pairs. Ellipse and rectangle: two corners.

    Raises BadInput."""
    corners = isinstance(kind, str) and kind in {"ellipse", "rectangle"}
    flat = _numbers([[*p, 0] for p in pixels] if _pairs(pixels) else None, 4000)
    if not isinstance(kind, str) or kind not in KINDS or flat is None or (corners and len(flat) != 2):
        raise BadInput("What was drawn is no measurement that this view knows.")
    at = np.array(flat)[:, :2]
    if corners:
        (top, left), (bottom, right) = at.min(axis=0), at.max(axis=0)
        if top == bottom or left == right:
            raise BadInput(f"The {kind} has no width: draw it from one corner to the opposite one.")
        middle = ((top + bottom) / 2, (left + right) / 2)
        at = np.array([(top, left), (top, right), (bottom, right), (bottom, left)])
        if kind == "ellipse":
            at = np.array([(middle[0], left), (middle[0], right), (top, middle[1]), (bottom, middle[1])])
            points = place.points(at)
            if np.linalg.norm(points[0] - points[1]) < np.linalg.norm(points[2] - points[3]):
                at = at[[2, 3, 0, 1]]
    (made,) = cleaned([{"kind": kind, "points": place.points(at).tolist()}])
    return made


def _pairs(pixels: Any) -> bool:
    return isinstance(pixels, list) and all(isinstance(p, list) and len(p) == 2 for p in pixels)


def size(kind: str, points: Points) -> float:
    """Length in mm, angle in degrees, area in mm2."""
    if kind == "length":
        return float(np.linalg.norm(points[1] - points[0]))
    if kind == "angle":
        return _degrees(points[0] - points[1], points[2] - points[1])
    if kind == "cobb":
        turned = _degrees(points[1] - points[0], points[3] - points[2])
        return min(turned, 180 - turned)
    if kind == "ellipse":
        return math.pi / 4 * math.prod(float(np.linalg.norm(points[i + 1] - points[i])) for i in (0, 2))
    # The area of a flat polygon in space: half the length of the sum of its corners' cross products.
    spokes = points - points[0]
    return float(np.linalg.norm(np.cross(spokes, np.roll(spokes, -1, axis=0)).sum(axis=0)) / 2)


def _degrees(one: Points, other: Points) -> float:
    # atan2 keeps its digits near 0 and 180 degrees, where an arc cosine loses half of them.
    return math.degrees(math.atan2(float(np.linalg.norm(np.cross(one, other))), float(one @ other)))


def inside(kind: str, pixels: Points, shape: tuple[int, int]) -> Mask:
    """The pixels (rows, columns) whose centres lie in an area, given in pixels (n, 2) of row and column.

    An edge through a centre takes it in at the top and left, not at the bottom and right: neighbours share none."""
    mask = np.zeros(shape, np.bool_)
    if kind == "ellipse":
        middle = pixels[:2].mean(axis=0)
        axes = np.stack([(pixels[1] - pixels[0]) / 2, (pixels[3] - pixels[2]) / 2], axis=1)
        if abs(np.linalg.det(axes)) < 1e-12:
            return mask
        # A mammogram has 20 million pixels: only those around the ellipse are looked at.
        half = np.sqrt((axes**2).sum(axis=1))
        low = np.clip(np.floor(middle - half), 0, shape).astype(int)
        high = np.clip(np.ceil(middle + half) + 1, 0, shape).astype(int)
        grid = np.stack(np.meshgrid(*map(np.arange, low, high), indexing="ij"), axis=-1) - middle
        mask[low[0] : high[0], low[1] : high[1]] = ((grid @ np.linalg.inv(axes).T) ** 2).sum(axis=-1) <= 1 + 1e-9
        return mask
    # Turned back from mm, a whole number comes as 9.999999999.
    start = np.round(pixels, 6)
    end = np.roll(start, -1, axis=0)
    columns = np.arange(shape[1])
    for row in range(max(math.ceil(start[:, 0].min()), 0), min(math.floor(start[:, 0].max()), shape[0] - 1) + 1):
        crossed = (start[:, 0] <= row) != (end[:, 0] <= row)
        (y0, x0), (y1, x1) = start[crossed].T, end[crossed].T
        at = np.sort(x0 + (row - y0) / (y1 - y0) * (x1 - x0))
        mask[row] = np.searchsorted(at, columns, side="right") % 2 == 1
    return mask


def statistics(values: npt.NDArray[Any]) -> dict[str, float]:
    """Of the values in an area: n, mean, sd (of all of them, not estimated from a sample), min, median, max."""
    kept = values.astype(np.float64)
    kept = kept[np.isfinite(kept)]
    if not kept.size:
        return {"n": 0}
    numbers = {"mean": kept.mean(), "sd": kept.std(), "min": kept.min(), "median": np.median(kept), "max": kept.max()}
    return {"n": kept.size, **{name: float(v) for name, v in numbers.items()}}


def outline(kind: str, pixels: Points) -> list[list[list[float]]]:
    """The lines to draw, each a list of (row, column)."""
    if kind == "cobb":
        return [pixels[:2].tolist(), pixels[2:].tolist()]
    if kind == "ellipse":
        middle, turns = pixels[:2].mean(axis=0), np.linspace(0, 2 * np.pi, 65)[:, None]
        across, along = (pixels[1] - pixels[0]) / 2, (pixels[3] - pixels[2]) / 2
        return [(middle + np.cos(turns) * across + np.sin(turns) * along).tolist()]
    closed = np.concatenate([pixels, pixels[:1]]) if kind in AREAS else pixels
    return [closed.tolist()]


def said(kind: str, found: Mapping[str, Any]) -> str:
    """A measurement in words, as a list shows it and a screen reader says it."""
    name = {"cobb": "Cobb angle"}.get(kind, kind.capitalize())
    if kind in {"angle", "cobb"}:
        return f"{name} {found['size']:.1f}°"
    length = found["length_unit"]
    if kind == "length":
        return f"{name} {found['size']:.1f} {length}"
    text = f"{name} {found['size']:.1f} {length}²"
    if found.get("n"):
        unit = f" {found['unit']}" if found["unit"] else ""
        text += f", mean {found['mean']:.4g}{unit}, SD {found['sd']:.3g}, {found['n']} pixels"
    return text


class Places(Sequence[Place]):
    """The places of all pictures of a view, in their order."""

    def __init__(self, places: Iterable[Place]) -> None:
        self._all = tuple(places)
        normals = np.array([np.cross(place.right, place.down) for place in self._all])
        self._normals = normals / np.linalg.norm(normals, axis=1, keepdims=True)
        self._origins = np.array([place.origin for place in self._all])

    def __len__(self) -> int:
        return len(self._all)

    def __getitem__(self, index: Any) -> Any:
        return self._all[index]

    def _distances(self, points: Points) -> Points:
        """(pictures,): of the furthest point from each plane."""
        found: Points = np.abs(points @ self._normals.T - (self._origins * self._normals).sum(axis=1)).max(axis=0)
        return found

    def nearest(self, points: Points) -> int | None:
        """The picture in which all points lie, within half of the distance to the next one; None if there is none."""
        distances = self._distances(points)
        best = int(np.argmin(distances))
        beside = [i for i in (best - 1, best + 1) if 0 <= i < len(self)]
        gaps = [float(abs((self._origins[i] - self._origins[best]) @ self._normals[best])) for i in beside]
        return best if distances[best] <= max(min(gaps, default=1.0) / 2, 1e-3) else None
