import datetime as dt
import io

import pydicom
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydicom._uid_dict import UID_dictionary
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset
from tests.support.dicom_objects import as_file, ct_image, read

from readingroom_hub.deid import encode
from readingroom_hub.deid.cleaner import NOBODY, Cleaner
from readingroom_hub.deid.engine import Deidentifier
from readingroom_hub.deid.folding import fold
from readingroom_hub.deid.identifiers import collect
from readingroom_hub.deid.part10 import CannotDeidentify
from readingroom_hub.deid.policy_file import load
from readingroom_hub.deid.pseudonyms import Pseudonyms, shift
from readingroom_hub.deid.uids import UIDMap

uids = st.lists(st.integers(0, 10**12), min_size=2, max_size=6).map(lambda parts: ".".join(map(str, (1, 3, *parts))))


@given(st.lists(uids, min_size=2, max_size=20, unique=True))
def test_uids_map_one_to_one_consistently_and_validly(many):
    mapping = UIDMap(b"k" * 32)
    new = [mapping(u) for u in many]
    assert new == [UIDMap(b"k" * 32)(u) for u in many]
    assert len(set(new)) == len(many)
    assert all(pydicom.uid.UID(u).is_valid and u.startswith("2.25.") for u in new)
    assert not set(new) & set(many)
    assert [mapping(u + "\0") for u in many] == new


@given(uids)
def test_uids_are_not_linkable_across_keys(uid):
    assert UIDMap(b"k" * 32)(uid) != UIDMap(b"l" * 32)(uid)


@pytest.mark.parametrize("uid", [*list(UID_dictionary)[::40], "1.2.840.10008.6.1.1"])
def test_standard_uids_stay(uid):
    assert UIDMap(b"k" * 32)(uid) == uid


@given(st.text(max_size=30))
def test_any_text_in_a_uids_place_gives_a_valid_uid(text):
    uid = UIDMap(b"k" * 32)(text)
    assert uid in ("", text.strip(" \0")) or pydicom.uid.UID(uid).is_valid


@given(st.text(min_size=1, max_size=64), st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_pseudonyms_depend_on_the_key(id, key, other):
    assume(key != other)
    a, b = Pseudonyms(key), Pseudonyms(other)
    assert a.patient(id) == Pseudonyms(key).patient(id) != b.patient(id)
    assert 1 <= a.days(id) <= 3650


@given(
    st.dates(dt.date(1900, 1, 1), dt.date(2100, 1, 1)),
    st.dates(dt.date(1900, 1, 1), dt.date(2100, 1, 1)),
    st.integers(1, 3650),
    st.sampled_from(["", "101112", "101112.123456", "10+0200"]),
)
def test_shifted_dates_keep_their_distance_and_time(one, other, days, time):
    moved = [shift(f"{d:%Y%m%d}{time}", days) for d in (one, other)]
    back = [dt.date.fromisoformat(m[:8]) for m in moved]
    assert back[1] - back[0] == other - one
    assert (one - back[0]).days == days
    assert all(m[8:] == time for m in moved)


@given(st.text(max_size=12))
def test_what_is_no_date_is_not_shifted(text):
    assume(not text[:8].isdigit() and len(text) != 10)
    assert shift(text, 10) is None


def outcome(file, policy="basic"):
    """The result, or why there is none."""
    try:
        return Deidentifier(load(policy), b"s" * 32)(file).data, ""
    except CannotDeidentify as refused:
        return b"", str(refused)


SYNTAXES = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"]
# Names from a made-up alphabet, so that a hit in the result is a leak and no accident.
names = st.text("qxzwvkj", min_size=6, max_size=12).map(str.capitalize)
TEXT_VRS = {"LO", "SH", "ST", "LT", "UT", "UC", "PN", "CS", "AE"}
TAGS = sorted(
    tag
    for tag, (vr, *_, keyword) in DicomDictionary.items()
    if vr in TEXT_VRS | {"SQ"} and keyword and tag >> 16 > 0x0008 and tag >> 16 not in {0x0028, 0x7FE0}
)


@st.composite
def hostile(draw, token, depth=0):
    """A data set with `token` in many of its texts, at any depth, private ones too."""
    ds = Dataset()
    for tag in draw(st.lists(st.sampled_from(TAGS), max_size=8, unique=True)):
        vr = DicomDictionary[tag][0]
        if vr == "SQ":
            ds.add_new(tag, vr, [draw(hostile(token, depth + 1))] if depth < 3 else [])
        else:
            before, after = draw(st.sampled_from(["", "a ", "Dr.", "x_"])), draw(st.sampled_from(["", " b", "99", "s"]))
            text = f"{before}{draw(st.sampled_from([token, token.upper(), token.lower()]))}{after}"
            ds.add_new(tag, vr, [text, text] if draw(st.booleans()) and vr in {"LO", "SH", "CS"} else text)
    if draw(st.booleans()):
        ds.private_block(0x0011, f"{token} INC", create=True).add_new(0x10, "LO", token)
    return ds


@settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=60)
@given(st.data(), names, st.sampled_from(SYNTAXES), st.sampled_from(["basic", "research"]))
def test_no_planted_name_is_left(data, name, syntax, policy):
    with pydicom.config.disable_value_validation():
        source = ct_image(PatientName=f"{name}^Q")
        planted = data.draw(hostile(name))
        for tag in (0x00100010, 0x00100020, 0x0020000D, 0x0020000E):  # the image's own, at the top level
            planted.pop(tag, None)
        source.update(planted)
        file = as_file(source, syntax)
    assert name.lower().encode() in file.lower()
    result, reason = outcome(file, policy)
    assert name.lower() not in reason.lower()
    if reason:
        return
    assert name.lower().encode() not in result.lower()
    assert read(result).PixelData == source.PixelData


@settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=150)
@given(st.data())
def test_damaged_files_are_refused_or_come_out_clean(data):
    """Any byte changed, any length cut: never another exception, never the patient's name."""
    file = bytearray(as_file(ct_image()))
    for _ in range(data.draw(st.integers(1, 4))):
        file[data.draw(st.integers(128, len(file) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(file[: data.draw(st.integers(len(file) - 40, len(file)))])
    _, reason = outcome(cut)
    assert "wiebelturm" not in reason


@settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=40)
@given(st.data(), st.sampled_from(SYNTAXES))
def test_the_encoder_writes_what_pydicom_reads_back(data, syntax):
    with pydicom.config.disable_value_validation():
        source = read(as_file(data.draw(hostile("Qxzwvk")), syntax))
        implicit, little = source.original_encoding
        raw = encode.data_set(source, implicit=implicit, little=little)
        touched = [source[tag].value for tag in source.keys()]  # noqa: SIM118  # converts each
        again = encode.data_set(source, implicit=implicit, little=little)
        for encoded in (raw, again):
            back = pydicom.dcmread(io.BytesIO(encoded), force=True) if implicit else read_back(encoded, little)
            assert [back[tag].value for tag in back.keys()] == touched  # noqa: SIM118


def read_back(encoded, little):
    return pydicom.filereader.read_dataset(io.BytesIO(encoded), is_implicit_VR=False, is_little_endian=little)


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=60), st.sampled_from(["Zwiebelturm", "ZWIEBELTURM", "mrutlebeiwz"]), st.text(max_size=60))
def test_cleaning_a_text_leaves_no_name_and_cleans_nothing_twice(before, name, after):
    cleaner = Cleaner(collect(ct_image()), NOBODY, lambda uid: uid, None)
    clean = cleaner.clean(before + name + after, contacts=True, prose=True)
    assert name.lower() not in fold(clean)
    assert cleaner.clean(clean, contacts=False, prose=False) == clean
