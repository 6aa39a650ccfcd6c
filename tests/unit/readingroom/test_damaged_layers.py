"""Damaged files of every kind of layer: shown, or refused in a sentence, and never another error."""

import random
import warnings

import numpy as np
import pytest
from tests.support.dicom_series import ct, phantom, write_series
from tests.support.doses import dose_of
from tests.support.nifti import nifti
from tests.support.overlay_planes import with_overlay
from tests.support.presentation import graphic, state, text

from readingroom.data import Series
from readingroom.errors import ReadingRoomError
from readingroom.viewers import SeriesView
from readingroom.volume import Frames

ARRAY = phantom(3)


def damaged(data, chance, first):
    """Some bytes changed, taken away or cut off, from `first` on."""
    made = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 4])):
        at, how = chance.randrange(first, min(len(made), 6000)), chance.random()
        if how < 0.6:
            made[at] = chance.randrange(256)
        elif how < 0.8:
            made[at : at + 4] = bytes([chance.choice([0, 0x7F, 0x80, 0xFF])] * 4)
        elif how < 0.9:
            del made[at : at + chance.randrange(1, 20)]
        else:
            return bytes(made[: max(at, 140)])
    return bytes(made)


def dose(series, path):
    made = dose_of(
        np.full((4, 8, 8), 3.0), position=(0, 20, 98), spacing=(3, 3), offsets=3 * np.arange(4), reference="1.2.3.9"
    )
    made.save_as(path, enforce_file_format=True)
    return lambda: series.view().dose(path).snapshot()


def presentation(series, path):
    shapes = [graphic("POLYLINE", np.array([[1.0, 1], [2, 2]])), graphic("CIRCLE", np.array([[1.0, 1], [2, 2]]))]
    shutter = {"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [3, 3], "RadiusOfCircularShutter": 4}
    made = state(series.files, shapes, [text("x", bounding_box=(1, 1, 2, 2))], ImageRotation=90, **shutter)
    made.save_as(path, enforce_file_format=True)
    return lambda: series.present(path).snapshot()


def segmentation(series, path):
    series.view().paint("a", mask=ARRAY > 0).segmentation().save_as(path)
    return lambda: series.view().overlay(path).snapshot()


def label_map(series, path):
    affine = np.array([[-0.75, 0, 0, 8], [0, -0.5, 0, -22], [0, 0, 2.5, 100], [0, 0, 0, 1]])
    nifti(path, np.ones((8, 8, 3), np.uint8), affine)
    return lambda: series.view().overlay(path).snapshot()


def planes(_series, path):
    made = with_overlay(next(ct(ARRAY[:1])), np.ones((8, 8)))
    made.save_as(path, enforce_file_format=True)
    return lambda: SeriesView(Frames.of_files([path], "d")).grey()


@pytest.mark.parametrize("kind", [dose, presentation, segmentation, label_map, planes])
def test_what_is_damaged_is_shown_or_refused_in_words(kind, tmp_path):
    folder = write_series(tmp_path, "d", list(ct(ARRAY, FrameOfReferenceUID="1.2.3.9", PatientID="p")))
    path = tmp_path / ("x.nii" if kind is label_map else "x.dcm")
    show = kind(Series(folder, "d"), path)
    show()
    whole, chance, refused = path.read_bytes(), random.Random(5), 0
    for _ in range(60):
        path.write_bytes(damaged(whole, chance, 0 if kind is label_map else 132))
        with warnings.catch_warnings():
            # pydicom tells of each value that does not fit its VR.
            warnings.simplefilter("ignore")
            try:
                show()
            except ReadingRoomError:
                refused += 1
    assert 5 < refused < 60
