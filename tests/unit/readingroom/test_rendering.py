import gzip
import io
import tomllib

import numpy as np
import pytest
import traitlets
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import readingroom
from readingroom.errors import AccessEnded, BadInput
from readingroom.viewers import rendering, voxels
from readingroom.viewers.rendering import VolumeView
from readingroom.viewers.scripts import served
from readingroom.viewers.voxels import voxels_of
from readingroom.volume import Volume


def volume(array, affine=None, modality="CT", folder=None):
    affine = np.diag([2.0, 1.0, 1.5, 1.0]) if affine is None else affine
    spacing = tuple(float(v) for v in np.linalg.norm(affine[:3, :3], axis=0))
    return Volume(array, affine, spacing, (), modality, "Ball", None, folder=folder)


def axial():
    """Slices towards the head, rows towards the back, columns to the left."""
    affine = np.eye(4)
    affine[:3, :3] = [[0, 0, 1.5], [0, 1.0, 0], [2.0, 0, 0]]
    affine[:3, 3] = (-40, 10, 300)
    return affine


def coronal_from_behind():
    """Slices towards the front, rows towards the feet, columns to the right."""
    affine = np.eye(4)
    affine[:3, :3] = [[0, 0, -1.5], [-2.0, 0, 0], [0, -1.0, 0]]
    return affine


def with_a_ball(affine, offset, shape=(40, 60, 50)):
    places = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T
    centre = affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    array = np.full(shape, -1000, np.int16)
    array[np.linalg.norm(places - centre - offset, axis=-1) < 7] = 900
    return array


@pytest.mark.parametrize("affine", [axial(), coronal_from_behind()])
@pytest.mark.parametrize(
    ("side", "right", "up"),
    [
        ((0, 0), 0, 2),
        ((90, 0), 1, 2),
        ((-180, 0), (0, -1), 2),
        ((-90, 0), (1, -1), 2),
        ((0, 90), 0, 1),
        ((0, -90), 0, (1, -1)),
    ],
)
def test_the_still_picture_shows_a_ball_where_it_lies_in_the_patient(affine, side, right, up):
    offset = np.array([12.0, -8.0, 16.0])  # left, front, head
    view = VolumeView(volume(with_a_ball(affine, offset), affine), azimuth=side[0], elevation=side[1])
    grey = np.asarray(Image.open(io.BytesIO(view.snapshot())).convert("L"))[:512]
    rows, columns = np.nonzero(grey[30:-30] > 128)
    found = (columns.mean() + 0.5) / 256 - 1, 1 - (rows.mean() + 30.5) / 256
    reach = np.linalg.norm(np.array((40, 60, 50)) * np.linalg.norm(affine[:3, :3], axis=0)) / 2
    wanted = [offset[one] if isinstance(one, int) else offset[one[0]] * one[1] for one in (right, up)]
    np.testing.assert_allclose(found, np.array(wanted) / reach, atol=0.015)


def test_zoom_enlarges_the_still_picture():
    affine = axial()
    array = with_a_ball(affine, np.zeros(3))
    seen = []
    for zoom in (1.0, 2.0):
        png = VolumeView(volume(array, affine), zoom=zoom).snapshot()
        grey = np.asarray(Image.open(io.BytesIO(png)).convert("L"))[:512]
        seen.append(int((grey[30:-30] > 128).sum()))
    assert 3.6 < seen[1] / seen[0] < 4.4


@settings(deadline=None)
@given(st.tuples(*[st.integers(1, 9)] * 3), st.integers(1, 4))
def test_a_block_lies_where_its_voxels_lie(shape, most):
    affine = axial()
    # Each voxel says where it is: a line in the patient, so that means are places, too.
    values = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T @ np.array([8.0, 16.0, 24.0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(voxels, "MOST", most)
        made = voxels_of(volume(values.astype(np.float32), affine))
    assert max(made.array.shape) <= most
    whole = [n // -(-n // most) for n in shape]  # blocks that do not reach over the end
    places = np.moveaxis(np.indices(whole), 0, -1) @ made.affine[:3, :3].T + (made.affine - affine)[:3, 3]
    kept = made.array[tuple(slice(n) for n in whole)] * made.slope + made.intercept
    np.testing.assert_allclose(kept, places @ np.array([8.0, 16.0, 24.0]), atol=made.slope)


def test_whole_numbers_of_16_bits_travel_as_they_are_and_others_within_half_a_step():
    array = np.arange(-4, 20, dtype=np.int16).reshape(2, 3, 4)
    made = voxels_of(volume(array))
    assert (made.slope, made.intercept) == (1.0, 0.0)
    np.testing.assert_array_equal(made.array, array)
    uptake = np.random.default_rng(1).random((3, 4, 5)).astype(np.float32) * 7
    uptake[0, 0, 0] = np.nan
    made = voxels_of(volume(uptake, modality="PT"))
    error = np.abs(made.array * made.slope + made.intercept - np.nan_to_num(uptake, nan=np.nanmin(uptake)))
    assert error.max() <= made.slope * 0.51
    with pytest.raises(BadInput, match="no numbers"):
        voxels_of(volume(np.full((2, 2, 2), np.nan, np.float32)))


def test_a_large_volume_is_sent_small_and_says_so(monkeypatch):
    monkeypatch.setattr(voxels, "MOST", 4)
    view = VolumeView(volume(np.zeros((2, 8, 6), np.int16)))
    assert view.about["shape"] == (2, 4, 3)
    assert view.describe() == "CT Ball: CT bone, seen from front (A), 2 x 4 x 3 voxels of 2 x 8 x 6"


def test_presets_fit_the_modality_and_are_named_when_they_do_not():
    noise = np.random.default_rng(1).integers(0, 900, (4, 5, 6)).astype(np.int16)
    assert VolumeView(volume(noise)).presets == ("CT bone", "CT soft tissue", "CT lung", "CT angiography", "MIP")
    assert VolumeView(volume(noise, modality="MR")).presets == ("MR default", "MIP")
    view = VolumeView(volume(noise, modality="PT"))
    assert view.preset == "MIP"
    with pytest.raises(traitlets.TraitError, match="preset='CT bone': there are 'MIP', 'MR default'"):
        view.preset = "CT bone"
    for look in view._looks.values():
        for points in (look.colours, look.opacity):
            assert [one[0] for one in points] == sorted({one[0] for one in points})


def test_angles_and_zoom_keep_their_bounds():
    view = VolumeView(volume(np.zeros((2, 3, 4), np.int16)), azimuth=190, elevation=100, zoom=100)
    assert (view.azimuth, view.elevation, view.zoom) == (-170, 90, 20)
    view.azimuth, view.elevation = 60.0, 0.0
    assert "seen from left and front (LA)" in view.describe()
    with pytest.raises(traitlets.TraitError, match="azimuth=nan"):
        view.azimuth = float("nan")
    with pytest.raises(BadInput, match="no window: it has preset"):
        VolumeView(volume(np.zeros((2, 3, 4), np.int16)), window=(1, 2))


def test_a_saved_page_keeps_a_picture_or_none():
    whole = volume(np.zeros((2, 3, 4), np.int16))
    data, _ = VolumeView(whole)._repr_mimebundle_()
    assert {"image/png", "text/plain"} < data.keys()
    assert data["text/plain"].endswith("The picture is a maximum intensity projection.")
    data, _ = VolumeView(whole, static="none")._repr_mimebundle_()
    assert "image/png" not in data
    assert data["text/plain"].startswith("CT Ball")


def test_nothing_is_given_out_when_access_has_ended(tmp_path, monkeypatch):
    def refuse(*_):
        raise AccessEnded("Access to x was withdrawn or has ended.")

    view = VolumeView(volume(np.zeros((2, 3, 4), np.int16), folder=tmp_path))
    sent = []
    monkeypatch.setattr(view, "send", lambda content, buffers=None: sent.append((content, buffers)))
    view._answer(view, {"k": "voxels", "n": "a"}, [])
    assert sent.pop()[0] == {"k": "voxels", "n": "a"}
    monkeypatch.setattr(rendering, "check_readable", refuse)
    for kind in ("voxels", "still"):
        view._answer(view, {"k": kind, "n": "b"}, [])
        assert sent.pop() == (
            {"k": "error", "n": "b", "text": "Access to x was withdrawn or has ended.", "ended": True},
            None,
        )
    data, _ = view._repr_mimebundle_()
    assert "image/png" not in data


def test_the_script_that_draws_is_served_apart_from_the_widget_with_its_licences(pytestconfig):
    name, _, digest = served("volume").partition("?v=")
    assert len(digest) == 16
    root = pytestconfig.rootpath
    shared = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"][
        "shared-data"
    ]
    source = {target: path for path, target in shared.items()}[f"share/jupyter/labextensions/{name}"]
    assert len(gzip.compress((root / source).read_bytes())) < 125_000
    assert len(VolumeView._esm) < 12_000
    licences = (root / source).with_suffix(".licences.txt").read_text()
    for package in ("@kitware/vtk.js", "gl-matrix", "seedrandom", "spark-md5", "fast-deep-equal"):
        assert f"\n{package} " in licences


def test_what_forms_no_volume_says_why(tmp_path):
    from tests.support.dicom_series import instance, write_series

    uneven = [instance(np.zeros((4, 4), np.uint16), position=(0, 0, z), number=z) for z in (1, 2, 3, 5)]
    write_series(tmp_path, "gaps", uneven)
    with pytest.raises(readingroom.errors.NotAVolume, match="distance between slices is uneven"):
        readingroom.dataset("gaps", tmp_path).series()[0].render()
