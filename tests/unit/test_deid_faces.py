"""Faces cut from heads: what is cut, what never is, and what waits for a person."""

import io
from copy import deepcopy

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    MRImageStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
)
from scipy.spatial import ConvexHull
from tests.support.dicom_objects import as_file, ct_image, deidentifier, read
from tests.support.heads import AXIAL, CORONAL, CT, T1, T2, Head, Scan, series, turned

from readingroom_hub.deid import part10
from readingroom_hub.deid.engine import Deidentifier, find_face
from readingroom_hub.deid.faces import cut, geometry, look, plan, quickshear
from readingroom_hub.deid.faces.brain import Brain, sphere
from readingroom_hub.deid.faces.geometry import Frame, Plane, Unsuited
from readingroom_hub.deid.faces.plan import Faces
from readingroom_hub.deid.faces.quickshear import Pose
from readingroom_hub.deid.part10 import CannotDeidentify
from readingroom_hub.deid.policy import Policy
from readingroom_hub.deid.table import Option

COARSE = Scan(pixel=3.0, gap=4.0)
POLICY = Policy(options=frozenset({Option.CLEAN_FACES}))


def places(frame):
    """Where each pixel of a frame lies, the long way round."""
    found = np.empty((frame.rows, frame.columns, 3))
    for r, c in np.ndindex(frame.rows, frame.columns):
        found[r, c] = frame.origin + r * frame.down + c * frame.right
    return found


def plane_of(objects):
    return look.find(plan_files(objects))


def plan_files(objects):
    return [part10.read(as_file(o)) for o in objects]


def cut_away(head, objects, plane):
    """How many points of the brain lie beyond the plane, and what part of nose and eyes."""
    brain = shown = gone = 0
    for one in objects:
        frame = geometry.frames(one)[0]
        points = (
            frame.origin
            + np.arange(frame.rows)[:, None, None] * frame.down
            + np.arange(frame.columns)[None, :, None] * frame.right
        )
        beyond, features = frame.beyond(plane), head.features(points)
        brain += int((beyond & head.brain(points)).sum())
        shown += int(features.sum())
        gone += int((beyond & features).sum())
    return brain, gone / shown


OBLIQUE = ((0.9659258, 0.2588190, 0.0), (-0.2329629, 0.8694333, -0.4357788))


@pytest.mark.parametrize(
    ("levels", "scan"),
    [
        (CT, Scan(*AXIAL, pixel=3.0, gap=5.0)),
        (CT, Scan(*AXIAL, pixel=3.0, gap=4.0, tilt=18.0, reverse=True)),
        (T1, Scan((0, -1, 0), (0, 0, -1), pixel=3.0, gap=4.0)),
        (T2, Scan(*OBLIQUE, pixel=3.0, gap=4.0)),
        (T1, Scan(*CORONAL, pixel=3.0, gap=4.0, reverse=True)),
    ],
    ids=["ct thick", "ct tilted reversed", "t1 sagittal mirrored", "t2 oblique", "t1 coronal reversed"],
)
def test_the_face_goes_and_the_brain_stays_however_slices_lie(levels, scan):
    head = Head()
    objects = series(head, scan, levels)
    brain, features = cut_away(head, objects, plane_of(objects))
    assert brain == 0
    assert features > 0.95


@settings(max_examples=3, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    size=st.floats(0.8, 1.03),
    pose=st.tuples(st.floats(-25, 25), st.floats(-15, 15), st.floats(-15, 15)),
    levels=st.sampled_from([CT, T1, T2]),
    tilt=st.sampled_from([0.0, 15.0]),
)
def test_no_brain_is_cut_from_any_head_however_it_is_held(size, pose, levels, tilt):
    """Either the face goes, or the head waits for a person; the brain stays in any case."""
    head = Head(size=size, axes=turned(*pose))
    objects = series(head, Scan(pixel=3.0, gap=4.0, tilt=tilt), levels)
    brain, features = cut_away(head, objects, plane_of(objects))
    assert brain == 0
    assert features > 0.9


unit = st.floats(-1, 1)
vectors = st.tuples(unit, unit, unit).map(np.array).filter(lambda v: np.linalg.norm(v) > 0.2)


@settings(max_examples=30, deadline=None)
@given(vectors, vectors, vectors, vectors, st.floats(-300, 300), st.integers(1, 7), st.integers(1, 7))
def test_pixels_lie_beyond_a_plane_where_their_centres_do(origin, right, down, normal, offset, rows, columns):
    frame = Frame(origin * 200, right, down, rows, columns)
    plane = Plane(tuple(normal), offset)
    distances = places(frame) @ normal - offset
    sure = np.abs(distances) > 1e-9
    assert (frame.beyond(plane) == (distances > 0))[sure].all()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(unit, unit, unit), min_size=8, max_size=60, unique=True))
def test_no_plane_comes_nearer_to_a_brain_than_its_margin(cloud):
    points = np.array(cloud) * 80
    flat = np.stack([-points[:, 1], -points[:, 2]], axis=1)
    if np.linalg.matrix_rank(flat - flat[0], tol=1e-3) < 2:
        return
    held = Pose(np.array([1.0, 0, 0]), np.array([0, -1.0, 0]), np.array([0, 0, 1.0]), 1.0)
    plane = quickshear.shear(Brain(points, np.zeros((1, 1, 1), bool), 1.0), held)
    distances = plane.offset - points @ np.array(plane.normal)
    assert distances.min() == pytest.approx(quickshear.MARGIN)
    assert plane.normal[1] < 0
    assert plane.normal[2] < 0


def test_the_surface_of_a_sphere_has_the_volume_of_one():
    ball = sphere()
    assert ball.volume(ball.points * 70) == pytest.approx(4 / 3 * np.pi * 70**3, rel=0.02)
    inside, weights = ball.solid(ball.points * [80, 60, 60])
    assert np.abs(np.linalg.eigh(np.cov(inside.T, aweights=weights))[1][:, -1]) == pytest.approx([1, 0, 0], abs=0.02)
    assert len(ConvexHull(ball.points).vertices) == len(ball.points)


@pytest.fixture(scope="module")
def scanned():
    """A head in CT, its objects, and where to cut it."""
    head = Head()
    objects = series(head, COARSE)
    return head, objects, plane_of(objects)


def one_in_front(scanned):
    """An object in the middle of the face."""
    _, objects, plane = scanned
    return deepcopy(max(objects, key=lambda o: geometry.frames(o)[0].beyond(plane).sum()))


def faces(one, plane):
    return Faces({plan.series(one): plane})


def cleaned(data, found):
    return read(Deidentifier(POLICY, b"s" * 32, faces=found)(data).data)


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless, JPEG2000Lossless, JPEGLSLossless]
)
def test_stored_values_beyond_the_plane_become_air_and_no_other_changes(scanned, syntax):
    one, plane = one_in_front(scanned), scanned[2]
    found = faces(one, plane)
    before, beyond = one_pixels(one), geometry.frames(one)[0].beyond(plane)
    if syntax == ExplicitVRBigEndian:
        one.PixelData = np.frombuffer(one.PixelData, "<u2").astype(">u2").tobytes()
        data = as_file(one, syntax)
    elif syntax.is_encapsulated:
        one.file_meta = pydicom.dataset.FileMetaDataset()
        one.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        one.compress(syntax, generate_instance_uid=False)
        buffer = io.BytesIO()
        one.file_meta.MediaStorageSOPClassUID, one.file_meta.MediaStorageSOPInstanceUID = (
            one.SOPClassUID,
            one.SOPInstanceUID,
        )
        one.save_as(buffer, enforce_file_format=True)
        data = buffer.getvalue()
    else:
        data = as_file(one)
    result = cleaned(data, found)
    after = result.pixel_array
    assert result.file_meta.TransferSyntaxUID == syntax
    assert (after[~beyond] == before[~beyond]).all()
    assert (after[beyond] == 24).all()  # -1000 HU
    assert beyond.any()
    assert not beyond.all()


def one_pixels(one):
    return np.frombuffer(one.PixelData, "<u2").reshape(one.Rows, one.Columns).copy()


def test_the_header_tells_that_a_face_was_cut(scanned):
    one = one_in_front(scanned)
    one.SmallestImagePixelValue = one.LargestImagePixelValue = 9
    result = cleaned(as_file(one), faces(one, scanned[2]))
    assert result.RecognizableVisualFeatures == "NO"
    assert cut.METHOD in result.DeidentificationMethod
    assert len(cut.METHOD) <= 64
    assert "113102" in [c.CodeValue for c in result.DeidentificationMethodCodeSequence]
    values = result.pixel_array
    assert (result.SmallestImagePixelValue, result.LargestImagePixelValue) == (values.min(), values.max())


def test_padding_is_what_the_object_calls_padding(scanned):
    one = one_in_front(scanned)
    one.PixelPaddingValue = 7
    result = cleaned(as_file(one), faces(one, scanned[2]))
    assert (result.pixel_array[geometry.frames(one)[0].beyond(scanned[2])] == 7).all()


def test_each_frame_of_an_enhanced_object_is_cut_where_it_lies(scanned):
    _, objects, plane = scanned
    one = enhanced(objects)
    result = cleaned(as_file(one), faces(one, plane))
    for number, single in enumerate(objects):
        beyond, before = geometry.frames(single)[0].beyond(plane), one_pixels(single)
        assert (result.pixel_array[number][~beyond] == before[~beyond]).all()
        assert (result.pixel_array[number][beyond] == 24).all()


def enhanced(objects):
    """The same slices as one multi-frame object."""
    one = ct_image(
        SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1",
        BodyPartExamined="HEAD",
        FrameOfReferenceUID=objects[0].FrameOfReferenceUID,
        NumberOfFrames=len(objects),
        Rows=objects[0].Rows,
        Columns=objects[0].Columns,
        BitsStored=12,
        HighBit=11,
        PixelRepresentation=0,
        PixelData=b"".join(o.PixelData for o in objects),
    )
    shared, measures, orientation, units = (pydicom.Dataset() for _ in range(4))
    measures.PixelSpacing = objects[0].PixelSpacing
    orientation.ImageOrientationPatient = objects[0].ImageOrientationPatient
    units.RescaleSlope, units.RescaleIntercept, units.RescaleType = 1, -1024, "HU"
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    shared.PixelValueTransformationSequence = [units]
    one.SharedFunctionalGroupsSequence = [shared]
    one.PerFrameFunctionalGroupsSequence = []
    for single in objects:
        place, frame = pydicom.Dataset(), pydicom.Dataset()
        place.ImagePositionPatient = single.ImagePositionPatient
        frame.PlanePositionSequence = [place]
        one.PerFrameFunctionalGroupsSequence.append(frame)
    return one


def test_an_enhanced_object_is_a_volume_of_its_own(scanned):
    _, objects, plane = scanned
    found = find_face([as_file(enhanced(objects))])
    assert isinstance(found, Plane)
    assert found.normal == pytest.approx(plane.normal)
    assert found.offset == pytest.approx(plane.offset)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda objects: objects[:11], "too few"),
        (lambda objects: [o for o in objects if not 20 < o.InstanceNumber < 24], "too far apart"),
        (lambda objects: objects[len(objects) * 5 // 8 :], "brain"),  # upper part only
        (lambda objects: [without(o, "ImagePositionPatient") for o in objects], "nobody can tell where"),
        (lambda objects: [scaled(o, 0) for o in objects], "no head"),
        (lambda objects: [scattered(o) for o in objects], "one row"),
    ],
    ids=["few", "gap", "part", "no places", "air", "scattered"],
)
def test_what_nobody_can_be_sure_of_waits_for_a_person(scanned, change, reason):
    with pytest.raises(CannotDeidentify, match=reason):
        plane_of(change(deepcopy(scanned[1])))


def without(one, keyword):
    del one[keyword]
    return one


def scaled(one, slope):
    one.PixelData = (one_pixels(one) * slope).astype("<u2").tobytes()
    return one


def scattered(one):
    one.ImagePositionPatient[0] += 9 * (one.InstanceNumber % 2)
    return one


def test_a_head_without_a_face_or_turned_about_is_not_believed():
    with pytest.raises(CannotDeidentify, match="no face where it should be"):
        plane_of(series(Head(face=False), COARSE))
    backwards = series(Head(axes=turned(180, 0, 0)), COARSE)
    with pytest.raises(CannotDeidentify, match="takes back for front"):
        plane_of(backwards)


def test_a_noisy_block_is_no_head():
    noise = np.random.default_rng(3)
    objects = series(Head(), Scan(pixel=4.0, gap=5.0))
    for one in objects:
        block = np.full((one.Rows, one.Columns), 24)
        block[12:-12, 12:-12] = 1060
        one.PixelData = (block + noise.integers(0, 20, block.shape)).astype("<u2").tobytes()
    with pytest.raises(CannotDeidentify):
        plane_of(objects)


def test_series_of_one_scan_lend_their_plane_to_those_in_which_no_brain_is_found():
    mine = plan.Series("p", "st", "thick", "f")
    thin, elsewhere = plan.Series("p", "st", "thin", "f"), plan.Series("p", "st", "other", "g")
    nowhere, bad = plan.Series("p", "st", "nowhere", ""), plan.Series("p", "st", "bad", "f")
    plane = Plane((0.0, -0.7, -0.7), 5.0)
    found = plan.resolve(
        {
            mine: plane,
            thin: Unsuited("too few"),
            elsewhere: Unsuited("too few"),
            nowhere: Unsuited("too few"),
            bad: CannotDeidentify("backwards"),
        }
    )
    assert found.planes == {mine: plane, thin: plane}
    assert found.doubts == {elsewhere: "too few", nowhere: "too few", bad: "backwards"}


def test_a_series_that_was_not_looked_at_is_left_out(scanned):
    with pytest.raises(CannotDeidentify, match="was not looked at"):
        cleaned(as_file(one_in_front(scanned)), Faces())


def test_a_damaged_file_does_not_keep_the_others_from_being_looked_at(scanned):
    files = [as_file(o) for o in scanned[1]]
    assert isinstance(find_face([*files, b"nothing", files[0][:400]]), Plane)
    assert isinstance(find_face([b"nothing"]), CannotDeidentify)


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"BodyPartExamined": "HEAD"}, "was not looked at"),
        ({"BodyPartExamined": "SKULL", "Modality": "MR", "SOPClassUID": MRImageStorage}, "was not looked at"),
        ({"BodyPartExamined": "CHEST", "SeriesDescription": "Kopf-Hals nativ"}, "was not looked at"),
        ({"BodyPartExamined": "CHEST", "RecognizableVisualFeatures": "YES"}, "was not looked at"),
        ({}, "was not looked at"),
        ({"BodyPartExamined": "HEAD", "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "only be cut from slices"),
        ({"BodyPartExamined": "HEAD", "ImageType": ["DERIVED", "SECONDARY", "MIP"]}, "only be cut from slices"),
        ({"BodyPartExamined": "HEAD", "VolumeBasedCalculationTechnique": "VOLUME_RENDER"}, "only be cut from slices"),
        ({"BodyPartExamined": "HEAD", "SOPClassUID": SecondaryCaptureImageStorage}, "only be cut from slices"),
        ({"Modality": "NM", "SOPClassUID": SecondaryCaptureImageStorage, "StudyDescription": "Brain"}, "picture"),
        ({"Modality": "XC", "BodyPartExamined": "HAND"}, "photograph"),
        ({"BodyPartExamined": "CHEST"}, None),
        ({"Modality": "NM"}, None),
    ],
)
def test_where_faces_have_to_go_what_may_show_one_is_cut_or_left_out(elements, reason):
    clean_it = deidentifier(options=frozenset({Option.CLEAN_FACES}), text_free=frozenset({"CT", "MR", "NM", "XC"}))
    with pydicom.config.disable_value_validation():
        data = as_file(ct_image(**elements))
    if reason is None:
        result = read(clean_it(data).data)
        assert "113102" in [c.CodeValue for c in result.DeidentificationMethodCodeSequence]
        assert cut.METHOD not in result.DeidentificationMethod
    else:
        with pytest.raises(CannotDeidentify, match=reason):
            clean_it(data)


def segmentation(objects, marked):
    """One bit a pixel over the same slices; `marked` is (slices, rows, columns)."""
    one = enhanced(objects)
    one.SOPClassUID, one.Modality, one.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.66.4", "SEG", "1.2.276.99.66"
    del one.BodyPartExamined
    one.BitsAllocated = one.BitsStored = 1
    one.HighBit = 0
    packed = np.packbits(marked.ravel().astype(np.uint8), bitorder="little").tobytes()
    one.PixelData = packed + b"\0" * (len(packed) % 2)
    one["PixelData"].VR = "OB"
    return one


def structures(points):
    contour, roi = pydicom.Dataset(), pydicom.Dataset()
    contour.ContourData = [f"{v:.2f}" for v in np.ravel(points)]
    roi.ContourSequence = [contour]
    one = ct_image(SOPClassUID="1.2.840.10008.5.1.4.1.1.481.3", Modality="RTSTRUCT", FrameOfReferenceUID="1.2.276.99.8")
    for keyword in ("PixelData", "Rows", "Columns"):
        del one[keyword]
    one.ROIContourSequence = [roi]
    return one


def test_what_outlines_the_face_is_left_out_and_what_outlines_the_brain_is_kept(scanned):
    head, objects, plane = scanned
    found = faces(objects[0], plane)
    brain, skin = [], []
    for one in objects:
        at = places(geometry.frames(one)[0])
        brain.append(head.brain(at))
        skin.append(head.features(at))
    kept = cleaned(as_file(segmentation(objects, np.stack(brain))), found)
    assert kept.BitsAllocated == 1
    with pytest.raises(CannotDeidentify, match="reaches into the face"):
        cleaned(as_file(segmentation(objects, np.stack(skin))), found)
    centre, nose = np.array(head.at), np.add(head.at, [0, -115, -52])
    assert cleaned(as_file(structures([centre, centre + 5])), found).Modality == "RTSTRUCT"
    with pytest.raises(CannotDeidentify, match="reaches into the face"):
        cleaned(as_file(structures([centre, nose])), found)
    doubtful = Faces({}, {plan.series(objects[0]): "no brain"})
    with pytest.raises(CannotDeidentify, match="no face could be cut"):
        cleaned(as_file(structures([centre])), doubtful)
    elsewhere = structures([centre, nose])
    elsewhere.FrameOfReferenceUID = "1.2.3"
    assert cleaned(as_file(elsewhere), found).Modality == "RTSTRUCT"
