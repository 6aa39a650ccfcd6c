"""A look at the slices of one series: where its brain is, and so where to cut its face."""

from collections.abc import Iterable, Iterator

import numpy as np
import pydicom

from readingroom_hub.deid.faces import brain, geometry, quickshear, volume
from readingroom_hub.deid.faces.geometry import Frame, Plane, Unsuited
from readingroom_hub.deid.faces.plan import modality_of
from readingroom_hub.deid.faces.units import rescale
from readingroom_hub.deid.faces.volume import Grid
from readingroom_hub.deid.part10 import CannotDeidentify, Part10
from readingroom_hub.deid.pixels.stored import Stored, meant

_CT_RANGE = (-300.0, 300.0)
# What tells apart volumes that were taken at the same places: the first of each place counts.
_ORDER = (
    "EchoNumbers",
    "EchoTime",
    "TemporalPositionIdentifier",
    "DiffusionBValue",
    "AcquisitionNumber",
    "InstanceNumber",
)


def find(files: Iterable[Part10]) -> Plane:
    """The plane for the files of one series, one or more frames each. Raises CannotDeidentify, or its kind Unsuited."""
    slices: list[tuple[tuple[float, ...], list[tuple[Frame, Grid]]]] = []
    modality, doubt = "", "none of its images can be read"
    for file in files:
        modality = modality_of(file.header)
        try:
            slices.append((_place(file.header), list(slices_of(file))))
        except CannotDeidentify as error:
            doubt = str(error)  # left out itself, when its turn comes
    stack = [one for _, frames in sorted(slices, key=lambda s: s[0]) for one in frames]
    if not stack:
        raise Unsuited(doubt)
    if modality not in {"CT", "MR"}:
        raise Unsuited(f"the brain cannot be found in {modality}")
    made = volume.build(stack)
    found = brain.find(made, modality)
    low, high = np.percentile(made.values[made.seen], (2, 98))
    held = quickshear.pose(found, made, _CT_RANGE if modality == "CT" else (float(low), float(high)))
    plane = quickshear.shear(found, held)
    quickshear.check(plane, found, held, made)
    return plane


def slices_of(file: Part10) -> Iterator[tuple[Frame, Grid]]:
    """The frames of one object, shrunk, in what they measure. Raises CannotDeidentify."""
    header = file.header
    frames = geometry.frames(header)
    stored = Stored(file)
    if stored.samples != 1 or stored.photometric != "MONOCHROME2" or stored.frames != len(frames):
        raise Unsuited("it has images that are no plain grey ones")
    for number, frame in enumerate(frames):
        slope, intercept = rescale(header, number)
        values = meant(stored.values[number, :, :, 0], header) * slope + intercept
        yield volume.shrink(frame, values.astype(np.float32))


def _place(header: pydicom.Dataset) -> tuple[float, ...]:
    numbers = []
    for keyword in _ORDER:
        try:
            numbers.append(float(str(header.get(keyword) or 0)))
        except ValueError:
            numbers.append(0.0)
    return tuple(numbers)
