"""Tiles as they travel: baseline JPEG as the file has it, its colours plainly told, and what an ICC profile means."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms
from tests.support.dicom_series import write_series
from tests.support.slide_spy import Spy, asked
from tests.support.slides import jpeg, place_coded, slide_instance, swapped_primaries, tissue, unmarked_rgb

from readingroom.errors import Damaged
from readingroom.slide_files import Wrong
from readingroom.slide_jpeg import Jpeg, plain
from readingroom.slide_optics import MOST_PROFILE
from readingroom.slides import Slide

PICTURE = tissue(300, 200)
JFIF = b"\xff\xe0\x00\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0"
SAID = b"told of nobody"


def written(tmp_path, name="s", picture=PICTURE, **options):
    made = slide_instance([picture], **{"compressed": True, **options})
    return sorted(write_series(tmp_path, name, [made]).glob("*.dcm"))


def decoded(data):
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


KINDS = {
    "4:4:4": (jpeg, "YBR_FULL_422"),
    "4:2:0": (lambda pixels: jpeg(pixels, subsampling=2), "YBR_FULL_422"),
    "restarts, Exif, comment, profile": (
        lambda pixels: jpeg(
            pixels, restart_marker_rows=1, exif=b"Exif\0\0" + SAID, comment=SAID, icc_profile=swapped_primaries() + SAID
        ),
        "YBR_FULL_422",
    ),
    "RGB that says so": (lambda pixels: jpeg(pixels, keep_rgb=True), "RGB"),
    "RGB that does not": (unmarked_rgb, "RGB"),
    "RGB that says YCbCr": (lambda pixels: unmarked_rgb(pixels, JFIF), "RGB"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_jpeg_travels_as_it_lies_in_the_file(tmp_path, kind):
    encode, photometric = KINDS[kind]
    found = Slide(written(tmp_path, encode=encode, PhotometricInterpretation=photometric), "s")
    for x, y, rows, columns in ((1, 1, 64, 64), (4, 3, 8, 44)):
        sent = found.encoded(0, x, y)
        assert isinstance(sent, Jpeg)
        assert (sent.rows, sent.columns) == (rows, columns)
        assert SAID not in sent.data
        # What a decoder that knows nothing of DICOM makes of it.
        shown = decoded(sent.data)[:rows, :columns]
        np.testing.assert_array_equal(shown, found.tile(0, x, y))
        drawn = PICTURE[y * 64 : y * 64 + rows, x * 64 : x * 64 + columns]
        assert np.abs(shown.astype(int) - drawn).mean() < 4


def test_a_grey_jpeg_travels_too(tmp_path):
    found = Slide(written(tmp_path, picture=PICTURE[..., 1]), "s")
    sent = found.encoded(0, 1, 1)
    np.testing.assert_array_equal(decoded(sent.data), found.tile(0, 1, 1))


@pytest.mark.parametrize(
    "encode", [lambda p: jpeg(p, progressive=True), lambda p: jpeg(p) + b"told"], ids=["progressive", "more"]
)
def test_what_is_no_plain_jpeg_is_decoded_here(tmp_path, encode):
    found = Slide(written(tmp_path, encode=encode), "s")
    sent = found.encoded(0, 4, 3)
    np.testing.assert_array_equal(sent, found.tile(0, 4, 3))


def test_what_native_and_sparse_tiles_hold_is_sent_as_pixels(tmp_path):
    found = Slide(written(tmp_path, compressed=False), "s")
    np.testing.assert_array_equal(found.encoded(0, 1, 1), PICTURE[64:128, 64:128])
    found = Slide(written(tmp_path, "t", organisation="TILED_SPARSE", missing=((0, 0),)), "t")
    assert (found.encoded(0, 0, 0) == 255).all()


def test_a_jpeg_of_another_size_is_named_and_not_sent(tmp_path):
    (path,) = written(tmp_path, tile=128, Rows=100, Columns=100, TotalPixelMatrixColumns=300, NumberOfFrames=6)
    with pytest.raises(
        Damaged, match=f"{path.name} of s .*a tile of it is 128 x 128 pixels, its header says 100 x 100"
    ):
        Slide([path], "s").encoded(0, 0, 0)


def test_a_jpeg_that_ends_early_is_named(tmp_path):
    (path,) = written(tmp_path, encode=lambda pixels: jpeg(pixels)[:400])
    with pytest.raises(Damaged, match=path.name):
        Slide([path], "s").encoded(0, 0, 0)


WHOLE = jpeg(place_coded(16, 16, 0), exif=b"Exif\0\0" + SAID)


@given(st.data())
def test_no_bytes_break_the_reading_of_a_header(data):
    made = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(2, len(made) - 3))
        made[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.sampled_from([len(made), len(made) // 2, 0]))
    try:
        sent = plain(bytes(made[:cut]) + b"\xff\xd9", (16, 16), 3, rgb=False)
    except Wrong:
        return
    if sent is not None:
        assert sent.startswith(b"\xff\xd8\xff\xee")
        assert SAID not in sent[: sent.index(b"\xff\xda")]


TILE = {"k": "tile", "level": 0, "x": 1, "y": 1, "path": 0, "plane": 0}


def in_srgb(pixels, profile):
    read = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    return np.asarray(ImageCms.profileToProfile(Image.fromarray(pixels), read, ImageCms.createProfile("sRGB")))


def test_a_profile_goes_to_the_browser_once_beside_the_tiles(tmp_path):
    profile = swapped_primaries()
    view = Spy(written(tmp_path, profile=profile + b"\0\0\0"), "s")
    head, (data,) = asked(view, **TILE)
    assert (head["jpeg"], head["profile"], head["rows"], head["columns"]) == (True, 0, 64, 64)
    assert profile not in data
    assert asked(view, k="profile", number=0)[1] == [profile]
    for number in (1, -1, "0", None):
        assert asked(view, k="profile", number=number)[0]["k"] == "error"
    # A browser that cannot read it gets pixels, which are in sRGB already.
    stored = view.slide.tile(0, 1, 1)
    head, (data,) = asked(view, **TILE, decoded=True)
    assert head["samples"] == 3
    assert bytes(data) == in_srgb(stored, profile).tobytes()
    assert np.abs(in_srgb(stored, profile).astype(int) - stored).max() > 60


def test_still_pictures_and_decoded_tiles_are_in_srgb(tmp_path):
    profile = swapped_primaries()
    view = Spy(written(tmp_path, picture=tissue(1024, 768), compressed=False, profile=profile), "s")
    view.field, view.centre = 640, (400, 300)
    still = np.array(Image.open(io.BytesIO(view.snapshot())))
    expected = in_srgb(tissue(1024, 768), profile)
    np.testing.assert_array_equal(still[200:400, 140:490], expected[260:460, 220:570])
    _, (data,) = asked(view, **TILE)
    assert bytes(data) == np.ascontiguousarray(expected[64:128, 64:128]).tobytes()
    # Numbers stay those of the file.
    np.testing.assert_array_equal(view.slide.tile(0, 1, 1), tissue(1024, 768)[64:128, 64:128])


@pytest.mark.parametrize(
    ("profile", "said"),
    [
        (b"no profile", "it is no ICC profile of RGB colours"),
        (ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes(), "it is no ICC profile of RGB colours"),
        (bytes(MOST_PROFILE + 2), "it is larger than 4194304 bytes"),
    ],
    ids=["none", "LAB", "large"],
)
def test_a_profile_that_cannot_be_followed_is_named(tmp_path, profile, said):
    (path,) = written(tmp_path, profile=profile)
    view = Spy([path], "s")
    assert view.about["notes"] == [f"Colours are shown as stored: {path.name} has an ICC profile, but {said}."]
    assert asked(view, **TILE)[0]["profile"] is None
