"""A data set as bytes (PS3.5 section 7): elements that nobody touched go out as they came in, which is most of them."""

import struct

from pydicom.charset import convert_encodings
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import correct_ambiguous_vr_element, write_data_element
from pydicom.tag import BaseTag
from pydicom.valuerep import AMBIGUOUS_VR, EXPLICIT_VR_LENGTH_32, VR

from readingroom_hub.deid.actions import vr_of

_UNDEFINED = 0xFFFFFFFF
_ITEM_GROUP = 0xFFFE
# What PS3.5 6.2 knows, and pydicom's own names for those that other elements decide.
_VRS = frozenset(map(str, VR)) | AMBIGUOUS_VR
_SIZES = dict.fromkeys(("US", "SS", "US or SS", "OW"), 2) | dict.fromkeys(("AT", "FL", "OF", "OL", "SL", "UL"), 4)
_SIZES |= dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), 8)


class CannotEncode(ValueError):
    """A data set would not be valid. The message quotes no value."""


_CHARACTER_SET = 0x00080005
_SHORT = 0xFFFE
_TEXTS = frozenset({"AE", "AS", "CS", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM", "UI"})


def data_set(ds: Dataset, *, implicit: bool, little: bool, parent: list[str] | None = None) -> bytes:
    """The elements of `ds` in order of their tags. `parent` are the encodings of the data set it is an item of.

    Raises CannotEncode, and what pydicom raises for values that do not fit their VR."""
    encodings = convert_encodings(ds[_CHARACTER_SET].value) if _CHARACTER_SET in ds else parent
    form = _Form(implicit, little)
    parts: list[bytes] = []
    for key, raw in sorted(ds.items(), key=_place):
        tag = int(key)  # pydicom compares its tags slowly
        _check(tag, raw)
        if _untouched(raw, implicit=implicit, little=little):
            parts.append(form.element(tag, raw.VR, raw.value or b""))
            continue
        element = ds[key]
        if element.VR == "SQ":
            content = (data_set(i, implicit=implicit, little=little, parent=encodings) for i in element.value or ())
            parts.append(form.element(tag, "SQ", b"".join(map(form.item, content))))
        elif (value := _ascii(element)) is not None or (value := form.number(element)) is not None:
            parts.append(form.element(tag, element.VR, value))
        else:
            parts.append(_element(ds, element, encodings, implicit=implicit, little=little))
    return b"".join(parts)


def _place(item: tuple[BaseTag, object]) -> int:
    return int(item[0])


def _check(tag: int, element: DataElement | RawDataElement) -> None:
    """Raise CannotEncode for what is no element of a data set, or holds half a value (PS3.5 6.2, 7.5)."""
    if tag >> 16 == _ITEM_GROUP:
        raise CannotEncode("the mark of an item stands outside of a sequence")
    vr = element.VR if element.VR not in {None, "UN"} else vr_of(tag) or "UN"
    if vr not in _VRS:
        raise CannotEncode("an element has a value representation that the standard does not know")
    if isinstance(element, RawDataElement) and (size := _SIZES.get(vr)) and len(element.value or b"") % size:
        raise CannotEncode(f"an element of VR {vr} holds half a value")


class _Form:
    """How heads of elements are encoded (PS3.5 7.1.2, 7.1.3, 7.5)."""

    def __init__(self, implicit: bool, little: bool) -> None:
        order = "<" if little else ">"
        self._implicit = implicit
        self._long, self._short = struct.Struct(f"{order}HHL"), struct.Struct(f"{order}HH2sH")
        self._explicit = struct.Struct(f"{order}HH2s2xL")
        self._number = struct.Struct(f"{order}H")

    def element(self, tag: int, vr: str | None, value: bytes) -> bytes:
        group, number = tag >> 16, tag & 0xFFFF
        if self._implicit or vr is None:
            return self._long.pack(group, number, len(value)) + value
        form = self._explicit if vr in EXPLICIT_VR_LENGTH_32 else self._short
        return form.pack(group, number, vr.encode(), len(value)) + value

    def number(self, element: DataElement) -> bytes | None:
        """The value of an unsigned short, as most numbers that describe an image are; None for another element."""
        if element.VR != "US" or not isinstance(element.value, int):
            return None
        return self._number.pack(element.value)

    def item(self, content: bytes) -> bytes:
        return self._long.pack(0xFFFE, 0xE000, len(content)) + content


def _ascii(element: DataElement) -> bytes | None:
    """The value of a plain text element, padded; None where it is no such element."""
    if element.VR not in _TEXTS:
        return None
    values = [element.value] if element.VM <= 1 else element.value
    text = "\\".join("" if v is None else str(v) for v in values)
    if not text.isascii() or len(text) > _SHORT:
        return None
    value = text.encode()
    return value + (b"\0" if element.VR == "UI" else b" ") * (len(value) % 2)


def _untouched(element: DataElement | RawDataElement, *, implicit: bool, little: bool) -> bool:
    return (
        isinstance(element, RawDataElement)
        and element.length != _UNDEFINED
        and element.is_implicit_VR == implicit
        and element.is_little_endian == little
        and element.VR != "SQ"
    )


def _element(ds: Dataset, element: DataElement, encodings: list[str] | None, *, implicit: bool, little: bool) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = implicit, little
    plain = correct_ambiguous_vr_element(element, ds, little) if " or " in element.VR else element
    write_data_element(buffer, plain, encodings)
    return buffer.getvalue()
