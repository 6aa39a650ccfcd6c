"""DICOM files (PS3.10 section 7) as bytes: the header parsed, Pixel Data left as it is encoded."""

import io
import struct
from dataclasses import dataclass
from typing import BinaryIO, NoReturn

import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels.utils import get_expected_length
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from readingroom_hub.deid import encode
from readingroom_hub.errors import BadInput

# Version 1 of this de-identifier. 2.25 with a random UUID (PS3.5 B.2).
IMPLEMENTATION_UID = UID("2.25.133297183290829157934137263420563364473")
IMPLEMENTATION_NAME = "READINGROOM_1"
_LONG = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
_UNDEFINED = 0xFFFFFFFF
_GAP = 16 << 20
_IN_MEMORY = 1 << 20  # a file so small is read in one go: the parser asks for a few bytes at a time
# Without preamble a file starts with file meta or with group 0008, in either byte order.
_FIRST_GROUPS = frozenset({b"\x02\0", b"\x08\0", b"\0\x08"})
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})  # Float, Double Float, Pixel Data
_PIXEL_VRS = frozenset({b"", b"OB", b"OW", b"OF", b"OD", b"UN"})
_EXPLICIT_LITTLE = (False, True)


class CannotDeidentify(BadInput):
    """The object cannot be de-identified safely, so it is left out. The message is the reason, free of identifiers."""


@dataclass(frozen=True, slots=True)
class Part10:
    """A parsed file."""

    header: Dataset
    """All elements before Pixel Data (with it only where the whole data set is deflated)."""
    pixels: bytes | memoryview
    """The Pixel Data element exactly as encoded; whatever followed it is gone."""
    pixel_length: int | None
    """Length of a native Pixel Data value; None where it is encapsulated or absent."""
    transfer_syntax: UID
    missing: int = 0
    """How many bytes at the end of a native Pixel Data value are padding, since the file ends before them."""


def read(data: bytes) -> Part10:
    """Parse a file, with or without preamble and file meta. Raises CannotDeidentify."""
    named = data[128:132] == b"DICM"
    if not named and data[:2] not in _FIRST_GROUPS:
        raise CannotDeidentify("not a DICOM file")
    try:
        stream = io.BytesIO(data)
        header = pydicom.dcmread(stream, stop_before_pixels=True, force=not named)
        syntax = _transfer_syntax(header)
        if syntax == DeflatedExplicitVRLittleEndian:
            header = pydicom.dcmread(io.BytesIO(data), force=not named)
            return Part10(header, b"", _deflated_length(header), syntax)
        start = stream.tell()
        implicit, little = header.original_encoding
        walker = _Walker(data, bool(implicit), bool(little))
        if start >= len(data):
            walker.to_end(_data_set_start(data, named=named))
            return Part10(header, b"", None, syntax)
        length = walker.defined_length(start)
        walker.check_pixels(start, syntax)
        if missing := walker.missing(start):
            pixels = bytes(data[start:]) + _padding(header, walker.value(start), missing, little=bool(little))
            return Part10(header, pixels, length, syntax, missing)
        end = walker.skip(start)
        return Part10(header, memoryview(data)[start:end], length, syntax)
    except CannotDeidentify:
        raise
    except Exception as error:  # a parser of hostile input may raise anything; all of it means the same here
        raise CannotDeidentify(f"not readable as DICOM ({type(error).__name__})") from error


def _padding(header: Dataset, have: int, missing: int, *, little: bool) -> bytes:
    """Pixel Padding Value (PS3.3 C.7.5.1.1.2) where the object names one, else 0. Half a value becomes 0.

    Raises CannotDeidentify where the length is not what the attributes say, or much is missing that was hardly begun:
    such lengths lie, and would fill the memory."""
    if missing > max(have, _GAP):
        raise CannotDeidentify("cut short: more than half of its Pixel Data is missing, and more than 16 MiB")
    if have + missing not in {(n := get_expected_length(header)), n + n % 2}:
        raise CannotDeidentify("cut short: its Pixel Data is shorter than it says, and its attributes say otherwise")
    size = int(header.BitsAllocated) // 8
    value = int(header.get("PixelPaddingValue") or 0) & ((1 << 8 * size) - 1)
    whole = missing // size if size and int(header.get("SamplesPerPixel") or 1) == 1 else 0
    tail = value.to_bytes(size, "little" if little else "big") * whole if whole else b""
    return bytes(missing - len(tail)) + tail


def header(stream: BinaryIO) -> Dataset:
    """The elements before Pixel Data, which is not read, of a file that may be damaged. Raises what pydicom does."""
    start = stream.read(_IN_MEMORY)
    named = start[128:132] == b"DICM"
    if not named and start[:2] not in _FIRST_GROUPS:
        raise CannotDeidentify("not a DICOM file")
    stream.seek(0)
    quick = stream if len(start) == _IN_MEMORY else io.BytesIO(start)
    return pydicom.dcmread(quick, stop_before_pixels=True, force=not named)


def write(header: Dataset, pixels: bytes | memoryview) -> bytes:
    """Encode a de-identified header in its transfer syntax, with a fresh file meta and preamble, then the pixels."""
    syntax = header.file_meta.TransferSyntaxUID
    if syntax.is_deflated:
        buffer = io.BytesIO()
        pydicom.dcmwrite(buffer, header, enforce_file_format=True)
        return buffer.getvalue()
    meta = encode.data_set(header.file_meta, implicit=False, little=True)
    length = struct.pack("<HH2sHL", 2, 0, b"UL", 4, len(meta))  # PS3.10 table 7.1-1
    implicit, little = syntax.is_implicit_VR, syntax.is_little_endian
    try:
        elements = encode.data_set(header, implicit=implicit, little=little)
    except encode.CannotEncode as error:
        raise CannotDeidentify(str(error)) from error
    return b"".join((bytes(128), b"DICM", length, meta, elements, pixels))


def file_meta(header: Dataset, syntax: UID) -> FileMetaDataset:
    """File meta that says nothing of the source: no AE titles, no private information (PS3.10 7.1)."""
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\0\1"
    meta.MediaStorageSOPClassUID = header.SOPClassUID
    meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID = IMPLEMENTATION_UID
    meta.ImplementationVersionName = IMPLEMENTATION_NAME
    return meta


def _transfer_syntax(header: Dataset) -> UID:
    syntax = UID(str(header.file_meta.get("TransferSyntaxUID") or "").strip("\0 "))
    if not syntax:  # no file meta: only the three uncompressed ones can be told from the bytes
        implicit, little = header.original_encoding
        if implicit:
            return pydicom.uid.ImplicitVRLittleEndian
        return pydicom.uid.ExplicitVRLittleEndian if little else pydicom.uid.ExplicitVRBigEndian
    if syntax.is_private or not syntax.is_transfer_syntax:
        raise CannotDeidentify("unknown or private transfer syntax")
    if (syntax.is_implicit_VR, syntax.is_little_endian) != header.original_encoding and len(header):
        raise CannotDeidentify("its elements are not encoded as its transfer syntax says")
    return syntax


def _deflated_length(header: Dataset) -> int | None:
    for tag in header.keys():  # noqa: SIM118  # iterating the dataset itself would convert every element
        _check_length(header.get_item(tag))
    return len(header.get_item("PixelData").value or b"") if "PixelData" in header else None


def _check_length(element: object) -> None:
    length, value = getattr(element, "length", _UNDEFINED), getattr(element, "value", None)
    if length != _UNDEFINED and isinstance(value, bytes) and len(value) != length:
        raise CannotDeidentify("cut short: its data set ends in the middle of an element")


def _data_set_start(data: bytes, *, named: bool) -> int:
    position, meta = 132 if named else 0, _Walker(data, *_EXPLICIT_LITTLE)
    while data[position : position + 2] == b"\x02\0":
        position = meta.skip(position)
    return position


class _Walker:
    """Finds where elements end, without looking at values."""

    def __init__(self, data: bytes, implicit: bool, little: bool) -> None:
        self._data, self._implicit = data, implicit
        self._tag = struct.Struct("<HH" if little else ">HH")
        self._long = struct.Struct("<L" if little else ">L")
        self._short = struct.Struct("<H" if little else ">H")

    def to_end(self, position: int) -> None:
        """Walk to the last byte. Raises CannotDeidentify where an element, or a fraction of one, is left."""
        while position < len(self._data):
            position = self.skip(position)

    def skip(self, position: int) -> int:
        """The position after the element at `position`. Raises CannotDeidentify where it ends behind the file."""
        _, vr, length, value = self._head(position)
        if length != _UNDEFINED:
            return self._bounded(value + length)
        inner = self
        if vr == b"UN":  # PS3.5 6.2.2 note 4: a sequence of unknown VR is encoded implicit little endian
            inner = _Walker(self._data, implicit=True, little=True)
        return inner._items(value)  # its own kind

    def check_pixels(self, position: int, syntax: UID) -> None:
        """Raise CannotDeidentify where something else than Pixel Data stopped the parser, or it is of another kind."""
        tag, vr, length, _ = self._head(position)
        if tag in _PIXELS and vr not in _PIXEL_VRS:
            raise CannotDeidentify("its Pixel Data has a value representation that no Pixel Data has")
        if tag not in _PIXELS:
            raise CannotDeidentify("its data set ends in the middle, with the end of a sequence that never began")
        if length == _UNDEFINED and not syntax.is_encapsulated:
            raise CannotDeidentify("its Pixel Data is compressed, and its transfer syntax says that it is not")

    def missing(self, position: int) -> int:
        """How many bytes of the value of the element at `position` the file lacks."""
        _, _, length, value = self._head(position)
        return 0 if length == _UNDEFINED else max(0, value + length - len(self._data))

    def value(self, position: int) -> int:
        """How many bytes of that value there are."""
        return len(self._data) - self._head(position)[3]

    def defined_length(self, position: int) -> int | None:
        """Length of the value of the element at `position`; None where it is undefined."""
        length = self._head(position)[2]
        return None if length == _UNDEFINED else length

    def _items(self, position: int) -> int:
        while True:
            tag, _, length, position = self._head(position)
            if tag == _SEQUENCE_END:
                return position
            if tag != _ITEM:
                self._cut()
            position = self._item(position) if length == _UNDEFINED else self._bounded(position + length)

    def _item(self, position: int) -> int:
        while True:
            if self._head(position)[0] == _ITEM_END:
                return position + 8
            position = self.skip(position)

    def _head(self, position: int) -> tuple[int, bytes, int, int]:
        if position + 8 > len(self._data):
            self._cut()
        group, element = self._tag.unpack_from(self._data, position)
        vr = b"" if self._implicit or group == 0xFFFE else self._data[position + 4 : position + 6]
        if vr in _LONG:
            if position + 12 > len(self._data):
                self._cut()
            return group << 16 | element, vr, self._long.unpack_from(self._data, position + 8)[0], position + 12
        size = (
            self._short.unpack_from(self._data, position + 6)
            if vr
            else self._long.unpack_from(self._data, position + 4)
        )
        return group << 16 | element, vr, size[0], position + 8

    def _bounded(self, end: int) -> int:
        if end > len(self._data):
            self._cut()
        return end

    def _cut(self) -> NoReturn:
        raise CannotDeidentify("cut short: the file ends before its last element, or has bytes that are no element")
