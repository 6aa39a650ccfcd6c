"""Images that share their places: each is put into the phase that its header tells, whatever the order of files."""

import random

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.dicom_series import instance, write_series

from readingroom.data import Series
from readingroom.errors import NotAVolume
from readingroom.marks import marks_of

ZS = (100.0, 102.5, 105.0)


def image(z, value, **elements):
    return instance(np.full((6, 5), value, np.uint16), position=(0, 0, z), intercept=0, modality="MR", **elements)


def series(folder, made):
    random.Random(7).shuffle(made)
    return Series(write_series(folder, "d", made), "d")


def levels(phases):
    """The one value of each phase's volume."""
    found = [np.unique(phase.volume().array) for phase in phases]
    assert {len(values) for values in found} == {1}
    return [int(values[0]) for values in found]


def test_diffusion_weightings_are_told_apart(tmp_path):
    made = [image(z, 10 + n, DiffusionBValue=b) for z in ZS for n, b in enumerate((0.0, 500.0, 1000.0))]
    here = series(tmp_path, made)
    with pytest.raises(NotAVolume, match=r"share their place.*series\.phases\(\)"):
        here.volume()
    phases = here.phases()
    assert [p.label for p in phases] == [f"DiffusionBValue {b} s/mm2" for b in (0, 500, 1000)]
    assert levels(phases) == [10, 11, 12]
    assert phases[1].view().about["count"] == 3
    assert repr(phases[0]) == "Phase(DiffusionBValue 0 s/mm2, 3 images)"


def test_directions_are_told_apart_where_weightings_are_not_enough(tmp_path):
    made = []
    for z in ZS:
        made.append(image(z, 10, DiffusionBValue=0.0))
        made += [
            image(z, 11 + n, DiffusionBValue=800.0, DiffusionGradientOrientation=[float(n == 0), float(n == 1), 0.0])
            for n in range(2)
        ]
    phases = series(tmp_path, made).phases()
    assert [p.label for p in phases] == [
        "DiffusionBValue 0 s/mm2",
        "DiffusionBValue 800 s/mm2, DiffusionGradientOrientation (0, 1, 0)",
        "DiffusionBValue 800 s/mm2, DiffusionGradientOrientation (1, 0, 0)",
    ]
    assert levels(phases) == [10, 12, 11]


def test_times_that_differ_from_place_to_place_are_ranked(tmp_path):
    made = [image(z, 10 + n, TriggerTime=30 * n + k) for k, z in enumerate(ZS) for n in range(4)]
    phases = series(tmp_path, made).phases()
    assert [p.label for p in phases] == [f"TriggerTime about {30 * n + 1} ms" for n in range(4)]
    assert levels(phases) == [10, 11, 12, 13]


def test_magnitude_and_phase_images_are_told_apart(tmp_path):
    made = [image(z, 10 + n, ImageType=["ORIGINAL", "PRIMARY", kind]) for z in ZS for n, kind in enumerate("MP")]
    phases = series(tmp_path, made).phases()
    assert [p.label for p in phases] == ["ImageType ORIGINAL\\PRIMARY\\M", "ImageType ORIGINAL\\PRIMARY\\P"]
    assert levels(phases) == [10, 11]


def test_frames_of_one_file_are_told_apart(tmp_path):
    made = instance(np.repeat(np.array([10, 11] * 3, np.uint16), 30).reshape(6, 6, 5), position=None, intercept=0)
    groups = []
    for z in ZS:
        for b in (0.0, 700.0):
            item = pydicom.Dataset()
            for name, keyword, value in (
                ("PlanePositionSequence", "ImagePositionPatient", [0, 0, z]),
                ("MRDiffusionSequence", "DiffusionBValue", b),
            ):
                inner = pydicom.Dataset()
                setattr(inner, keyword, value)
                setattr(item, name, [inner])
            groups.append(item)
    made.PerFrameFunctionalGroupsSequence = groups
    phases = series(tmp_path, [made]).phases()
    assert [p.values for p in phases] == [(0.0,), (700.0,)]
    assert levels(phases) == [10, 11]


def test_what_cannot_be_told_apart_says_why(tmp_path):
    alike = [image(z, 10) for z in ZS for _ in range(2)]
    with pytest.raises(NotAVolume, match="2 images share each place, and none of TemporalPositionIdentifier"):
        series(tmp_path / "a", alike).phases()
    missing = [image(z, 10, EchoTime=e) for z in ZS for e in (1, 2)][:-1]
    with pytest.raises(NotAVolume, match="Some places have 1 images, others 2"):
        series(tmp_path / "b", missing).phases()
    with pytest.raises(NotAVolume, match="no place in the patient"):
        series(tmp_path / "c", [instance(np.zeros((4, 4), np.uint16), position=None)]).phases()


def test_one_image_a_place_is_one_phase(tmp_path):
    (only,) = series(tmp_path, [image(z, 10, EchoTime=3) for z in ZS]).phases()
    assert (only.label, only.attributes, repr(only)) == ("", (), "Phase(the only one, 3 images)")
    assert levels([only]) == [10]


def test_what_is_no_mark_is_left_out():
    found = {"ImageType": ["M", 3], "EchoTime": None, "FlipAngle": "", "TriggerTime": 5}
    assert marks_of(found, lambda _: {}) == {"TriggerTime": 5.0}


@settings(max_examples=15, deadline=None)
@given(st.permutations([(z, e) for z in range(3) for e in range(3)]))
def test_the_order_of_files_does_not_matter(tmp_path_factory, order):
    made = [image(ZS[z], 10 + e, EchoTime=float(e + 1), number=n) for n, (z, e) in enumerate(order)]
    phases = series(tmp_path_factory.mktemp("order"), made).phases()
    assert levels(phases) == [10, 11, 12]
