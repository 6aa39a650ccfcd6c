"""The Clean Pixel Data Option: identifiers leave the pixels, scanner text and every other value stay."""

import io

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLSLossless,
    RLELossless,
)
from tests.support.burnt_in import HARMLESS_BOX, NAME_BOX, TEXT, capture, compressed, grey, values
from tests.support.dicom_objects import as_file, ct_image, deidentifier, read

from readingroom_hub.deid import part10
from readingroom_hub.deid.part10 import CannotDeidentify
from readingroom_hub.deid.pixels import comments, ocr, tesseract
from readingroom_hub.deid.pixels.clean import clean
from readingroom_hub.deid.pixels.regions import Region
from readingroom_hub.deid.pixels.render import Rendered
from readingroom_hub.deid.pixels.stored import Stored
from readingroom_hub.deid.pixels.verdict import Judge, Verdict, identifying, legible
from readingroom_hub.deid.policy import Policy, UnsureText
from readingroom_hub.deid.table import Option

NATIVE = [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
PIXELS = frozenset({Option.CLEAN_PIXELS})


def part(array, box):
    left, top, right, bottom = box
    return array[..., top:bottom, left:right] if array.ndim < 4 else array[..., top:bottom, left:right, :]


def frames(ds):
    """As a viewer decodes them."""
    array = pydicom.pixels.pixel_array(ds, raw=True)
    if ds.SamplesPerPixel == 1:
        return array.reshape(-1, ds.Rows, ds.Columns)
    return array.reshape(-1, ds.Rows, ds.Columns, ds.SamplesPerPixel)


@pytest.mark.parametrize("syntax", NATIVE)
@pytest.mark.parametrize(
    ("shape", "kind", "elements"),
    [
        ((1, 6, 8), "u1", {}),
        ((3, 6, 8), "<u2", {}),
        ((1, 5, 5), "u1", {}),
        ((2, 6, 8, 3), "u1", {}),
        ((2, 6, 8, 3), "u1", {"PlanarConfiguration": 1}),
        ((1, 6, 8), "<u4", {}),
    ],
)
def test_one_box_changes_and_nothing_else_in_native_encodings(syntax, shape, kind, elements):
    stored = np.random.default_rng(7).integers(1, 200, shape).astype(kind)
    ds = capture("RGB" if len(shape) == 4 else "MONOCHROME2", stored)
    big = syntax == ExplicitVRBigEndian
    raw = stored.transpose(0, 3, 1, 2) if elements else stored
    ds.PixelData = raw.astype(np.dtype(kind).newbyteorder(">") if big else kind).tobytes() + b"\0" * (stored.nbytes % 2)
    for keyword, value in elements.items():
        setattr(ds, keyword, value)
    before = as_file(ds, syntax)
    file = part10.read(before)
    opened = Stored(file)
    assert np.array_equal(opened.values.reshape(shape), stored)
    assert same_after(opened, file, before)
    opened.fill((2, 1, 5, 4), np.zeros(opened.samples, opened.values.dtype))
    stored[:, 1:4, 2:5] = 0
    assert np.array_equal(Stored(opened.encode()).values.reshape(shape), stored)


def same_after(opened, file, before):
    result = opened.encode()
    return bytes(result.pixels) == bytes(file.pixels) and result.header == part10.read(before).header


def test_values_of_8_bits_in_big_endian_words_are_swapped_in_pairs():
    ds = capture("MONOCHROME2", np.arange(16, dtype="u1").reshape(1, 4, 4))
    ds.PixelData = np.arange(16, dtype="u1").reshape(-1, 2)[:, ::-1].tobytes()
    ds["PixelData"].VR = "OW"
    file = part10.read(as_file(ds, ExplicitVRBigEndian))
    opened = Stored(file)
    assert opened.values.ravel().tolist() == list(range(16))
    assert bytes(opened.encode().pixels) == bytes(file.pixels)


def test_pixels_that_share_a_colour_are_masked_in_pairs():
    stored = np.arange(1, 65, dtype="u1").reshape(1, 4, 4, 4)  # two pixels each: Y Y Cb Cr
    ds = capture("YBR_FULL_422", np.zeros((1, 4, 8, 3), "u1"))
    ds.PixelData = stored.tobytes()
    opened = Stored(part10.read(as_file(ds)))
    opened.fill((3, 1, 4, 2), np.array([9, 9, 128, 128], "u1"))
    stored[0, 1, 1] = [9, 9, 128, 128]
    assert np.array_equal(Stored(opened.encode()).values, stored)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
@pytest.mark.parametrize("photometric", ["MONOCHROME2", "RGB", "YBR_FULL", "PALETTE COLOR"])
def test_lossless_encodings_stay_lossless(syntax, photometric):
    stored = values(photometric, grey())[None]
    ds = capture(photometric, stored)
    if syntax == JPEG2000Lossless and photometric == "YBR_FULL":
        pytest.skip("not allowed by PS3.5 8.2.4")
    file = part10.read(compressed(ds, syntax))
    result = Stored(file).encode()
    assert result.transfer_syntax == (
        ExplicitVRLittleEndian if (syntax, photometric) == (JPEG2000Lossless, "RGB") else syntax
    )
    assert np.array_equal(Stored(result).values.reshape(stored.shape), stored)


@pytest.mark.parametrize(
    ("photometric", "kind", "syntax"),
    [
        ("MONOCHROME1", "<u2", DeflatedExplicitVRLittleEndian),
        ("PALETTE COLOR", "u1", RLELossless),
        ("YBR_FULL", "u1", JPEGLSLossless),
    ],
)
def test_the_name_goes_and_the_rest_stays(photometric, kind, syntax):
    stored = values(photometric, grey())[None].astype(kind)
    if kind == "<u2":
        stored = stored * 16 + 15
    ds = capture(photometric, stored, BurnedInAnnotation="YES")
    native = syntax in NATIVE
    data = as_file(ds, syntax) if native else compressed(ds, syntax)
    before = frames(read(data))
    done = deidentifier(options=PIXELS)(data)
    after = read(done.data)
    assert after.file_meta.TransferSyntaxUID == syntax
    assert after.BurnedInAnnotation == "NO"
    assert "113101" in [c.CodeValue for c in after.DeidentificationMethodCodeSequence]
    seen = frames(after)[..., 0] if photometric in {"RGB", "YBR_FULL"} else frames(after)
    assert part(seen, NAME_BOX).std() == 0
    outside = np.ones(before.shape[1:3], bool)
    for mask in done.pixels.masks:
        outside[mask.box[1] : mask.box[3], mask.box[0] : mask.box[2]] = False
    assert outside.mean() > 0.85
    assert np.array_equal(frames(after)[:, outside], before[:, outside])
    assert np.array_equal(part(frames(after), HARMLESS_BOX), part(before, HARMLESS_BOX))
    assert {m.verdict for m in done.pixels.masks} == {Verdict.IDENTIFIER}


def test_a_name_in_some_frames_only_is_masked_in_all_frames():
    noise = np.random.default_rng(1).integers(0, 25, (3, 200, 320), dtype="u1")
    stored = np.maximum(noise, grey(text="", harmless=""))
    stored[2] = np.maximum(stored[2], grey(harmless=""))
    result, cleaned = clean(part10.read(as_file(capture("MONOCHROME2", stored))), Policy())
    assert cleaned.frames == 3
    assert Verdict.IDENTIFIER in {m.verdict for m in cleaned.masks}
    assert (part(Stored(result).values[..., 0], NAME_BOX).std(axis=(1, 2)) == 0).all()


@pytest.mark.parametrize(("entries", "scale"), [("<u2", 257), (">u2", 257), ("<u2", 256), (">u2", 256), ("<u2", 1)])
def test_palettes_of_16_bits_show_their_colours(entries, scale):
    ds = capture("PALETTE COLOR", values("PALETTE COLOR", grey())[None])
    for colour in ("Red", "Green", "Blue"):
        setattr(ds, f"{colour}PaletteColorLookupTableDescriptor", [8, 0, 16])
        table = (np.arange(0, 256, 32) * scale).astype(entries).tobytes()
        setattr(ds, f"{colour}PaletteColorLookupTableData", table)
    file = part10.read(as_file(ds, ExplicitVRLittleEndian if entries[0] == "<" else ExplicitVRBigEndian))
    assert np.array_equal(Rendered(Stored(file), file.header).rgb(0)[..., 1], grey() // 32 * 32)


def test_noise_is_one_scene_and_another_screen_another():
    noise = np.random.default_rng(1).integers(0, 90, (40, 64, 96), dtype="u1")
    noise[20:] += 120
    file = part10.read(as_file(capture("MONOCHROME2", noise)))
    assert [len(scene) for scene in Rendered(Stored(file), file.header).scenes()] == [2, 2]


def test_lossy_images_are_marked_as_such_when_they_become_native():
    image = grey()
    buffer = io.BytesIO()
    from PIL import Image

    Image.fromarray(image).save(buffer, "JPEG", quality=90)
    ds = capture("MONOCHROME2", image[None])
    ds.PixelData = pydicom.encaps.encapsulate([buffer.getvalue()])
    ds["PixelData"].is_undefined_length = True
    data = as_file(ds, pydicom.uid.JPEGBaseline8Bit)
    after = read(deidentifier(options=PIXELS)(data).data)
    assert after.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert after.LossyImageCompression == "01"
    assert after.LossyImageCompressionMethod == "ISO_10918_1"
    assert 1 < float(after.LossyImageCompressionRatio) < 100
    assert np.array_equal(part(frames(after), HARMLESS_BOX), part(frames(read(data)), HARMLESS_BOX))


@pytest.fixture
def reads(monkeypatch):
    """Both looks read the same: what the test says, at these places. What is masked is read no more."""

    def say(*lines):
        def look(image):
            return [n for n in lines if image[n.box[1] : n.box[3], n.box[0] : n.box[2]].std() > 0]

        monkeypatch.setattr(ocr, "lines", look)
        monkeypatch.setattr(ocr, "lines_again", look)

    return say


@pytest.mark.parametrize(
    ("unsure", "region", "masked"),
    [
        (UnsureText.MASK, None, True),
        (UnsureText.KEEP, None, False),
        (UnsureText.KEEP, (0, 0, 300, 190), False),
        (UnsureText.KEEP, (0, 100, 300, 190), True),
        (UnsureText.QUARANTINE, None, None),
    ],
)
def test_the_policy_says_what_becomes_of_text_that_nobody_knows(reads, unsure, region, masked):
    reads(ocr.Line(NAME_BOX, "Wibblewobble", 0.9))
    ds = capture("MONOCHROME2", grey()[None])
    if region:  # an ultrasound system says where the image is: what is written around it, it wrote itself
        item = pydicom.Dataset()
        item.RegionLocationMinX0, item.RegionLocationMinY0, item.RegionLocationMaxX1, item.RegionLocationMaxY1 = region
        ds.SequenceOfUltrasoundRegions = [item]
    clean_it = deidentifier(options=PIXELS, unsure_text=unsure)
    if masked is None:
        with pytest.raises(CannotDeidentify, match="a person has to look"):
            clean_it(as_file(ds))
    else:
        assert [m.verdict for m in clean_it(as_file(ds)).pixels.masks] == [UNSURE] * masked


def test_text_is_declared_and_none_is_found(reads):
    reads()
    data = as_file(capture("MONOCHROME2", grey()[None], BurnedInAnnotation="YES"))
    with pytest.raises(CannotDeidentify, match="no text was found"):
        deidentifier(options=PIXELS)(data)


def test_what_only_the_second_look_finds_is_masked_too(reads, monkeypatch):
    reads(ocr.Line(NAME_BOX, TEXT, 0.9))
    monkeypatch.setattr(ocr, "lines", lambda _: [])
    assert deidentifier(options=PIXELS)(as_file(capture("MONOCHROME2", grey()[None]))).pixels.masks


def test_text_that_does_not_go_away_keeps_the_file_out(monkeypatch):
    places = iter(range(100))
    monkeypatch.setattr(ocr, "lines", lambda _: [])
    monkeypatch.setattr(ocr, "lines_again", lambda _: [ocr.Line((0, next(places) * 20, 9, 9), TEXT, 0.9)])
    with pytest.raises(CannotDeidentify, match="still found"):
        deidentifier(options=PIXELS)(as_file(capture("MONOCHROME2", grey()[None])))


def test_pixels_that_cannot_be_decoded_keep_the_file_out():
    ds = capture("MONOCHROME2", grey()[None])
    ds.PixelData = pydicom.encaps.encapsulate([b"no JPEG-LS at all "])
    ds["PixelData"].is_undefined_length = True
    with pytest.raises(CannotDeidentify, match="cannot be decoded"):
        deidentifier(options=PIXELS)(as_file(ds, JPEGLSLossless))


def test_overlays_in_unused_bits_are_cleared_and_nothing_else():
    stored = np.arange(16, dtype="<u2").reshape(1, 4, 4)
    ds = ct_image(PixelRepresentation=0, BitsStored=12, HighBit=11, PixelData=(stored | 1 << 15).tobytes())
    for element, vr, value in (
        (0x10, "US", 4),
        (0x11, "US", 4),
        (0x40, "CS", "G"),
        (0x100, "US", 16),
        (0x102, "US", 15),
    ):
        ds.add_new(0x60000000 | element, vr, value)
    with pytest.raises(CannotDeidentify, match="overlay"):
        deidentifier()(as_file(ds))
    after = read(deidentifier(options=PIXELS)(as_file(ds)).data)
    assert after.PixelData == stored.tobytes()
    assert not [e for e in after if e.tag.group == 0x6000]


def test_images_that_hold_no_text_by_their_making_are_left_alone():
    done = deidentifier(options=PIXELS)(as_file(ct_image()))
    assert done.pixels is None
    assert read(done.data).PixelData == ct_image().PixelData


IDENTIFIER, DATE, _, LABEL, UNSURE, HARMLESS = Verdict


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("ZWIEBELTURM, HANNELORE", IDENTIFIER),
        ("Zw1ebe1turm H", IDENTIFIER),
        ("Zwiebelturn^Hannelor", IDENTIFIER),
        ("ID: ZT-99O417", IDENTIFIER),
        ("Dr Ng", IDENTIFIER),
        ("11-Dec-2019 10:42:17", DATE),
        ("14-0ct-2023", DATE),
        ("5/25/2011", DATE),
        ("20200101", DATE),
        ("2019/09/2:", DATE),
        ("30 JAN 94", DATE),
        ("10:42", DATE),
        ("14/19", DATE),
        ("DOB", LABEL),
        ("Acc# 12", LABEL),
        ("General Hospital", LABEL),
        ("Dr. Somebody", LABEL),
        ("Wibblewobble", UNSURE),
        ("1811492", UNSURE),
        ("R", HARMLESS),
        ("MI 0.9  TIs 0.2", HARMLESS),
        ("12 cm", HARMLESS),
        ("TIS=0.5 MI=0.4 A0=69%", HARMLESS),
        ("DR 150", HARMLESS),
        ("FR 29Hz", HARMLESS),
        ("3/3/4", HARMLESS),
        ("Rt Follicle1 Vol 0.27 cm³", HARMLESS),
        ("RCC", HARMLESS),
        ("W 400 L 40", HARMLESS),
        ("120 kV 200 mAs", HARMLESS),
        ("111111", HARMLESS),
    ],
)
def test_verdicts(text, verdict):
    header = ct_image(ReferringPhysicianName="Ng^An^^Dr", InstitutionName="Klinik am Zwinger")
    assert Judge(identifying(header), lambda _: False)(text) is verdict


@pytest.mark.parametrize(
    ("text", "score", "width", "height", "believed"),
    [
        ("MI 0.9  TIs 0.2", 0.85, 130, 16, True),
        ("12 cm", 0.95, 50, 15, True),
        ("0.9", 0.95, 30, 15, True),
        ("R", 0.3, 15, 15, True),
        ("-----", 0.9, 300, 10, True),
        ("34", 0.9, 60, 12, False),  # a date that something is drawn over
        ("33.8", 0.8, 47, 16, False),
        ("cm 12", 0.5, 50, 15, False),
    ],
)
def test_a_reading_that_cannot_be_right_is_not_believed(text, score, width, height, believed):
    assert legible(text, score, width, height) is believed


def test_somebody_else_of_the_batch_counts_too():
    assert Judge(set(), lambda text: "pole" in text.lower())("LONG POLE") is IDENTIFIER


def jpeg_extended(image, **elements):
    """A capture in 12-bit JPEG (Process 4), whose frame is `image` times 16."""
    import imagecodecs

    stored = image.astype("<u2")[None] * 16
    ds = capture("MONOCHROME2", stored, **elements)
    ds.BitsStored, ds.HighBit = 12, 11
    frame = imagecodecs.jpeg8_encode(stored[0], level=98, bitspersample=12)
    ds.PixelData = pydicom.encaps.encapsulate([frame])
    ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
    return as_file(ds, JPEGExtended12Bit)


def test_text_in_12_bit_jpeg_is_masked_and_the_header_tells_what_became_of_the_encoding():
    before = jpeg_extended(grey(), PatientName="Zwiebelturm^Hannelore")
    result = deidentifier(options=PIXELS)(before)
    after = read(result.data)
    original = Stored(part10.read(before)).values[..., 0]
    assert original.max() > 3000
    shown = frames(after)
    assert len(np.unique(part(shown, NAME_BOX))) == 1
    assert np.array_equal(part(shown, HARMLESS_BOX), part(original, HARMLESS_BOX))
    assert after.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert (after.BitsStored, after.LossyImageCompression) == (12, "01")
    assert after.LossyImageCompressionMethod == "ISO_10918_1"


@pytest.mark.parametrize("syntax", [JPEGExtended12Bit, JPEG2000Lossless, RLELossless])
def test_what_needs_no_mask_keeps_its_encoding_byte_for_byte(syntax):
    plain = grey(text="")
    twelve = syntax == JPEGExtended12Bit
    before = jpeg_extended(plain) if twelve else compressed(capture("MONOCHROME2", plain[None]), syntax)
    result = deidentifier(options=PIXELS)(before)
    assert result.pixels is not None
    assert result.pixels.masks == ()
    assert bytes(part10.read(result.data).pixels) == bytes(comments.blank(part10.read(before).pixels)[0])
    assert read(result.data).file_meta.TransferSyntaxUID == syntax
    assert "LossyImageCompression" not in read(result.data)


RULE = Region((("Modality", "ot"), ("ManufacturerModelName", "scan*")), ((0, 60, 400, 90), (10, 100, 30, 900)))


@pytest.mark.parametrize("model", ["ScanPro 3", "Other"])
def test_a_region_rule_masks_its_places_on_images_of_its_device_alone(model):
    plain = grey(text="")
    data = as_file(capture("MONOCHROME2", np.stack([plain] * 2), ManufacturerModelName=model))
    done = deidentifier(options=PIXELS, regions=(RULE,))(data)
    shown = frames(read(done.data))
    masked = model.startswith("Scan")
    assert [m.verdict for m in done.pixels.masks] == [Verdict.REGION] * 2 * masked
    for box in RULE.within(*plain.shape):
        assert (part(shown, box).std(axis=(1, 2)) == 0).all() == masked
    assert np.array_equal(part(shown, HARMLESS_BOX), part(frames(read(data)), HARMLESS_BOX))


def test_a_region_rule_counts_for_images_that_pass_unseen():
    ds = ct_image(Rows=200, Columns=320, BitsAllocated=8, BitsStored=8, HighBit=7, PixelRepresentation=0)
    ds.PixelData = grey(text="").tobytes()
    ds["PixelData"].VR = "OW"
    rule = Region((("Modality", "CT"), ("Rows", "200")), ((0, 0, 320, 40),))
    done = deidentifier(options=PIXELS, regions=(rule,))(as_file(ds))
    assert part(read(done.data).pixel_array[None], (0, 0, 320, 40)).std() == 0


needs_tesseract = pytest.mark.skipif(not tesseract.installed(), reason="tesseract is not installed")


@needs_tesseract
def test_the_second_reader_reads():
    image = np.repeat(grey()[..., None], 3, axis=-1)
    (line,) = [li for li in tesseract.lines(image) if li.text == TEXT]
    assert line.box == pytest.approx(NAME_BOX, abs=3)


@needs_tesseract
def test_what_only_the_second_reader_reads_goes(monkeypatch):
    monkeypatch.setattr(ocr, "lines", lambda _image: [])
    monkeypatch.setattr(ocr, "lines_again", lambda _image: [])
    large = np.kron(grey(), np.ones((3, 3), "u1"))
    data = as_file(capture("MONOCHROME2", large[None]))
    assert deidentifier(options=PIXELS)(data).pixels.masks == ()
    done = deidentifier(options=PIXELS, second_reader=True)(data)
    assert Verdict.IDENTIFIER in {m.verdict for m in done.pixels.masks}
    box = tuple(3 * v for v in NAME_BOX)
    assert part(frames(read(done.data)), box).std() == 0


def test_a_second_reader_that_fails_keeps_the_file_out(monkeypatch):
    monkeypatch.setattr(tesseract, "_COMMAND", ("--no-such-option",))
    data = as_file(capture("MONOCHROME2", grey()[None]))
    with pytest.raises(CannotDeidentify, match="Tesseract, the second reader of its pixels, failed"):
        deidentifier(options=PIXELS, second_reader=True)(data)
