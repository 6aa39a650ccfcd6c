import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from readingroom.errors import BadInput
from readingroom.viewers import view
from readingroom.viewers.histogram import counted

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
