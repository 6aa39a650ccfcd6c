"""Real files of many kinds, from pydicom's own installation: pixels come out as they went in."""

import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from tests.support.dicom_objects import deidentifier, read

FILES = [
    "CT_small.dcm",
    "MR_small.dcm",
    "MR_small_RLE.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_implicit.dcm",
    "MR_small_expb.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "emri_small.dcm",
    "emri_small_RLE.dcm",
    "emri_small_big_endian.dcm",
    "emri_small_jpeg_2k_lossless.dcm",
    "emri_small_jpeg_ls_lossless.dcm",
    "liver_1frame.dcm",
    "rtdose.dcm",
    "693_J2KR.dcm",
    "693_UNCI.dcm",
    "waveform_ecg.dcm",
    "liver_expb_1frame.dcm",
    "rtdose_expb.dcm",
    "rtdose_rle.dcm",
    "693_J2KI.dcm",
    "nested_priv_SQ.dcm",
    "priv_SQ.dcm",
    "rtplan.dcm",
    "rtstruct.dcm",
    "test-SR.dcm",
    "reportsi.dcm",
    "no_meta_group_length.dcm",
    "anonymous_ecg.dcm",
]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", FILES)
def test_pixels_are_untouched_and_the_rest_is_readable(name):
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip("not among the installed files")
    data = Path(path).read_bytes()
    before = pydicom.dcmread(path, force=True)
    if "StudyInstanceUID" not in before or "SOPClassUID" not in before:
        pytest.skip("not an instance")
    after = read(deidentifier()(data).data)
    assert after.SOPClassUID == before.SOPClassUID
    assert not [e for e in after.iterall() if e.tag.is_private]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if "PixelData" in before:
            assert after.file_meta.TransferSyntaxUID == before.file_meta.TransferSyntaxUID
            assert np.array_equal(after.pixel_array, before.pixel_array)
