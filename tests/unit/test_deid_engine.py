import pydicom
import pytest
from pydicom.dataset import Dataset
from tests.support.dicom_objects import INSTANCE, NAME, PATIENT_ID, as_file, ct_image, deidentifier, read

from readingroom_hub.deid.actions import Action
from readingroom_hub.deid.part10 import CannotDeidentify
from readingroom_hub.deid.policy import CutShort
from readingroom_hub.deid.table import Option

ENCODINGS = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"]


def test_the_result_says_that_and_how_it_was_deidentified():
    ds = read(deidentifier()(as_file(ct_image())).data)
    assert ds.PatientIdentityRemoved == "YES"
    assert "PS3.15 2026d" in ds.DeidentificationMethod
    assert [c.CodeValue for c in ds.DeidentificationMethodCodeSequence] == ["113100"]
    assert ds.LongitudinalTemporalInformationModified == "REMOVED"
    assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID != INSTANCE


def test_patients_stay_apart_and_together():
    def patient(id, secret=b"s" * 32):
        ds = read(deidentifier(secret)(as_file(ct_image(PatientID=id))).data)
        assert ds.PatientID == ds.PatientName
        return ds.PatientID

    assert patient("A1") == patient("A1 ") != patient("A2")
    assert patient("A1") != patient("A1", b"t" * 32)


def test_the_same_file_gives_the_same_bytes():
    data = as_file(ct_image())
    assert deidentifier()(data).data == deidentifier()(data).data != deidentifier(b"t" * 32)(data).data


@pytest.mark.parametrize("syntax", ENCODINGS)
def test_every_encoding_keeps_its_pixels_and_loses_its_names(syntax):
    inner = Dataset()
    inner.PatientName, inner.StudyDate = NAME, "20200101"
    source = ct_image(AnatomicRegionSequence=[inner], Manufacturer="made for Zwiebelturm", SequenceName=PATIENT_ID)
    data = as_file(source, syntax)
    done = deidentifier()(data)
    ds = read(done.data)
    assert ds.file_meta.TransferSyntaxUID == syntax
    assert ds.PixelData == source.PixelData
    assert ds.Manufacturer == "made for REMOVED"
    assert ds.SequenceName == "REMOVED"
    assert ds.AnatomicRegionSequence[0].PatientName == ds.PatientID
    assert not ds.AnatomicRegionSequence[0].get("StudyDate")
    assert done.number == 7


@pytest.mark.parametrize(
    "text", ["ZWIEBELTURM", "zwiebelturms", "x_Zwiebelturm1", "Hannelore", "Zwiebelt", PATIENT_ID.lower()]
)
def test_a_name_in_an_attribute_that_no_rule_covers_goes(text):
    ds = read(
        deidentifier()(as_file(ct_image(Manufacturer=f"a {text} b", ImageType=["ORIGINAL", "PRIMARY", text]))).data
    )
    assert text.lower() not in ds.Manufacturer.lower()
    assert text.lower() not in str(ds.ImageType).lower()
    assert ds.ImageType[:2] == ["ORIGINAL", "PRIMARY"]


def test_names_in_other_character_sets_go():
    name = "Ямпольский^Ипполит"
    source = ct_image(SpecificCharacterSet="ISO_IR 144", PatientName=name, Manufacturer="для Ямпольский")
    data = deidentifier()(as_file(source)).data
    assert "Ямпольский".encode("iso8859_5") not in data
    source = ct_image(SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう")
    assert "Yamada" not in str(read(deidentifier()(as_file(source)).data))


def test_uids_map_everywhere_alike_and_standard_ones_stay():
    image = Dataset()
    image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", INSTANCE
    source = ct_image(ReferencedImageSequence=[image], FrameOfReferenceUID="1.2.840.10008.1.4.1.1")
    ds = read(deidentifier()(as_file(source)).data)
    assert ds.ReferencedImageSequence[0].ReferencedSOPInstanceUID == ds.SOPInstanceUID
    assert ds.ReferencedImageSequence[0].ReferencedSOPClassUID == "1.2.840.10008.5.1.4.1.1.2"
    assert ds.FrameOfReferenceUID == "1.2.840.10008.1.4.1.1"


def test_modified_dates_keep_intervals_within_a_patient():
    shifting = deidentifier(options=frozenset({Option.MODIFIED_DATES}))

    def study(day, **elements):
        return read(shifting(as_file(ct_image(StudyDate=day, **elements))).data)

    first, second = study("20200101"), study("20200131", AcquisitionDateTime="20200131101112.5+0100")
    days = [pydicom.valuerep.DA(d.StudyDate) for d in (first, second)]
    assert (days[1] - days[0]).days == 30
    assert days[0] < pydicom.valuerep.DA("20200101")
    assert first.StudyTime == "101112"
    assert second.AcquisitionDateTime == second.StudyDate + "101112.5+0100"
    assert first.LongitudinalTemporalInformationModified == "MODIFIED"
    assert [c.CodeValue for c in first.DeidentificationMethodCodeSequence] == ["113100", "113107"]
    assert study("20200101", PatientID="someone else").StudyDate != first.StudyDate
    assert not study("2020xx01").StudyDate


def test_structured_content_becomes_a_dummy_of_the_same_shape():
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "121070", "DCM", "Findings"
    item = Dataset()
    item.RelationshipType, item.ValueType, item.TextValue, item.ConceptNameCodeSequence = (
        "CONTAINS",
        "TEXT",
        NAME,
        [code],
    )
    source = ct_image(SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11", Modality="SR", ContentSequence=[item, item])
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(source, keyword)
    ds = read(deidentifier()(as_file(source)).data)
    assert [(i.ValueType, i.TextValue) for i in ds.ContentSequence] == [("TEXT", "REMOVED")]
    assert ds.ContentSequence[0].ConceptNameCodeSequence[0].CodeMeaning == "REMOVED"


def image(**elements):
    return as_file(ct_image(**elements))


def without(*keywords):
    ds = ct_image()
    for keyword in keywords:
        delattr(ds, keyword)
    return as_file(ds)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not a DICOM file"),
        (b"#!/bin/sh\necho 1\n" * 40, "not a DICOM file"),
        (bytes(128) + b"DICM", "SOPClassUID"),
        (image()[:-1], "cut short"),
        (image()[:-50], "cut short"),
        (image()[:400], "cut short"),
        (without("PixelData"), "no Pixel Data"),
        (image(PixelData=bytes(30)), "30 bytes long"),
        (image(PixelData=bytes(34)), "34 bytes long"),
        (without("SOPInstanceUID"), "no SOPInstanceUID"),
        (without("SOPClassUID", "SOPInstanceUID"), "no SOPClassUID and no SOPInstanceUID"),
        (image(BurnedInAnnotation="YES"), "BurnedInAnnotation"),
        (image(Modality="US"), "modality US"),
        (image(Modality="US", BurnedInAnnotation="NO"), "modality US"),
        (image(Modality="CR"), "CR without BurnedInAnnotation NO"),
        (image(Modality="Zwiebelturm"), "modality unknown"),
        (image(ImageType=["DERIVED", "SECONDARY", "SCREEN SAVE"]), "screen"),
        (image(SOPClassUID="1.2.840.10008.5.1.4.1.1.7"), "secondary capture"),
        (image(SOPClassUID="1.2.840.10008.5.1.4.1.1.104.3"), "encapsulated document"),
        (image(SOPClassUID="1.2.840.10008.5.1.4.1.1.66"), "Raw Data"),
        (image(SOPClassUID="1.3.12.2.1107.5.9.1"), "private SOP class"),
        (image(SOPClassUID="1.2.840.10008.1.3.10"), "DICOMDIR"),
    ],
)
def test_what_cannot_be_made_safe_is_refused_with_its_reason(data, reason):
    with pytest.raises(CannotDeidentify, match=reason) as refused:
        deidentifier()(data)
    assert "wiebelturm" not in str(refused.value)


def test_a_projection_image_that_declares_no_burnt_in_text_passes():
    assert deidentifier()(image(Modality="CR", BurnedInAnnotation="NO")).modality == "CR"


def test_a_text_free_policy_line_can_be_narrowed():
    with pytest.raises(CannotDeidentify):
        deidentifier(text_free=frozenset())(image())


def test_an_overlay_in_pixel_bits_is_refused_and_an_overlay_plane_goes():
    source = ct_image()
    source.add_new(0x60000100, "US", 16)
    with pytest.raises(CannotDeidentify, match="overlay"):
        deidentifier()(as_file(source))
    source = ct_image()
    source.add_new(0x60000010, "US", 4)
    source.add_new(0x60000100, "US", 1)
    source.add_new(0x60003000, "OW", bytes(2))
    assert not [e for e in read(deidentifier()(as_file(source)).data) if e.tag.group == 0x6000]


def test_what_cleaning_misses_the_second_look_finds(monkeypatch):
    """The cleaning pass is switched off; the residual check works alone."""
    from readingroom_hub.deid.elements import Case

    monkeypatch.setattr(Case, "_keep", lambda *_, **__: "keep")
    with pytest.raises(CannotDeidentify, match="residual identifier in Manufacturer"):
        deidentifier()(image(Manufacturer="Zwiebelturm GmbH"))
    inner = Dataset()
    inner.CodeMeaning = f"asked by {PATIENT_ID}"
    with pytest.raises(CannotDeidentify, match="residual identifier in CodeMeaning"):
        deidentifier()(image(AnatomicRegionSequence=[inner]))


def test_numbers_and_the_standards_terms_are_no_residue():
    """A patient who is called MONOCHROME2, and whose id is a number that the image holds too."""
    ds = read(deidentifier()(image(PatientName="MONOCHROME2^CT", PatientID="8192", KVP="8192")).data)
    assert ds.PhotometricInterpretation == "MONOCHROME2"
    assert ds.KVP == 8192


def test_unknown_public_elements_go():
    source = ct_image()
    source.add_new(0x00080FFE, "LO", "something")
    assert 0x00080FFE not in read(deidentifier()(as_file(source)).data)


def test_a_file_without_preamble_or_meta_is_read():
    for syntax in ENCODINGS[:3]:
        data = as_file(ct_image(), syntax)
        start = data.index(b"\x00\x08\x00\x16" if syntax.endswith("2.2") else b"\x08\x00\x16\x00")
        ds = read(deidentifier()(data[start:]).data)
        assert ds.file_meta.TransferSyntaxUID == syntax
        assert ds.PixelData == bytes(range(32))


def test_marks_and_terms_are_exempt_only_where_they_are_such():
    inner = Dataset()
    inner.PatientIdentityRemoved, inner.DeidentificationMethod, inner.Modality = (
        "ZWIEBELTURM",
        "Zwiebelturm",
        "HANNELORE",
    )
    with pydicom.config.disable_value_validation():
        ds = read(deidentifier()(image(AnatomicRegionSequence=[inner])).data)
    item = ds.AnatomicRegionSequence[0]
    assert (item.PatientIdentityRemoved, item.DeidentificationMethod, item.Modality) == ("REMOVED",) * 3


@pytest.mark.parametrize("syntax", ENCODINGS[:3])
def test_an_image_that_is_cut_short_is_padded_where_the_policy_says_so(syntax):
    whole = as_file(ct_image(PixelPaddingValue=-2000), syntax)
    cut = deidentifier(cut_short=CutShort.PAD)(whole[:-7])
    before, after = read(deidentifier(cut_short=CutShort.PAD)(whole).data), read(cut.data)
    values, padded = before.pixel_array.ravel(), after.pixel_array.ravel()
    assert list(padded[:12]) == list(values[:12])
    assert list(padded[13:]) == [-2000] * 3
    assert after.DeidentificationMethod[-1] == "Pixel Data cut short: 7 bytes padded"
    assert "cut short" not in str(before.DeidentificationMethod)
    assert cut.actions["PixelData", Action.PAD] == 1
    little = read(deidentifier(cut_short=CutShort.PAD)(whole[:-20]).data)
    assert little.PixelData[:12] == before.PixelData[:12]
    assert len(little.PixelData) == len(before.PixelData)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (lambda f: f[:400], "cut short"),
        (lambda f: f.replace(b"OW\0\0\x20\0\0\0", b"OW\0\0\x30\0\0\0"), "its attributes say otherwise"),
        (lambda f: f.replace(b"OW\0\0\x20\0\0\0", b"OW\0\0\xf0\xff\xff\xff"), "more than half"),
    ],
    ids=["no pixels", "longer than described", "four gigabytes"],
)
def test_lengths_that_lie_are_not_padded(data, reason):
    with pytest.raises(CannotDeidentify, match=reason):
        deidentifier(cut_short=CutShort.PAD)(data(image()))
