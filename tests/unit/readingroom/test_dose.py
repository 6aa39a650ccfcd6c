import numpy as np
import pytest
import traitlets
from tests.support.dicom_series import ct, phantom, write_series
from tests.support.doses import dose_of

import readingroom
from readingroom.errors import BadInput
from readingroom.viewers import SeriesView, dose
from readingroom.volume import Frames

# The pictures: 6 slices 2.5 mm apart from z = 100, rows 0.5 mm from y = 20, columns 0.75 mm from x = -10.
ARRAY = phantom(6)
Z, Y, X = np.meshgrid(100 + 2.5 * np.arange(6), 20 + 0.5 * np.arange(64), -10 + 0.75 * np.arange(48), indexing="ij")
# The grid: 2 mm in plane and 3 mm between planes, shifted by fractions of the pictures' own steps.
PLACE = {"position": (-4.3, 24.1, 98.7), "spacing": (2.0, 2.5), "reference": "1.2.3.9"}
OFFSETS = 3.0 * np.arange(5)


def linear(x, y, z):
    """A dose that grows evenly: linear interpolation gives it back exactly."""
    return 20 + 0.3 * (x + 10) + 0.2 * (y - 20) + 0.5 * (z - 100)


def gray(offsets=OFFSETS):
    z, y, x = np.meshgrid(98.7 + offsets, 24.1 + 2.0 * np.arange(10), -4.3 + 2.5 * np.arange(9), indexing="ij")
    return linear(x, y, z)


@pytest.fixture
def view(tmp_path):
    folder = write_series(tmp_path, "d", list(ct(ARRAY, FrameOfReferenceUID="1.2.3.9")))
    return SeriesView(Frames.of_files(sorted(folder.iterdir()), "d"))


def saved(made, tmp_path):
    made.save_as(tmp_path / "dose.dcm", enforce_file_format=True)
    return tmp_path / "dose.dcm"


@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize(
    "offsets",
    [OFFSETS, 98.7 + OFFSETS],
    ids=["relative", "absolute"],
)
def test_a_dose_lies_where_it_was_planned_to_the_pixel(view, tmp_path, bits, offsets):
    view.dose(saved(dose_of(gray(), offsets=offsets, bits=bits, **PLACE), tmp_path))
    expected = linear(X, Y, Z)
    # Half a step beyond the outermost centres belongs to the grid; the interpolation there holds the last value.
    inside = (np.abs(X - 5.7) < 10) & (np.abs(Y - 33.1) < 9) & (np.abs(Z - 104.7) < 6)
    beyond = (np.abs(X - 5.7) > 11.25) | (np.abs(Y - 33.1) > 10) | (np.abs(Z - 104.7) > 7.5)
    assert inside.sum() > 4000
    assert beyond.sum() > 4000
    found = np.stack([view.dose_values(k) for k in range(6)])
    np.testing.assert_allclose(found[inside], expected[inside], atol=1e-3)
    assert np.isnan(found[beyond]).all()


def test_planes_may_be_stored_from_head_to_feet(view, tmp_path):
    down = -OFFSETS
    made = dose_of(gray(12 + down), offsets=down, **PLACE | {"position": (-4.3, 24.1, 110.7)})
    view.dose(saved(made, tmp_path))
    np.testing.assert_allclose(view.dose_values(2)[20, 20], linear(X, Y, Z)[2, 20, 20], atol=1e-3)
    # By the second convention, too.
    made.GridFrameOffsetVector = [f"{110.7 + v:.10g}" for v in down]
    view.dose(saved(made, tmp_path))
    np.testing.assert_allclose(view.dose_values(2)[20, 20], linear(X, Y, Z)[2, 20, 20], atol=1e-3)


def test_turned_planes_lie_along_their_normal(view, tmp_path):
    """A coronal grid seen from the front: rows x, columns down the patient, so by the right hand its normal is +y."""
    cosines = (1, 0, 0, 0, 0, -1)
    y, z, x = np.meshgrid(24.1 + OFFSETS, 111.0 - 2.0 * np.arange(7), -4.3 + 2.5 * np.arange(9), indexing="ij")
    made = dose_of(linear(x, y, z), offsets=OFFSETS, cosines=cosines, **PLACE | {"position": (-4.3, 24.1, 111.0)})
    view.dose(saved(made, tmp_path))
    np.testing.assert_allclose(view.dose_values(2)[20, 20], linear(X, Y, Z)[2, 20, 20], atol=1e-3)


def test_the_wash_begins_at_the_threshold_and_mixes_by_opacity(view, tmp_path):
    view.dose(saved(dose_of(gray(), offsets=OFFSETS, **PLACE), tmp_path), threshold=27.0, opacity=0.25)
    view.index = 2
    plain = SeriesView(view._pictures, index=2).grey()
    values = view.dose_values(2)
    washed = view.grey()
    shown = np.nan_to_num(values, nan=-1) >= 27.0
    assert 100 < shown.sum() < shown.size - 100
    near = np.abs(values - 27.0) < 1e-3
    np.testing.assert_array_equal(washed[~shown & ~near], np.repeat(plain[~shown & ~near][:, None], 3, axis=1))
    at = np.floor(values[shown] / view.wash["highest"] * 255 + 0.5).astype(int)
    expected = plain[shown][:, None] * 0.75 + dose.colour_table()[at] * 0.25
    assert np.abs(washed[shown] - expected).max() <= 1.5
    assert "dose from 27 to" in view.describe()
    assert view.snapshot().startswith(b"\x89PNG")
    view.clear_overlays()
    assert view.grey().ndim == 2
    with pytest.raises(traitlets.TraitError, match="0 or more"):
        view.dose_threshold = float("nan")


def test_codes_tell_none_from_nothing():
    found = dose.codes(np.array([np.nan, -1, 0, 25, 50, 60], np.float32), 50.0)
    assert found.tolist() == [0, 0, 1, 32768, 65535, 65535]


def test_a_volume_and_its_planes_take_a_dose_too(view, tmp_path):
    path = saved(dose_of(gray(), offsets=OFFSETS, **PLACE), tmp_path)
    volume = view._pictures.frames.volume()
    assert np.isfinite(readingroom.view(volume).dose(path).dose_values(2)[20, 20])
    coronal = readingroom.viewers.MprView(volume).views["coronal"].dose(path)
    at = coronal._pictures.place(30).points(np.array([[3, 20]]))[0]
    np.testing.assert_allclose(coronal.dose_values(30)[3, 20], linear(*at), atol=1e-3)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"FrameOfReferenceUID": "1.2.3.8"}, "other patient coordinates"),
        ({"GridFrameOffsetVector": [5, 8, 11, 14, 17]}, "neither 0 nor"),
        ({"GridFrameOffsetVector": [0, 3, 6, 9, 13]}, "uneven"),
        ({"GridFrameOffsetVector": [0, 3]}, "2 offsets"),
        ({"DoseUnits": "CGY"}, "GY and RELATIVE"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "no RT dose"),
        ({"DoseGridScaling": "0"}, "holds no dose"),
        ({"PixelSpacing": None}, "could not be understood"),
    ],
)
def test_what_cannot_be_laid_is_refused_in_words(view, tmp_path, change, says):
    made = dose_of(gray(), offsets=OFFSETS, **PLACE)
    for name, value in change.items():
        setattr(made, name, value)
    if "SOPClassUID" in change:
        made.file_meta.MediaStorageSOPClassUID = change["SOPClassUID"]
    with pytest.raises(BadInput, match=says):
        view.dose(saved(made, tmp_path))
    assert view.wash == {}
    with pytest.raises(BadInput, match="No dose is shown"):
        view.dose_values(0)


def test_pictures_without_a_place_take_no_dose(tmp_path):
    with pytest.raises(BadInput, match="no place in the patient"):
        readingroom.view(ARRAY).dose(saved(dose_of(gray(), offsets=OFFSETS, **PLACE), tmp_path))
