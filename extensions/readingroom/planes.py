"""One plane of pixels: what its header says (classic and multi-frame, PS3.3 C.7.6.16), and how it is decoded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
from pydicom.pixels.utils import pixel_array

from readingroom.files import reading
from readingroom.marks import ATTRIBUTES, Mark, marks_of
from readingroom.objects import UNREADABLE, undecodable
from readingroom.voi import NamedWindow, VoiLut, Window, flipped, function_of, unit_of, voi_luts, windows_of

Vector = tuple[float, ...]

_KEYWORDS = [
    "SOPInstanceUID", "InstanceNumber", "Modality", "SeriesDescription", "Rows", "Columns", "NumberOfFrames",
    "PhotometricInterpretation", "SamplesPerPixel", "ImagePositionPatient", "ImageOrientationPatient",
    "PixelSpacing", "SliceThickness", "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "WindowCenter",
    "WindowWidth", "WindowCenterWidthExplanation", "VOILUTFunction", "VOILUTSequence", "PresentationLUTShape",
    "RescaleType", "Units", "BitsStored", "PixelRepresentation", "CineRate", "RecommendedDisplayFrameRate",
    "FrameTime", "FrameOfReferenceUID", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence",
    "SpecificCharacterSet", *ATTRIBUTES,
]  # fmt: skip
# Overlay Rows and Overlay Type of each group that may hold an overlay plane (PS3.5 7.6).
_OVERLAYS = [(group << 16) + element for group in range(0x6000, 0x6020, 2) for element in (0x0010, 0x0040)]
_OVERLAY_NAMES = [f"{tag:08X}" for tag in _OVERLAYS]


@dataclass(frozen=True, slots=True)
class Plane:
    """One frame of one file. Positions and spacings in mm; None where the object has none."""

    path: Path
    dataset: str
    frame: int
    """From 0, within its file."""
    instance: str
    number: int
    rows: int
    columns: int
    position: Vector | None
    """Of the centre of the first pixel, patient coordinates (LPS), PS3.3 C.7.6.2.1.1."""
    orientation: Vector | None
    """Direction cosines of the rows, then of the columns."""
    spacing: tuple[float, float] | None
    """Between rows, then between columns (PS3.3 10.7.1.3)."""
    slope: float
    intercept: float
    windows: tuple[NamedWindow, ...]
    """Explanation, centre and width of each."""
    luts: tuple[VoiLut, ...]
    looked_up: bool
    """Its values pass a Modality LUT Sequence or a palette, not slope and intercept."""
    coloured: bool
    overlaid: tuple[tuple[int, str], ...] = ()
    """Group and Overlay Type (G graphics, R region of interest) of each overlay plane in its file."""
    least: float = 0.0
    """The lowest modality value that the stored type allows."""
    marks: Mapping[str, Mark] = field(default_factory=dict, hash=False)
    """Those of marks.ATTRIBUTES that it has."""

    @property
    def window(self) -> Window | None:
        """Centre and width of the first."""
        return self.windows[0][1:] if self.windows else None


@dataclass(frozen=True, slots=True)
class Header:
    """What one file says about itself and its planes."""

    modality: str
    description: str
    photometric: str
    thickness: float | None
    function: str
    """VOI LUT Function: LINEAR, LINEAR_EXACT or SIGMOID (PS3.3 C.11.2.1.3)."""
    flipped: bool
    """The least value is white."""
    unit: str
    """Of modality values; empty where unknown."""
    frame_of_reference: str
    """Frame of Reference UID, or an empty text."""
    rate: float | None
    """Pictures a second of a cine, as the file wants it shown (PS3.3 C.7.6.5)."""
    planes: tuple[Plane, ...]


@dataclass(frozen=True, slots=True)
class Stored:
    """Decoded pixels, and the line that makes them modality values: `pixels * slope + intercept`."""

    pixels: npt.NDArray[Any]
    """(rows, columns), or (rows, columns, 3) of uint8 for colour."""
    slope: float = 1.0
    intercept: float = 0.0
    luts: tuple[VoiLut, ...] = ()
    """VOI LUTs stored with the picture."""

    @property
    def whole(self) -> bool:
        """Whether the modality values are whole numbers."""
        return self.pixels.dtype.kind in "iu" and self.slope.is_integer() and self.intercept.is_integer()

    def values(self) -> npt.NDArray[Any]:
        """Modality values: int16 where they fit exactly, else int32; float32 where slope or intercept are fractions.

        Colour stays uint8."""
        if self.pixels.ndim == 3:
            return self.pixels
        if not self.whole:
            return (self.pixels * self.slope + self.intercept).astype(np.float32)
        return narrowed(self.pixels.astype(np.int64) * int(self.slope) + int(self.intercept))


def narrowed(values: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """The same whole numbers in int16, else int32, else float32 where they fit into neither."""
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    for kind in (np.int16, np.int32):
        limits = np.iinfo(kind)
        if limits.min <= low and high <= limits.max:
            return values.astype(kind)
    return values.astype(np.float32)


def read_header(path: Path, dataset: str) -> Header:
    """Read one file's header, not its pixels. Raises AccessEnded, Damaged, NotFound."""
    try:
        with reading(path, dataset):
            found = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=_KEYWORDS + _OVERLAY_NAMES)
        return _header(found, path, dataset)
    except UNREADABLE as error:
        raise undecodable(path, dataset) from error


def _header(found: pydicom.Dataset, path: Path, dataset: str) -> Header:
    count = int(found.get("NumberOfFrames") or 1)
    thickness = _macro(found, 0, "PixelMeasuresSequence").get("SliceThickness")
    return Header(
        modality=str(found.get("Modality", "")),
        description=str(found.get("SeriesDescription", "")),
        photometric=str(found.get("PhotometricInterpretation", "")),
        thickness=None if thickness is None else float(thickness),
        function=function_of(_macro(found, 0, "FrameVOILUTSequence")),
        flipped=flipped(found),
        unit=unit_of(found, _macro(found, 0, "PixelValueTransformationSequence")),
        frame_of_reference=str(found.get("FrameOfReferenceUID") or ""),
        rate=_rate(found),
        planes=tuple(_plane(found, path, dataset, frame) for frame in range(count)) if "Rows" in found else (),
    )


def _macro(found: pydicom.Dataset, frame: int, name: str) -> pydicom.Dataset:
    """A functional group: the frame's own, else the shared one (PS3.3 C.7.6.16), else the classic object itself."""
    own: Sequence[pydicom.Dataset] = found.get("PerFrameFunctionalGroupsSequence") or ()
    shared: Sequence[pydicom.Dataset] = found.get("SharedFunctionalGroupsSequence") or ()
    for groups in (*own[frame : frame + 1], *shared[:1]):
        if items := groups.get(name):
            item: pydicom.Dataset = items[0]
            return item
    return found


def _plane(found: pydicom.Dataset, path: Path, dataset: str, frame: int) -> Plane:
    rescale = _macro(found, frame, "PixelValueTransformationSequence")
    position = _macro(found, frame, "PlanePositionSequence")
    # A classic multi-frame object has one position for all its frames: it is the position of none of the others.
    placed = position is not found or not found.get("NumberOfFrames") or int(found.NumberOfFrames) == 1
    spacing = _floats(_macro(found, frame, "PixelMeasuresSequence").get("PixelSpacing"), 2)
    voi = _macro(found, frame, "FrameVOILUTSequence")
    photometric = str(found.get("PhotometricInterpretation", ""))
    slope, intercept = _number(rescale.get("RescaleSlope"), 1.0), _number(rescale.get("RescaleIntercept"), 0.0)
    return Plane(
        path=path,
        dataset=dataset,
        frame=frame,
        instance=str(found.get("SOPInstanceUID", "")),
        number=int(found.get("InstanceNumber") or 0),
        rows=int(found.Rows),
        columns=int(found.Columns),
        position=_floats(position.get("ImagePositionPatient"), 3) if placed else None,
        orientation=_floats(_macro(found, frame, "PlaneOrientationSequence").get("ImageOrientationPatient"), 6),
        spacing=None if spacing is None else (spacing[0], spacing[1]),
        slope=slope,
        intercept=intercept,
        windows=windows_of(voi),
        luts=voi_luts(voi, _least(found, slope, intercept)),
        looked_up=photometric == "PALETTE COLOR" or bool(rescale.get("ModalityLUTSequence")),
        coloured=photometric == "PALETTE COLOR" or int(found.get("SamplesPerPixel") or 1) > 1,
        overlaid=_overlaid(found),
        least=_least(found, slope, intercept),
        marks=marks_of(found, partial(_macro, found, frame)),
    )


def _overlaid(found: pydicom.Dataset) -> tuple[tuple[int, str], ...]:
    rows = [tag for tag in _OVERLAYS[::2] if tag in found]
    return tuple((tag >> 16, str(found[tag + 0x30].value) if tag + 0x30 in found else "") for tag in rows)


def _rate(found: pydicom.Dataset) -> float | None:
    try:
        said = found.get("RecommendedDisplayFrameRate") or found.get("CineRate")
        taken = float(found.get("FrameTime") or 0)
        rate = float(said) if said else 1000 / taken if taken > 0 else 0.0
    except (ValueError, TypeError):
        # A picture is no worse for a rate that is no number.
        return None
    return rate if 0 < rate < float("inf") else None


def _number(value: Any, default: float) -> float:
    return default if value is None or value == "" else float(value)


def _floats(value: Any, count: int) -> Vector | None:
    numbers = tuple(float(v) for v in value) if value else ()
    return numbers if len(numbers) == count else None


def _least(found: pydicom.Dataset, slope: float, intercept: float) -> float:
    """The lowest modality value that the stored type allows; a Modality LUT's output is unsigned (PS3.3 C.11.1.1)."""
    if found.get("ModalityLUTSequence"):
        return 0.0
    bits = int(found.get("BitsStored") or 16)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if found.get("PixelRepresentation") else (0, 2**bits - 1)
    return float(min(low * slope, high * slope) + intercept)


def decode(plane: Plane) -> Stored:
    """Decode one plane's pixels by pydicom's decoders. Raises AccessEnded, Damaged, NotFound."""
    try:
        with reading(plane.path, plane.dataset):
            if plane.looked_up:
                return _looked_up(plane)
            pixels = pixel_array(plane.path, index=plane.frame)
    except UNREADABLE as error:
        raise undecodable(plane.path, plane.dataset) from error
    if plane.coloured:
        return Stored(_eight_bits(pixels))
    return Stored(pixels, plane.slope, plane.intercept, plane.luts)


def _looked_up(plane: Plane) -> Stored:
    found = pydicom.dcmread(plane.path)
    pixels = pixel_array(found, index=plane.frame)
    if plane.coloured:
        return Stored(_eight_bits(apply_color_lut(pixels, found)))
    return Stored(apply_modality_lut(pixels, found), luts=plane.luts)


def _eight_bits(pixels: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    return (pixels >> (8 * pixels.dtype.itemsize - 8)).astype(np.uint8)
