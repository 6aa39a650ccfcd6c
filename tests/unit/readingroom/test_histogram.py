import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tests.support.dicom_series import ct, write_series

from readingroom.errors import BadInput
from readingroom.viewers import SeriesView, view
from readingroom.viewers.histogram import counted
from readingroom.volume import Frames

BOX = np.zeros((2, 10, 12), np.int16)
BOX[1, 2:6, 3:9] = 50


@given(arrays.arrays(np.int16, st.integers(1, 200)))
def test_every_whole_number_is_counted_once(values):
    counts, edges = counted(values.astype(np.float64))
    assert counts.sum() == values.size
    assert len(counts) <= 128
    assert len(edges) == len(counts) + 1
    assert (np.diff(edges) % 1 == 0).all()


@given(arrays.arrays(np.float64, 50, elements=st.floats(-1e6, 1e6, width=32)))
def test_what_is_no_number_is_not_counted(values):
    values[:5] = np.nan
    assert counted(values)[0].sum() == 45


def test_a_histogram_follows_its_view():
    shown = view(BOX, index=0, window=(40, 20))
    found = shown.histogram()
    assert found.chart["counts"] == [120]
    shown.index = 1
    assert (found.chart["counts"][0], found.chart["counts"][-1], sum(found.chart["counts"])) == (96, 24, 120)
    assert found.chart["limits"] == [30, 50]
    shown.window = (0, 10)
    assert found.chart["limits"] == [-5, 5]
    assert "120 pixels, 0 to 50" in found._repr_mimebundle_()[0]["text/plain"]


def test_of_an_area_its_pixels_are_counted():
    shown = view(BOX, spacing=(1, 1), index=1)
    corners = [[2.5, 1.5, 1], [8.5, 1.5, 1], [8.5, 5.5, 1], [2.5, 5.5, 1]]
    shown.annotations = [{"kind": "rectangle", "points": corners, "label": "box"}]
    assert shown.histogram("box").chart["counts"] == [24]
    assert "no area 'other'" in shown.histogram("other").chart["text"]
    with pytest.raises(BadInput, match="colour"):
        view(np.zeros((1, 4, 4, 3), np.uint8)).values()


def test_a_slice_that_was_fetched_is_not_read_again_and_not_shown_when_access_has_ended(tmp_path, monkeypatch):
    array = np.arange(4 * 64).reshape(4, 8, 8).astype(np.int16)
    folder = write_series(tmp_path, "d", list(ct(array)))
    shown = SeriesView(Frames.of_files(sorted(folder.iterdir()), "d"), index=0)
    monkeypatch.setattr(shown, "send", lambda *_: None)
    read, stored = [], Frames.stored
    monkeypatch.setattr(Frames, "stored", lambda frames, index: read.append(index) or stored(frames, index))
    found = shown.histogram()
    assert read == [0]
    shown._answer(shown, {"k": "get", "z": [1, 2], "n": "a"}, [])
    shown.index = 1
    shown.window = (0, 50)
    shown.index = 2
    assert read == [0, 1, 2]
    assert "64 pixels, 128 to 191 HU" in found.chart["text"]

    folder.rename(folder.with_name("gone"))
    shown.index = 1
    assert "is not there" in found.chart["text"]
    assert found.chart["counts"] == []
    shown.index = 2
    assert "is not there" in found.chart["text"]
