"""Tiles that are baseline JPEG (ISO/IEC 10918-1) as a browser gets them: the file's own bytes behind a header that says
in one way only what it must."""

from collections.abc import Iterator
from dataclasses import dataclass

from readingroom.slide_files import same_size

_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_SOF0, _DHT, _SOS, _DQT, _DRI, _COM, _JFIF, _ADOBE = 0xC0, 0xC4, 0xDA, 0xDB, 0xDD, 0xFE, 0xE0, 0xEE
_TABLES = frozenset({_DHT, _DQT, _DRI})
_LEFT_OUT = frozenset({_COM, *range(0xE0, 0xF0)})
_MOST_SEGMENTS = 256


@dataclass(frozen=True, slots=True, eq=False)
class Jpeg:
    """A tile as it is encoded, whole; of it, so many rows and columns lie within the level."""

    data: bytes
    rows: int
    columns: int


def plain(stored: bytes, size: tuple[int, int], samples: int, rgb: bool) -> bytes | None:
    """A frame without comments and application segments, but for one that says whether its colours are RGB or YCbCr.

    DICOM says that by Photometric Interpretation (`rgb`: it is RGB); where the frame does not, browsers take it for
    YCbCr. An Exif orientation would turn the tile, a profile of the frame's own contradict that of the optical path.
    None for what is another JPEG, of other samples or cut short: that is for the decoders here. Raises Wrong where its
    size is not `size` (width, height): what a browser decodes is held to what the header claims."""
    if not (stored.startswith(_SOI) and stored.rstrip(b"\0").endswith(_EOI)):
        return None
    kept, frames, said = [], [], {}
    for number, (code, start, end) in enumerate(_segments(stored)):
        segment = stored[start:end]
        if number == _MOST_SEGMENTS:
            return None
        if code == _SOF0:
            frames.append(segment)
        elif code == _SOS:
            break
        elif code in _LEFT_OUT:
            said[code] = segment
            continue
        elif code not in _TABLES:
            return None
        kept.append(b"\xff" + bytes((code,)) + segment)
    else:
        return None
    if len(frames) != 1 or len(frames[0]) != 8 + 3 * samples or frames[0][2] != 8 or frames[0][7] != samples:
        return None
    (frame,) = frames
    same_size((int.from_bytes(frame[5:7]), int.from_bytes(frame[3:5])), size)
    head = b"" if samples == 1 else _colours(rgb or _says_rgb(said, frame[8::3]))
    return b"".join((_SOI, head, *kept, stored[start - 2 :]))


def _segments(stored: bytes) -> Iterator[tuple[int, int, int]]:
    """Of each segment its marker, and where its length and its end stand; they end where one leads nowhere."""
    at = 2
    while at + 4 <= len(stored) and stored[at] == 0xFF:
        code = stored[at + 1]
        if code == 0xFF:  # a fill byte (B.1.1.2)
            at += 1
            continue
        start = at + 2
        at = start + int.from_bytes(stored[start : start + 2])
        if code < _SOF0 or at < start + 2 or at > len(stored):
            return
        yield code, start, at


def _says_rgb(said: dict[int, bytes], identifiers: bytes) -> bool:
    """As libjpeg reads it, in Pillow and in browsers."""
    if said.get(_JFIF, b"").startswith(b"JFIF\0", 2):
        return False
    adobe = said.get(_ADOBE, b"")
    if adobe.startswith(b"Adobe", 2) and len(adobe) >= 14:
        return adobe[13] == 0
    return identifiers == b"RGB"


def _colours(rgb: bool) -> bytes:
    """Adobe's application segment: version 100, no flags, and the transform (0 none, 1 YCbCr)."""
    return b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + (b"\x00" if rgb else b"\x01")
