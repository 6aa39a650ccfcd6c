"""RT structure sets and other kinds of segmentations: registered to the pixel, with their own names and colours."""

import numpy as np
import pydicom
import pytest
import traitlets
from tests.support.dicom_series import ct, phantom, write_series
from tests.support.structures import box, structure_set

import readingroom
from readingroom.errors import BadInput
from readingroom.viewers import SeriesView
from readingroom.viewers.overlay import Overlay, blended, edges, labels_at, outlined, weights_at
from readingroom.volume import Frames

ARRAY = phantom(6)
REFERENCE = "1.2.3.9"


@pytest.fixture
def view(tmp_path):
    folder = write_series(tmp_path, "d", list(ct(ARRAY, FrameOfReferenceUID=REFERENCE)))
    return SeriesView(Frames.of_files(sorted(folder.iterdir()), "d"))


def laid(view, folder, *structures, reference=REFERENCE):
    structure_set(structures, reference).save_as(folder / "rt.dcm", enforce_file_format=True)
    return view.overlay(folder / "rt.dcm")


def test_contours_lie_on_their_pixels(view, tmp_path):
    # Slices lie at z = 100 + 2.5 k.
    laid(
        view, tmp_path,
        ("lung", (10, 200, 30), [box(10, 5, 30, 25, 105.0), box(12, 8, 16, 20, 107.5)]),
        ("ring", None, [box(4, 4, 24, 24, 110.0), box(8, 8, 20, 20, 110.0)]),
    )  # fmt: skip
    expected = np.zeros(ARRAY.shape, bool)
    expected[2, 10:30, 5:25] = expected[3, 12:16, 8:20] = True
    np.testing.assert_array_equal(view.mask("lung"), expected)
    # A contour inside another is a hole.
    ring = np.zeros(ARRAY.shape, bool)
    ring[4, 4:24, 4:24] = True
    ring[4, 8:20, 8:20] = False
    np.testing.assert_array_equal(view.mask("ring"), ring)
    assert [(o["name"], o["colour"], o["slice"]) for o in view.overlays] == [
        ("lung", [10, 200, 30], 2), ("ring", [86, 180, 233], 4),
    ]  # fmt: skip
    np.testing.assert_allclose(view._contours(2)[0][1], [[9.5, 4.5], [9.5, 24.5], [29.5, 24.5], [29.5, 4.5]])
    assert view._contours(0) == []
    view.index = 2
    plain = SeriesView(view._pictures.frames, index=2).snapshot()
    assert view.snapshot() != plain


def test_contours_travel_with_their_picture(view, tmp_path, monkeypatch):
    laid(view, tmp_path, ("lung", (10, 200, 30), [box(10, 5, 30, 25, 105.0)]))
    sent = []
    monkeypatch.setattr(view, "send", lambda content, buffers=None: sent.append((content, buffers)))
    view._answer(view, {"k": "get", "z": [2, 3], "n": "a"}, [])
    ((answer, buffers),) = sent
    with_lines, without = answer["slices"]
    assert with_lines["contours"] == [[1, [[9.5, 4.5], [9.5, 24.5], [29.5, 24.5], [29.5, 4.5]]]]
    assert "contours" not in without
    assert len(buffers) == 2


def test_a_structure_set_of_other_images_is_refused(view, tmp_path):
    lung = ("lung", None, [box(10, 5, 30, 25, 105.0)])
    with pytest.raises(BadInput, match="drawn on other images"):
        laid(view, tmp_path, lung, reference="1.2.3.10")
    with pytest.raises(BadInput, match="drawn on other images"):
        laid(view, tmp_path, ("lung", None, [box(10, 5, 30, 25, 140.0)]))
    with pytest.raises(BadInput, match=r"use series\.view"):
        laid(readingroom.view(ARRAY), tmp_path, lung)
    broken = structure_set([lung], REFERENCE)
    broken.ROIContourSequence[0].ContourSequence[0].ContourData = ["1", "2"]
    broken.save_as(tmp_path / "rt.dcm", enforce_file_format=True)
    with pytest.raises(BadInput, match="could not be understood"):
        view.overlay(tmp_path / "rt.dcm")
    (tmp_path / "rt.dcm").write_bytes(b"x")
    with pytest.raises(BadInput, match="no DICOM file"):
        view.overlay(tmp_path / "rt.dcm")


def test_one_jumps_to_the_slice_with_the_most_of_it(view, tmp_path):
    small, large = box(10, 5, 12, 7, 105.0), box(10, 5, 30, 25, 110.0)
    laid(view, tmp_path, ("lung", None, [small, large]), ("nothing", None, []))
    mask = np.zeros(ARRAY.shape, bool)
    mask[1, :2] = mask[5, :9] = True
    view.overlay(mask, "high")
    view.jump("lung")
    assert view.index == 4
    view.jump("high")
    assert view.index == 5
    with pytest.raises(BadInput, match="is empty"):
        view.jump("nothing")
    with pytest.raises(BadInput, match="there are: 'lung', 'nothing', 'high'"):
        view.jump("liver")


@pytest.mark.parametrize("kind", ["FRACTIONAL", "LABELMAP"])
def test_fractions_and_label_maps_lie_on_their_pictures(tmp_path, kind):
    import highdicom
    from pydicom.sr.codedict import codes

    more = dict.fromkeys(
        ["PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName",
         "StudyID", "PatientName"], "",
    )  # fmt: skip
    folder = write_series(
        tmp_path, "d", list(ct(ARRAY, FrameOfReferenceUID=REFERENCE, PatientID="p", SliceThickness=2.5, **more))
    )
    frames = Frames.of_files(sorted(folder.iterdir()), "d")
    fractions = np.zeros((6, 64, 48))
    fractions[2, 5:9, 7:30] = 0.2
    fractions[2, 9:12, 7:30] = 1.0
    described = highdicom.seg.SegmentDescription(
        segment_number=1, segment_label="lesion", segmented_property_category=codes.SCT.Organ,
        segmented_property_type=codes.SCT.Liver, algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.MANUAL,
        display_color=highdicom.color.CIELabColor(54.29, 80.81, 69.89),
    )  # fmt: skip
    seg = highdicom.seg.Segmentation(
        source_images=[pydicom.dcmread(p.path) for p in frames.planes],
        pixel_array=fractions if kind == "FRACTIONAL" else (fractions > 0).astype(np.uint8),
        segmentation_type=kind, segment_descriptions=[described], series_instance_uid="1.2.3.4", series_number=9,
        sop_instance_uid="1.2.3.5", instance_number=1, manufacturer="tests", manufacturer_model_name="tests",
        software_versions="1", device_serial_number="1", max_fractional_value=200,
    )  # fmt: skip
    seg.save_as(tmp_path / "seg.dcm")
    view = SeriesView(frames).overlay(tmp_path / "seg.dcm", opacity=0.5)
    np.testing.assert_array_equal(view.mask("lesion"), fractions > 0)
    # PCS-Values are CIELab of a D50 white (PS3.3 C.10.7.1.1): these are red.
    np.testing.assert_allclose(view.overlays[0]["colour"], [255, 0, 0], atol=2)
    (layer,) = view._layers
    if kind == "FRACTIONAL":
        np.testing.assert_array_equal(layer.weights, np.floor(fractions * 255 + 0.5))
    else:
        assert layer.weights is None


def test_a_fraction_shows_that_share_of_its_opacity():
    weights = np.array([[[0, 51, 255]]], np.uint8)
    layers = [Overlay("a", weights > 0, (200, 0, 100), 0.5, weights)]
    labels = labels_at(layers, 0)
    grey = np.full((1, 3), 100, np.uint8)
    mixed = blended(grey, labels, layers, weights_at(layers, labels, 0))
    assert mixed.tolist() == [[[100, 100, 100], [110, 90, 100], [150, 50, 100]]]


def test_an_outline_is_what_touches_something_else():
    labels = np.zeros((6, 6), np.uint8)
    labels[1:5, 1:5] = 1
    labels[2:5, 4:6] = 2
    assert edges(labels).tolist() == [
        [0, 0, 0, 0, 0, 0],
        [0, 1, 1, 1, 1, 0],
        [0, 1, 0, 1, 2, 2],
        [0, 1, 0, 1, 2, 2],
        [0, 1, 1, 1, 2, 2],
        [0, 0, 0, 0, 0, 0],
    ]
    layers = [Overlay(n, labels == i, (i, 0, 0), 0.4) for i, n in ((1, "a"), (2, "b"))]
    shown = outlined(np.full((6, 6), 9, np.uint8), labels, layers)
    assert shown[2, 2].tolist() == [9, 9, 9]
    assert shown[1, 1].tolist() == [1, 0, 0]


def test_outline_is_a_switch(view):
    view.overlay(ARRAY > 100, "high", (255, 0, 0))
    before = view.grey()
    view.outline = True
    assert (view.grey() != before).any()
    with pytest.raises(traitlets.TraitError):
        view.outline = "yes"
