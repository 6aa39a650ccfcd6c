"""Every rule of PS3.15 Table E.1-1: a value is planted, and what comes out is what the table says."""

import pydicom
import pytest
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from tests.support.dicom_objects import as_file, ct_image, deidentifier, read

from readingroom_hub.deid.table import table

TEXT = "Xylophanes"
PLANTED = {
    "AE": TEXT,
    "AS": "067Y",
    "AT": 0x00420067,
    "CS": TEXT.upper(),
    "DA": "19670423",
    "DS": "67.42309",
    "DT": "19670423042319",
    "FD": 67.42309,
    "FL": 67.5,
    "IS": "674239",
    "OB": TEXT.encode(),
    "OF": b"\x01\x02\x03\x04",
    "OW": TEXT.encode(),
    "PN": f"{TEXT}^Q",
    "SL": -6742,
    "SS": -6742,
    "TM": "042319",
    "UI": "1.3.6.1.4.1.99999.67.42319",
    "UL": 6742,
    "UN": TEXT.encode(),
    "UR": f"https://{TEXT}.example/",
    "US": 6742,
}
NO_PLACE = {0x00000000, 0x00020000}  # commands and file meta are no part of a data set: tested on their own below
RULES = [r for r in table().rules if r.tag != "PRIVATE"]


def tag_of(rule):
    return int(rule.tag.replace("xx", "02", 1).replace("xxxx", "3000"), 16)


def vr_of(tag):
    try:
        return dictionary_VR(tag).split(" or ")[0]
    except KeyError:
        return "LO"  # newer than pydicom's dictionary


def planted(tag):
    vr = vr_of(tag)
    if vr != "SQ":
        return DataElement(tag, vr, PLANTED.get(vr, TEXT))
    item = Dataset()
    item.PatientName, item.CodeMeaning = f"{TEXT}^Q", TEXT
    item.ReferencedSOPInstanceUID, item.StudyDate = PLANTED["UI"], PLANTED["DA"]
    item.private_block(0x0019, TEXT, create=True).add_new(1, "LO", TEXT)
    return DataElement(tag, "SQ", [item])


def test_the_table_is_whole():
    assert len(table().rules) == 657
    assert table().edition == "2026d"
    assert {part for r in table().rules for part in r.basic.split("/")} == {"X", "Z", "D", "U", "U*"}


@pytest.mark.parametrize("rule", RULES, ids=lambda r: f"{r.tag}-{r.basic}")
def test_a_planted_value_gets_the_tables_action(rule):
    tag = tag_of(rule)
    if tag & 0xFFFF0000 in NO_PLACE:
        pytest.skip("no part of a data set")
    source, element = ct_image(), planted(tag)
    source.add(element)
    before = read(as_file(source))[tag]
    data = deidentifier()(as_file(source)).data
    header = data[: data.rindex(b"\xe0\x7f\x10\x00OW")]
    assert TEXT.lower().encode() not in header.lower()
    after = read(data).get(pydicom.tag.Tag(tag))
    choices = rule.basic.split("/")
    if after is None:
        assert "X" in choices
        return
    if rule.basic == "X":
        pytest.fail(f"{rule.name} is still there")
    if vr_of(tag) == "SQ":
        for item in after.value:
            assert item.get("ReferencedSOPInstanceUID") != PLANTED["UI"]
            assert item.get("StudyDate") != PLANTED["DA"]
        assert len(after.value) > 0 or {"Z"} & set(choices)
        return
    assert after.value != before.value
    if not after.value:
        assert "Z" in choices
    elif "U" in choices:
        assert after.value.startswith("2.25.")


def test_what_must_hold_a_value_holds_one():
    """D alone: never removed, never empty."""
    for rule in RULES:
        if rule.basic == "D":
            source = ct_image()
            source.add(planted(tag_of(rule)))
            after = read(deidentifier()(as_file(source)).data)[tag_of(rule)]
            assert after.value not in (None, "", []), rule.name


def test_private_elements_go_with_their_creators():
    source = ct_image()
    for group in (0x0009, 0x0029, 0x7FE1):
        source.private_block(group, "SOMEBODY", create=True).add_new(0x10, "LO", TEXT)
    result = read(deidentifier()(as_file(source)).data)
    assert not [e for e in result if e.tag.is_private]


def test_file_meta_preamble_and_trailing_bytes_go():
    source = ct_image()
    data = as_file(source)
    meta_end = data.index(b"\x08\x00\x16\x00")
    leaking = pydicom.dataset.FileMetaDataset()
    leaking.SourceApplicationEntityTitle, leaking.SendingApplicationEntityTitle = TEXT, TEXT
    leaking.PrivateInformationCreatorUID, leaking.PrivateInformation = "1.2.3", TEXT.encode()
    source.file_meta.update(leaking)
    buffer = pydicom.filebase.DicomBytesIO()
    source.preamble = TEXT.encode().ljust(128, b"\0")
    pydicom.dcmwrite(buffer, source, enforce_file_format=True)
    leaky = buffer.parent.getvalue() + b"\xfc\xff\xfc\xffOB\0\0\x0a\0\0\0" + TEXT.encode()
    assert leaky.count(TEXT.encode()) == 5
    assert deidentifier()(leaky).data == deidentifier()(data).data
    assert meta_end


@pytest.mark.parametrize(
    ("sop_class", "keyword", "expected"),
    [
        ("1.2.840.10008.5.1.4.1.1.2", "ContentDate", ""),  # CT: type 2C, so Z
        ("1.2.840.10008.5.1.4.1.1.4.1", "ContentDate", "19000101"),  # Enhanced MR: type 1, so D
        ("1.2.840.10008.5.1.4.1.1.2", "AcquisitionDateTime", None),  # CT: type 3, so X
        ("1.2.840.10008.5.1.4.1.1.4.1", "AcquisitionDateTime", "19000101000000"),  # type 1C, so D
        ("1.2.840.10008.5.1.4.1.1.2", "DeviceSerialNumber", None),  # General Equipment: type 3
        ("1.2.840.10008.5.1.4.1.1.4.1", "DeviceSerialNumber", "REMOVED"),  # Enhanced General Equipment: type 1
        ("1.2.840.10008.5.1.4.1.1.11.1", "PresentationCreationDate", "19000101"),  # X, but mandatory and type 1
    ],
)
def test_the_iod_settles_a_choice(sop_class, keyword, expected):
    source = ct_image(SOPClassUID=sop_class)
    value = {"DA": "20190304", "DT": "20190304050607", "LO": "4711-X"}[
        dictionary_VR(pydicom.datadict.tag_for_keyword(keyword))
    ]
    setattr(source, keyword, value)
    after = read(deidentifier()(as_file(source)).data).get(keyword)
    assert after == expected if expected is not None else after is None
