"""A short run of the fuzzer; `make fuzz` runs it for as long as one likes. And what longer runs have found."""

import random
import struct
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from tests.support import fuzz
from tests.support.dicom_objects import NAME, PATIENT_ID, as_file, ct_image, deidentifier

from readingroom_hub.deid import part10
from readingroom_hub.deid.cleaner import Others
from readingroom_hub.deid.engine import Deidentifier
from readingroom_hub.deid.identifiers import Identifiers
from readingroom_hub.deid.part10 import CannotDeidentify
from readingroom_hub.deid.pixels.search import spells
from readingroom_hub.deid.pixels.stored import Stored
from readingroom_hub.deid.policy import Policy
from readingroom_hub.deid.policy_file import load


@pytest.fixture(scope="module")
def fuzzer():
    return fuzz.Fuzzer()


@pytest.mark.filterwarnings("ignore")
def test_mutated_files_neither_crash_nor_leak(fuzzer):
    assert len(fuzzer.seeds) > 15
    found = [f for case in range(1500) if (f := fuzzer.run(case, ocr=False))]
    assert not [(f.case, f.what) for f in found]
    assert fuzzer.results > 100


def test_the_oracle_sees_a_leak():
    assert fuzz.leaked(b"xx Zwiebelturm^H", own=False)
    assert not fuzz.leaked(b"xxZwiebelturmxx", own=False)
    assert fuzz.leaked(b"xxZwiebelturmxx", own=True)


@pytest.mark.parametrize("word", [NAME.split("^")[0], NAME.split("^")[1].upper(), PATIENT_ID.replace("-", "").lower()])
@pytest.mark.parametrize("at", [0, 1, 7, 64 * 64 - 11, 64 * 64 - 14])
def test_a_name_among_stored_values_keeps_the_file_out(word, at):
    pixels = bytearray(64 * 64)
    pixels[at : at + len(word)] = word.encode()
    ds = ct_image(Rows=64, Columns=64, BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=bytes(pixels[: 64 * 64]))
    ds["PixelData"].VR = "OB"
    if pixels[64 * 64 :]:
        return
    with pytest.raises(CannotDeidentify, match="stands as text among the values of its Pixel Data"):
        deidentifier()(as_file(ds))


def test_words_are_found_wherever_they_start():
    rng = random.Random(1)
    words = frozenset({b"zwiebelturm", b"zt99041773", b"short"})
    for _ in range(300):
        pixels = bytearray(rng.randbytes(rng.randrange(11, 400)))
        assert not spells(bytes(pixels), words)
        word = rng.choice([b"ZwiebelTURM", b"zt99041773"])
        at = rng.randrange(len(pixels) - len(word) + 1)
        pixels[at : at + len(word)] = word
        assert spells(bytes(pixels), words)
    assert not spells(b"short" * 9, words)
    assert not spells(b"", words)


def test_float_pixels_whose_length_lies_are_refused():
    ds = ct_image(BitsAllocated=32)
    del ds.PixelData
    data = as_file(ds) + struct.pack("<HH2s2xL", 0x7FE0, 0x0008, b"OF", 68) + bytes(68)
    with pytest.raises(CannotDeidentify, match="Pixel Data is 68 bytes long, its attributes describe 64"):
        deidentifier()(data)
    whole = as_file(ds) + struct.pack("<HH2s2xL", 0x7FE0, 0x0008, b"OF", 64) + bytes(64)
    assert deidentifier()(whole).data.endswith(whole[-76:])


def test_the_end_of_a_sequence_that_never_began_is_no_pixel_data():
    data = Path(str(get_testdata_file("MR_small_RLE.dcm", download=False))).read_bytes()
    at = data.index(b"\xe0\x7f\x10\0O")
    with pytest.raises(CannotDeidentify):
        deidentifier()(data[:at] + b"\xfe\xff\xdd\xe0\0\0\0\0" + data[at:])


@pytest.mark.parametrize(("tag", "vr", "value", "reason"), [
    (0x00081090, b"XX", b"ab", "value representation that the standard does not know"),
    (0x00181632, b"FD", b"ab", "an element of VR FD holds half a value"),
    (0x00280106, b"US", b"ab\0 ", ""),
])  # fmt: skip
def test_elements_that_no_reader_can_read_keep_the_file_out(tag, vr, value, reason):
    data = as_file(Dataset(ct_image()))
    at = data.index(b"\xe0\x7f\x10\0OW")
    element = struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value
    if not reason:
        assert deidentifier()(data[:at] + element + data[at:]).data
        return
    with pytest.raises(CannotDeidentify, match=reason):
        deidentifier()(data[:at] + element + data[at:])


@pytest.mark.parametrize("vr", ["DT", "UI", "DA"])
@pytest.mark.parametrize("policy", ["basic", "research"])
def test_a_text_whose_vr_says_number_or_date_is_cleaned_as_the_text_it_is(vr, policy):
    plain = as_file(ct_image(ImageComments="seen with Hannelore, thin slices"))
    data = plain.replace(b"\x20\0\0\x40LT", b"\x20\0\0\x40" + vr.encode())
    assert data != plain
    done = Deidentifier(load(policy), b"s" * 32)(data)
    assert b"hannelore" not in done.data.lower()
    assert (b"thin slices" in done.data) == (policy == "research")


def test_a_name_in_the_bytes_of_a_number_keeps_the_file_out():
    data = as_file(ct_image())
    at = data.index(b"\xe0\x7f\x10\0OW")
    hidden = struct.pack("<HH2sH", 0x0028, 0x9001, b"UL", 12) + b"zwiebelturm "
    with pytest.raises(CannotDeidentify, match="residual identifier in the encoded header"):
        deidentifier()(data[:at] + hidden + data[at:])
    others = Others(Identifiers(names=frozenset({"quastenflosser"})))
    hidden = struct.pack("<HH2sH", 0x0028, 0x9001, b"UL", 16) + b" quastenflosser "
    with pytest.raises(CannotDeidentify, match="residual identifier in the encoded header"):
        Deidentifier(Policy(), b"s" * 32, others)(data[:at] + hidden + data[at:])


def test_pixels_that_spell_another_patient_of_the_batch_keep_the_file_out():
    others = Others(Identifiers(names=frozenset({"quastenflosser"})))
    ds = ct_image(PixelData=b"quastenflosser".ljust(32))
    ds["PixelData"].VR = "OW"
    with pytest.raises(CannotDeidentify, match="stands as text among the values"):
        Deidentifier(Policy(), b"s" * 32, others)(as_file(ds))


@pytest.mark.parametrize("other", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.2"])
def test_a_transfer_syntax_that_lies_keeps_the_file_out(other):
    data = as_file(ct_image())
    wrong = data.replace(b"1.2.840.10008.1.2.1\0", other.encode().ljust(20, b"\0"), 1)
    assert wrong != data
    with pytest.raises(CannotDeidentify):
        deidentifier()(wrong)


def test_compressed_pixels_under_an_uncompressed_syntax_keep_the_file_out():
    data = Path(str(get_testdata_file("MR_small_RLE.dcm", download=False))).read_bytes()
    wrong = data.replace(b"1.2.840.10008.1.2.5\0", b"1.2.840.10008.1.2.1\0", 1)
    with pytest.raises(CannotDeidentify, match="is compressed, and its transfer syntax says that it is not"):
        deidentifier()(wrong)


@pytest.mark.parametrize("case", [20062736, 20466545, 20262860])
@pytest.mark.filterwarnings("ignore")
def test_a_decoder_that_panics_and_pixels_of_no_kind_keep_the_file_out(fuzzer, case):
    assert fuzzer.run(case) is None


def test_a_panic_in_a_decoder_is_a_reason_not_an_end(monkeypatch):
    class PanicException(BaseException):
        """As pyo3 has it: no Exception."""

    def panics(*_, **__):
        raise PanicException

    monkeypatch.setattr("readingroom_hub.deid.pixels.stored.get_decoder", panics)
    data = Path(str(get_testdata_file("MR_small_RLE.dcm", download=False))).read_bytes()
    with pytest.raises(CannotDeidentify, match="cannot be decoded"):
        Stored(part10.read(data))
