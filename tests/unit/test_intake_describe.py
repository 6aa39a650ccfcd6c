"""What the manifest tells of a de-identified header."""

from collections import Counter

import pydicom
import pytest

from readingroom_hub.deid.engine import Deidentified
from readingroom_hub.services.intake_describe import age_band, describe


def described(**elements):
    header = pydicom.Dataset()
    with pydicom.config.disable_value_validation():
        for keyword, value in elements.items():
            setattr(header, keyword, value)
    return describe(Deidentified(b"", header, "1.2", "1.3", "1.4", "1.5", "CT", 1, Counter(), {}, ("PatientID", "")))


@pytest.mark.parametrize(
    ("age", "band"),
    [
        ("000D", "0-9"), ("364D", "0-9"), ("120M", "10-19"), ("119M", "0-9"), ("519W", "0-9"), ("009Y", "0-9"),
        ("010Y", "10-19"), ("089Y", "80-89"), ("090Y", "90+"), ("103Y", "90+"), ("", ""), ("45", ""), ("045 years", ""),
    ],
)  # fmt: skip
def test_ages_are_told_by_decades_and_end_at_ninety(age, band):
    assert age_band(age) == band
    assert described(PatientAge=age).age == band


def test_what_the_header_lacks_is_empty():
    found = described()
    assert (found.thickness, found.kernel, found.sex, found.age, found.model) == ("",) * 5


def test_kernel_thickness_sex_and_model_are_told_as_they_stand():
    found = described(
        SliceThickness="1.250", ConvolutionKernel=["B30f", "1"], PatientSex="F", ManufacturerModelName="X 1"
    )
    assert (found.thickness, found.kernel, found.sex, found.model) == ("1.25", "B30f\\1", "F", "X 1")


def test_all_frames_of_an_enhanced_image_may_share_them():
    shared, measures, kernel = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    measures.SliceThickness, measures.PixelSpacing, kernel.ConvolutionKernel = 3, [0.5, 0.75], "SOFT"
    shared.PixelMeasuresSequence, shared.CTReconstructionSequence = [measures], [kernel]
    found = described(SharedFunctionalGroupsSequence=[shared])
    assert (found.thickness, found.kernel, found.spacing) == ("3", "SOFT", "0.5\\0.75")


@pytest.mark.parametrize("elements", [{"PatientSex": "Miller"}, {"SliceThickness": "-1"}, {"PatientAge": "Miller"}])
def test_what_is_no_such_value_is_not_listed(elements):
    found = described(**elements)
    assert (found.thickness, found.sex, found.age) == ("", "", "")
