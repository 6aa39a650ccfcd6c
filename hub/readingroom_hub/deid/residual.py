"""The second look: the encoded result is searched for the original's identifiers, apart from what cleaned it."""

import io
import re
from collections.abc import Iterator

import pydicom
from pydicom.charset import python_encoding
from pydicom.dataset import Dataset
from pydicom.pixels.common import PhotometricInterpretation

from readingroom_hub.deid.actions import vr_of
from readingroom_hub.deid.cleaner import NOBODY as NOBODY_ELSE
from readingroom_hub.deid.cleaner import Others
from readingroom_hub.deid.identifiers import Identifiers, encoded
from readingroom_hub.deid.part10 import CannotDeidentify
from readingroom_hub.deid.table import Option, keyword
from readingroom_hub.deid.words import NOBODY

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
_LONG_WORD = 6
_PARTS = re.compile(rb"[\^=\\\\ ,;/()]+")
_BETWEEN = rb"[^0-9A-Za-z]{0,2}"
# No number, date or UID has so many letters in a row.
_LETTERS = re.compile(rb"[A-Za-z]{3}")
_TOKEN = re.compile(rb"[0-9A-Za-z]{5,}")
_NUMBERS = frozenset({"UI", "DS", "IS", "FL", "FD", "SL", "SS", "UL", "US", "SV", "UV", "AT"})


def exempt(tag: int, value: bytes, *, top: bool) -> bool:
    """Whether what looks like an identifier in this element is this software's own value, or a term of the standard."""
    if tag in _PSEUDONYMS or (top and tag in _MARKS):
        return True
    return tag in _TERMS and all(v.strip(b" \0") in _TERMS[tag] for v in value.split(b"\\"))


def words(header: Dataset, own: Identifiers) -> frozenset[bytes]:
    """The words of an object's names, lower case: from the bytes of the source, before they are cleaned, and as
    `identifiers` found them."""
    found = {w for w in _encoded_names(header) if len(w) >= 3}
    return frozenset(found | {n.encode() for n in own.names if n.isascii()})


def numbers(own: Identifiers) -> frozenset[bytes]:
    """Record numbers, institutions and addresses, lower case."""
    return frozenset(v.encode() for v in own.ids | own.phrases if v.isascii())


def pattern(words: frozenset[bytes], own: Identifiers) -> re.Pattern[bytes] | None:
    """What finds an object's own identifiers in encoded text, whatever its case; made apart from what cleans texts."""
    inside: list[bytes] = [bytes(re.escape(w)) for w in words if len(w) >= _LONG_WORD and not w.isdigit()]
    alone: list[bytes] = [bytes(re.escape(w)) for w in words if len(w) < _LONG_WORD or w.isdigit()]
    alone += [_BETWEEN.join(bytes(re.escape(c.encode())) for c in i) for i in own.ids if i.isascii()]
    alone += [_BETWEEN.join(bytes(re.escape(w)) for w in p.encode().split()) for p in own.phrases if p.isascii()]
    if not inside and not alone:
        return None
    if alone:
        inside.append(rb"(?<![0-9A-Za-z])(?:" + b"|".join(sorted(alone)) + rb")(?![0-9A-Za-z])")
    parts = sorted(inside, key=_longest_first)
    return re.compile(b"|".join(parts), re.IGNORECASE)


def _longest_first(part: bytes) -> tuple[int, bytes]:
    return -len(part), part


def _encoded_names(ds: Dataset) -> Iterator[bytes]:
    for tag in ds.keys():  # noqa: SIM118  # iterating the dataset itself would convert every element
        vr = vr_of(int(tag))
        if vr == "SQ" and not tag.is_private:
            element = ds[tag]
            for item in element.value if element.VR == "SQ" and element.value else ():
                yield from _encoded_names(item)
        elif vr == "PN":
            for word in _PARTS.split(encoded(ds, tag)):
                plain = word.strip(b".'*`-_").lower()
                if b"\x1b" not in plain and not plain.isdigit() and plain.decode("ascii", "ignore") not in NOBODY:
                    yield plain


def check(
    header: bytes, own: re.Pattern[bytes] | None, others: Others = NOBODY_ELSE, options: frozenset[Option] = frozenset()
) -> None:
    """Raise CannotDeidentify naming the attribute, where `header` (a file up to its Pixel Data) holds an identifier.

    A run of digits in a number or UID is no identifier, and the elements that this software writes are its own."""
    found = len(own.findall(header)) if own else 0
    strangers = _strangers(header, others)
    if not found and not strangers:
        return
    scan = _Scan(own, others, options)
    scan.run(pydicom.dcmread(io.BytesIO(header), stop_before_pixels=True))
    if not scan.hits and (scan.allowed < found or scan.strangers < strangers):  # where no element shows it as text
        scan.hits = ["the encoded header"]
    if scan.hits:
        raise CannotDeidentify(f"residual identifier in {', '.join(sorted(set(scan.hits)))}")


def _strangers(raw: bytes, others: Others) -> int:
    """How many words of `raw` name people of the batch."""
    if not others.names and not others.ids:
        return 0
    tokens = [t.decode().lower() for t in _TOKEN.findall(raw)]
    return sum(t in others.names or t in others.ids for t in tokens)


class _Scan:
    """Keywords of elements that hold an identifier, and the number of finds that are allowed."""

    def __init__(self, own: re.Pattern[bytes] | None, others: Others, options: frozenset[Option]) -> None:
        self._own, self._others = own, others
        dates = {Option.MODIFIED_DATES, Option.FULL_DATES} & options
        self._plain = _NUMBERS | {"DA", "DT"} if dates else _NUMBERS
        self.hits: list[str] = []
        self.allowed = self.strangers = 0

    def run(self, ds: Dataset, *, top: bool = True, ours: bool = False) -> None:
        """Look at every element; all is allowed in what is `ours`."""
        for element in ds:
            if element.VR == "SQ":
                for item in element.value or ():
                    self.run(item, top=False, ours=ours or (top and element.tag in _MARKS))
                continue
            raw = _bytes(element.value)
            found = len(self._own.findall(raw)) if self._own else 0
            strangers = _strangers(raw, self._others)
            if not found and not strangers:
                continue
            plain = element.VR in self._plain and not _LETTERS.search(raw)
            if ours or plain or exempt(element.tag, raw, top=top):
                self.allowed += found
                self.strangers += strangers
            else:
                self.hits.append(keyword(element.tag))


def _bytes(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, pydicom.multival.MultiValue):
        return b"\\".join(_bytes(v) for v in value)
    original = getattr(value, "original_string", None)  # PersonName, DS and IS keep what the file has
    return original if isinstance(original, bytes) else str(original or value).encode(errors="replace")
