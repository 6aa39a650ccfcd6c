import itertools

import highdicom
import numpy as np
import pydicom
import pytest
import traitlets
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from tests.support.dicom_series import ct, instance, phantom, write_series

import readingroom
from readingroom.errors import BadInput
from readingroom.viewers import SeriesView
from readingroom.viewers.brush import PaintedMasks, Stroke, stamp
from readingroom.viewers.overlay import srgb
from readingroom.viewers.segmentation import cielab
from readingroom.volume import Frames

ARRAY = phantom(6)
PERSON = {"FrameOfReferenceUID": "1.2.3.9", "PatientID": "p"}
coordinate = st.floats(-10, 60, allow_nan=False)


class Spy(SeriesView):
    def send(self, content, buffers=None):
        self.__dict__.setdefault("sent", []).append((content, buffers))


@pytest.fixture
def view(tmp_path):
    folder = write_series(tmp_path, "d", list(ct(ARRAY, **PERSON)))
    return Spy(Frames.of_files(sorted(folder.iterdir()), "d"))


def painted(view, z, *points, radius=2.0, **more):
    content = {"k": "brush", "what": "stroke", "name": view.brush_name, "z": z, "radius": radius, "erase": False}
    view._answer(view, content | {"points": [list(p) for p in points]} | more, [])
    return view.sent[-1][0]


@settings(max_examples=40, deadline=None)
@given(
    points=st.lists(st.tuples(coordinate, coordinate), min_size=1, max_size=4),
    radius=st.floats(0.1, 20),
    spacing=st.tuples(st.sampled_from([0.5, 1.0, 2.5]), st.sampled_from([0.5, 1.0, 2.5])),
)
def test_a_stroke_covers_what_is_near_to_its_line(points, radius, spacing):
    mask = np.zeros((40, 50), bool)
    stamp(mask, Stroke(0, tuple(points), radius, erase=False), spacing)
    # Far simpler: the least distance to many points along the line, which is never less than the true one.
    line = np.array([*points, points[-1]])
    dense = np.concatenate([a + (b - a) * np.linspace(0, 1, 200)[:, None] for a, b in itertools.pairwise(line)])
    centres = np.stack(np.meshgrid(np.arange(40), np.arange(50), indexing="ij"), -1).reshape(-1, 1, 2)
    distances = np.sqrt((((centres - dense) * spacing) ** 2).sum(-1)).min(1).reshape(40, 50)
    coarse = np.linalg.norm(np.diff(line, axis=0) * spacing, axis=1).max(initial=0) / 199
    assert mask[distances <= radius].all()
    assert not mask[distances > np.hypot(radius, coarse) + 1e-6].any()
    erased = np.ones_like(mask)
    stamp(erased, Stroke(0, tuple(points), radius, erase=True), spacing)
    np.testing.assert_array_equal(erased, ~mask)


def test_strokes_are_taken_back_one_by_one():
    masks = PaintedMasks((3, 20, 20))
    masks.paint(Stroke(1, ((5, 5),), 3, erase=False), (1, 1))
    first = masks[1]
    assert first.sum() == 29
    masks.paint(Stroke(1, ((5, 8),), 3, erase=True), (1, 1))
    assert (masks.largest, masks.undo()) == (1, 1)
    np.testing.assert_array_equal(masks[1], first)
    assert (masks.undo(), masks.undo(), masks.largest) == (1, None, None)


def test_what_is_painted_is_kept_told_and_measured(view):
    view._answer(view, {"k": "brush", "what": "new"}, [])
    assert view.brush_name == "brush 1"
    told = painted(view, 3, (20, 10), (20, 30))
    mask = np.zeros((64, 48), bool)
    stamp(mask, Stroke(3, ((20, 10), (20, 30)), 2.0, erase=False), (0.5, 0.75))
    np.testing.assert_array_equal(view.mask("brush 1")[3], mask)
    values = ARRAY[3][mask].astype(float)
    area = mask.sum() * 0.375
    assert told["text"] == (
        f"brush 1: Area {area:.1f} mm², mean {values.mean():.4g} HU, SD {values.std():.3g}, {mask.sum()} pixels"
    )
    labels = np.frombuffer(view.sent[-1][1][0], np.uint8).reshape(64, 48)
    np.testing.assert_array_equal(labels == 1, mask)
    assert view.overlays[0] == {
        "name": "brush 1", "colour": [230, 159, 0], "opacity": 0.4, "slice": 3, "painted": True,
    }  # fmt: skip
    table = view.mask_statistics()
    row = table.iloc[0]
    assert (row["name"], row.n, row.unit) == ("brush 1", mask.sum(), "HU")
    np.testing.assert_allclose([row.volume_ml, row["mean"]], [area * 2.5 / 1000, values.mean()])
    view.index = 3
    assert view.grey().ndim == 3

    painted(view, 3, (20, 10), (20, 30), erase=True)
    assert view.mask("brush 1").sum() == 0
    view._answer(view, {"k": "brush", "what": "undo", "name": "brush 1"}, [])
    np.testing.assert_array_equal(view.mask("brush 1")[3], mask)


def test_a_segmentation_can_be_painted_on(view):
    start = ARRAY > 100
    view.overlay(start, name="bone", colour=(10, 20, 30)).paint("bone")
    painted(view, 2, (4, 4))
    found = view.mask("bone")
    changed = found != start
    assert changed[2].sum() > 10
    assert changed.sum() == changed[2].sum()
    assert view.overlays[0]["colour"] == [10, 20, 30]
    view.paint("more", mask=start, colour=(1, 2, 3))
    np.testing.assert_array_equal(view.mask("more"), start)


@pytest.mark.parametrize(
    "wrong",
    [
        {"z": 6}, {"z": -1}, {"z": True}, {"z": "1"}, {"points": []}, {"points": [[1]]}, {"points": [[1, "2"]]},
        {"points": 5}, {"points": [[float("nan"), 1]]}, {"points": [[1e9, 1]]}, {"points": [[1, 1]] * 4001},
        {"radius": 0}, {"radius": -1}, {"radius": float("inf")}, {"radius": None}, {"name": "other"},
        {"name": ["brush 1"]},
        {"what": "undo", "name": None},
    ],
)  # fmt: skip
def test_what_a_browser_says_is_believed_in_nothing(view, wrong):
    view.paint()
    content = {"k": "brush", "what": "stroke", "name": "brush 1", "z": 1, "points": [[1, 1]], "radius": 1.0}
    view._answer(view, content | wrong, [])
    assert view.sent[-1][0]["k"] == "refused"
    assert view.mask("brush 1").sum() == 0
    with pytest.raises(traitlets.TraitError):
        view.brush_radius = 0


def test_painted_masks_become_a_segmentation_and_come_back(view, tmp_path):
    view.paint("lesion", colour=(200, 30, 90))
    painted(view, 2, (20, 10), (25, 30))
    painted(view, 4, (40, 20))
    view.paint("vessel", colour=(0, 128, 255))
    painted(view, 4, (40, 22))
    view.paint("nothing")
    view.segmentation().save_as(tmp_path / "seg.dcm")
    stored = pydicom.dcmread(tmp_path / "seg.dcm")
    assert [item.SegmentLabel for item in stored.SegmentSequence] == ["lesion", "vessel"]
    assert (stored.SegmentationType, stored.FrameOfReferenceUID) == ("BINARY", "1.2.3.9")
    again = SeriesView(view._pictures).overlay(tmp_path / "seg.dcm")
    for name in ("lesion", "vessel"):
        np.testing.assert_array_equal(again.mask(name), view.mask(name))
    # Read as the standard says, the colours are those that were chosen.
    assert [one["colour"] for one in again.overlays] == [[200, 30, 90], [0, 128, 255]]
    assert len(view.segmentation("vessel").SegmentSequence) == 1


def test_frames_of_an_enhanced_image_keep_their_order(tmp_path):
    more = {
        "PatientName": "", "PatientBirthDate": "", "PatientSex": "", "StudyDate": "", "StudyTime": "", "StudyID": "",
        "AccessionNumber": "", "ReferringPhysicianName": "", "SliceThickness": 2.5, "SeriesNumber": 1,
        "Manufacturer": "x", "AcquisitionNumber": 1, "ContentDate": "20200101", "ContentTime": "010101",
        "LossyImageCompression": "00", "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"], "PositionReferenceIndicator": "",
    }  # fmt: skip
    classic = list(ct(ARRAY, **PERSON | more))[::-1]
    for one in classic:
        one.SeriesInstanceUID, one.StudyInstanceUID = "1.2.3.4", "1.2.3"
    # From head to feet, so that frames and pictures run against each other.
    highdicom.legacy.LegacyConvertedEnhancedCTImage(
        classic, series_instance_uid="1.2.3.5", series_number=2, sop_instance_uid="1.2.3.6", instance_number=1
    ).save_as(tmp_path / "many.dcm")
    frames = Frames.of_files([tmp_path / "many.dcm"], "d")
    assert [plane.frame for plane in frames.planes] == [5, 4, 3, 2, 1, 0]
    mask = np.random.default_rng(0).random(ARRAY.shape) > 0.5
    mask[1] = False
    SeriesView(frames).paint("a", mask=mask).segmentation().save_as(tmp_path / "seg.dcm")
    np.testing.assert_array_equal(SeriesView(frames).overlay(tmp_path / "seg.dcm").mask("a"), mask)


def test_pictures_that_no_segmentation_can_refer_to_are_refused(tmp_path):
    many = instance(np.zeros((3, 20, 20), np.uint16), **PERSON)
    folder = write_series(tmp_path, "m", [many])
    view = Spy(Frames.of_files(sorted(folder.iterdir()), "m")).paint("a")
    with pytest.raises(BadInput, match="masks are empty"):
        view.segmentation()
    painted(view, 1, (4, 4))
    with pytest.raises(BadInput, match="No segmentation can be written for these pictures"):
        view.segmentation()


def test_what_is_no_segmentation_is_refused(view):
    with pytest.raises(BadInput, match="Nothing was painted"):
        view.segmentation()
    with pytest.raises(BadInput, match="no overlay 'x'"):
        view.segmentation("x")
    other = readingroom.view(ARRAY).paint()
    with pytest.raises(BadInput, match=r"use series\.view"):
        other.segmentation()


@given(colour=st.tuples(*[st.integers(0, 255)] * 3))
def test_colours_come_back_the_same(colour):
    assert srgb(*cielab(colour)) == colour


def test_colours_equal_those_of_little_cms():
    colours = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    transform = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB", 1)
    raw = np.asarray(ImageCms.applyTransform(Image.fromarray(colours), transform)).astype(int)
    # Pillow's LAB: L of 255, a and b as signed bytes.
    theirs = raw[..., 0] / 2.55
    ours = np.array([[cielab(tuple(int(v) for v in one)) for one in row] for row in colours])
    np.testing.assert_allclose(ours[..., 0], theirs, atol=0.5)
    signed = (raw[..., 1:] + 128) % 256 - 128
    np.testing.assert_allclose(ours[..., 1:], signed, atol=1.0)
