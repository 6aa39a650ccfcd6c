"""The second look: the encoded result is searched for the original's identifiers, apart from what cleaned it."""

import io
import re

import pydicom
from pydicom.charset import python_encoding
from pydicom.dataset import Dataset
from pydicom.pixels.common import PhotometricInterpretation

from readingroom_hub.deid.part10 import CannotDeidentify
from readingroom_hub.deid.table import keyword

# What this software wrote itself: pseudonyms at any level, its own marks at the top.
_PSEUDONYMS = frozenset({0x00100010, 0x00100020})
_MARKS = frozenset({0x00120062, 0x00120063, 0x00120064, 0x00280303})
# Terms of the standard without which nothing can be shown: allowed as such, and only with such values.
_MODALITIES = (
    "AR ASMT AU BDUS BI BMD CFM CR CT CTPROTOCOL DMS DG DOC DX ECG EEG EMG EOG EPS ES FID GM HC HD IO IOL IVOCT "
    "IVUS KER KO LEN LS M3D MG MR NM OAM OCT OP OPM OPT OPTBSV OPTENF OPV OSS OT PA PLAN POS PR PT PX REG RESP RF "
    "RG RTDOSE RTIMAGE RTINTENT RTPLAN RTRAD RTRECORD RTSEGANN RTSTRUCT RWV SEG SM SMR SR SRF STAIN TEXTUREMAP TG "
    "US VA XA XAPROTOCOL XC "
)
_TERMS = {
    0x00080005: frozenset(k.encode() for k in python_encoding),
    0x00080060: frozenset(_MODALITIES.encode().split()),
    0x00280004: frozenset(p.value.encode() for p in PhotometricInterpretation),
    0x00280301: frozenset({b"YES", b"NO"}),
}
_NUMBERS = frozenset({"UI", "DS", "IS", "FL", "FD", "SL", "SS", "UL", "US", "SV", "UV", "AT"})


def exempt(tag: int, value: bytes, *, top: bool) -> bool:
    """Whether what looks like an identifier in this element is this software's own value, or a term of the standard."""
    if tag in _PSEUDONYMS or (top and tag in _MARKS):
        return True
    return tag in _TERMS and all(v.strip(b" \0") in _TERMS[tag] for v in value.split(b"\\"))


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


def _scan(
    ds: Dataset, identifiers: re.Pattern[bytes], *, top: bool = True, ours: bool = False
) -> tuple[list[str], int]:
    """Keywords of elements that hold one, and the number of finds that are allowed (all, in what is `ours`)."""
    hits: list[str] = []
    allowed = 0
    for element in ds:
        if element.VR == "SQ":
            for item in element.value or ():
                mine = ours or (top and element.tag in _MARKS)
                more, fine = _scan(item, identifiers, top=False, ours=mine)
                hits += more
                allowed += fine
            continue
        raw = _bytes(element.value)
        found = len(identifiers.findall(raw))
        if found and (ours or element.VR in _NUMBERS or exempt(element.tag, raw, top=top)):
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
