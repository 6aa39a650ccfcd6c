import highdicom
import numpy as np
import pydicom
import pytest
from tests.support.dicom_series import ct, instance, phantom, write_series
from tests.support.presentation import graphic, state, text
from tests.support.structures import box, structure_set

from readingroom.data import Series
from readingroom.errors import BadInput
from readingroom.viewers import SeriesView
from readingroom.volume import Frames

ARRAY = phantom(5)
TURNS = [(0, "N"), (90, "N"), (180, "N"), (270, "N"), (0, "Y"), (90, "Y"), (270, "Y")]


@pytest.fixture
def series(tmp_path):
    folder = write_series(tmp_path, "d", list(ct(ARRAY, FrameOfReferenceUID="1.2.3.9", PatientID="p")))
    return Series(folder, "d")


def in_order(series):
    return sorted(series.files, key=lambda f: pydicom.dcmread(f).InstanceNumber)


def presented(series, tmp_path, made, **traits):
    made.save_as(tmp_path / "gsps.dcm", enforce_file_format=True)
    return series.present(tmp_path / "gsps.dcm", **traits)


def expected_turn(pixels, rotation, flip):
    """Written out: clockwise by quarters, then left and right change."""
    for _ in range(rotation // 90):
        pixels = np.array(
            [[pixels[len(pixels) - 1 - c][r] for c in range(len(pixels))] for r in range(pixels.shape[1])]
        )
    return pixels[:, ::-1] if flip == "Y" else pixels


def test_only_the_pictures_that_it_refers_to_are_shown(series, tmp_path):
    files = in_order(series)[1:4]
    view = presented(series, tmp_path, state(files, windows=[(50, 300, "LINEAR")]), index=0)
    assert view.about["count"] == 3
    assert view.window == (50, 300)
    assert view.about["title"] == "CT Phantom, as presented in READ"
    plain = SeriesView(Frames.of_files(files, "d"), index=0, window=(50, 300))
    np.testing.assert_array_equal(view.grey(), plain.grey())
    assert view.about["notes"] == []
    view.index = 2
    plain.index = 2
    np.testing.assert_array_equal(view.grey(), plain.grey())


@pytest.mark.parametrize(("rotation", "flip"), TURNS)
def test_pictures_and_their_places_are_turned_together(series, tmp_path, rotation, flip):
    made = state(in_order(series), ImageRotation=rotation, ImageHorizontalFlip=flip)
    view = presented(series, tmp_path, made, index=1)
    plain = series.view(index=1)
    np.testing.assert_array_equal(view.grey(), expected_turn(plain.grey(), rotation, flip))
    shape = view.grey().shape
    assert (view.about["rows"], view.about["columns"]) == shape
    assert view.about["spacing"] == ((0.5, 0.75) if rotation % 180 == 0 else (0.75, 0.5))
    # Each pixel is where it was in the patient.
    old = plain._pictures.place(1)
    where = np.stack(np.meshgrid(np.arange(64), np.arange(48), indexing="ij"), -1).reshape(-1, 2)
    points = old.points(where).reshape(64, 48, 3)
    turned = np.stack([expected_turn(points[..., k], rotation, flip) for k in range(3)], -1)
    where = np.stack(np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij"), -1).reshape(-1, 2)
    np.testing.assert_allclose(view._pictures.place(1).points(where).reshape(*shape, 3), turned, atol=1e-9)
    if (rotation, flip) == (90, "N"):
        # What was at the left, the patient's right, is at the top.
        assert view.about["edges"] == ("P", "A", "R", "L")


@pytest.mark.parametrize(("rotation", "flip"), TURNS)
def test_graphics_stay_on_their_pixels(series, tmp_path, rotation, flip):
    points = np.array([[10.5, 20.5], [30.5, 20.5], [30.5, 40.5]])
    made = state(in_order(series), [graphic("POLYLINE", points)], ImageRotation=rotation, ImageHorizontalFlip=flip)
    view = presented(series, tmp_path, made)
    marked = np.zeros((64, 48), int)
    for n, (x, y) in enumerate(points, 1):
        marked[int(y), int(x)] = n
    turned = expected_turn(marked, rotation, flip)
    (drawn,) = view._pictures.graphics(0)
    for n, (row, column) in enumerate(drawn["line"], 1):
        assert turned[round(row), round(column)] == n
        assert (row % 1, column % 1) == (0, 0)


def test_shapes_are_what_the_standard_says(series, tmp_path):
    made = state(
        in_order(series),
        [
            graphic("CIRCLE", np.array([[20.0, 30.0], [20.0, 36.0]]), filled=True),
            graphic("ELLIPSE", np.array([[4.0, 10.0], [24.0, 10.0], [14.0, 6.0], [14.0, 14.0]])),
            graphic("INTERPOLATED", np.array([[5.0, 50.0], [15.0, 55.0], [25.0, 50.0]])),
            graphic("POINT", np.array([[8.5, 9.5]])),
            graphic("POLYLINE", np.array([[0.0, 0.0], [1.0, 1.0]]), "DISPLAY"),
        ],
        [text("left\r\nlung", bounding_box=(2, 3, 20, 10)), text("here", anchor_point=(0.5, 0.25), units="DISPLAY")],
        colour=highdicom.color.CIELabColor(100, 0, 0),
    )
    view = presented(series, tmp_path, made)
    circle, ellipse, curve, up, across, whole = view._pictures.graphics(2)
    at = np.array(circle["line"])[:, ::-1] + 0.5
    np.testing.assert_allclose(np.linalg.norm(at - [20, 30], axis=1), 6, atol=1e-3)
    assert circle["filled"]
    assert circle["colour"] == [255, 255, 255]
    at = np.array(ellipse["line"])[:, ::-1] + 0.5
    np.testing.assert_allclose(((at - [14, 10]) / [10, 4]) ** 2 @ [1, 1], 1, atol=1e-3)
    at = np.array(curve["line"])[:, ::-1] + 0.5
    for point in [(5, 50), (15, 55), (25, 50)]:
        assert np.abs(at - point).max(axis=1).min() < 1e-3
    assert len(at) > 10
    assert (up["line"], across["line"]) == ([[6, 8], [12, 8]], [[9, 5], [9, 11]])
    assert whole["line"] == [[-0.5, -0.5], [63.5, 47.5]]
    assert [(one["text"], one["at"]) for one in view._pictures.texts(0)] == [
        ("left\nlung", [2.5, 1.5]), ("here", [15.5, 23.5]),
    ]  # fmt: skip
    shown, view.graphics = view.snapshot(), False
    assert shown != view.snapshot()


def test_the_displayed_area_fills_the_view(series, tmp_path):
    made = state(in_order(series), ImageRotation=90, ImageHorizontalFlip="N")
    item = made.DisplayedAreaSelectionSequence[0]
    # Corners after turning: the top left one was at the bottom left.
    item.DisplayedAreaTopLeftHandCorner, item.DisplayedAreaBottomRightHandCorner = [9, 40], [20, 9]
    view = presented(series, tmp_path, made)
    # Columns 8 to 20 and rows 8 to 40 of 64: turned, x from 24 to 56, y from 8 to 20, in a view of 64 by 48.
    assert view.zoom == 2
    assert view.pan == (32 - 40, 24 - 14)


def test_an_inverse_state_stands_for_the_images_own_polarity(series, tmp_path):
    files = in_order(series)
    view = presented(series, tmp_path, state(files, PresentationLUTShape="INVERSE"), index=1)
    np.testing.assert_array_equal(view.grey(), 255 - series.view(index=1).grey())
    again = write_series(tmp_path / "m", "d", list(ct(ARRAY, PhotometricInterpretation="MONOCHROME1", PatientID="p")))
    inverted = Series(again, "d")
    view = presented(inverted, tmp_path, state(in_order(inverted), PresentationLUTShape="IDENTITY"), index=1)
    np.testing.assert_array_equal(view.grey(), series.view(index=1).grey())


def test_tables_take_the_place_of_windows(series, tmp_path):
    files = in_order(series)
    made = state(files)
    made.SoftcopyVOILUTSequence = [pydicom.Dataset()]
    table = pydicom.Dataset()
    table.add_new("LUTDescriptor", "SS", [2000, -1000, 8])
    table.add_new("LUTData", "OW", (np.arange(2000) % 256).astype("<u2").tobytes())
    made.SoftcopyVOILUTSequence[0].VOILUTSequence = [table]
    view = presented(series, tmp_path, made, index=1)
    assert view.lut == 0
    np.testing.assert_array_equal(view.grey(), np.clip(ARRAY[1].astype(int) + 1000, 0, 1999) % 256)

    # A window, then a Presentation LUT of its output.
    made = state(files, windows=[(100, 401, "LINEAR")])
    curve = pydicom.Dataset()
    curve.add_new("LUTDescriptor", "US", [256, 0, 8])
    curve.add_new("LUTData", "OW", (255 - np.arange(256)).astype("<u2").tobytes())
    made.PresentationLUTSequence = [curve]
    del made.PresentationLUTShape
    view = presented(series, tmp_path, made, index=1)
    plain = series.view(index=1, window=(100, 401)).grey()
    np.testing.assert_array_equal(view.grey(), 255 - plain)


def test_what_is_not_followed_is_said(series, tmp_path):
    made = state(in_order(series), [graphic("POLYLINE", np.array([[1.0, 1.0], [2.0, 2.0]]))], ShutterShape="BITMAP")
    made.GraphicAnnotationSequence[0].GraphicObjectSequence[0].GraphicAnnotationUnits = "MATRIX"
    made.DisplayedAreaSelectionSequence[0].PresentationSizeMode = "TRUE SIZE"
    del made.SoftcopyVOILUTSequence
    view = presented(series, tmp_path, made)
    assert view.about["notes"] == [
        "a shutter (bitmap): what it hides is shown",
        "the size true size: its area is fitted into the view",
        "1 graphics or texts whose place or kind this view does not know",
        "no window: that of the images is used",
    ]
    assert view._pictures.graphics(0) == []
    assert view._repr_mimebundle_()[0]["text/plain"].endswith("; no window: that of the images is used")


@pytest.mark.parametrize(("rotation", "flip"), TURNS)
def test_shutters_hide_what_they_are_meant_to(series, tmp_path, rotation, flip):
    edges = {
        "ShutterUpperHorizontalEdge": 5, "ShutterLowerHorizontalEdge": 60, "ShutterLeftVerticalEdge": 3,
        "ShutterRightVerticalEdge": 40, "CenterOfCircularShutter": [30, 20], "RadiusOfCircularShutter": 22,
        "VerticesOfThePolygonalShutter": [1, 1, 1, 48, 50, 48, 50, 1], "ShutterPresentationValue": 0x4000,
    }  # fmt: skip
    shapes = ["RECTANGULAR", "CIRCULAR", "POLYGONAL"]
    made = state(in_order(series), ShutterShape=shapes, ImageRotation=rotation, ImageHorizontalFlip=flip, **edges)
    view = presented(series, tmp_path, made, index=1)
    expected = series.view(index=1).grey()
    for row in range(1, 65):
        for column in range(1, 49):
            seen = 5 <= row <= 60 and 3 <= column <= 40 and np.hypot(row - 30, column - 20) <= 22 and row <= 49
            if not seen:
                expected[row - 1, column - 1] = 0x40
    found = view.grey()
    np.testing.assert_array_equal(found[..., 0], expected_turn(expected, rotation, flip))
    assert (found == found[..., :1]).all()
    view.clear_overlays()
    assert view.grey().ndim == 2


def test_contours_turn_with_the_pictures(series, tmp_path):
    made = structure_set([("lung", None, [box(20, 10, 60, 30, 102.5)])], "1.2.3.9")
    made.save_as(tmp_path / "rt.dcm", enforce_file_format=True)
    view = presented(series, tmp_path, state(in_order(series), ImageRotation=270, ImageHorizontalFlip="N"))
    mask = np.zeros((64, 48), bool)
    mask[20:60, 10:30] = True
    np.testing.assert_array_equal(view.overlay(tmp_path / "rt.dcm").mask("lung")[1], expected_turn(mask, 270, "N"))


def test_a_segmentation_turns_with_the_pictures(series, tmp_path):
    mask = np.random.default_rng(1).random(ARRAY.shape) > 0.5
    series.view().paint("a", mask=mask).segmentation().save_as(tmp_path / "seg.dcm")
    files = in_order(series)[1:4]
    view = presented(series, tmp_path, state(files, ImageRotation=90, ImageHorizontalFlip="N"))
    view.overlay(tmp_path / "seg.dcm")
    for k in range(3):
        np.testing.assert_array_equal(view.mask("a")[k], expected_turn(mask[k + 1], 90, "N"))


def test_a_state_without_a_rescale_means_stored_values(series, tmp_path):
    made = state(in_order(series), windows=[(1000, 500, "LINEAR")])
    del made.RescaleSlope, made.RescaleIntercept, made.RescaleType
    view = presented(series, tmp_path, made, index=1)
    np.testing.assert_array_equal(view.grey(), series.view(index=1, window=(1000 - 1024, 500)).grey())
    assert view.about["notes"] == ["the images' own values: windows and values are those of the state's rescale"]
    assert view._about.unit == ""


def test_what_cannot_be_presented_is_refused_in_words(series, tmp_path):
    files = in_order(series)
    other = Series(write_series(tmp_path / "o", "d", list(ct(ARRAY, PatientID="p"))), "d")
    with pytest.raises(BadInput, match="made for other images"):
        presented(other, tmp_path, state(files))
    with pytest.raises(BadInput, match="no Grayscale Softcopy Presentation State"):
        series.present(files[0])
    with pytest.raises(BadInput, match="45 degrees"):
        presented(series, tmp_path, state(files, ImageRotation=45))
    made = state(files, [graphic("POLYLINE", np.array([[1.0, 1.0], [2.0, 2.0]]))])
    del made.GraphicAnnotationSequence[0].GraphicObjectSequence[0].GraphicData
    with pytest.raises(BadInput, match="could not be understood"):
        presented(series, tmp_path, made)
    view = presented(series, tmp_path, state(files))
    with pytest.raises(BadInput, match=r"use series\.view"):
        view.report()


def test_one_frame_of_a_multi_frame_image(tmp_path):
    many = instance(np.arange(3 * 20 * 20).reshape(3, 20, 20).astype(np.uint16), PatientID="p")
    series = Series(write_series(tmp_path, "m", [many]), "m")
    made = state(series.files)
    made.ReferencedSeriesSequence[0].ReferencedImageSequence[0].ReferencedFrameNumber = [2]
    view = presented(series, tmp_path, made)
    assert view.about["count"] == 1
    np.testing.assert_array_equal(view._pictures.stored(0).pixels, many.pixel_array[1])
