"""RT structure sets (PS3.3 A.19): contours in patient millimetres, laid on the pictures that they lie in."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pydicom

from readingroom.errors import BadInput
from readingroom.objects import UNREADABLE, object_given
from readingroom.viewers import measure
from readingroom.viewers.overlay import COLOURS, Colour, Contours, Overlay

CLASS = "1.2.840.10008.5.1.4.1.1.481.3"
_CLOSED = {"CLOSED_PLANAR", "CLOSEDPLANAR_XOR"}


def structures_of(path: Path, dataset: str, places: measure.Places, reference: str) -> list[Overlay]:
    """The structures of an RTSTRUCT that lie in these pictures. `reference`: the series' Frame of Reference UID.

    Each contour is laid where it lies, whatever picture it says it was drawn on. Raises BadInput, AccessEnded, Damaged,
    NotFound."""
    found = object_given(path, dataset)
    try:
        if found.get("SOPClassUID") != CLASS:
            raise BadInput(f"{path.name} is no RT structure set.")
        made = _structures(found, places, reference)
    except UNREADABLE as error:
        raise BadInput(f"{path.name} could not be understood: {error}") from error
    if not any(one.contours for one in made):
        raise BadInput(
            f"{path.name} was drawn on other images: none of its contours lies in a picture of this view, in the same "
            "patient coordinates (Frame of Reference UID)."
        )
    return made


def _structures(found: pydicom.Dataset, places: measure.Places, reference: str) -> list[Overlay]:
    named = {int(roi.ROINumber): roi for roi in found.StructureSetROISequence}
    made = []
    for at, roi in enumerate(found.ROIContourSequence):
        about = named[int(roi.ReferencedROINumber)]
        if str(about.ReferencedFrameOfReferenceUID) != reference:
            continue
        colour = _colour(roi.get("ROIDisplayColor"), at)
        name = str(about.get("ROIName") or f"structure {about.ROINumber}")
        made.append(Overlay(name, None, colour, 0.4, contours=_contours(roi, places)))
    return made


def _colour(value: Sequence[int] | None, at: int) -> Colour:
    numbers = [int(v) for v in value or ()]
    if len(numbers) != 3 or not all(0 <= v <= 255 for v in numbers):
        return COLOURS[at % len(COLOURS)]
    return numbers[0], numbers[1], numbers[2]


def _contours(roi: pydicom.Dataset, places: measure.Places) -> Mapping[int, Contours]:
    by: dict[int, list[measure.Points]] = {}
    for contour in roi.get("ContourSequence") or ():
        if contour.ContourGeometricType not in _CLOSED:
            continue
        points = np.array(contour.ContourData, np.float64).reshape(-1, 3)
        index = places.nearest(points)
        if index is not None:
            by.setdefault(index, []).append(places[index].pixels(points))
    return {index: tuple(lines) for index, lines in by.items()}


def filled(contours: Mapping[int, Contours], shape: tuple[int, int, int]) -> measure.Mask:
    """(slices, rows, columns): pixels whose centres lie inside; a contour inside another cuts a hole (C.8.8.6.3)."""
    mask = np.zeros(shape, np.bool_)
    for index, lines in contours.items():
        for line in lines:
            mask[index] ^= measure.inside("freehand", line, shape[1:])
    return mask
