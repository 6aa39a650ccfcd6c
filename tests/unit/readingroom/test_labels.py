import numpy as np
import pytest
from tests.support.dicom_series import ct, phantom, write_series
from tests.support.nifti import nifti

import readingroom
from readingroom.errors import BadInput, NotFound
from readingroom.viewers import MprView, SeriesView
from readingroom.volume import Frames

ARRAY = phantom(6)
RNG = np.random.default_rng(4)
# Voxel (column, row, slice) of the pictures to RAS: x and y of LPS are negated.
OWN = np.array([[-0.75, 0, 0, 10], [0, -0.5, 0, -20], [0, 0, 2.5, 100], [0, 0, 0, 1]])


@pytest.fixture
def view(tmp_path):
    folder = write_series(tmp_path, "d", list(ct(ARRAY, FrameOfReferenceUID="1.2.3.9")))
    return SeriesView(Frames.of_files(sorted(folder.iterdir()), "d"))


@pytest.mark.parametrize("suffix", ["nii", "nii.gz"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float64"])
def test_a_map_of_the_pictures_own_grid_lies_on_its_pixels(view, tmp_path, suffix, dtype):
    labels = RNG.integers(0, 3, (6, 64, 48)) * 2
    view.overlay(nifti(tmp_path / f"seg.{suffix}", labels.transpose(2, 1, 0).astype(dtype), OWN))
    assert [one["name"] for one in view.overlays] == ["label 2", "label 4"]
    for value in (2, 4):
        np.testing.assert_array_equal(view.mask(f"label {value}"), labels == value)
    assert view.overlays[0]["slice"] == np.argmax((labels == 2).sum(axis=(1, 2)))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, 1), (1, -1, -1)])
def test_axes_may_be_turned_and_flipped(view, tmp_path, order, flips):
    labels = RNG.integers(0, 2, (6, 64, 48)).astype(np.uint8)
    array, affine = labels.transpose(2, 1, 0), OWN.copy()
    for axis, sign in enumerate(flips):
        if sign < 0:
            affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
            affine[:3, axis] *= -1
            array = np.flip(array, axis)
    affine[:, :3] = affine[:, order]
    view.overlay(nifti(tmp_path / "seg.nii", array.transpose(order), affine), name="lung")
    np.testing.assert_array_equal(view.mask("lung"), labels == 1)


def test_each_pixel_takes_the_nearest_voxel_of_another_grid(view, tmp_path):
    affine = np.array([[1.1, 0, 0, -22], [0, 1.3, 0, -50], [0, 0, 1.9, 97], [0, 0, 0, 1]])
    labels = RNG.integers(0, 3, (20, 22, 9)).astype(np.uint8)
    view.overlay(nifti(tmp_path / "seg.nii", labels, affine))
    z, y, x = np.meshgrid(100 + 2.5 * np.arange(6), -20 - 0.5 * np.arange(64), 10 - 0.75 * np.arange(48), indexing="ij")
    at = np.stack([(x + 22) / 1.1, (y + 50) / 1.3, (z - 97) / 1.9])
    # Only pixels that are not halfway between two voxels, where either is right.
    clear = (np.abs(at - np.floor(at) - 0.5) > 1e-3).all(axis=0)
    voxel = np.floor(at + 0.5).astype(int)
    within = ((voxel >= 0) & (voxel < np.array(labels.shape)[:, None, None, None])).all(axis=0)
    expected = np.zeros(x.shape, np.uint8)
    expected[within] = labels[tuple(voxel[:, within])]
    assert within.any()
    assert not within.all()
    for value in (1, 2):
        np.testing.assert_array_equal(view.mask(f"label {value}")[clear], (expected == value)[clear])


def test_a_qform_places_it_too_and_planes_of_a_volume_take_it(view, tmp_path):
    labels = np.zeros((48, 64, 6), np.uint8)
    labels[10:20, 30:40, 2:4] = 7
    # Unturned: voxels run to the right and front, so the far corner of LPS comes first.
    affine = np.diag([0.75, 0.5, 2.5, 1])
    affine[:3, 3] = [10 - 0.75 * 47, -20 - 0.5 * 63, 100]
    path = nifti(tmp_path / "seg.nii", labels, affine, sform=0, qform=1)
    expected = np.zeros((6, 64, 48), bool)
    expected[2:4, 24:34, 28:38] = True
    np.testing.assert_array_equal(view.overlay(path).mask("label 7"), expected)
    volume = view._pictures.frames.volume()
    np.testing.assert_array_equal(readingroom.view(volume).overlay(path).mask("label 7"), expected)
    coronal = MprView(volume).views["coronal"].overlay(path).mask("label 7")
    np.testing.assert_array_equal(coronal, np.flip(expected.transpose(1, 0, 2), 1))


def test_what_is_no_label_map_is_refused_in_words(view, tmp_path):
    ones = np.ones((4, 4, 4), np.uint8)
    path = tmp_path / "seg.nii"
    sheared = OWN.copy()
    sheared[0, 1] = 0.4
    away = OWN.copy()
    away[:3, 3] = 4000
    for array, affine, forms, says in [
        (ones * 0.5, OWN, {}, "whole numbers"),
        (-ones.astype(np.int16), OWN, {}, "whole numbers"),
        (np.full((4, 4, 4), np.nan, np.float32), OWN, {}, "holds 0 labels"),
        (ones * 0, OWN, {}, "holds 0 labels"),
        (np.arange(343).reshape(7, 7, 7).astype(np.uint16), OWN, {}, "holds 342 labels"),
        (ones, OWN, {"sform": 0}, "tells no place"),
        (ones, sheared, {}, "sheared"),
        (ones, away, {}, "lies elsewhere"),
        (np.ones((3, 3, 3, 3), np.uint8), OWN, {}, "4 dimensions"),
    ]:
        nifti(path, array, affine, **forms)
        with pytest.raises(BadInput, match=says):
            view.overlay(path)
    path.write_bytes(b"no NIfTI")
    with pytest.raises(BadInput, match="could not be read as NIfTI"):
        view.overlay(path)
    with pytest.raises(NotFound):
        view.overlay(tmp_path / "none.nii.gz")
    with pytest.raises(BadInput, match="no place in the patient"):
        readingroom.view(ARRAY).overlay(path)
    assert view.overlays == []
