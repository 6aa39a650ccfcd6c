"""Stored pixel values of one object (PS3.5 section 8): read from any encoding, changed in place, encoded again."""

import struct
from typing import Any

import numpy as np
import pydicom
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEG2000MCLossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from readingroom_hub.deid.part10 import CannotDeidentify, Part10
from readingroom_hub.deid.pixels import codecs

codecs.register()
Box = tuple[int, int, int, int]
"""Left, top, right, bottom, in pixels of the frame; right and bottom are the first pixel outside."""
Pixels = np.ndarray[Any, np.dtype[Any]]

_LOSSLESS = frozenset(
    {RLELossless, JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, JPEG2000MCLossless}
    | {"1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.8.1"}  # HTJ2K, deflated frames
)
# What is encoded again as it was: for the others no permissive encoder is at hand, so they become native.
_AGAIN = frozenset({RLELossless, JPEGLSLossless, JPEG2000Lossless})
_METHODS = {"4.5": "ISO_10918_1", "4.8": "ISO_14495_1", "4.9": "ISO_15444_1", "4.2": "ISO_15444_15"}
_TAG, _DELIMITER = b"\xe0\x7f\x10\0", b"\xfe\xff\xdd\xe0\0\0\0\0"
_UNDEFINED = b"\xff\xff\xff\xff"
_DESCRIBED = (
    *("Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
)


def meant(values: Pixels, header: pydicom.Dataset) -> Pixels:
    """Stored values without unused bits (PS3.5 8.1.1), signed where they are."""
    bits = int(header.get("BitsStored") or 8 * values.itemsize)
    high = int(header.get("HighBit") or 8 * values.itemsize - 1)
    plain = (values.astype(np.int64) >> max(0, high + 1 - bits)) & ((1 << bits) - 1)
    sign = 1 << (bits - 1)
    return (plain ^ sign) - sign if int(header.get("PixelRepresentation") or 0) else plain


class Stored:
    """The values of all frames, writable. `file.header` must describe them."""

    def __init__(self, file: Part10) -> None:
        """Decode. Raises CannotDeidentify where that cannot be done."""
        self._file, header = file, file.header
        self.rows, self.columns = int(header.Rows), int(header.Columns)
        self.frames = int(str(header.get("NumberOfFrames") or 1))
        self.samples = int(header.get("SamplesPerPixel") or 1)
        self.photometric = str(header.get("PhotometricInterpretation") or "MONOCHROME2").strip()
        self._swapped = False
        if file.pixel_length is None:
            self.values = self._decoded()
        else:
            self.values = self._native()

    @property
    def paired(self) -> bool:
        """Whether two pixels share a colour (native YBR_FULL_422): then values are (frames, rows, columns/2, 4)."""
        return self.photometric == "YBR_FULL_422" and self._file.pixel_length is not None

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.rows, self.columns

    def fill(self, box: Box, value: Pixels) -> None:
        """Set `box` in every frame to one stored colour."""
        self.values[self.window(box)] = value

    def window(self, box: Box) -> tuple[slice, slice, slice]:
        """The part of `values` that shows `box`."""
        left, top, right, bottom = box
        if self.paired:
            left, right = left // 2, (right + 1) // 2
        return slice(None), slice(top, bottom), slice(left, right)

    def clear(self, bit: int) -> bool:
        """Set one bit of every value to 0. Returns whether any was set."""
        if not (self.values & self.values.dtype.type(1 << bit)).any():
            return False
        self.values &= self.values.dtype.type(~(1 << bit) & ((1 << 8 * self.values.itemsize) - 1))
        return True

    def encode(self) -> Part10:
        """The file with these values. Changes the header where the encoding is another one now."""
        if self._file.pixel_length is not None:
            return self._as_before()
        compressed = self._file.transfer_syntax in _AGAIN and (
            self.samples == 1 or self._file.transfer_syntax != JPEG2000Lossless
        )
        self._describe()
        return self._compressed() if compressed else self._explicit()

    def _native(self) -> Pixels:
        header, length = self._file.header, self._file.pixel_length or 0
        bits = int(header.BitsAllocated)
        if bits not in {8, 16, 32}:
            raise CannotDeidentify(f"an image with {bits} bits a pixel: what it shows cannot be looked at")
        deflated = self._file.transfer_syntax == DeflatedExplicitVRLittleEndian
        value = header.PixelData if deflated else self._file.pixels[len(self._file.pixels) - length :]
        little = deflated or bytes(self._file.pixels[:4]) == _TAG
        # In big endian, 8-bit values in 16-bit words are swapped in pairs (PS3.5 annex A.3 and section 8.1.1).
        self._swapped = not little and bits == 8 and bytes(self._file.pixels[4:6]) == b"OW"
        self._buffer = bytearray(value)
        if self._swapped:
            self._buffer = bytearray(np.frombuffer(self._buffer, "<u2").byteswap().tobytes())
        flat = np.frombuffer(self._buffer, f"{'<' if little else '>'}u{bits // 8}")
        if self.paired:
            shape: tuple[int, ...] = (self.frames, self.rows, self.columns // 2, 4)
        elif self.samples > 1 and int(header.get("PlanarConfiguration") or 0):
            shape = (self.frames, self.samples, self.rows, self.columns)
            return flat[: int(np.prod(shape))].reshape(shape).transpose(0, 2, 3, 1)
        else:
            shape = (self.frames, self.rows, self.columns, self.samples)
        return flat[: int(np.prod(shape))].reshape(shape)

    def _decoded(self) -> Pixels:
        syntax = self._file.transfer_syntax
        source = pydicom.Dataset()
        for keyword in _DESCRIBED:
            if keyword in self._file.header:
                source[keyword] = self._file.header[keyword]
        source.file_meta = pydicom.dataset.FileMetaDataset()
        source.file_meta.TransferSyntaxUID = syntax
        source.PixelData = bytes(self._file.pixels[12:-8])
        source["PixelData"].VR, source["PixelData"].is_undefined_length = "OB", True
        try:
            # What is lossless keeps its colour space; what is not is decoded to what viewers show.
            values, described = get_decoder(syntax).as_array(source, raw=syntax in _LOSSLESS)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # each codec has its own, and a panic of one in Rust is no Exception
            raise CannotDeidentify(
                f"its Pixel Data cannot be decoded ({syntax.name}), so what it shows cannot be looked at"
            ) from error
        self.photometric = str(described["photometric_interpretation"])
        kind = np.dtype(f"<u{values.itemsize}")
        return np.array(values).view(kind).reshape(self.frames, self.rows, self.columns, self.samples)

    def _describe(self) -> None:
        header = self._file.header
        header.PhotometricInterpretation = self.photometric
        header.BitsAllocated = 8 * self.values.itemsize
        if self.samples > 1:
            header.PlanarConfiguration = 0
        for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
            header.pop(keyword, None)
        if self._file.transfer_syntax in _LOSSLESS:
            return
        # PS3.3 C.7.6.1.1.5: what was once lossy stays marked, whatever the encoding now.
        header.LossyImageCompression = "01"
        if not header.get("LossyImageCompressionRatio"):
            header.LossyImageCompressionRatio = round(self.values.nbytes / max(1, len(self._file.pixels)), 2)
        if not header.get("LossyImageCompressionMethod"):
            family = str(self._file.transfer_syntax).removeprefix("1.2.840.10008.1.2.")[:3]
            header.LossyImageCompressionMethod = _METHODS.get(family, "ISO_10918_1")

    def _as_before(self) -> Part10:
        file = self._file
        value = np.frombuffer(self._buffer, "<u2").byteswap().tobytes() if self._swapped else bytes(self._buffer)
        if file.transfer_syntax == DeflatedExplicitVRLittleEndian:
            file.header["PixelData"].value = value
            return file
        head = bytes(file.pixels[: len(file.pixels) - len(value)])
        return Part10(file.header, head + value, file.pixel_length, file.transfer_syntax)

    def _compressed(self) -> Part10:
        header, syntax = self._file.header, self._file.transfer_syntax
        encoder = get_encoder(syntax)
        signed = int(header.get("PixelRepresentation") or 0)
        kind = f"<{'i' if signed else 'u'}{self.values.itemsize}"
        frames = [
            encoder.encode(
                np.ascontiguousarray(frame.view(kind) if self.samples > 1 else frame.view(kind)[..., 0]),
                rows=self.rows,
                columns=self.columns,
                number_of_frames=1,
                samples_per_pixel=self.samples,
                photometric_interpretation=self.photometric,
                bits_allocated=int(header.BitsAllocated),
                bits_stored=int(header.BitsStored),
                pixel_representation=signed,
                planar_configuration=0,
            )
            for frame in self.values
        ]
        element = _TAG + b"OB\0\0" + _UNDEFINED + encapsulate(frames) + _DELIMITER
        return Part10(header, element, None, syntax)

    def _explicit(self) -> Part10:
        value = np.ascontiguousarray(self.values).tobytes()
        value += b"\0" * (len(value) % 2)
        vr = b"OB" if self.values.itemsize == 1 else b"OW"
        element = _TAG + vr + b"\0\0" + struct.pack("<L", len(value)) + value
        return Part10(self._file.header, element, len(value), UID(ExplicitVRLittleEndian))
