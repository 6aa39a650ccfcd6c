"""Whole slides (PS3.3 A.32.8): taken in where they say that no label is in them, and never with what a label shows."""

import io

import pytest
from tests.support.dicom_objects import as_file, ct_image, deidentifier, read
from tests.support.slides import jpeg, place_coded, slide_instance, swapped_primaries

from readingroom_hub.deid.colour_profiles import without_texts
from readingroom_hub.deid.part10 import CannotDeidentify
from readingroom_hub.deid.table import Option

SAID = b"DOE^JOHN"


def written(**options):
    options = {
        "SpecimenLabelInImage": "NO",
        "PatientID": "1",
        "StudyInstanceUID": "1.2",
        "SeriesInstanceUID": "1.3",
    } | options
    out = io.BytesIO()
    slide_instance([place_coded(100, 80, 0)], **options).save_as(out, enforce_file_format=True)
    return out.getvalue()


def test_a_slide_is_taken_in_with_its_colours_and_without_what_its_tiles_say():
    data = written(
        compressed=True,
        encode=lambda pixels: jpeg(pixels, comment=SAID, exif=b"Exif\0\0" + SAID),
        profile=swapped_primaries(),
    )
    assert data.count(SAID) > 1
    made = deidentifier()(data).data
    assert SAID not in made
    found = read(made)
    assert bytes(found.OpticalPathSequence[0].ICCProfile) == without_texts(swapped_primaries())
    assert found.NumberOfFrames == 4


def test_a_slide_of_a_brain_shows_no_face():
    cleaner = deidentifier(options=frozenset({Option.CLEAN_FACES}), text_free=frozenset({"SM"}))
    assert read(cleaner(written(BodyPartExamined="BRAIN")).data).NumberOfFrames == 4


@pytest.mark.parametrize(
    ("elements", "said"),
    [
        ({"SpecimenLabelInImage": "YES"}, "its label may be in it"),
        ({"SpecimenLabelInImage": ""}, "its label may be in it"),
        ({"flavour": "LABEL"}, "a screen, secondary capture or label image"),
        ({"flavour": "OVERVIEW"}, "a screen, secondary capture or label image"),
        ({"BurnedInAnnotation": "YES"}, "BurnedInAnnotation is YES"),
    ],
    ids=["label", "untold", "LABEL", "OVERVIEW", "annotated"],
)
def test_a_slide_that_may_show_its_label_is_left_out(elements, said):
    with pytest.raises(CannotDeidentify, match=said):
        deidentifier()(written(**elements))


@pytest.mark.parametrize("number", ["7", "7.1", "7.4"])
def test_secondary_captures_stay_out_whatever_modality_they_name(number):
    captured = ct_image(SOPClassUID=f"1.2.840.10008.5.1.4.1.1.{number}")
    with pytest.raises(CannotDeidentify, match="secondary capture"):
        deidentifier()(as_file(captured))
