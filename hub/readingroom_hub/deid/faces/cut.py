"""A face cut from the frames of one object: stored values beyond a plane become air."""

import pydicom

from readingroom_hub.deid.faces import geometry
from readingroom_hub.deid.faces.geometry import Bits, Plane
from readingroom_hub.deid.faces.units import rescale
from readingroom_hub.deid.part10 import CannotDeidentify, Part10
from readingroom_hub.deid.pixels.stored import Pixels, Stored, meant

METHOD = "Face cut away: Quickshear (Schimke 2011), BET (Smith 2002)"
_AIR_HU = -1000


def cut(file: Part10, plane: Plane) -> Part10:
    """`file` with air beyond `plane`; all other stored values stay as they are.

    Changes the header: RecognizableVisualFeatures, the range of values, what describes the encoding if that changes.
    Raises CannotDeidentify where the header does not say where its pixels lie, or they cannot be decoded."""
    header = file.header
    beyond = [frame.beyond(plane) for frame in geometry.frames(header)]
    header.RecognizableVisualFeatures = "NO"
    if not any(b.any() for b in beyond):
        return file
    stored = Stored(file)
    if stored.samples != 1 or len(beyond) != stored.frames:
        raise CannotDeidentify("its Pixel Data is not what its header describes: a face may be in it")
    before = stored.values.copy()
    air = _air(stored, header)
    for values, mask in zip(stored.values, beyond, strict=True):
        values[mask] = air
    result = stored.encode()
    written = Stored(result)
    _check(before, written, beyond, air)
    _describe(written, header)
    return result


def _air(stored: Stored, header: pydicom.Dataset) -> int:
    """A stored value: Pixel Padding Value (PS3.3 C.7.5.1.1.2), else air in CT, else the darkest of the object."""
    every = (1 << 8 * stored.values.itemsize) - 1
    if (padding := header.get("PixelPaddingValue")) is not None:
        return int(padding) & every
    values = meant(stored.values, header)
    slope, intercept = rescale(header, 0)
    bits = int(header.BitsStored)
    if str(header.get("Modality")) == "CT" and intercept and int(header.HighBit) == bits - 1:
        low = -(1 << (bits - 1)) if int(header.PixelRepresentation) else 0
        wanted = round((_AIR_HU - intercept) / slope)
        return min(max(wanted, low), low + (1 << bits) - 1) & every
    white = str(header.get("PhotometricInterpretation")).strip() == "MONOCHROME1"
    place = int(values.argmax() if white else values.argmin())
    return int(stored.values.reshape(-1)[place])


def _check(before: Pixels, written: Stored, beyond: list[Bits], air: int) -> None:
    """What will be written is decoded again and compared: the near side to the bit, the far side all air."""
    if before.shape != written.values.shape:
        raise CannotDeidentify("its Pixel Data came out in another shape")
    for old, new, mask in zip(before, written.values, beyond, strict=True):
        if (new[~mask] != old[~mask]).any() or (new[mask] != air).any():
            raise CannotDeidentify("pixels that are no face changed when they were encoded again")


def _describe(written: Stored, header: pydicom.Dataset) -> None:
    """The least and the greatest value, where the header tells them (PS3.3 C.7.6.3)."""
    values = meant(written.values, header)
    if header.get("SmallestImagePixelValue") is not None:
        header.SmallestImagePixelValue = int(values.min())
    if header.get("LargestImagePixelValue") is not None:
        header.LargestImagePixelValue = int(values.max())
