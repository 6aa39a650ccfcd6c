import warnings

import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid
from tests.support.dicom_series import ct, phantom, write_series

import readingroom
from readingroom.errors import BadInput
from readingroom.viewers import SeriesView
from readingroom.viewers.overlay import Overlay, blended, labels_at, srgb
from readingroom.volume import Frames

ARRAY = phantom(6)
RED, BLUE = (255, 0, 0), (0, 0, 255)


def segmentation(files, masks, lab=None):
    """A binary SEG of `masks` (segment, file, rows, columns), one of its frames for each picture that has any."""
    import highdicom

    sources = [pydicom.dcmread(f) for f in files]
    described = [
        highdicom.seg.SegmentDescription(
            segment_number=n,
            segment_label=f"organ {n}",
            segmented_property_category=codes.SCT.Organ,
            segmented_property_type=codes.SCT.Liver,
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.MANUAL,
            display_color=lab,
        )
        for n in range(1, len(masks) + 1)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return highdicom.seg.Segmentation(
            source_images=sources,
            pixel_array=np.stack(masks, -1).astype(np.uint8),
            segmentation_type="BINARY",
            segment_descriptions=described,
            series_instance_uid=generate_uid(),
            series_number=9,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer="tests",
            manufacturer_model_name="tests",
            software_versions="1",
            device_serial_number="1",
        )


@pytest.fixture
def folder(tmp_path):
    more = {
        "FrameOfReferenceUID": "1.2.3.9", "PatientID": "p", "PatientName": "p", "PatientBirthDate": "",
        "PatientSex": "", "StudyDate": "", "StudyTime": "", "AccessionNumber": "", "ReferringPhysicianName": "",
        "StudyID": "", "SliceThickness": 2.5,
    }  # fmt: skip
    return write_series(tmp_path, "d", list(ct(ARRAY, **more)))


def test_a_segmentation_lies_on_the_pictures_that_it_was_drawn_on(folder, tmp_path):
    files = sorted(folder.iterdir(), key=lambda f: -pydicom.dcmread(f).InstanceNumber)
    masks = np.random.default_rng(3).random((2, 4, 64, 48)) > 0.5
    # The first four files are the last four slices, head first.
    seg = segmentation(files[:4], masks)
    seg.save_as(tmp_path / "seg.dcm")
    view = SeriesView(Frames.of_files(files, "d")).overlay(tmp_path / "seg.dcm")
    assert [one["name"] for one in view.overlays] == ["organ 1", "organ 2"]
    for k in range(6):
        for n in range(2):
            expected = masks[n][5 - k] if k >= 2 else np.zeros((64, 48), bool)
            np.testing.assert_array_equal(view._layers[n].mask[k], expected)


def test_a_segmentation_of_another_series_is_refused(folder, tmp_path):
    files = sorted(folder.iterdir())
    segmentation(files, np.ones((1, 6, 64, 48), bool)).save_as(tmp_path / "seg.dcm")
    other = write_series(tmp_path, "e", list(ct(ARRAY)))
    with pytest.raises(BadInput, match="another series"):
        SeriesView(Frames.of_files(sorted(other.iterdir()), "e")).overlay(tmp_path / "seg.dcm")
    with pytest.raises(BadInput, match=r"use series\.view"):
        readingroom.view(ARRAY).overlay(tmp_path / "seg.dcm")
    with pytest.raises(BadInput, match="no DICOM segmentation or structure set"):
        SeriesView(Frames.of_files(files, "d")).overlay(files[0])


def test_colours_are_mixed_and_rounded_half_up():
    grey = np.array([[100, 101, 7]], np.uint8)
    layers = [
        Overlay("a", np.array([[[1, 1, 0]]], bool), RED, 0.5),
        Overlay("b", np.array([[[0, 1, 0]]], bool), BLUE, 1.0),
    ]
    labels = labels_at(layers, 0)
    # The last one lies on top.
    assert labels.tolist() == [[1, 2, 0]]
    assert blended(grey, labels, layers).tolist() == [[[178, 50, 50], [0, 0, 255], [7, 7, 7]]]


def test_recommended_colours_are_known_ones():
    assert srgb(100, 0, 0) == (255, 255, 255)
    assert srgb(0, 0, 0) == (0, 0, 0)
    # CIELab with D50 white of sRGB's primaries.
    for lab, rgb in [((54.29, 80.81, 69.89), RED), ((29.57, 68.30, -112.03), BLUE)]:
        np.testing.assert_allclose(srgb(*lab), rgb, atol=2)


def test_masks_travel_with_the_pictures_until_they_are_taken_away():
    class Spy(SeriesView):
        def send(self, content, buffers=None):
            self.sent = buffers

    mask = ARRAY > 0
    view = Spy(ARRAY).overlay(mask, name="high", colour=RED)
    view._answer(view, {"k": "get", "z": [2], "n": "a"}, [])
    np.testing.assert_array_equal(np.frombuffer(view.sent[1], np.uint8).reshape(64, 48), mask[2])
    assert view.overlays == [{"name": "high", "colour": [255, 0, 0], "opacity": 0.4, "slice": 5}]
    assert view.grey().shape == (64, 48, 3)
    assert view.snapshot().startswith(b"\x89PNG")
    view.clear_overlays()
    view._answer(view, {"k": "get", "z": [2], "n": "b"}, [])
    assert len(view.sent) == 1
    assert view.overlays == []


@pytest.mark.parametrize(
    ("mask", "options"),
    [(np.zeros((6, 64, 47)), {}), (np.zeros((64, 48)), {}), (ARRAY, {"opacity": 2}), (ARRAY, {"colour": (0, 0, 256)})],
)
def test_what_is_no_mask_is_refused(mask, options):
    with pytest.raises(BadInput):
        readingroom.view(ARRAY).overlay(mask, **options)
