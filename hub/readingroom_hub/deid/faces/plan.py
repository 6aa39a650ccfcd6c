"""Where to cut: one plane for each series of a head, found in its slices or in those of the same scan."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import pydicom

from readingroom_hub.deid.faces import risk
from readingroom_hub.deid.faces.geometry import Plane, Unsuited
from readingroom_hub.deid.part10 import CannotDeidentify


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
        raise CannotDeidentify(f"a {modality_of(header)} that may show a face, which cannot be cut out: {reason}")

    def around(self, patient: str, frames_of_reference: set[str]) -> tuple[list[Plane], bool]:
        """All planes in these systems of coordinates, and whether there are heads in them that have none."""

        def there(one: Series) -> bool:
            return one.patient == patient and one.frame_of_reference in frames_of_reference

        return [plane for one, plane in self.planes.items() if there(one)], any(map(there, self.doubts))


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


def modality_of(header: pydicom.Dataset) -> str:
    """CT, MR or PT; `volume` for what else it says, which may be anybody's text."""
    text = str(header.get("Modality") or "").strip()
    return text if text in {"CT", "MR", "PT"} else "volume"
