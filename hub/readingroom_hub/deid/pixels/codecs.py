"""Decoders that pydicom lacks, as a plugin of its own kind: JPEG Extended with 12 bits, by imagecodecs (libjpeg-turbo).

Process 4 of ISO/IEC 10918-1 (PS3.5 8.2.1) is what some nuclear medicine and radiography systems write."""

import numpy as np
from pydicom.pixels.decoders.base import DecodeRunner, JPEGExtended12BitDecoder
from pydicom.uid import JPEGExtended12Bit

DECODER_DEPENDENCIES = {JPEGExtended12Bit: ("imagecodecs",)}
_LABEL = "imagecodecs"


def is_available(uid: str) -> bool:
    """Whether `uid` is decoded here."""
    return uid in DECODER_DEPENDENCIES


def decode(source: bytes, runner: DecodeRunner) -> bytes:
    """One frame, little endian, in samples of Bits Allocated; colour as it is encoded. Raises what imagecodecs does."""
    import imagecodecs

    # A colour space told as input and output alike keeps the codec from converting.
    colour = 3 if runner.samples_per_pixel == 3 else None  # JCS_YCbCr
    frame = imagecodecs.jpeg8_decode(source, colorspace=colour, outcolorspace=colour)
    return np.ascontiguousarray(frame.astype(f"<u{runner.bits_allocated // 8}", copy=False)).tobytes()


def register() -> None:
    """Make the decoder known to pydicom in this process. It is asked after those that pydicom has."""
    if _LABEL not in JPEGExtended12BitDecoder.available_plugins:
        JPEGExtended12BitDecoder.add_plugin(_LABEL, (__name__, "decode"))
