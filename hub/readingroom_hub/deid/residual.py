"""The second look: the encoded result is searched for the original's identifiers, apart from what cleaned it."""

import io
import re

import pydicom
from pydicom.dataset import Dataset

from readingroom_hub.deid.part10 import CannotDeidentify
from readingroom_hub.deid.table import keyword

# What this software wrote itself, and terms of the standard without which no image can be shown.
EXEMPT = frozenset(
    {
        0x00080005,
        0x00080060,
        0x00100010,
        0x00100020,
        0x00120062,
        0x00120063,
        0x00120064,
        0x00280004,
        0x00280301,
        0x00280303,
    }
)
_NUMBERS = frozenset({"UI", "DS", "IS", "FL", "FD", "SL", "SS", "UL", "US", "SV", "UV", "AT"})


def check(header: bytes, identifiers: re.Pattern[bytes] | None) -> None:
    """Raise CannotDeidentify naming the attribute, where `header` (a file up to its Pixel Data) holds an identifier.

    A run of digits in a number or UID is no identifier, and the elements that this software writes are its own."""
    if identifiers is None or not identifiers.search(header):
        return
    result = pydicom.dcmread(io.BytesIO(header), stop_before_pixels=True)
    hits, allowed = _scan(result, identifiers)
    if not hits and allowed < len(identifiers.findall(header)):
        hits = ["the encoded header"]
    if hits:
        raise CannotDeidentify(f"residual identifier in {', '.join(sorted(set(hits)))}")


def _scan(ds: Dataset, identifiers: re.Pattern[bytes], *, ours: bool = False) -> tuple[list[str], int]:
    """Keywords of elements that hold one, and the number of finds that are allowed (all, in what is `ours`)."""
    hits: list[str] = []
    allowed = 0
    for element in ds:
        if element.VR == "SQ":
            for item in element.value or ():
                more, fine = _scan(item, identifiers, ours=ours or element.tag in EXEMPT)
                hits += more
                allowed += fine
            continue
        raw = _bytes(element.value)
        found = len(identifiers.findall(raw))
        if found and (ours or element.VR in _NUMBERS or element.tag in EXEMPT):
            allowed += found
        elif found:
            hits.append(keyword(element.tag))
    return hits, allowed


def _bytes(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, pydicom.multival.MultiValue):
        return b"\\".join(_bytes(v) for v in value)
    original = getattr(value, "original_string", None)  # PersonName, DS and IS keep what the file has
    return original if isinstance(original, bytes) else str(original or value).encode(errors="replace")
