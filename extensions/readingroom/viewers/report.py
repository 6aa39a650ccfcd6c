"""Annotations to and from a DICOM measurement report: Comprehensive 3D SR by TID 1500, with highdicom."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from readingroom.errors import BadInput
from readingroom.files import reading
from readingroom.planes import Plane
from readingroom.viewers import measure

_MM = Code("mm", "UCUM", "millimeter")
_MM2 = Code("mm2", "UCUM", "square millimeter")
_DEGREE = Code("deg", "UCUM", "degree")
_ANGLE = Code("1483009", "SCT", "Angle")
_LENGTH = Code("410668003", "SCT", "Length")
_AREA = Code("42798000", "SCT", "Area")
# Quantities and their units by the unit that this package writes (CID 7181, CID 85).
_QUANTITIES: Mapping[str, tuple[Code, Code]] = {
    "HU": (Code("112031", "DCM", "Attenuation Coefficient"), Code("[hnsf'U]", "UCUM", "Hounsfield unit")),
    "GML": (Code("126400", "DCM", "Standardized Uptake Value"), Code("g/ml", "UCUM", "g/ml")),
    # There is no standard code for a concentration of activity.
    "BQML": (Code("activity", "99READINGROOM", "Activity"), Code("Bq/ml", "UCUM", "Becquerels/milliliter")),
}
_NO_QUANTITY = (Code("pixel-value", "99READINGROOM", "Pixel value"), Code("1", "UCUM", "no units"))
_DERIVATIONS = {
    "mean": Code("373098007", "SCT", "Mean"),
    "sd": Code("386136009", "SCT", "Standard Deviation"),
    "min": Code("255605001", "SCT", "Minimum"),
    "median": Code("373099004", "SCT", "Median"),
    "max": Code("56851009", "SCT", "Maximum"),
}
# What a report's patient and study need, empty where de-identification has taken it away.
_NEEDED = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber",
    "StudyID", "ReferringPhysicianName",
)  # fmt: skip


def report(rows: Sequence[tuple[dict[str, Any], dict[str, Any]]], planes: Sequence[Plane], reference: str) -> Any:
    """A Comprehensive 3D SR of (annotation, measurement) pairs. `reference`: the Frame of Reference UID.

    Raises BadInput, AccessEnded, Damaged, NotFound."""
    from highdicom import sr

    if not rows:
        raise BadInput("There is nothing to report: this view has no annotations.")
    if not reference:
        raise BadInput(
            "A report keeps points in the patient's coordinates: this series has no Frame of Reference UID (0020,0052)."
        )
    seen = sorted({found["slice"] for _, found in rows if found["slice"] is not None}) or [0]
    evidence = [_header(planes[i]) for i in seen]
    observer = sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=sr.DeviceObserverIdentifyingAttributes(uid=generate_uid(), name="Reading Room"),
    )
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=codes.LN.CTUnspecifiedBodyRegion if evidence[0].Modality == "CT" else _IMAGING,
        imaging_measurements=[_group(one, found, reference) for one, found in rows],
        title=codes.DCM.ImagingMeasurementReport,
    )
    return sr.Comprehensive3DSR(
        evidence=evidence,
        content=content,
        series_number=1,
        series_instance_uid=generate_uid(),
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="Reading Room",
        is_complete=True,
    )


_IMAGING = Code("363679005", "SCT", "Imaging procedure")


def _header(plane: Plane) -> pydicom.Dataset:
    with reading(plane.path, plane.dataset):
        found = pydicom.dcmread(plane.path, stop_before_pixels=True)
    for keyword in _NEEDED:
        if keyword not in found:
            setattr(found, keyword, "")
    return found


def _group(one: dict[str, Any], found: dict[str, Any], reference: str) -> Any:
    from highdicom import sr

    kind, points = one["kind"], np.array(one["points"])
    tracking = sr.TrackingIdentifier(uid=generate_uid(), identifier=one["label"] or kind)
    if kind not in measure.AREAS:
        name, unit = (_LENGTH, _MM) if kind == "length" else (_ANGLE, _DEGREE)
        at = sr.CoordinatesForMeasurement3D("POLYLINE", points, reference)
        size = sr.Measurement(name=name, value=found["size"], unit=unit, referenced_coordinates=[at])
        return sr.MeasurementsAndQualitativeEvaluations(tracking_identifier=tracking, measurements=[size])
    shape, data = ("ELLIPSE", points) if kind == "ellipse" else ("POLYGON", np.concatenate([points, points[:1]]))
    quantity, unit = _QUANTITIES.get(found["unit"], _NO_QUANTITY)
    values = [
        sr.Measurement(name=quantity, value=found[name], unit=unit, derivation=code)
        for name, code in _DERIVATIONS.items()
        if name in found
    ]
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=tracking,
        referenced_region=sr.ImageRegion3D(shape, data, reference),
        measurements=[sr.Measurement(name=_AREA, value=found["size"], unit=_MM2), *values],
    )


def annotations_of(path: Path, dataset: str, reference: str) -> list[dict[str, Any]]:
    """The annotations of a measurement report, from this package or another's, of the same patient coordinates.

    Raises BadInput for anything else, AccessEnded, Damaged, NotFound."""
    from highdicom import sr

    with reading(path, dataset):
        try:
            found = pydicom.dcmread(path)
        except pydicom.errors.InvalidDicomError as error:
            raise BadInput(f"{path.name} is no DICOM file.") from error
    try:
        content = sr.Comprehensive3DSR.from_dataset(found).content
    except (ValueError, AttributeError, TypeError, KeyError, IndexError) as error:
        raise BadInput(f"{path.name} is no Comprehensive 3D SR that can be read: {error}") from error
    if not isinstance(content, sr.MeasurementReport):
        raise BadInput(f"{path.name} is no measurement report (TID 1500).")
    made = _shapes(content)
    if not made:
        raise BadInput(f"{path.name} holds no lengths, angles or areas in the patient's coordinates (SCOORD3D).")
    if {str(at.frame_of_reference_uid) for _, at, _ in made} != {reference}:
        raise BadInput(
            f"{path.name} was drawn in other patient coordinates: its Frame of Reference UID is another one."
        )
    kinds = {2: "length", 3: "angle", 4: "cobb"}
    items = []
    for kind, at, name in made:
        points = at.value.tolist()
        points = points[:-1] if kind in {"rectangle", "freehand"} else points
        found_kind = kind or kinds.get(len(points), "")
        items.append({"kind": found_kind, "points": points, "label": "" if name == found_kind else str(name or "")})
    return measure.cleaned(items)


def _shapes(content: Any) -> list[tuple[str, Any, str | None]]:
    """(kind, coordinates, name) of each shape; no kind for lines, which their number of points tells apart."""
    from highdicom import sr

    made: list[tuple[str, Any, str | None]] = [
        (_area_kind(found.roi), found.roi, found.tracking_identifier)
        for found in content.get_planar_roi_measurement_groups()
        if isinstance(found.roi, sr.ImageRegion3D)
    ]
    for group in content.get_image_measurement_groups():
        for value in group.get_measurements():
            made += [("", at, group.tracking_identifier) for at in _coordinates(value)]
    return made


def _coordinates(value: Any) -> list[Any]:
    from highdicom import sr

    items = value.get("ContentSequence") if isinstance(value, pydicom.Dataset) else value[0].get("ContentSequence")
    return [item for item in items or () if isinstance(item, sr.Scoord3DContentItem)]


def _area_kind(region: Any) -> str:
    if region.graphic_type.value == "ELLIPSE":
        return "ellipse"
    corners = region.value
    # Four corners whose diagonals halve each other and are of one length.
    if len(corners) == 5 and np.allclose(corners[0] + corners[2], corners[1] + corners[3], atol=1e-3):
        across, along = corners[2] - corners[0], corners[3] - corners[1]
        if np.isclose(np.linalg.norm(across), np.linalg.norm(along), atol=1e-3):
            return "rectangle"
    return "freehand"
