"""Content items by their concept name: PS3.15 Table E.3.4-1 (Clean Structured Content Option)."""

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from readingroom_hub.deid.actions import Action
from readingroom_hub.deid.table import Option, table

# Sequences whose items are content items or are shaped like them.
PARENTS = frozenset({0x0040A730, 0x00400555, 0x0040B020, 0x00400612})
_CONCEPT_NAME, _CODE_VALUE, _SCHEME = 0x0040A043, 0x00080100, 0x00080102
_TEXT, _DATE_TIME, _DATE, _TIME = 0x0040A160, 0x0040A120, 0x0040A121, 0x0040A122
_MEASURED, _CONCEPT_CODE = 0x0040A300, 0x0040A168
# Values that hold nothing but what the concept names. People's names and UIDs have rows in Table E.1-1.
VALUES = frozenset({_TEXT, _DATE_TIME, _DATE, _TIME, _MEASURED, _CONCEPT_CODE})


def value_action(options: frozenset[Option], item: Dataset) -> Action | None:
    """What is done to the values of a content item; None where its concept name has no row.

    An item whose row says X stays with a dummy value: to remove it would shift the places that by-reference
    relationships (PS3.3 C.17.3.2.5) name, and break the template."""
    names = item[_CONCEPT_NAME].value if _CONCEPT_NAME in item else None
    if not names or not isinstance(names, Sequence):
        return None
    name = names[0]
    rule = table().content.get((str(name.get(_SCHEME, DataElement(_SCHEME, "SH", "")).value or ""), _code(name)))
    if rule is None:
        return None
    codes = {rule.options[o] for o in options if o in rule.options}
    if "C" in codes:
        return Action.CLEAN
    return Action.KEEP if "K" in codes else Action.DUMMY


def _code(name: Dataset) -> str:
    return str(name[_CODE_VALUE].value or "") if _CODE_VALUE in name else ""


def dummy_value(tag: int) -> DataElement | None:
    """The dummy for value `tag`; None where that of its VR does."""
    if tag == _MEASURED:
        return DataElement(tag, "SQ", [])  # type 2 (PS3.3 C.18.1): a measurement without its number
    return None
