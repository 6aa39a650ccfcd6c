"""Dummy values for action D: non-empty, valid for their VR (PS3.5 6.2), the same for everybody."""

from collections.abc import Callable
from typing import Any

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag

WORD = "REMOVED"
_VALUES: dict[str, Any] = {
    "AE": WORD,
    "AS": "000D",
    "AT": 0,
    "CS": WORD,
    "DA": "19000101",
    "DS": "0",
    "DT": "19000101000000",
    "FD": 0.0,
    "FL": 0.0,
    "IS": "0",
    "LO": WORD,
    "LT": WORD,
    "OB": bytes(2),
    "OD": bytes(8),
    "OF": bytes(4),
    "OL": bytes(4),
    "OV": bytes(8),
    "OW": bytes(2),
    "PN": WORD,
    "SH": WORD,
    "SL": 0,
    "SS": 0,
    "ST": WORD,
    "SV": 0,
    "TM": "000000",
    "UC": WORD,
    "UL": 0,
    "UN": bytes(2),
    "UR": "urn:removed",
    "US": 0,
    "UT": WORD,
    "UV": 0,
}
_CODE = {0x00080100: WORD, 0x00080102: "99REMOVED", 0x00080104: WORD}


def dummy(tag: BaseTag, vr: str, source: Sequence | None, uid: Callable[[str], str]) -> DataElement:
    """A dummy element. For a sequence: one item of the shape of `source`'s first, every value in it a dummy.

    `uid` replaces a UID consistently."""
    if vr != "SQ":
        return DataElement(tag, vr, _VALUES.get(vr, b""), already_converted=False)
    return DataElement(tag, "SQ", Sequence([_item(source[0], uid)] if source else [_code()]))


def _code() -> Dataset:
    item = Dataset()
    for tag, value in _CODE.items():
        item.add_new(tag, dictionary_VR(tag), value)
    return item


def _item(source: Dataset, uid: Callable[[str], str]) -> Dataset:
    if 0x00080104 in source:  # CodeMeaning: the item is a code
        return _code()
    item = Dataset()
    for tag in source.keys():  # noqa: SIM118  # iterating the dataset itself would convert every element
        if tag.is_private:
            continue
        element = source[tag]
        if element.VR == "CS":  # ValueType, RelationshipType: the item's shape, not its content
            item.add(element)
        elif element.VR == "UI":
            item.add_new(tag, "UI", uid(str(element.value)) if element.VM == 1 else None)
        elif element.VR == "SQ":
            item.add(dummy(tag, "SQ", element.value, uid))
        else:
            item.add_new(tag, element.VR, [_VALUES.get(element.VR, b"")] * element.VM or None)
    return item
