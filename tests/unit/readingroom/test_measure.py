"""Measurements of phantoms whose sizes and values are known by construction."""

import contextlib
import math

import numpy as np
import pytest
import traitlets
from hypothesis import given
from hypothesis import strategies as st
from tests.support.dicom_series import ct, instance, write_series

import readingroom
from readingroom.errors import BadInput, NotNow
from readingroom.viewers import SeriesView, measure
from readingroom.volume import Frames

# Rows 0.5 mm, columns 0.75 mm apart, slices 2.5 mm; the first pixel of slice k at (-10, 20, 100 + 2.5 k).
LEFT = np.zeros((4, 40, 40), np.int16)
LEFT[:, 10:20, 10:20] = 100
LEFT[2, 10:20, 10:15] = 40


@pytest.fixture(scope="module")
def view(tmp_path_factory):
    folder = write_series(tmp_path_factory.mktemp("data"), "d", list(ct(LEFT, FrameOfReferenceUID="1.2.3.9")))
    return SeriesView(Frames.of_files(sorted(folder.iterdir()), "d"))


@pytest.fixture(autouse=True)
def clean(view):
    view.annotations = []


def draw(view, kind, points, z=2):
    view._answer(view, {"k": "draw", "kind": kind, "z": z, "points": points}, [])
    return view.measurements().iloc[-1]


def test_lengths_are_millimetres_in_the_patient(view):
    # 8 columns of 0.75 mm, 16 rows of 0.5 mm: 6 and 8, so 10.
    found = draw(view, "length", [[4, 2], [20, 10]])
    assert found.length_mm == pytest.approx(10, abs=1e-9)
    assert found.slice == 2
    np.testing.assert_allclose(view.annotations[0]["points"], [[-8.5, 22, 105], [-2.5, 30, 105]])
    assert view.drawings[0]["text"] == "Length 10.0 mm"
    np.testing.assert_allclose(view.drawings[0]["lines"], [[[4, 2], [20, 10]]], atol=1e-9)


def test_angles_are_those_of_the_patient_not_of_the_pixels(view):
    # 3 columns are 2.25 mm, 4.5 rows are 2.25 mm: half a right angle.
    assert draw(view, "angle", [[10, 13], [10, 10], [14.5, 13]]).angle_deg == pytest.approx(45)
    assert draw(view, "cobb", [[10, 0], [10, 20], [20, 0], [24.5, 3]]).angle_deg == pytest.approx(45)
    # Lines have no direction: it is the smaller one.
    assert draw(view, "cobb", [[10, 0], [10, 20], [24.5, 3], [20, 0]]).angle_deg == pytest.approx(45)
    assert view.drawings[-1]["text"] == "Cobb angle 45.0°"


def test_a_rectangle_takes_exactly_its_pixels(view):
    found = draw(view, "rectangle", [[9.5, 9.5], [19.5, 19.5]])
    assert (found.n, found["min"], found["max"], found["mean"], found["median"]) == (100, 40, 100, 70, 70)
    assert found.sd == 30
    assert found.area_mm2 == pytest.approx(10 * 0.5 * 10 * 0.75)
    assert found.unit == "HU"
    assert view.drawings[0]["text"] == "Rectangle 37.5 mm², mean 70 HU, SD 30, 100 pixels"
    # Of another slice, other values.
    assert draw(view, "rectangle", [[9.5, 9.5], [19.5, 19.5]], z=1)["mean"] == 100
    # Corner to corner through centres: neighbours share no pixel.
    assert draw(view, "rectangle", [[10, 10], [20, 15]]).n == 50


def test_an_ellipse_takes_the_pixels_within(view):
    found = draw(view, "ellipse", [[5, 5], [15, 25]])
    assert found.area_mm2 == pytest.approx(math.pi * 2.5 * 7.5)
    r, c = np.indices((40, 40))
    expected = LEFT[2][((r - 10) / 5) ** 2 + ((c - 15) / 10) ** 2 <= 1]
    assert (found.n, found["mean"], found.sd) == (expected.size, expected.mean(), pytest.approx(expected.std()))
    # The major axis comes first.
    ends = np.array(view.annotations[0]["points"])
    assert np.linalg.norm(ends[1] - ends[0]) == pytest.approx(15)


def test_freehand_is_a_polygon(view):
    found = draw(view, "freehand", [[9.5, 9.5], [9.5, 19.5], [19.5, 19.5], [19.5, 14.5], [14.5, 14.5], [14.5, 9.5]])
    assert found.n == 75
    assert found.area_mm2 == pytest.approx(75 * 0.375)


def test_noise_has_the_mean_and_deviation_that_it_was_made_with():
    noise = np.random.default_rng(5).normal(40, 12, (1, 200, 200))
    view = readingroom.view(noise, spacing=(1, 1))
    found = draw(view, "rectangle", [[-0.5, -0.5], [199.5, 199.5]], z=0)
    assert (found.n, found.area_mm2) == (40_000, 40_000)
    assert found["mean"] == pytest.approx(noise.astype(np.float32).mean(), rel=1e-6)
    assert found.sd == pytest.approx(12, abs=0.2)


def test_sizes_without_spacing_are_pixels():
    view = readingroom.view(np.zeros((3, 8, 8)))
    assert draw(view, "length", [[0, 0], [3, 4]], z=1).length_px == 5
    assert view.drawings[0]["text"] == "Length 5.0 px"


def test_an_oblique_series_is_measured_along_its_own_axes(tmp_path):
    cosines = (0.8, 0.6, 0.0, 0.0, 0.0, -1.0)
    one = instance(np.zeros((20, 20), np.uint16), orientation=cosines, position=(1, 2, 3), spacing=(2, 1))
    folder = write_series(tmp_path, "d", [one])
    view = SeriesView(Frames.of_files(sorted(folder.iterdir()), "d"))
    assert draw(view, "length", [[0, 0], [3, 8]], z=0).length_mm == pytest.approx(10)
    np.testing.assert_allclose(view.annotations[0]["points"][1], [7.4, 6.8, -3.0])


def test_what_lies_in_another_plane_is_kept_and_said(view):
    view.annotations = [{"kind": "length", "points": [[0, 20, 101], [0, 20, 140]]}]
    assert view.measurements().length_mm.tolist() == [39]
    assert view.measurements().slice.isna().all()
    assert view.drawings[0]["index"] is None


def test_other_views_of_the_same_patient_share_annotations(view):
    draw(view, "rectangle", [[9.5, 9.5], [19.5, 19.5]])
    other = view._pictures.frames.volume()
    axial = readingroom.view(other)
    axial.annotations = view.annotations
    same = axial.measurements()
    assert same.drop(columns="slice").equals(view.measurements().drop(columns="slice"))
    mpr = readingroom.viewers.MprView(other).views["axial"]
    mpr.annotations = view.annotations
    assert mpr.measurements()["mean"].tolist() == [70]


def test_the_still_picture_shows_what_was_drawn(view):
    view.index = 2
    before = view.snapshot()
    draw(view, "length", [[4, 2], [20, 10]])
    assert view.snapshot() != before


@pytest.mark.parametrize(
    "wrong",
    [
        [{"kind": "length", "points": [[0, 0, 0]]}],
        [{"kind": "length", "points": [[0, 0, 0], [0, 0, math.nan]]}],
        [{"kind": "length", "points": [[0, 0, 0], [0, 0, 1e300]]}],
        [{"kind": "length", "points": [[0, 0, 0], [0, 0, True]]}],
        [{"kind": "length", "points": [[0, 0, 0], [0, 0, "1"]]}],
        [{"kind": "length", "points": [[0, 0, 0], [0, 0]]}],
        [{"kind": "length", "points": "ab"}],
        [{"kind": "freehand", "points": [[0, 0, 0]] * 4001}],
        [{"kind": "script", "points": [[0, 0, 0], [0, 0, 1]]}],
        [{"kind": ["length"], "points": [[0, 0, 0], [0, 0, 1]]}],
        [{"kind": "length", "points": [[0, 0, 0], [0, 0, 1]], "label": "a\x00b"}],
        [{"kind": "length", "points": [[0, 0, 0], [0, 0, 1]], "label": "x" * 201}],
        [{"kind": "length", "points": [[0, 0, 0], [0, 0, 1]], "onclick": "alert(1)"}],
        [{"id": "a", "kind": "length", "points": [[0, 0, 0], [0, 0, n]]} for n in (1, 2)],
        [{"kind": "length", "points": [[0, 0, 0], [0, 0, n]]} for n in range(1, 502)],
        [7],
        {"kind": "length"},
    ],
)
def test_hostile_annotations_are_refused(view, wrong):
    view.annotations = [{"kind": "length", "points": [[0, 0, 0], [0, 0, 1]]}]
    kept = view.annotations
    with pytest.raises(traitlets.TraitError):
        view.annotations = wrong
    assert view.annotations == kept


@pytest.mark.parametrize(
    "message",
    [
        {}, {"kind": "length"}, {"kind": "length", "z": 0, "points": [[0, 0]]},
        {"kind": "length", "z": 99, "points": [[0, 0], [1, 1]]},
        {"kind": "length", "z": True, "points": [[0, 0], [1, 1]]},
        {"kind": "length", "z": 0, "points": [[0, 0], [1, None]]},
        {"kind": "rectangle", "z": 0, "points": [[0, 0], [0, 5]]},
        {"kind": {}, "z": 0, "points": []}, {"kind": "angle", "z": 0, "points": [[0, 0, 0], [1, 1, 1], [2, 2, 2]]},
    ],
)  # fmt: skip
def test_hostile_drawings_are_refused_in_a_sentence(view, monkeypatch, message):
    sent = []
    monkeypatch.setattr(view, "send", lambda content, buffers=None: sent.append(content))
    view._answer(view, {"k": "draw", **message}, [])
    assert sent[0]["k"] == "refused"
    assert sent[0]["text"].endswith((".", "mm"))
    assert view.annotations == []


@pytest.mark.parametrize(("content", "kind"), [({"k": "draw", "z": 0}, "refused"), ({"k": "get", "z": [0]}, "error")])
@pytest.mark.parametrize("error", [NotNow("in a minute."), RuntimeError("secret")])
def test_whatever_goes_wrong_whoever_waits_is_told(view, monkeypatch, content, kind, error):
    def fails(*_):
        raise error

    sent = []
    monkeypatch.setattr(view, "send", lambda content, buffers=None: sent.append(content))
    monkeypatch.setattr(view, "_draw", fails)
    monkeypatch.setattr(view, "_at", fails)
    # An error of the viewer itself is in the kernel's log as well.
    with contextlib.nullcontext() if isinstance(error, NotNow) else pytest.raises(RuntimeError):
        view._answer(view, {**content, "n": "7"}, [])
    (answer,) = sent
    (told,) = answer.get("slices", [answer])
    assert (told["k"], answer["n"]) == (kind, "7")
    assert told["text"] == "in a minute." or "RuntimeError" in told["text"]
    assert "secret" not in told["text"]


corner = st.tuples(st.integers(-20, 60), st.integers(-20, 60)).map(lambda p: (p[0] / 4, p[1] / 4))


@given(st.lists(corner, min_size=3, max_size=9))
def test_a_polygon_takes_the_pixels_that_the_crossing_rule_says(corners):
    polygon = np.array(corners)
    mask = measure.inside("freehand", polygon, (12, 12))
    for row, column in [(0, 0), (3, 5), (7, 2), (11, 11)]:
        crossings = 0
        for (y0, x0), (y1, x1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
            if (y0 <= row) != (y1 <= row):
                crossings += x0 + (row - y0) / (y1 - y0) * (x1 - x0) <= column
        assert mask[row, column] == (crossings % 2 == 1)


@given(
    st.lists(st.floats(-50, 50), min_size=2, max_size=2),
    st.sampled_from([(0.5, 0.75), (1, 1), (3, 0.2)]),
    st.floats(0, 3.1),
)
def test_places_lead_there_and_back(pixel, spacing, turn):
    right = np.array([math.cos(turn), math.sin(turn), 0.0])
    down = np.array([-math.sin(turn), math.cos(turn), 0.0])
    place = measure.Place(np.array([3.0, -4.0, 5.0]), down * spacing[0], right * spacing[1])
    np.testing.assert_allclose(place.pixels(place.points(np.array([pixel])))[0], pixel, atol=1e-9)


def test_a_drawing_that_is_no_measurement_is_refused():
    with pytest.raises(BadInput, match="no width"):
        measure.drawn("ellipse", [[1, 1], [1, 5]], measure.Place(*np.eye(3)))
