"""PS3.15 Table E.1-1 as data: which action each attribute gets, for the basic profile and each option."""

import json
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from importlib.resources import files

from pydicom.datadict import dictionary_keyword


class Option(StrEnum):
    """Options of PS3.15 E.3 that the engine can apply so far. Values are those of the table's columns."""

    MODIFIED_DATES = "retain_longitudinal_modified_dates"

    @property
    def code(self) -> tuple[str, str]:
        """CodeValue (scheme DCM) and CodeMeaning of CID 7050."""
        return {
            Option.MODIFIED_DATES: ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
        }[self]


BASIC_CODE = ("113100", "Basic Application Confidentiality Profile")


@dataclass(frozen=True, slots=True)
class Rule:
    """One row. `basic` holds action codes from mildest need to strictest: X, Z, D, U or a choice such as X/Z/D."""

    tag: str
    """Eight hexadecimal digits, `x` standing for any digit, or PRIVATE."""
    name: str
    basic: str
    options: dict[str, str]


class Table:
    """The rules, by tag."""

    def __init__(self) -> None:
        content = json.loads((files(__package__) / "data" / "ps315_2026d.json").read_bytes())
        self.edition: str = content["source"]["edition"]
        self.rules = tuple(Rule(r["tag"], r["name"], r["basic"], r["options"]) for r in content["rules"])
        self._by_tag = {
            int(r.tag, 16): r for r in self.rules if r.tag.isalnum() and "x" not in r.tag and r.tag != "PRIVATE"
        }
        patterns = {r.tag: r for r in self.rules}
        self.private = patterns["PRIVATE"]
        self._curves = patterns["50xxxxxx"]
        self._overlays = {0x3000: patterns["60xx3000"], 0x4000: patterns["60xx4000"]}

    def rule(self, tag: int) -> Rule | None:
        """The row for `tag` (group and element as one number), None where the table has none.

        Curves are groups 5000 to 50FE, overlays 6000 to 60FE, even (PS3.5 7.6); odd groups are private (7.8)."""
        group = tag >> 16
        if group & 1:
            return self.private
        if group & 0xFF00 == 0x5000:
            return self._curves
        if group & 0xFF00 == 0x6000:
            return self._overlays.get(tag & 0xFFFF)
        return self._by_tag.get(tag)


@lru_cache(maxsize=1)
def table() -> Table:
    """The one table of this version."""
    return Table()


@lru_cache(maxsize=8192)
def keyword(tag: int) -> str:
    """The attribute's keyword, or its tag as (gggg,eeee) where it has none: never a private creator's text."""
    if not (tag >> 16) & 1:
        try:
            return dictionary_keyword(tag) or f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
        except KeyError:
            pass
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
