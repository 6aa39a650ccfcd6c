"""Display shutters (PS3.3 C.7.6.11): what of a picture is not meant to be seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom

from readingroom.viewers import measure

KNOWN = frozenset({"RECTANGULAR", "CIRCULAR", "POLYGONAL"})


@dataclass(frozen=True, slots=True)
class Shutter:
    """Rows and columns count from 1, as in the object. What lies within all of the shapes is seen."""

    rectangle: tuple[int, int, int, int] | None
    """Upper, lower, left and right edge."""
    circle: tuple[int, int, int] | None
    """Row and column of its centre, and its radius in pixels."""
    polygon: tuple[tuple[int, int], ...]
    level: int
    """The grey level of what is hidden: black where none is given."""

    def hidden(self, shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
        """(rows, columns): the pixels that it hides."""
        rows, columns = np.ogrid[1 : shape[0] + 1, 1 : shape[1] + 1]
        seen = np.ones(shape, np.bool_)
        if self.rectangle:
            upper, lower, left, right = self.rectangle
            seen &= (rows >= upper) & (rows <= lower) & (columns >= left) & (columns <= right)
        if self.circle:
            row, column, radius = self.circle
            seen &= (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
        if self.polygon:
            seen &= measure.inside("freehand", np.array(self.polygon, np.float64) - 1, shape)
        hidden: npt.NDArray[np.bool_] = ~seen
        return hidden


def shapes_of(found: pydicom.Dataset) -> set[str]:
    """The shapes that an object names."""
    return set(_values(found.get("ShutterShape")))


def shutter_of(found: pydicom.Dataset) -> Shutter | None:
    """None where it has none of a known shape. Raises ValueError, TypeError or AttributeError for nonsense."""
    shapes = shapes_of(found) & KNOWN
    if not shapes:
        return None
    names = (
        "ShutterUpperHorizontalEdge",
        "ShutterLowerHorizontalEdge",
        "ShutterLeftVerticalEdge",
        "ShutterRightVerticalEdge",
    )
    upper, lower, left, right = (int(found[n].value) for n in names) if "RECTANGULAR" in shapes else (0, 0, 0, 0)
    row, column = (int(v) for v in found.CenterOfCircularShutter) if "CIRCULAR" in shapes else (0, 0)
    flat = [int(v) for v in found.VerticesOfThePolygonalShutter] if "POLYGONAL" in shapes else []
    return Shutter(
        (upper, lower, left, right) if "RECTANGULAR" in shapes else None,
        (row, column, int(found.RadiusOfCircularShutter)) if "CIRCULAR" in shapes else None,
        tuple(zip(flat[::2], flat[1::2], strict=True)),
        int(found.get("ShutterPresentationValue") or 0) >> 8,
    )


def _values(value: Any) -> Sequence[str]:
    if value is None or isinstance(value, str):
        return [value] if value else []
    return [str(v) for v in value]
