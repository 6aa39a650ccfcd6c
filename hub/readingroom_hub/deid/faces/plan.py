"""Where to cut: one plane for each series of a head, found in its slices or in those of the same scan."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pydicom

from readingroom_hub.deid.faces import brain, geometry, quickshear, risk, volume
from readingroom_hub.deid.faces.geometry import Frame, Plane
from readingroom_hub.deid.faces.units import rescale
from readingroom_hub.deid.faces.volume import Grid, Unsuited
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


@dataclass(frozen=True, slots=True, order=True)
class Series:
    """Images of one series that lie in one system of coordinates."""

    patient: str
    study: str
    series: str
    frame_of_reference: str

    @property
    def scan(self) -> tuple[str, str, str]:
        """What series share that were taken of one patient in one position (PS3.3 C.7.4.1)."""
        return self.patient, self.study, self.frame_of_reference


@dataclass(frozen=True, slots=True)
class Faces:
    """What was found out about all series of heads in a batch."""

    planes: Mapping[Series, Plane] = field(default_factory=dict)
    doubts: Mapping[Series, str] = field(default_factory=dict)
    """Why there is no plane."""

    def plane(self, header: pydicom.Dataset) -> Plane:
        """Where to cut this object. Raises CannotDeidentify where nobody knows."""
        one = series(header)
        if found := self.planes.get(one):
            return found
        reason = self.doubts.get(one, "its series was not looked at")
        raise CannotDeidentify(f"a {_modality(header)} that may show a face, which cannot be cut out: {reason}")


NO_FACES = Faces()


def series(header: pydicom.Dataset) -> Series:
    """Which series an object belongs to."""
    keywords = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
    return Series(*(str(header.get(k) or "").strip(" \0") for k in keywords))


def wanted(header: pydicom.Dataset) -> Series | None:
    """The series, where a face has to be cut from it."""
    try:
        return series(header) if "Rows" in header and risk.to_cut(header) else None
    except CannotDeidentify:
        return None  # left out when its turn comes


def resolve(found: Mapping[Series, Plane | CannotDeidentify]) -> Faces:
    """Planes for all series: where the brain cannot be found in one, that of another of the same scan holds for it."""
    planes = {one: plane for one, plane in found.items() if isinstance(plane, Plane)}
    lent = {one.scan: planes[one] for one in sorted(planes, reverse=True) if one.frame_of_reference}
    doubts = {}
    for one, result in found.items():
        if isinstance(result, Plane):
            continue
        if isinstance(result, Unsuited) and one.scan in lent:
            planes[one] = lent[one.scan]
        else:
            doubts[one] = str(result)
    return Faces(planes, doubts)


def find(files: Iterable[Part10]) -> Plane:
    """The plane for the files of one series, one or more frames each. Raises CannotDeidentify, or its kind Unsuited."""
    slices: list[tuple[tuple[float, ...], list[tuple[Frame, Grid]]]] = []
    modality, doubt = "", "none of its images can be read"
    for file in files:
        modality = _modality(file.header)
        try:
            slices.append((_place(file.header), list(_frames(file))))
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


def _frames(file: Part10) -> Iterator[tuple[Frame, Grid]]:
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


def _modality(header: pydicom.Dataset) -> str:
    text = str(header.get("Modality") or "").strip()
    return text if text in {"CT", "MR", "PT"} else "volume"
