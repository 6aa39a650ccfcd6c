"""Images with text drawn into them, in any photometric interpretation and encoding."""

import numpy as np
import pydicom
from PIL import Image, ImageDraw, ImageFont
from pydicom.uid import SecondaryCaptureImageStorage
from tests.support.dicom_objects import as_file, ct_image

ROWS, COLUMNS = 200, 320
NAME_AT, HARMLESS_AT = (8, 8), (180, 160)
TEXT, HARMLESS = "ZWIEBELTURM, HANNELORE", "MI 0.9  12 cm"
_FONT = ImageFont.load_default(size=20)


def _box(at: tuple[int, int], text: str) -> tuple[int, ...]:
    return tuple(round(v) for v in ImageDraw.Draw(Image.new("L", (1, 1))).textbbox(at, text, font=_FONT))


NAME_BOX, HARMLESS_BOX = _box(NAME_AT, TEXT), _box(HARMLESS_AT, HARMLESS)
# Eight grey levels of one palette, dark first.
_LUT = (*range(0, 256, 32), *range(0, 256, 32), *range(0, 256, 32))


def grey(text: str = TEXT, harmless: str = HARMLESS) -> np.ndarray:
    """A soft blob like tissue with an identifier and scanner text over it: (rows, columns), 8 bit."""
    y, x = np.mgrid[:ROWS, :COLUMNS]
    tissue = 110 * np.exp(-(((x - 160) / 90) ** 2) - ((y - 100) / 50) ** 2)
    image = Image.fromarray(tissue.astype(np.uint8))
    draw = ImageDraw.Draw(image)
    draw.text(NAME_AT, text, fill=230, font=_FONT)
    draw.text(HARMLESS_AT, harmless, fill=230, font=_FONT)
    return np.asarray(image)


def values(photometric: str, image: np.ndarray) -> np.ndarray:
    """Stored values (rows, columns[, samples]) that show `image`."""
    if photometric == "MONOCHROME1":
        return 255 - image
    if photometric == "PALETTE COLOR":
        return image // 32
    if photometric.startswith("YBR"):
        return np.stack([image, np.full_like(image, 128), np.full_like(image, 128)], axis=-1)
    return np.stack([image] * 3, axis=-1) if photometric == "RGB" else image


def capture(photometric: str, stored: np.ndarray, **elements: object) -> pydicom.Dataset:
    """A secondary capture whose frames are `stored`: (frames, rows, columns[, samples]), unsigned."""
    samples = stored.shape[3] if stored.ndim == 4 else 1
    bits = 8 * stored.itemsize
    ds = ct_image(
        SOPClassUID=SecondaryCaptureImageStorage,
        Modality="OT",
        ConversionType="WSD",
        Rows=stored.shape[1],
        Columns=stored.shape[2],
        SamplesPerPixel=samples,
        PhotometricInterpretation=photometric,
        BitsAllocated=bits,
        BitsStored=bits,
        HighBit=bits - 1,
        PixelRepresentation=0,
        PixelData=stored.tobytes() + b"\0" * (stored.nbytes % 2),
        **elements,
    )
    ds["PixelData"].VR = "OB" if bits == 8 else "OW"
    if samples > 1:
        ds.PlanarConfiguration = 0
    if len(stored) > 1:
        ds.NumberOfFrames = len(stored)
    if photometric == "PALETTE COLOR":
        for number, colour in enumerate(("Red", "Green", "Blue")):
            setattr(ds, f"{colour}PaletteColorLookupTableDescriptor", [8, 0, 8])
            table = bytes(_LUT[8 * number : 8 * number + 8])
            setattr(ds, f"{colour}PaletteColorLookupTableData", table)
    return ds


def compressed(ds: pydicom.Dataset, syntax: str) -> bytes:
    ds.file_meta = pydicom.dataset.FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    ds.compress(syntax, generate_instance_uid=False)
    return as_file(ds, syntax)
