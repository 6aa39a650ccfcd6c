"""What compressed frames carry beside their pixels: comments, Exif, thumbnails, boxes, trailing bytes."""

import struct

import imagecodecs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import HTJ2KLossless, JPEG2000Lossless, JPEGBaseline8Bit, JPEGLSLossless
from tests.support.dicom_objects import as_file, ct_image, deidentifier, read

from readingroom_hub.deid.part10 import CannotDeidentify
from readingroom_hub.deid.pixels.comments import blank

NAME = b"Zwiebelturm, Hannelore"
IMAGE = (np.arange(64 * 64, dtype="u1") % 251).reshape(64, 64)
HEAD = struct.pack("<HH2s2xL", 0x7FE0, 0x0010, b"OB", 0xFFFFFFFF)
END = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


def plain(stream: bytes) -> bytes:
    """Without what the encoder says of itself."""
    return bytes(blank(HEAD + encapsulate([stream], has_bot=False) + END)[0][28 : 28 + len(stream)])


def segment(code: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, code, len(content) + 2) + content


JPEG = plain(imagecodecs.jpeg8_encode(IMAGE, level=90))
JPEG_LS = plain(imagecodecs.jpegls_encode(IMAGE))
J2K = plain(imagecodecs.jpeg2k_encode(IMAGE, codecformat="j2k", level=0))
JP2 = plain(imagecodecs.jpeg2k_encode(IMAGE, codecformat="jp2", level=0))
HTJ2K = plain(imagecodecs.htj2k_encode(IMAGE))
EXIF = segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0" + NAME)
COMMENT = segment(0xFE, NAME)
J2K_COMMENT = struct.pack(">HHH", 0xFF64, len(NAME) + 4, 1) + NAME
XML_BOX = struct.pack(">L4s", len(NAME) + 8, b"xml ") + NAME
THUMBNAIL = segment(0xE0, b"JFIF\0\1\2\0\0\1\0\1\3\3" + (NAME + bytes(8))[:27])


def after_soc(stream: bytes, what: bytes) -> bytes:
    """Behind the SIZ segment, which comes first (ISO/IEC 15444-1 A.3)."""
    at = 4 + int.from_bytes(stream[4:6])
    return stream[:at] + what + stream[at:]


def in_tile(stream: bytes, what: bytes) -> bytes:
    """In the header of the first tile-part, whose length grows."""
    at = stream.index(b"\xff\x90\0\x0a")
    size = int.from_bytes(stream[at + 6 : at + 10])
    grown = stream[: at + 6] + struct.pack(">L", size + len(what)) + stream[at + 10 : at + 12]
    return grown + what + stream[at + 12 :]


def in_box(stream: bytes, what: bytes) -> bytes:
    at = stream.index(b"jp2c") - 4
    return stream[:at] + what + stream[at:]


CASES = {
    "JPEG comment": (JPEG[:2] + COMMENT + JPEG[2:], JPEGBaseline8Bit),
    "JPEG Exif": (JPEG[:2] + EXIF + JPEG[2:], JPEGBaseline8Bit),
    "JFIF thumbnail": (JPEG[:2] + THUMBNAIL + JPEG[2:], JPEGBaseline8Bit),
    "behind a JPEG": (JPEG + NAME, JPEGBaseline8Bit),
    "fill bytes": (JPEG[:2] + b"\xff\xff" + COMMENT + JPEG[2:], JPEGBaseline8Bit),
    "JPEG-LS comment": (JPEG_LS[:2] + COMMENT + JPEG_LS[2:], JPEGLSLossless),
    "behind a JPEG-LS": (JPEG_LS + NAME, JPEGLSLossless),
    "JPEG 2000 comment": (after_soc(J2K, J2K_COMMENT), JPEG2000Lossless),
    "JPEG 2000 tile comment": (in_tile(J2K, J2K_COMMENT), JPEG2000Lossless),
    "behind a JPEG 2000": (J2K + NAME, JPEG2000Lossless),
    "JP2 box": (in_box(JP2, XML_BOX), JPEG2000Lossless),
    "HTJ2K comment": (after_soc(HTJ2K, J2K_COMMENT), HTJ2KLossless),
}


@pytest.fixture(params=CASES, ids=str)
def case(request):
    stream, syntax = CASES[request.param]
    assert NAME in stream
    return stream + bytes(len(stream) % 2), syntax


def element(frames: list[bytes], fragments: int = 1) -> bytes:
    return HEAD + encapsulate(frames, fragments_per_frame=fragments) + END


def test_the_text_goes_and_the_picture_stays(case):
    stream, _ = case
    whole = element([stream])
    new, count = blank(whole)
    assert count == 1
    assert len(new) == len(whole)
    assert NAME not in new
    assert np.array_equal(pixels(new, stream), pixels(whole, stream))
    assert blank(new) == (new, 0)


def pixels(whole: bytes, like: bytes) -> np.ndarray:
    frame = next(generate_frames(whole[12:], number_of_frames=1))
    decode = {
        b"\xff\xd8": imagecodecs.jpegls_decode if b"\xff\xf7" in like[:120] else imagecodecs.jpeg8_decode,
        b"\xff\x4f": imagecodecs.jpeg2k_decode,
        b"\0\0": imagecodecs.jpeg2k_decode,
    }
    return decode[frame[:2]](frame)


def test_in_each_frame_and_across_fragments(case):
    stream, _ = case
    new, count = blank(element([stream] * 3, fragments=2))
    assert (count, NAME in new) == (3, False)


def test_in_a_whole_object(case):
    stream, syntax = case
    ds = ct_image(
        Rows=64, Columns=64, BitsAllocated=8, BitsStored=8, HighBit=7, PixelRepresentation=0,
        PixelData=encapsulate([stream]),
    )  # fmt: skip
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    done = deidentifier()(as_file(ds, syntax))
    assert NAME not in done.data
    assert done.actions["PixelData", "clean"] == 1
    assert read(done.data).pixel_array.shape == (64, 64)


def test_the_patients_name_in_a_video_keeps_it_out():
    ds = ct_image(PixelData=encapsulate([b"\0\0\1\xb3 by ZWIEBELTURM\0\0"]))
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    with pytest.raises(CannotDeidentify, match="stands as text among the values of its Pixel Data"):
        deidentifier()(as_file(ds, "1.2.840.10008.1.2.4.100"))


def test_a_short_name_that_compressed_bytes_spell_by_chance_keeps_nothing_out():
    frame = struct.pack("<16L", 1, 64, *[0] * 14) + b"\x0fli li bo LI BO RA A"
    ds = ct_image(PatientName="Li^Bo", PixelData=encapsulate([frame]))
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
    assert b"li bo" in deidentifier()(as_file(ds, "1.2.840.10008.1.2.5")).data


def test_segments_that_lead_nowhere_are_refused():
    far = b"\xff\xff" + NAME
    for broken in (JPEG[:2] + b"\xff\xfe" + far, b"\xff\xd8\xff\xfe\0\1", J2K[:2] + b"\xff\x64" + far):
        with pytest.raises(CannotDeidentify, match="segments lead nowhere"):
            blank(element([broken + bytes(len(broken) % 2)]))


@given(st.binary(max_size=400), st.sampled_from([b"", b"\xff\xd8", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP  "]), st.data())
def test_any_bytes_keep_their_length_or_are_refused(junk, start, data):
    stream = start + junk
    if data.draw(st.booleans()):
        base = data.draw(st.sampled_from([JPEG, JPEG_LS, J2K, JP2]))
        at = data.draw(st.integers(0, len(base)))
        stream = base[:at] + junk + base[at + data.draw(st.integers(0, 40)) :]
    whole = element([stream + bytes(len(stream) % 2) or b"\0\0"])
    try:
        new, _ = blank(whole)
    except CannotDeidentify:
        return
    assert len(new) == len(whole)
    assert blank(new)[0] == new
