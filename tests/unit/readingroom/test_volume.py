import math
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from tests.support.dicom_series import AXIAL, ct, instance, phantom, write_series

from readingroom import geometry
from readingroom.errors import Damaged, NotAVolume
from readingroom.planes import Stored
from readingroom.volume import Frames


def frames(tmp_path, instances):
    folder = write_series(tmp_path, "d", list(instances))
    return Frames.of_files(sorted(folder.iterdir()), "d")


def test_hounsfield_units_stay_exact(tmp_path):
    array = phantom(5)
    volume = frames(tmp_path, ct(array)).volume()
    assert volume.array.dtype == np.int16
    np.testing.assert_array_equal(volume.array, array)
    assert volume.spacing == (2.5, 0.5, 0.75)


def test_slices_are_ordered_by_place_not_by_number(tmp_path):
    array = phantom(5)
    made = list(ct(array))
    for one, number in zip(made, [3, 1, 5, 2, 4], strict=True):
        one.InstanceNumber = number
    np.testing.assert_array_equal(frames(tmp_path, made).volume().array, array)


def test_fractional_slopes_give_float32(tmp_path):
    pixels = np.arange(16, dtype=np.uint16).reshape(4, 4)
    volume = frames(tmp_path, [instance(pixels, slope="0.5", intercept="-1.25")]).volume()
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array[0], (pixels * 0.5 - 1.25).astype(np.float32))


def test_values_beyond_int16_are_kept_in_int32(tmp_path):
    made = [
        instance(np.full((2, 2), value, np.uint16), position=(0, 0, k), intercept=0)
        for k, value in enumerate([7, 65535, 9])
    ]
    volume = frames(tmp_path, made).volume()
    assert volume.array.dtype == np.int32
    assert [int(s[0, 0]) for s in volume.array] == [7, 65535, 9]


def test_every_slice_has_its_own_slope(tmp_path):
    made = [
        instance(np.full((2, 2), 10, np.uint16), position=(0, 0, k), slope=s, intercept=0, modality="PT")
        for k, s in enumerate([1, 2, 3])
    ]
    assert [int(s[0, 0]) for s in frames(tmp_path, made).volume().array] == [10, 20, 30]


def positions(step, count=5):
    return [(0.0, 0.0, k * step) for k in range(count)]


def made(places, **options):
    return [instance(np.zeros((4, 4), np.uint16), position=p, number=k + 1, **options) for k, p in enumerate(places)]


TILT = math.tan(math.radians(12))


@pytest.mark.parametrize(
    ("instances", "says"),
    [
        (made(positions(2)[:3] + positions(2)[4:]), "distance between slices is uneven: mostly 2.000 mm, but 4.000 mm"),
        (made(positions(2) + positions(2)[:1]), "2 images share their place"),
        (made([(0.0, z * TILT, z) for z in range(5)]), "gantry tilt of 12.0 degrees"),
        (made(positions(2)) + made([(0, 0, 10)], orientation=(1, 0, 0, 0, 0, -1)), "not lie parallel"),
        ([*made(positions(2)), instance(np.zeros((8, 4), np.uint16), position=(0, 0, 10))], "5 of 4 x 4, 1 of 8 x 4"),
        (made(positions(2)) + made([(0, 0, 10)], spacing=(0.5, 0.5)), "differ in Pixel Spacing"),
        (made([None], orientation=None, modality="US"), "no place in the patient"),
        (made(positions(2), spacing=None), "no Pixel Spacing"),
    ],
)
def test_what_is_no_volume_says_why(tmp_path, instances, says):
    found = frames(tmp_path, instances)
    with pytest.raises(NotAVolume, match=says):
        found.volume()
    assert len(found) == len(instances)
    assert found[0].shape


def of_test_file(name):
    return Frames.of_files([Path(get_testdata_file(name))], "d")


def test_enhanced_multi_frame_by_functional_groups():
    found = of_test_file("eCT_Supplemental.dcm")
    whole = pydicom.dcmread(get_testdata_file("eCT_Supplemental.dcm"))
    for plane in found.planes:
        own = whole.PerFrameFunctionalGroupsSequence[plane.frame]
        assert list(plane.position) == own.PlanePositionSequence[0].ImagePositionPatient
    # The rows run from left to right, so the normal points to the feet: the higher frame comes first.
    assert [p.frame for p in found.planes] == [1, 0]
    volume = found.volume()
    assert volume.array.dtype == np.int16
    np.testing.assert_array_equal(volume.array, whole.pixel_array[::-1].astype(np.int32) - 1024)
    np.testing.assert_allclose(volume.affine @ [1, 0, 0, 1], [*found.planes[1].position, 1])
    assert volume.spacing == pytest.approx((10, 0.388672, 0.388672))


@pytest.mark.parametrize(
    "name", ["emri_small_jpeg_ls_lossless.dcm", "emri_small_jpeg_2k_lossless.dcm", "emri_small_RLE.dcm"]
)
def test_compressed_frames_decode_to_the_same(name):
    np.testing.assert_array_equal(list(of_test_file("emri_small.dcm")), list(of_test_file(name)))


@pytest.mark.parametrize(
    ("name", "count", "coloured"),
    [
        ("examples_ybr_color.dcm", 30, True),
        ("examples_palette.dcm", 1, True),
        ("examples_rgb_color.dcm", 1, True),
        ("JPEG-LL.dcm", 1, False),
        ("MR_small_RLE.dcm", 1, False),
        ("SC_rgb_16bit.dcm", 1, True),
    ],
)
def test_pictures_of_many_kinds_decode(name, count, coloured):
    found = of_test_file(name)
    assert len(found) == count
    assert (found[count - 1].shape[2:] == (3,)) == coloured
    if coloured:
        assert found[0].dtype == np.uint8
        with pytest.raises(NotAVolume):
            found.volume()


def test_a_form_that_no_decoder_reads_is_told_in_a_sentence(tmp_path):
    one = instance(np.zeros((2, 2), np.uint16))
    one.file_meta.TransferSyntaxUID = pydicom.uid.MPEG2MPML
    one.PixelData = pydicom.encaps.encapsulate([b"\0" * 8])
    folder = write_series(tmp_path, "d", [one])
    with pytest.raises(Damaged, match=r"\.dcm of d could not be decoded"):
        Frames.of_files(sorted(folder.iterdir()), "d")[0]


def test_ultrasound_frames_have_no_places():
    found = of_test_file("examples_ybr_color.dcm")
    assert [p.frame for p in found.planes] == list(range(30))


def test_a_modality_lut_sequence_is_applied(tmp_path):
    one = instance(np.array([[0, 1], [2, 3]], np.uint16))
    del one.RescaleSlope, one.RescaleIntercept
    table = pydicom.Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [4, 0, 16], "US"
    table["LUTDescriptor"].VR = "US"
    table.add_new("LUTData", "OW", np.array([5, 50, 500, 5000], "<u2").tobytes())
    one.ModalityLUTSequence = [table]
    np.testing.assert_array_equal(frames(tmp_path, [one])[0], [[5, 50], [500, 5000]])


@pytest.mark.parametrize(
    ("orientation", "edges"),
    [
        (AXIAL, ("R", "L", "A", "P")),
        ((0, 1, 0, 0, 0, -1), ("A", "P", "H", "F")),
        ((1, 0, 0, 0, 0, -1), ("R", "L", "H", "F")),
        ((0.8, 0.6, 0, -0.6, 0.8, 0), ("RA", "LP", "AL", "PR")),
        (None, ("", "", "", "")),
    ],
)
def test_edges_name_patient_directions(orientation, edges):
    assert geometry.letters(orientation) == edges


def test_values_keep_whole_numbers_whole():
    assert Stored(np.array([[65535]], np.uint16), 1.0, -1024.0).values().dtype == np.int32
    assert Stored(np.array([[3000]], np.uint16), 1.0, -1024.0).values().dtype == np.int16
    assert Stored(np.array([[3]], np.uint16), 0.1, 0.0).values().dtype == np.float32
