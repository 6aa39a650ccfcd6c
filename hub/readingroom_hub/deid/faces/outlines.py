"""Segmentations and RT structures: an outline of the skin shows the face that was cut from the images below it."""

from collections.abc import Iterator

import numpy as np
import pydicom

from readingroom_hub.deid.faces import geometry
from readingroom_hub.deid.faces.geometry import Plane, Points
from readingroom_hub.deid.faces.plan import Faces
from readingroom_hub.deid.part10 import CannotDeidentify, Part10
from readingroom_hub.deid.pixels.stored import Stored

_DRAWN = frozenset({"SEG", "RTSTRUCT"})


def check(file: Part10, faces: Faces) -> None:
    """Raise CannotDeidentify where anything drawn lies beyond a plane at which the face of that scan was cut."""
    header = file.header
    if str(header.get("Modality") or "").strip() not in _DRAWN:
        return
    planes, doubtful = faces.around(str(header.get("PatientID") or "").strip(" \0"), set(_frames_of_reference(header)))
    if doubtful:
        raise CannotDeidentify("drawn on a head from which no face could be cut: it may outline the face")
    if not planes:
        return
    points = np.concatenate([np.empty((0, 3)), *_contours(header), *_surfaces(header)])
    if any((points @ np.asarray(p.normal) > p.offset).any() for p in planes) or _shows(file, planes):
        raise CannotDeidentify("it reaches into the face that was cut from the images it was drawn on")


def _frames_of_reference(header: pydicom.Dataset) -> Iterator[str]:
    for item in (header, *(header.get("ReferencedFrameOfReferenceSequence") or ())):
        if uid := str(item.get("FrameOfReferenceUID") or "").strip(" \0"):
            yield uid


def _contours(header: pydicom.Dataset) -> Iterator[Points]:
    """PS3.3 C.8.8.6: x, y, z of each point."""
    for roi in header.get("ROIContourSequence") or ():
        for contour in roi.get("ContourSequence") or ():
            yield np.array([float(v) for v in contour.get("ContourData") or ()]).reshape(-1, 3)


def _surfaces(header: pydicom.Dataset) -> Iterator[Points]:
    """PS3.3 C.27.1."""
    for surface in header.get("SurfaceSequence") or ():
        for item in surface.get("SurfacePointsSequence") or ():
            yield np.frombuffer(item.PointCoordinatesData, "<f4").reshape(-1, 3).astype(np.float64)


def _shows(file: Part10, planes: list[Plane]) -> bool:
    """Whether any frame has a pixel set beyond a plane."""
    header = file.header
    if not (file.pixels or "PixelData" in header):
        return False
    frames = geometry.frames(header)
    if int(header.BitsAllocated) == 1 and file.pixel_length is not None:
        value = header.PixelData if "PixelData" in header else file.pixels[len(file.pixels) - file.pixel_length :]
        shape = len(frames), frames[0].rows, frames[0].columns
        # PS3.5 8.1.1: packed from the least significant bit on, frames not padded to bytes.
        bits = np.unpackbits(np.frombuffer(value, np.uint8), bitorder="little")
        values = bits[: shape[0] * shape[1] * shape[2]].reshape(shape)
    else:
        values = Stored(file).values[..., 0]
    return any(
        bool(frame_values[frame.beyond(plane)].any())
        for frame, frame_values in zip(frames, values, strict=True)
        for plane in planes
    )
