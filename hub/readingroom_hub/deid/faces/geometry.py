"""Where the pixels of a frame lie in the patient (PS3.3 C.7.6.2.1.1), for single-frame and enhanced objects alike."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from readingroom_hub.deid.part10 import CannotDeidentify

Points = np.ndarray[Any, np.dtype[np.float64]]
"""(..., 3) in millimetres: towards the left, the back and the head of the patient."""
Bits = np.ndarray[Any, np.dtype[np.bool_]]
_UNKNOWN = "nobody can tell where in the head its pixels lie"
_SKEW = 0.01


class Unsuited(CannotDeidentify):
    """Nothing is wrong with the images, but the brain cannot be found in them: other images of the head may do."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame's plane. Pixel (r, c) is centred on `origin` + r * `down` + c * `right`, in millimetres."""

    origin: Points
    right: Points
    """From one column to the next."""
    down: Points
    """From one row to the next."""
    rows: int
    columns: int

    @property
    def normal(self) -> Points:
        """Unit vector along which slices follow each other."""
        across = np.cross(self.right, self.down)
        return np.asarray(across / np.linalg.norm(across))

    def beyond(self, plane: "Plane") -> Bits:
        """(rows, columns): which pixels have their centre beyond `plane`."""
        normal = np.asarray(plane.normal)
        along = normal @ self.right * np.arange(self.columns)
        across = normal @ self.down * np.arange(self.rows)
        return np.asarray(across[:, None] + along[None, :] > plane.offset - normal @ self.origin)


@dataclass(frozen=True, slots=True)
class Plane:
    """Points x with `normal`·x > `offset` lie beyond it. Patient coordinates of one frame of reference, millimetres."""

    normal: tuple[float, float, float]
    offset: float


def frames(header: Dataset) -> list[Frame]:
    """All frames in the order of Pixel Data. Raises CannotDeidentify where the header leaves any place open."""
    count = int(str(header.get("NumberOfFrames") or 1))
    shape = int(header.Rows), int(header.Columns)
    if "PerFrameFunctionalGroupsSequence" in header:
        groups = list(_groups(header, count))
    elif count == 1:
        groups = [(header, header, header)]
    else:
        raise CannotDeidentify(f"frames without positions: {_UNKNOWN}")
    try:
        return [_frame(*group, shape) for group in groups]
    except CannotDeidentify:
        raise
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise CannotDeidentify(f"no position, orientation or spacing: {_UNKNOWN}") from error


def _groups(header: Dataset, count: int) -> Iterator[tuple[Dataset, Dataset, Dataset]]:
    """For each frame where its position, its orientation and its spacing stand (PS3.3 C.7.6.16.2)."""
    shared = list(header.get("SharedFunctionalGroupsSequence") or ()) or [Dataset()]
    per_frame = list(header.PerFrameFunctionalGroupsSequence)
    if len(per_frame) != count:
        raise CannotDeidentify(f"{count} frames with {len(per_frame)} places: {_UNKNOWN}")
    for own in per_frame:
        found = []
        for keyword in ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence"):
            items = list(own.get(keyword) or shared[0].get(keyword) or ())
            if len(items) != 1:
                raise CannotDeidentify(f"no {keyword}: {_UNKNOWN}")
            found.append(items[0])
        yield found[0], found[1], found[2]


def _frame(position: Dataset, orientation: Dataset, measures: Dataset, shape: tuple[int, int]) -> Frame:
    origin = _numbers(position.ImagePositionPatient, 3)
    cosines = _numbers(orientation.ImageOrientationPatient, 6)
    between_rows, between_columns = _numbers(measures.PixelSpacing, 2)
    right, down = np.array(cosines[:3]), np.array(cosines[3:])
    skewed = abs(right @ down) > _SKEW or any(abs(np.linalg.norm(v) - 1) > _SKEW for v in (right, down))
    if skewed or min(between_rows, between_columns) <= 0:
        raise CannotDeidentify(f"an orientation or spacing that cannot be: {_UNKNOWN}")
    return Frame(np.array(origin), right * between_columns, down * between_rows, *shape)


def _numbers(values: Sequence[Any], count: int) -> list[float]:
    numbers = [float(v) for v in values]
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise ValueError(count)
    return numbers
