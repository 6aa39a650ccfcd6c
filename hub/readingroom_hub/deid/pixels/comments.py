"""Texts and pictures that compressed frames carry beside their pixels: blanked where they stand, so no length changes.

JPEG and JPEG-LS: comments and application segments (ISO/IEC 10918-1 B.2.4.5, B.2.4.6), which hold Exif (when and where
a photograph was taken, by which device), XMP, thumbnails. JPEG 2000 and HTJ2K: comments (ISO/IEC 15444-1 A.9.2), and
boxes around the codestream. What stands behind the end of an image goes too."""

import re
import struct
from collections.abc import Generator, Iterator
from itertools import accumulate

from readingroom_hub.deid.part10 import CannotDeidentify

_ITEM = struct.Struct("<HHL")
_HEAD, _ITEM_HEAD = 12, 8
_SOI, _EOI, _SOS, _COM, _JPEG_LS = 0xD8, 0xD9, 0xDA, 0xFE, 0xF7
_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
_APP = range(0xE0, 0xF0)
# What decoding needs: (what the segment starts with, how many of its bytes stay). A JFIF thumbnail does not.
_NEEDED = {0xE0: (b"JFIF\0", 12), 0xE8: (b"mrfx", 5), 0xEE: (b"Adobe", 12)}
_ENTROPY_END = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_ENTROPY_END_LS = re.compile(rb"\xff(?![\xd0-\xd7])[\x80-\xfe]")
_SOC, _J2K_SOT, _J2K_SOD, _J2K_EOC, _J2K_COM = b"\xff\x4f", 0xFF90, 0xFF93, 0xFFD9, 0xFF64
_JP2 = b"\0\0\0\x0cjP  "
_BOXES = frozenset({b"jP  ", b"ftyp", b"jp2h"})
_Range = tuple[int, int]
# What is to be blanked, one by one; in the end, where the image ends.
_Reading = Generator[_Range, None, int]


def blank(pixels: bytes | memoryview) -> tuple[bytes | memoryview, int]:
    """An encapsulated Pixel Data element (PS3.5 A.4) without such texts, and how many there were.

    What is no JPEG of any kind comes back as it is. Raises CannotDeidentify where a frame's segments lead nowhere."""
    places = _fragments(pixels)
    stream = b"".join(bytes(pixels[a:b]) for a, b in places)
    ends = list(accumulate(b - a for a, b in places))
    try:
        ranges = [r for r in _images(stream, ends) if any(stream[slice(*r)])]
    except (struct.error, IndexError, ValueError) as error:
        raise CannotDeidentify("a compressed frame whose segments lead nowhere: a text may hide in it") from error
    if not ranges:
        return pixels, 0
    new = bytearray(stream)
    for start, end in ranges:
        new[start:end] = bytes(end - start)
    parts: list[bytes | bytearray | memoryview] = [pixels[: places[0][0]]]
    at = 0
    for i, ((_, end), stop) in enumerate(zip(places, ends, strict=True)):
        parts += [new[at:stop], pixels[end : places[i + 1][0] if i + 1 < len(places) else len(pixels)]]
        at = stop
    return b"".join(parts), len(ranges)


def _fragments(pixels: bytes | memoryview) -> list[_Range]:
    """Where the fragments' bytes are: all items but the first, which is the Basic Offset Table."""
    found, at = [], _HEAD
    while at + _ITEM_HEAD <= len(pixels):
        group, element, length = _ITEM.unpack_from(pixels, at)
        if (group, element) != (0xFFFE, 0xE000):
            break
        at += _ITEM_HEAD
        found.append((at, at + length))
        at += length
    return found[1:]


def _images(stream: bytes, ends: list[int]) -> Iterator[_Range]:
    """What to blank in images that follow each other; each starts with a fragment of its own."""
    starts = [0, *ends]
    at = 0
    while at < len(stream):
        if stream.startswith((b"\xff\xd8", _SOC), at):
            read = _jpeg if stream[at + 1] == _SOI else _codestream
        elif stream.startswith(_JP2, at):
            read = _boxes
        else:
            return
        end = yield from read(stream, at)
        at = next((s for s in starts if s >= end), len(stream))
        if at - end > 1:  # one byte is padding, which some systems do not set to zero
            yield end, at


def _jpeg(data: bytes, at: int) -> _Reading:
    at, entropy = at + 2, _ENTROPY_END
    while at < len(data):
        code = data[at + 1]
        if data[at] != 0xFF:
            raise ValueError
        if code == 0xFF:  # a fill byte (B.1.1.2)
            at += 1
        elif code == _EOI:
            return at + 2
        elif code in _ALONE:
            at += 2
        else:
            end = at + 2 + _length(data, at + 2)
            if code == _COM or code in _APP:
                name, size = _NEEDED.get(code, (b"", 0))
                yield at + 4 + (size if data.startswith(name, at + 4) else 0), end
            entropy = _ENTROPY_END_LS if code == _JPEG_LS else entropy
            if code == _SOS:
                found = entropy.search(data, end)
                end = found.start() if found else len(data)
            at = end
    return at


def _codestream(data: bytes, at: int) -> _Reading:
    at, tile_end = at + 2, 0
    while at < len(data):
        (marker,) = struct.unpack_from(">H", data, at)
        if marker == _J2K_EOC:
            return at + 2
        if marker == _J2K_SOD:
            at = tile_end
            continue
        end = at + 2 + _length(data, at + 2)
        if marker == _J2K_SOT:
            (size,) = struct.unpack_from(">L", data, at + 6)
            tile_end = at + size if size else len(data)  # 0: up to the end (A.4.2)
            if tile_end <= at:
                raise ValueError
        elif marker == _J2K_COM:
            yield at + 6, end
        at = end
    return at


def _boxes(data: bytes, at: int) -> _Reading:
    """JP2 around a codestream (ISO/IEC 15444-1 I.4), which PS3.5 A.4.4 does not want and some systems write."""
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">L4s", data, at)
        body = at + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, body)
            body += 8
        if kind == b"jp2c":
            return (yield from _codestream(data, body))
        if size < body - at or at + size > len(data):
            raise ValueError
        if kind not in _BOXES:
            yield body, at + size
        at += size
    return at


def _length(data: bytes, at: int) -> int:
    (length,) = struct.unpack_from(">H", data, at)
    if length < 2 or at + length > len(data):
        raise ValueError
    return int(length)
