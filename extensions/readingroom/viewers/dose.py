"""RT doses (PS3.3 A.18, C.8.8.3): the dose grid in Gy and in the patient, and its colours over a picture."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom

from readingroom.errors import BadInput
from readingroom.objects import UNREADABLE, object_given
from readingroom.viewers.grids import on_picture
from readingroom.viewers.measure import Place
from readingroom.viewers.overlay import coloured

CLASS = "1.2.840.10008.5.1.4.1.1.481.2"
_UNITS = {"GY": "Gy", "RELATIVE": "relative"}
_TOLERANCE = 0.01
"""Of the distance between planes: offsets are written with few digits."""
STEPS = 65534
"""Codes 1 to 65535 stand for doses from 0 to the highest; 0 for none."""


@dataclass(frozen=True, slots=True, eq=False)
class Dose:
    """A dose grid, as its planning system made it."""

    image: Any
    """SimpleITK, float32, mm and LPS."""
    unit: str
    """Gy, or relative, where the object tells no scale."""
    highest: float
    title: str
    """Dose Type and Dose Summation Type, for example: physical plan."""

    def on(self, place: Place, shape: tuple[int, int]) -> npt.NDArray[np.float32]:
        """(rows, columns) in `unit` at the pixels' centres, interpolated linearly; no number outside the grid."""
        return on_picture(self.image, place, shape, linear=True, outside=float("nan"))


def dose_of(path: Path, dataset: str, reference: str) -> Dose:
    """Read an RTDOSE for pictures of the same Frame of Reference UID, `reference`.

    Raises BadInput, which says why it cannot be laid there, AccessEnded, Damaged, NotFound."""
    found = object_given(path, dataset)
    try:
        _check(found, path, reference)
        return _dose(found, path)
    except UNREADABLE as error:
        raise BadInput(f"{path.name} could not be understood: {error}") from error


def _check(found: pydicom.Dataset, path: Path, reference: str) -> None:
    if found.get("SOPClassUID") != CLASS or "PixelData" not in found:
        raise BadInput(f"{path.name} is no RT dose with a grid.")
    if not reference or str(found.get("FrameOfReferenceUID") or "") != reference:
        raise BadInput(
            f"{path.name} lies in other patient coordinates than these pictures (Frame of Reference UID): show it "
            "on the series that the plan was made on, or register the two first."
        )


def _dose(found: pydicom.Dataset, path: Path) -> Dose:
    import SimpleITK

    if found.DoseUnits not in _UNITS:
        raise BadInput(f"{path.name} has the Dose Units {found.DoseUnits!r}: this view knows GY and RELATIVE.")
    grid = found.pixel_array.astype(np.float64) * float(found.DoseGridScaling)
    grid = grid if grid.ndim == 3 else grid[None]
    # Both directions are allowed; SimpleITK's images run along the normal.
    offsets = _offsets(found, len(grid), path)
    order = np.argsort(offsets)
    offsets, grid = offsets[order], grid[order]
    highest = float(grid.max())
    if highest <= 0:
        raise BadInput(f"{path.name} holds no dose: its highest value is {highest:g}.")
    cosines = np.array(found.ImageOrientationPatient, np.float64)
    normal = np.cross(cosines[:3], cosines[3:])
    rows, columns = (float(v) for v in found.PixelSpacing)
    image = SimpleITK.GetImageFromArray(grid.astype(np.float32))
    between = float(np.diff(offsets).mean()) if len(grid) > 1 else float(found.get("SliceThickness") or 1)
    image.SetSpacing((columns, rows, between))
    image.SetOrigin([float(v) for v in np.array(found.ImagePositionPatient, np.float64) + offsets[0] * normal])
    image.SetDirection([float(v) for v in np.stack([cosines[:3], cosines[3:], normal], axis=1).ravel()])
    words = [str(found.get(name) or "").lower() for name in ("DoseType", "DoseSummationType")]
    return Dose(image, _UNITS[found.DoseUnits], highest, " ".join(filter(None, words)))


def _offsets(found: pydicom.Dataset, count: int, path: Path) -> npt.NDArray[np.float64]:
    """Of each plane along the normal, in mm, from Image Position (Patient), by either convention of C.8.8.3.2."""
    if count == 1:
        return np.zeros(1)
    offsets = np.atleast_1d(np.array(found.GridFrameOffsetVector, np.float64))
    if len(offsets) != count:
        raise BadInput(f"{path.name} has {count} planes, and {len(offsets)} offsets of them.")
    first, z = float(offsets[0]), float(found.ImagePositionPatient[2])
    if abs(first) > 1e-3:
        # The second convention gives z of each plane, and is for transverse planes only.
        axial = np.abs(np.abs(np.array(found.ImageOrientationPatient, np.float64)) - [1, 0, 0, 0, 1, 0]).max() < 1e-4
        if abs(first - z) > 1e-3 or not axial:
            raise BadInput(
                f"{path.name}: its Grid Frame Offset Vector starts with {first:g}, which is neither 0 nor, in "
                f"transverse planes, the z of its position ({z:g}): where its planes lie is unknown."
            )
        x, y = (float(found.ImageOrientationPatient[i]) for i in (0, 4))
        offsets = (offsets - z) * np.sign(x * y)
    steps = np.diff(offsets)
    if np.abs(steps).min() < 1e-3 or np.abs(steps - steps.mean()).max() > _TOLERANCE * abs(float(steps.mean())):
        raise BadInput(f"{path.name}: the distance between its planes is uneven, which this view cannot show.")
    return offsets


def codes(doses: npt.NDArray[np.float32], highest: float) -> npt.NDArray[np.uint16]:
    """What travels: 0 outside the grid and below 0, else 1 + dose / highest * STEPS, rounded half up."""
    steps = np.nan_to_num(doses, nan=-1.0) * np.float32(STEPS / highest)
    coded: npt.NDArray[np.uint16] = (np.clip(steps, 0, STEPS) + np.float32(1.5)).astype(np.uint16)
    coded[steps < 0] = 0
    return coded


def washed(
    grey: npt.NDArray[np.uint8], coded: npt.NDArray[np.uint16], highest: float, threshold: float, opacity: float
) -> npt.NDArray[np.uint8]:
    """Colours (rows, columns, 3): from `threshold` on, the colour of each dose over the picture, as in the browser."""
    colours = coloured(grey)
    shown = (coded > 0) & ((coded.astype(np.float64) - 1) / STEPS * highest >= threshold)
    at = np.floor((coded[shown].astype(np.float64) - 1) * 255 / STEPS + 0.5).astype(np.int64)
    mixed = colours[shown] * (1 - opacity) + colour_table()[at] * opacity
    colours[shown] = np.floor(mixed + 0.5).astype(np.uint8)
    return colours


@cache
def colour_table() -> npt.NDArray[np.uint8]:
    """(256, 3), from no dose to the highest: matplotlib's plasma, whose lightness grows, for every eye."""
    import matplotlib as mpl

    return np.floor(mpl.colormaps["plasma"](np.arange(256))[:, :3] * 255 + 0.5).astype(np.uint8)
