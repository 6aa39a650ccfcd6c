"""Where planes lie in the patient (PS3.3 C.7.6.2.1.1): their order, and whether they form one regular grid."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from readingroom.errors import NotAVolume
from readingroom.planes import Plane, Vector

Array = npt.NDArray[np.float64]

_COSINE_TOLERANCE = 1e-4
_STEP_TOLERANCE = 0.01
"""Of the distance between neighbours: positions are written with few digits."""
_TILT_DEGREES = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """A regular grid: `affine @ (slice, row, column, 1)` is the voxel centre in patient mm, LPS."""

    affine: Array
    spacing: tuple[float, float, float]
    """Between slices, rows, columns, in mm."""


def in_order(planes: Sequence[Plane]) -> list[Plane]:
    """Sort along the normal where all planes share one orientation, else by InstanceNumber.

    The order depends on what the planes say, never on the order in which they come."""
    if planes and all(p.position and p.orientation for p in planes) and _one_orientation(planes):
        normal = _normal(_orientation(planes))
        return sorted(planes, key=lambda p: (round(float(normal @ np.array(p.position)), 6), *_label(p)))
    return sorted(planes, key=_label)


def _label(plane: Plane) -> tuple[int, str, int]:
    return plane.number, plane.instance, plane.frame


def _orientation(planes: Sequence[Plane]) -> Array:
    """The orientation of the plane whose label is least: one choice, whatever the order of `planes`."""
    return np.array(min(planes, key=_label).orientation, dtype=np.float64)


def _one_orientation(planes: Sequence[Plane]) -> bool:
    found = np.array([p.orientation for p in planes])
    return bool(np.abs(found - found[0]).max() <= _COSINE_TOLERANCE)


def _normal(orientation: Array) -> Array:
    normal: Array = np.cross(orientation[:3], orientation[3:])
    return normal / np.linalg.norm(normal)


def grid_of(planes: Sequence[Plane]) -> Grid:
    """The grid of planes that are `in_order`. Raises NotAVolume, which says why there is none."""
    _check_alike(planes)
    orientation = _orientation(planes)
    normal = _normal(orientation)
    positions = np.array([p.position for p in planes], dtype=np.float64)
    between_rows, between_columns = planes[0].spacing or (1.0, 1.0)
    step = _step(planes, positions, normal)
    affine = np.eye(4)
    affine[:3, 0] = step
    affine[:3, 1] = orientation[3:] * between_rows
    affine[:3, 2] = orientation[:3] * between_columns
    affine[:3, 3] = positions[0]
    return Grid(affine, (float(np.linalg.norm(step)), between_rows, between_columns))


def _check_alike(planes: Sequence[Plane]) -> None:
    if not planes:
        raise NotAVolume("The series holds no images.")
    if any(p.coloured for p in planes):
        raise NotAVolume("The series holds colour images; use series.frames() for them one by one.")
    if any(p.position is None or p.orientation is None for p in planes):
        raise NotAVolume(
            "The images have no place in the patient, as in ultrasound or plain X-ray; use series.frames() instead."
        )
    if any(p.spacing is None for p in planes):
        raise NotAVolume("The images have no Pixel Spacing, so sizes in mm are unknown; use series.frames() instead.")
    shapes = Counter((p.rows, p.columns) for p in planes)
    if len(shapes) > 1:
        raise NotAVolume(f"The images have different sizes: {_counted(shapes)}; use series.frames() instead.")
    if not _one_orientation(planes):
        raise NotAVolume(
            "The images do not lie parallel to each other (a localizer among them?); use series.frames() instead."
        )
    spacings = Counter(p.spacing for p in planes)
    if len(spacings) > 1:
        raise NotAVolume(f"The images differ in Pixel Spacing (mm): {_counted(spacings)}; use series.frames() instead.")


def _counted(counts: Counter[tuple[int, int]] | Counter[tuple[float, float] | None]) -> str:
    return ", ".join(f"{n} of {pair[0]:g} x {pair[1]:g}" for pair, n in sorted(counts.items()) if pair)


def _step(planes: Sequence[Plane], positions: Array, normal: Array) -> Array:
    """The vector from one slice to the next, in mm. One plane alone steps by 1 mm along its normal."""
    if len(planes) == 1:
        return normal
    along = positions @ normal
    steps = np.diff(along)
    step: Array = (positions[-1] - positions[0]) / (len(planes) - 1)
    typical = float(np.median(steps))
    if steps.min() <= 1e-3:
        same = int((steps <= 1e-3).sum())
        raise NotAVolume(
            f"{same + 1} images share their place with another one (several times, echoes or reconstructions in one "
            "series?); take them apart by series.phases()."
        )
    if np.abs(steps - typical).max() > _STEP_TOLERANCE * typical:
        worst = int(np.abs(steps - typical).argmax())
        raise NotAVolume(
            f"The distance between slices is uneven: mostly {typical:.3f} mm, but {steps[worst]:.3f} mm after slice "
            f"{worst + 1} of {len(planes)} (a missing image?); use series.frames() instead."
        )
    tilt = float(np.degrees(np.arccos(np.clip(step @ normal / np.linalg.norm(step), -1, 1))))
    if tilt > _TILT_DEGREES:
        raise NotAVolume(
            f"The slices are shifted sideways (gantry tilt of {tilt:.1f} degrees), so they form no rectangular volume; "
            "use series.frames() instead."
        )
    drift = np.abs(positions - (positions[0] + np.arange(len(planes))[:, None] * step)).max()
    if drift > max(_STEP_TOLERANCE * typical, 1e-2):
        raise NotAVolume(f"The slices do not lie on one straight line (up to {drift:.2f} mm off); use series.frames().")
    return step


_NAMES = (("R", "L"), ("A", "P"), ("F", "H"))


def letters(orientation: Vector | None) -> tuple[str, str, str, str]:
    """Patient directions at the left, right, top and bottom edge (PS3.3 C.7.6.1.1.1); empty where unknown."""
    if orientation is None:
        return ("", "", "", "")
    right, bottom = np.array(orientation[:3]), np.array(orientation[3:])
    return _letters(-right), _letters(right), _letters(-bottom), _letters(bottom)


def _letters(direction: Array) -> str:
    strongest = sorted(range(3), key=lambda axis: -abs(float(direction[axis])))
    return "".join(_NAMES[axis][int(direction[axis] > 0)] for axis in strongest[:2] if abs(direction[axis]) > 0.3)
