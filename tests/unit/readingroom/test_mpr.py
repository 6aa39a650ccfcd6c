import base64
import io

import numpy as np
import pytest
import traitlets
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from readingroom.errors import BadInput
from readingroom.viewers import MprView, SeriesView
from readingroom.viewers.mpr import cut, pictures_of_plane
from readingroom.volume import Volume

SHAPE = (5, 7, 9)
ARRAY = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)


def volume(affine, array=ARRAY):
    spacing = tuple(np.linalg.norm(affine[:3, :3], axis=0))
    return Volume(array, affine, spacing, (), "CT", "Phantom", (100.0, 400.0))


def axial(step=2.5):
    """Slices towards the head, rows towards the back, columns to the left, as most CT is."""
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = (0, 0, step), (0, 0.5, 0), (0.75, 0, 0)
    affine[:3, 3] = (-10, 20, 100)
    return affine


def test_planes_of_an_axial_volume_are_its_voxels():
    whole = volume(axial())
    np.testing.assert_array_equal(cut(whole, "axial").array, ARRAY)
    # Head up: the last slice is the first row. Row 3 of the volume lies in coronal picture 3.
    np.testing.assert_array_equal(cut(whole, "coronal").array[3], ARRAY[::-1, 3, :])
    np.testing.assert_array_equal(cut(whole, "sagittal").array[2], ARRAY[::-1, :, 2])
    assert cut(whole, "coronal").spacing == (0.5, 2.5, 0.75)
    assert np.shares_memory(cut(whole, "sagittal").array, ARRAY)


def test_edges_are_the_patients():
    edges = {
        plane: pictures_of_plane(volume(axial()), plane)[1].about.edges for plane in ("axial", "coronal", "sagittal")
    }
    assert edges == {
        "axial": ("R", "L", "A", "P"),
        "coronal": ("R", "L", "H", "F"),
        "sagittal": ("A", "P", "H", "F"),
    }


@given(
    st.permutations([0, 1, 2]),
    st.tuples(*[st.sampled_from([-1, 1])] * 3),
    st.sampled_from(["axial", "coronal", "sagittal"]),
    st.tuples(*(st.integers(0, n - 1) for n in SHAPE)),
    st.floats(-20, 20),
)
def test_a_place_has_the_same_value_in_every_plane(order, signs, plane, voxel, degrees):
    turn = np.radians(degrees)
    rotation = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    affine = np.eye(4)
    for column, (axis, sign, step) in enumerate(zip(order, signs, (2.5, 0.5, 0.75), strict=True)):
        affine[:3, column] = rotation[:, axis] * sign * step
    affine[:3, 3] = (3, -8, 40)
    seen = cut(volume(affine), plane)
    place = tuple((affine @ [*voxel, 1])[:3])
    found = seen.voxel(place)
    assert seen.array[found] == ARRAY[voxel]
    np.testing.assert_allclose(seen.place(found), place, atol=1e-9)


def test_a_slab_is_the_slices_around_it():
    _, pictures = pictures_of_plane(volume(axial()), "axial", 7.5, "max")
    np.testing.assert_array_equal(pictures.stored(2).pixels, ARRAY[1:4].max(0))
    np.testing.assert_array_equal(pictures.stored(0).pixels, ARRAY[0:2].max(0))
    _, pictures = pictures_of_plane(volume(axial()), "axial", 7.5, "mean")
    np.testing.assert_array_equal(pictures.stored(2).pixels, ARRAY[1:4].mean(0).astype(np.float32))
    _, thin = pictures_of_plane(volume(axial()), "axial", 0, "min")
    np.testing.assert_array_equal(thin.stored(2).pixels, ARRAY[2])


@pytest.mark.parametrize(("slab", "how"), [(-1, "max"), (float("nan"), "max"), (5, "median")])
def test_a_slab_that_is_none_is_refused(slab, how):
    with pytest.raises(BadInput, match="thickness in mm"):
        pictures_of_plane(volume(axial()), "axial", slab, how)


def test_there_are_three_planes():
    with pytest.raises(BadInput, match="axial, coronal and sagittal"):
        cut(volume(axial()), "oblique")


def test_the_crosshair_links_the_planes():
    shown = MprView(volume(axial()))
    views = shown.views
    assert (views["axial"].index, views["axial"].cross) == (2, [3, 4])
    assert (views["coronal"].index, views["coronal"].cross) == (3, [2, 4])
    # Scrolling one plane moves the lines in the others; a click moves their slices.
    views["axial"].index = 4
    assert views["coronal"].cross == [0, 4]
    assert views["sagittal"].cross == [0, 3]
    views["coronal"].cross = [1, 8]
    assert (views["axial"].index, views["axial"].cross, views["sagittal"].index) == (3, [3, 8], 8)
    assert shown.crosshair == (-10 + 8 * 0.75, 20 + 3 * 0.5, 100 + 3 * 2.5)
    # From Python, to the nearest voxel and no farther than the volume.
    shown.crosshair = (-1000, 20.6, 1000)
    assert (views["axial"].index, views["axial"].cross) == (4, [1, 0])
    views["sagittal"].window = (1, 2)
    assert {view.window for view in views.values()} == {(1.0, 2.0)}
    with pytest.raises(traitlets.TraitError, match="three numbers"):
        shown.crosshair = (0, 0, float("nan"))


def test_the_saved_page_keeps_all_three(monkeypatch):
    sent = []
    monkeypatch.setattr(SeriesView, "send", lambda view, content, buffers=None: sent.append((view, content["n"])))
    shown = MprView(volume(axial()))
    data, metadata = shown._repr_mimebundle_()
    # What is cut for it goes to the views.
    assert sent == [(view, "first") for view in shown.views.values()]
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(data["image/png"]))))
    assert picture.shape[1] == 3 * 512 + 16 or picture.shape[1] > 512
    assert data["text/plain"].count("slice") == 3
    assert metadata["image/png"]["alt"] == data["text/plain"]
    assert "image/png" not in MprView(volume(axial()), static="none")._repr_mimebundle_()[0]
    # The crosshair's lines are in the picture: row 3 of 7 at the axial one's height.
    first = np.asarray(Image.open(io.BytesIO(shown.views["axial"].snapshot())))
    assert (first[int(3.5 / 7 * (first.shape[0] - 18))] == 230).all()
