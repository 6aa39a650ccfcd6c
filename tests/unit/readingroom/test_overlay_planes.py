import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.dicom_series import ct, instance, phantom, write_series
from tests.support.overlay_planes import with_overlay

from readingroom.errors import Damaged
from readingroom.viewers import SeriesView
from readingroom.volume import Frames

ARRAY = phantom(4)
RNG = np.random.default_rng(6)


def view_of(root, instances):
    folder = write_series(root, "d", instances)
    return SeriesView(Frames.of_files(sorted(folder.iterdir()), "d"), index=0)


def test_planes_are_laid_on_the_pictures_that_have_them(tmp_path):
    made = list(ct(ARRAY))
    bits = RNG.random((64, 48)) > 0.5
    with_overlay(made[2], bits)
    with_overlay(made[3], ~bits, group=0x6002, kind="R")
    view = view_of(tmp_path, made)
    assert [(one["name"], one["opacity"], one["slice"]) for one in view.overlays] == [
        ("overlay plane 1", 1.0, 2), ("overlay plane 2", 0.4, 3),
    ]  # fmt: skip
    first, second = view.mask("overlay plane 1"), view.mask("overlay plane 2")
    np.testing.assert_array_equal(first[2], bits)
    np.testing.assert_array_equal(second[3], ~bits)
    assert first[[0, 1, 3]].sum() == 0
    assert second[:3].sum() == 0
    view.index = 2
    np.testing.assert_array_equal((view.grey() == view.overlays[0]["colour"]).all(axis=-1)[16:48], bits[16:48])
    assert view.snapshot().startswith(b"\x89PNG")
    view.clear_overlays()
    assert view.grey().ndim == 2


@settings(max_examples=40, deadline=None)
@given(
    origin=st.tuples(st.integers(-12, 14), st.integers(-12, 14)),
    size=st.tuples(st.integers(1, 14), st.integers(1, 14)),
)
def test_an_origin_moves_the_plane_and_what_lies_outside_is_cut_off(tmp_path_factory, origin, size):
    bits = RNG.random(size) > 0.4
    made = with_overlay(instance(np.zeros((10, 12), np.uint16)), bits, origin=origin)
    mask = view_of(tmp_path_factory.mktemp("o"), [made]).mask("overlay plane 1")[0]
    for row in range(10):
        for column in range(12):
            r, c = row - origin[0] + 1, column - origin[1] + 1
            assert mask[row, column] == (0 <= r < size[0] and 0 <= c < size[1] and bits[r, c])


@pytest.mark.parametrize(
    ("frames", "first", "expected"),
    [
        (None, None, [0, 0, 0, 0]),
        (2, 2, [None, 0, 1, None]),
        (2, None, [0, 1, None, None]),
        (1, 3, [None, None, 0, None]),
    ],
)
def test_frames_of_an_overlay_meet_frames_of_the_image(tmp_path, frames, first, expected):
    bits = RNG.random((frames or 1, 9, 7)) > 0.5
    many = instance(np.zeros((4, 9, 7), np.uint16))
    view = view_of(tmp_path, [with_overlay(many, bits, frames=frames, first=first)])
    mask = view.mask("overlay plane 1")
    for k, at in enumerate(expected):
        np.testing.assert_array_equal(mask[k], np.zeros((9, 7), bool) if at is None else bits[at])


def test_a_plane_that_cannot_be_decoded_hides_no_picture_for_good(tmp_path):
    made = with_overlay(instance(ARRAY[0].astype(np.uint16)), np.ones((64, 48)))
    made[0x60003000].value = b"\1\2"
    view = view_of(tmp_path, [made])
    with pytest.raises(Damaged, match=r"overlay plane \(group 6000\).*clear_overlays"):
        view.grey()
    view.clear_overlays()
    assert view.grey().shape == (64, 48)


def test_without_planes_nothing_is_shown(tmp_path):
    assert view_of(tmp_path, list(ct(ARRAY))).overlays == []
