import io

import numpy as np
import pytest
from PIL import Image
from tests.support.dicom_series import ct, phantom, write_series

from readingroom import hang, settings
from readingroom.data import dataset
from readingroom.errors import BadInput
from readingroom.viewers import SeriesView
from readingroom.viewers.linking import difference
from readingroom.volume import Volume

ARRAY = phantom(12)


def series(root, name, array=ARRAY, reference="1.2.3.9", **options):
    write_series(root, name, list(ct(array, FrameOfReferenceUID=reference, **options)))
    return dataset(name, root).series()[0]


def volume(array, start=(0.0, 0.0, 0.0), steps=(2.0, 1.0, 1.0), unit="HU"):
    affine = np.eye(4)
    affine[:3, :3] = [[0, 0, steps[2]], [0, steps[1], 0], [steps[0], 0, 0]]
    affine[:3, 3] = start
    return Volume(array, affine, steps, (), "CT", "Phantom", (0.0, 100.0), unit=unit)


def test_series_scroll_together_by_millimetres(tmp_path):
    # 2.5 mm and 5 mm apart, from the same place: slice 8 of one lies where slice 4 of the other does.
    shown = hang([series(tmp_path, "thin"), series(tmp_path, "thick", ARRAY[:6], step=5.0)])
    thin, thick = shown.views
    thin.index = 8
    assert thick.index == 4
    thick.index = 1
    assert thin.index == 2
    # Beyond the ends of a series its picture stays.
    assert shown.linked(1) == ""
    shown.position = False
    thin.index = 10
    assert thick.index == 1


def test_beyond_its_ends_a_series_stays(tmp_path):
    shown = hang([series(tmp_path, "long"), series(tmp_path, "short", ARRAY[:4])])
    shown.views[0].index = 3
    assert shown.views[1].index == 3
    shown.views[0].index = 9
    assert shown.views[1].index == 3


def test_other_coordinates_are_linked_by_their_user(tmp_path):
    shown = hang([series(tmp_path, "prior"), series(tmp_path, "current", reference="1.2.3.10")])
    prior, current = shown.views
    prior.index, current.index = 2, 5
    assert (prior.index, current.index) == (2, 5)
    assert "other patient coordinates" in shown.linked(1)
    assert "Series 2 does not follow" in shown._bar.notes
    with pytest.raises(BadInput, match="register them first"):
        shown.difference()
    shown.link()
    prior.index = 4
    assert current.index == 7
    current.index = 4
    assert prior.index == 1
    assert shown._bar.notes == ""
    # Slices 2 and 5 were said to be the same: each voxel is higher by what three slices are.
    found = shown.difference(index=4)
    np.testing.assert_array_equal(found._at(4).pixels, ARRAY[7] - ARRAY[4])


def test_other_directions_do_not_scroll_together(tmp_path):
    sagittal = series(tmp_path, "sagittal", orientation=(0, 1, 0, 0, 0, -1))
    shown = hang([series(tmp_path, "axial"), sagittal])
    assert "another direction" in shown.linked(1)


def test_windows_and_zoom_are_linked_where_it_is_wanted(tmp_path):
    small = series(tmp_path, "small", ARRAY[:, ::2, ::2])
    shown = hang([series(tmp_path, "large"), small])
    first, second = shown.views
    first.window = (10, 20)
    assert second.window == (40, 400)
    shown.window = True
    assert second.window == (10, 20)
    first.window, first.invert = (30, 60), True
    assert (second.window, second.invert) == ((30, 60), True)
    first.zoom, first.pan = 2.0, (8.0, 4.0)
    assert (second.zoom, second.pan) == (2.0, (4.0, 2.0))


def test_blinking_shows_one_at_a_time(tmp_path):
    shown = hang([series(tmp_path, "a"), series(tmp_path, "b")], blink=True)
    assert [view.layout.display for view in shown.views] == [None, "none"]
    shown.front = 1
    assert [view.layout.display for view in shown.views] == ["none", None]
    shown.blink = False
    assert [view.layout.display for view in shown.views] == [None, None]


def test_a_saved_page_keeps_all_pictures_where_it_may(tmp_path, monkeypatch):
    shown = hang([series(tmp_path, "a"), series(tmp_path, "b")])
    with Image.open(io.BytesIO(shown.snapshot())) as both, Image.open(io.BytesIO(shown.views[0].snapshot())) as one:
        assert both.size == (2 * one.width + 8, one.height)
    assert "image/png" in shown._repr_mimebundle_()[0]
    assert "image/png" not in hang([ARRAY, ARRAY], static="none")._repr_mimebundle_()[0]
    monkeypatch.setattr(settings, "pictures", lambda: "none")
    assert "image/png" not in hang([ARRAY, ARRAY])._repr_mimebundle_()[0]


def test_what_is_read_for_the_saved_picture_goes_to_the_views(tmp_path, monkeypatch):
    sent = []
    monkeypatch.setattr(SeriesView, "send", lambda view, content, buffers=None: sent.append((view, content["n"])))
    shown = hang([series(tmp_path, "a"), series(tmp_path, "b")])
    shown._repr_mimebundle_()
    assert sent == [(view, "first") for view in shown.views]


def test_differences_are_exact_on_one_grid_and_interpolated_on_another():
    first = volume(ARRAY)
    same = difference(first, volume(ARRAY + 7), np.zeros(3))
    assert same.array.dtype == np.int16
    assert (same.array == 7).all()
    # A plane in space, sampled on two grids, is the same plane: linear interpolation is exact there.
    z, y, x = np.mgrid[:10, :8, :6].astype(np.float32)
    coarse = volume(3 * (2 * z) + 2 * y - x, steps=(2.0, 1.0, 1.0))
    fine = volume((3 * z + 2 * (y + 1) - x).astype(np.float32), start=(0.0, 1.0, 0.0), steps=(1.0, 1.0, 1.0))
    made = difference(coarse, fine, np.zeros(3)).array
    assert np.isnan(made[:, 0]).all()
    assert np.isnan(made[5:]).all()
    np.testing.assert_allclose(made[:4, 1:], 0, atol=1e-4)


def test_what_cannot_be_compared_is_said():
    with pytest.raises(BadInput, match="values of one kind"):
        difference(volume(ARRAY), volume(ARRAY, unit="BQML"), np.zeros(3))
    with pytest.raises(BadInput, match="do not overlap"):
        difference(volume(ARRAY), volume(ARRAY, start=(0, 0, 5000.0)), np.zeros(3))
    with pytest.raises(BadInput, match="2 to 6"):
        hang([ARRAY])
    with pytest.raises(BadInput, match="other patient coordinates"):
        hang([ARRAY, ARRAY]).difference()
