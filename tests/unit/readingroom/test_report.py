"""Measurement reports: what goes out comes back, and other programs can read it."""

import highdicom
import numpy as np
import pydicom
import pytest
from tests.support.dicom_series import ct, write_series

import readingroom
from readingroom.errors import BadInput
from readingroom.viewers import SeriesView
from readingroom.volume import Frames

PIXELS = np.full((4, 40, 40), 40, np.int16)
DRAWN = {
    "length": [[4, 2], [20, 10]],
    "angle": [[10, 13], [10, 10], [14.5, 13]],
    "cobb": [[10, 0], [10, 20], [20, 0], [24.5, 3]],
    "ellipse": [[5, 5], [15, 25]],
    "rectangle": [[9.5, 9.5], [19.5, 19.5]],
    "freehand": [[9, 9], [9, 19], [19, 19], [19, 14]],
}


def view_of(folder, name, **elements):
    found = write_series(folder, name, list(ct(PIXELS, **elements)))
    return SeriesView(Frames.of_files(sorted(found.iterdir()), name))


@pytest.fixture
def view(tmp_path):
    made = view_of(tmp_path, "d", FrameOfReferenceUID="1.2.3.9")
    for kind, points in DRAWN.items():
        made._answer(made, {"k": "draw", "kind": kind, "z": 2, "points": points}, [])
    made.annotations = [{**one, "label": "tumour"} if one["kind"] == "ellipse" else one for one in made.annotations]
    return made


def test_a_report_brings_back_what_was_drawn(view, tmp_path):
    view.report().save_as(tmp_path / "sr.dcm")
    again = SeriesView(view._pictures.frames)
    again.read_report(tmp_path / "sr.dcm")
    order = {one["kind"]: one for one in again.annotations}
    assert set(order) == set(DRAWN)
    for one in view.annotations:
        # SCOORD3D holds 32 bits.
        np.testing.assert_allclose(order[one["kind"]]["points"], one["points"], atol=1e-5)
        assert order[one["kind"]]["label"] == one["label"]
    # Reading it twice adds nothing.
    again.read_report(tmp_path / "sr.dcm")
    assert len(again.annotations) == 6


def test_other_programs_find_codes_units_and_sources(view, tmp_path):
    view.report().save_as(tmp_path / "sr.dcm")
    found = pydicom.dcmread(tmp_path / "sr.dcm")
    assert found.SOPClassUID == "1.2.840.10008.5.1.4.1.1.88.34"
    assert found.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    referred = found.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert [one.ReferencedSOPInstanceUID for one in referred] == [view._pictures.frames.planes[2].instance]
    content = highdicom.sr.Comprehensive3DSR.from_dataset(found).content
    (rectangle,) = [
        group for group in content.get_planar_roi_measurement_groups() if group.tracking_identifier == "rectangle"
    ]
    values = {m.name.meaning: (m.value, m.unit.value) for m in rectangle.get_measurements() if not m.derivation}
    assert values == {"Area": (37.5, "mm2")}
    assert {(m.derivation.meaning, m.value, m.unit.value) for m in rectangle.get_measurements() if m.derivation} == {
        ("Mean", 40, "[hnsf'U]"), ("Standard Deviation", 0, "[hnsf'U]"), ("Minimum", 40, "[hnsf'U]"),
        ("Median", 40, "[hnsf'U]"), ("Maximum", 40, "[hnsf'U]"),
    }  # fmt: skip
    sizes = [m for group in content.get_image_measurement_groups() for m in group.get_measurements()]
    assert [(m.name.meaning, round(m.value, 6), m.unit.value) for m in sizes] == [
        ("Length", 10, "mm"), ("Angle", 45, "deg"), ("Angle", 45, "deg"),
    ]  # fmt: skip


def test_a_report_of_other_coordinates_is_refused(view, tmp_path):
    view.report().save_as(tmp_path / "sr.dcm")
    with pytest.raises(BadInput, match="drawn elsewhere"):
        view_of(tmp_path, "e", FrameOfReferenceUID="1.2.3.10").read_report(tmp_path / "sr.dcm")


def test_what_cannot_be_reported_says_why(view, tmp_path):
    with pytest.raises(BadInput, match=r"use series\.view"):
        readingroom.view(PIXELS).report()
    with pytest.raises(BadInput, match="nothing to report"):
        view_of(tmp_path, "e", FrameOfReferenceUID="1.2").report()
    placeless = view_of(tmp_path, "f")
    placeless.annotations = view.annotations
    with pytest.raises(BadInput, match="no Frame of Reference UID"):
        placeless.report()


def test_what_is_no_report_is_refused(view, tmp_path):
    with pytest.raises(BadInput, match="no Enhanced, Comprehensive"):
        view.read_report(view._pictures.frames.planes[0].path)
    (tmp_path / "a.dcm").write_bytes(b"not DICOM")
    with pytest.raises(BadInput, match="no DICOM file"):
        view.read_report(tmp_path / "a.dcm")


def other_programs_report(view, places):
    """A Comprehensive SR as other programs write it: in pixels of the third slice."""
    from highdicom import sr
    from pydicom.sr.codedict import codes

    header = pydicom.dcmread(view._pictures.frames.planes[2].path, stop_before_pixels=True)
    for keyword in ("PatientName", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber"):
        setattr(header, keyword, "")
    header.PatientID = header.StudyID = "p"
    header.ReferringPhysicianName = ""
    source = (header.SOPClassUID, header.SOPInstanceUID)
    image = sr.SourceImageForRegion(*source)
    line = sr.Measurement(
        name=codes.SCT.Length, value=1, unit=codes.UCUM.Millimeter,
        referenced_coordinates=[
            sr.CoordinatesForMeasurement("POLYLINE", np.array([[2.5, 4.5], [10.5, 20.5]]), image)
        ],
    )  # fmt: skip
    groups = [
        sr.PlanarROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=sr.TrackingIdentifier(uid=f"1.2.{n}", identifier=f"lesion {n}"),
            referenced_region=sr.ImageRegion(kind, np.array(points), image),
        )
        for n, (kind, points) in enumerate(places)
    ]
    groups.append(
        sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=sr.TrackingIdentifier(uid="1.2.9", identifier="axis"), measurements=[line]
        )
    )
    device = sr.DeviceObserverIdentifyingAttributes(uid="1.2.3", name="other")
    content = sr.MeasurementReport(
        observation_context=sr.ObservationContext(
            observer_device_context=sr.ObserverContext(codes.DCM.Device, device)
        ),
        procedure_reported=codes.LN.CTUnspecifiedBodyRegion, imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )  # fmt: skip
    return sr.ComprehensiveSR(
        evidence=[header], content=content[0], series_instance_uid="1.2.3.4", series_number=1,
        sop_instance_uid="1.2.3.5", instance_number=1, manufacturer="other",
    )  # fmt: skip


def test_reports_in_pixels_of_these_images_are_read(view, tmp_path):
    square = [[10.0, 10.0], [20.0, 10.0], [20.0, 20.0], [10.0, 20.0], [10.0, 10.0]]
    shapes = [("POLYLINE", square), ("CIRCLE", [[20.0, 20.0], [20.0, 24.0]])]
    other_programs_report(view, shapes).save_as(tmp_path / "sr.dcm")
    again = SeriesView(view._pictures.frames)
    again.read_report(tmp_path / "sr.dcm")
    found = again.measurements().set_index("kind")
    # From the corner of the first pixel: ten rows of 0.5 mm, ten columns of 0.75 mm, in the third slice.
    assert found.loc["rectangle", ["label", "slice", "n", "area_mm2"]].tolist() == ["lesion 0", 2, 100, 37.5]
    assert found.loc["ellipse", "area_mm2"] == pytest.approx(np.pi * 4 * 0.75 * 4 * 0.5)
    assert found.loc["length", "length_mm"] == pytest.approx(10)
    elsewhere = view_of(tmp_path, "e", FrameOfReferenceUID="1.2.3.9")
    with pytest.raises(BadInput, match="on other images"):
        elsewhere.read_report(tmp_path / "sr.dcm")
