"""ICC profiles in de-identification: the same colours, and no word of the device, its number or its day."""

import io
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms
from tests.support.dicom_objects import deidentifier, read
from tests.support.slides import place_coded, slide_instance, swapped_primaries

from readingroom_hub.deid.actions import Action
from readingroom_hub.deid.colour_profiles import without_texts
from readingroom_hub.deid.reasons import reason

SERIAL = b"Scanner SN-48213, Clinic of St. Mary"
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def parts(profile):
    """Signature -> data of each tag, in order."""
    (count,) = struct.unpack_from(">I", profile, 128)
    entries = [struct.unpack_from(">4sII", profile, 132 + 12 * i) for i in range(count)]
    return {name: profile[start : start + length] for name, start, length in entries}


def made_of(head, tags):
    table, body, at = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, data in tags.items():
        table += struct.pack(">4sII", name, at + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    return struct.pack(">I", at + len(body)) + head[4:128] + table + body


def text(words):
    return b"text" + bytes(4) + words + b"\0"


def telling(version=None):
    """sRGB by a scanner that says who it is wherever it can."""
    head = bytearray(SRGB[:128])
    head[24:36] = struct.pack(">6H", 2019, 3, 14, 9, 26, 53)
    head[84:100] = SERIAL[:16]
    head[100:128] = SERIAL[:28]
    if version:
        head[8] = version
    said = dict.fromkeys((b"desc", b"cprt", b"dmnd", b"dmdd", b"targ", b"vued", b"SNum"), text(SERIAL))
    return made_of(bytes(head), parts(SRGB) | said)


def colours(profile):
    grid = np.stack(np.meshgrid(*[np.arange(0, 256, 15, dtype=np.uint8)] * 3), axis=-1).reshape(1, -1, 3)
    image = Image.fromarray(np.ascontiguousarray(grid), "RGB")
    return np.asarray(ImageCms.profileToProfile(image, ImageCms.ImageCmsProfile(io.BytesIO(profile)), SRGB_PROFILE))


SRGB_PROFILE = ImageCms.createProfile("sRGB")


@pytest.mark.parametrize("version", [2, 4])
def test_colours_stay_and_words_do_not(version):
    profile = telling(version)
    assert profile.count(SERIAL) == 7
    made = without_texts(profile)
    for at in range(len(SERIAL) - 6):
        assert SERIAL[at : at + 6] not in made
    assert struct.unpack_from(">6H", made, 24) == (2000, 1, 1, 0, 0, 0)
    assert int.from_bytes(made[:4]) == len(made)
    assert len(made) % 4 == 0
    np.testing.assert_array_equal(colours(made), colours(profile))
    told = ImageCms.ImageCmsProfile(io.BytesIO(made)).profile
    assert (told.profile_description, told.copyright) == ("De-identified", "De-identified")


def test_swapped_colours_stay_swapped():
    made = without_texts(swapped_primaries())
    np.testing.assert_array_equal(colours(made), colours(swapped_primaries()))
    assert (colours(made) != colours(SRGB)).any()


@pytest.mark.parametrize(
    "profile",
    [
        b"",
        SERIAL,
        SRGB[:131],
        SRGB[:200],
        made_of(SRGB[:128], parts(SRGB) | {b"rTRC": text(SERIAL)}),
        made_of(SRGB[:128], {b"desc": text(SERIAL)}),
        SRGB[:128] + b"\xff" * 400,
    ],
    ids=["nothing", "words", "no table", "cut", "words for a curve", "no colours", "a table of nonsense"],
)
def test_what_is_no_profile_is_nothing(profile):
    assert without_texts(profile) is None


@given(st.data())
def test_any_damage_leaves_a_profile_of_allowed_parts_or_nothing(data):
    profile = bytearray(telling())
    for _ in range(data.draw(st.integers(1, 8))):
        profile[data.draw(st.integers(0, len(profile) - 1))] = data.draw(st.integers(0, 255))
    made = without_texts(bytes(profile[: data.draw(st.integers(0, len(profile)))]))
    assert made is None or without_texts(made) == made


def test_a_slides_profile_says_why_it_was_changed_and_a_broken_one_goes():
    for profile, action, left in ((telling(), Action.CLEAN, True), (SERIAL, Action.REMOVE, False)):
        out = io.BytesIO()
        known = {"PatientID": "1", "StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.3", "SpecimenLabelInImage": "NO"}
        slide_instance([place_coded(100, 80, 0)], profile=profile, **known).save_as(out, enforce_file_format=True)
        made = deidentifier()(out.getvalue())
        assert made.actions["ICCProfile", action] == 1
        assert SERIAL[:10] not in made.data
        assert ("ICCProfile" in read(made.data).OpticalPathSequence[0]) is left
        assert "what colours need" in reason(None, "ICCProfile", action)
