"""Annotations to and from a DICOM measurement report: Comprehensive 3D SR by TID 1500, with highdicom."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from readingroom.errors import BadInput
from readingroom.objects import UNREADABLE, object_given, read_object
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
    evidence = [header(planes[i]) for i in seen]
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


def header(plane: Plane) -> pydicom.Dataset:
    """All of a file's header, with empty values for what reports need of patient and study and de-identification took.

    Raises AccessEnded, Damaged, NotFound."""
    found = read_object(plane.path, plane.dataset, pixels=False)
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


Locate = Callable[[str, int], measure.Place | None]
"""The place of a picture by SOP Instance UID and frame (from 0); None where it is not in the view."""


def annotations_of(path: Path, dataset: str, reference: str, locate: Locate) -> list[dict[str, Any]]:
    """The annotations of a measurement report, this package's or another's: points in patient coordinates (SCOORD3D) of
    the same Frame of Reference UID, or in pixels (SCOORD) of pictures that `locate` finds.

    Raises BadInput for anything else, AccessEnded, Damaged, NotFound."""
    from highdicom import sr

    kinds: dict[str, Any] = {
        "1.2.840.10008.5.1.4.1.1.88.22": sr.EnhancedSR,
        "1.2.840.10008.5.1.4.1.1.88.33": sr.ComprehensiveSR,
        "1.2.840.10008.5.1.4.1.1.88.34": sr.Comprehensive3DSR,
    }
    found = object_given(path, dataset)
    if found.get("SOPClassUID") not in kinds:
        raise BadInput(f"{path.name} is no Enhanced, Comprehensive or Comprehensive 3D SR.")
    try:
        content = kinds[found.SOPClassUID].from_dataset(found).content
        if not isinstance(content, sr.MeasurementReport):
            raise BadInput(f"{path.name} is no measurement report (TID 1500).")
        shapes = _shapes(content)
        made = [one for item, name in shapes if (one := _annotation(item, name, reference, locate))]
    except UNREADABLE as error:
        raise BadInput(f"{path.name} could not be understood: {error}") from error
    if not shapes:
        raise BadInput(f"{path.name} holds no lengths, angles or areas.")
    if not made:
        raise BadInput(f"{path.name} was drawn elsewhere: with another Frame of Reference UID, or on other images.")
    return measure.cleaned(made)


def _shapes(content: Any) -> list[tuple[Any, str]]:
    """The coordinates of each shape, and its name."""
    made = [
        (found.roi, found.tracking_identifier or "")
        for found in content.get_planar_roi_measurement_groups()
        if found.roi is not None
    ]
    for group in content.get_image_measurement_groups():
        for value in group.get_measurements():
            items = value[0].get("ContentSequence") or ()
            drawn = [item for item in items if item.ValueType in {"SCOORD", "SCOORD3D"}]
            made += [(item, group.tracking_identifier or "") for item in drawn]
    return made


def _annotation(item: Any, name: str, reference: str, locate: Locate) -> dict[str, Any] | None:
    """None for what lies elsewhere, or is no shape that a view can measure."""
    points = np.asarray(item.value, np.float64)
    graphic = item.graphic_type.value
    if item.ValueType == "SCOORD3D":
        if str(item.frame_of_reference_uid) != reference:
            return None
    else:
        image = item.ContentSequence[0].ReferencedSOPSequence[0]
        frames = image.get("ReferencedFrameNumber") or 1
        first = frames if isinstance(frames, int) else frames[0]
        place = locate(str(image.ReferencedSOPInstanceUID), int(first) - 1)
        if place is None:
            return None
        if graphic == "CIRCLE":
            radius = float(np.linalg.norm(points[1] - points[0]))
            points = points[0] + radius * np.array([(-1, 0), (1, 0), (0, -1), (0, 1)])
            graphic = "ELLIPSE"
        # Column and row, from the corner of the first pixel; its centre is at 0.5 (PS3.3 C.18.6).
        points = place.points(points[:, ::-1] - 0.5)
    if graphic == "ELLIPSE":
        kind = "ellipse"
    elif len(points) > 3 and np.allclose(points[0], points[-1], atol=1e-4):
        points = points[:-1]
        kind = "rectangle" if _right_angled(points) else "freehand"
    else:
        kind = {2: "length", 3: "angle", 4: "cobb"}.get(len(points), "")
        if graphic != "POLYLINE" or not kind:
            return None
    return {"kind": kind, "points": points.tolist(), "label": "" if name == kind else name}


def _right_angled(corners: measure.Points) -> bool:
    """Whether they are four whose diagonals halve each other and are of one length."""
    if len(corners) != 4 or not np.allclose(corners[0] + corners[2], corners[1] + corners[3], atol=1e-3):
        return False
    across, along = corners[2] - corners[0], corners[3] - corners[1]
    return bool(np.isclose(np.linalg.norm(across), np.linalg.norm(along), atol=1e-3))
