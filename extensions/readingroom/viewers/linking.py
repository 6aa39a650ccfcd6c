"""Which picture of one series lies where a picture of another does, and the difference of two volumes. In mm, LPS."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from readingroom.errors import BadInput
from readingroom.planes import narrowed
from readingroom.viewers.grids import on_grid
from readingroom.viewers.pictures import Pictures
from readingroom.volume import Volume

Vector = npt.NDArray[np.float64]

_PARALLEL = float(np.cos(np.radians(15)))
"""Planes that are turned by more show other things: to scroll them together would mislead."""


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Where the pictures of a view lie."""

    centres: Vector
    """(pictures, 3): of each picture's middle."""
    normal: Vector
    """Of the first."""

    @classmethod
    def of(cls, pictures: Pictures) -> "Stack | None":
        """None where the pictures have no place in the patient, or are not parallel to each other."""
        about = pictures.about
        if not about.located:
            return None
        places = [pictures.place(i) for i in range(about.count)]
        normals = np.array([np.cross(place.right, place.down) for place in places])
        normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        if np.abs(normals @ normals[0]).min() < _PARALLEL:
            return None
        middle = np.array([[(about.rows - 1) / 2, (about.columns - 1) / 2]])
        return cls(np.array([place.points(middle)[0] for place in places]), normals[0])

    def beside(self, other: "Stack") -> bool:
        """Whether both are cut in the same direction, but for 15 degrees."""
        return bool(abs(self.normal @ other.normal) >= _PARALLEL)

    def nearest(self, point: Vector) -> int | None:
        """The picture whose plane lies nearest to a point; None where it lies beyond the ends, by more than a step."""
        along = self.centres @ self.normal
        away = np.abs(along - point @ self.normal)
        best = int(np.argmin(away))
        steps = np.diff(np.sort(along))
        step = float(np.max(steps)) if steps.size else 1.0
        return best if away[best] <= max(step, 1e-3) else None


def difference(first: Volume, second: Volume, shift: Vector) -> Volume:
    """`second - first` on the grid of `first`; no number where `second` does not reach.

    `shift` (mm): what to take away from places in `second` to find them in `first`. Where the two grids are one, voxels
    are subtracted as they are; else `second` is interpolated linearly by SimpleITK. Raises BadInput."""
    if first.modality != second.modality or first.unit != second.unit:
        raise BadInput(
            f"A difference needs values of one kind: these are {first.modality} in {first.unit or 'unknown units'} and "
            f"{second.modality} in {second.unit or 'unknown units'}."
        )
    affine = second.affine.copy()
    affine[:3, 3] -= shift
    if first.array.shape == second.array.shape and np.allclose(first.affine, affine, rtol=0, atol=1e-3):
        made = second.array.astype(np.float64) - first.array
        whole = first.array.dtype.kind in "iu" and second.array.dtype.kind in "iu"
        array = narrowed(made.astype(np.int64)) if whole else made.astype(np.float32)
    else:
        array = on_grid(second.array, affine, first.array.shape, first.affine) - first.array.astype(np.float32)
    known = np.abs(array[np.isfinite(array)])
    if not known.size:
        raise BadInput("The two series do not overlap: there is no difference to show.")
    # Grey is no difference.
    width = max(2 * float(np.percentile(known, 99)), 2.0 if array.dtype.kind == "i" else 1e-6)
    return replace(first, array=array, description="difference", window=(0.0, width), function="LINEAR")
