"""Oblique planes: what is linear in the patient stays so, wherever a plane lies."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.support.dicom_series import ct, write_series

from readingroom.data import Series
from readingroom.errors import BadInput
from readingroom.viewers.mpr import in_slabs
from readingroom.viewers.oblique import oblique
from readingroom.volume import Volume

SLOPE = np.array([2.0, -3.0, 5.0])
SHAPE = (8, 12, 10)


def ramp(spacing=(2.5, 0.5, 0.75), origin=(-10.0, 20.0, 100.0)):
    """A volume whose value at a place in mm is SLOPE @ place."""
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, ::-1] * np.array(spacing)
    affine[:3, 3] = origin
    index = np.stack([*np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), np.ones(SHAPE)], -1)
    array = (index @ affine.T)[..., :3] @ SLOPE
    return Volume(array.astype(np.float32), affine, spacing, (), "CT", "ramp", (0.0, 500.0))


def places(volume):
    shape = volume.array.shape
    index = np.stack([*np.meshgrid(*map(np.arange, shape), indexing="ij"), np.ones(shape)], -1)
    return (index @ volume.affine.T)[..., :3]


@settings(max_examples=25, deadline=None)
@given(st.tuples(*[st.floats(-1, 1)] * 3), st.floats(0.4, 3))
def test_a_ramp_is_a_ramp_in_every_plane(normal, spacing):
    assume(np.linalg.norm(normal) > 0.1)
    volume = ramp()
    seen = oblique(volume, normal, spacing)
    axes = seen.affine[:3, :3] / spacing
    np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(axes[:, 0], np.array(normal) / np.linalg.norm(normal), atol=1e-9)
    assert axes[2, 1] < 0.3
    at = places(seen)
    known = np.isfinite(seen.array)
    inside = ((at - volume.affine[:3, 3]) / np.array([0.75, 0.5, 2.5]))[known]
    # Half a voxel around the outer centres is known, too, and has their values.
    core = ((inside >= 0) & (inside <= np.array(SHAPE[::-1]) - 1)).all(axis=1)
    np.testing.assert_allclose(seen.array[known][core], (at[known] @ SLOPE)[core], atol=2e-2)
    # Nothing of the volume is left out.
    assert abs(known.sum() * spacing**3 / (np.prod(SHAPE) * 2.5 * 0.5 * 0.75) - 1) < 3 * spacing / 5


@pytest.mark.parametrize(("normal", "edges"), [((0, 0, 1), "RLAP"), ((0, 1, 0), "RLHF"), ((1, 0, 0), "APHF")])
def test_planes_stand_as_at_a_workstation(normal, edges):
    view = in_slabs(oblique(ramp(), normal), 0, "max")
    assert "".join(view.about.edges) == edges


def test_the_planes_of_the_volume_itself_are_its_own():
    volume = ramp(spacing=(1.0, 1.0, 1.0))
    seen = oblique(volume, (0, 0, 1))
    np.testing.assert_allclose(seen.array, volume.array, atol=1e-3)
    np.testing.assert_allclose(seen.affine, volume.affine, atol=1e-9)


@pytest.mark.parametrize("how", ["max", "min", "mean"])
def test_a_slab_takes_what_numbers_there_are(how):
    seen = oblique(ramp(), (0, 1, 1), 1.0)
    thick = in_slabs(seen, 3, how)
    for index in (0, len(seen.array) // 2, len(seen.array) - 1):
        part = seen.array[max(index - 1, 0) : index + 2]
        got = thick.stored(index).pixels
        known = np.isfinite(part).any(axis=0)
        assert (np.isfinite(got) == known).all()
        expected = {"max": np.nanmax, "min": np.nanmin, "mean": np.nanmean}[how](part[:, known], axis=0)
        np.testing.assert_allclose(got[known], expected, rtol=1e-6)


@pytest.mark.parametrize("wrong", [{"normal": (0, 0, 0)}, {"normal": (1, 2)}, {"normal": (0, 0, float("nan"))}])
def test_no_direction_is_refused(wrong):
    with pytest.raises(BadInput, match="give a direction"):
        oblique(ramp(), **wrong)


def test_too_fine_a_grid_is_refused_before_it_is_made():
    with pytest.raises(BadInput, match="voxels, more than fit"):
        oblique(ramp(), (1, 1, 1), 0.001)
    with pytest.raises(BadInput, match="give a direction"):
        oblique(ramp(), (1, 1, 1), 0)


def test_a_series_is_shown_in_oblique_planes(tmp_path):
    folder = write_series(tmp_path, "d", list(ct(np.full((6, 20, 16), 40, np.int16), step=1.0)))
    view = Series(folder, "d").oblique((0, 0.5, 1), slab=2, how="mean")
    assert view.about["count"] > 6
    assert view._repr_mimebundle_()[0]["image/png"]
    with pytest.raises(BadInput, match="give a thickness"):
        Series(folder, "d").oblique((0, 0.5, 1), how="sum")
