"""PS3.15 Table E.1-1 as data: which action each attribute gets, for the basic profile and each option."""

import json
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from importlib.resources import files
from typing import Any

from pydicom.datadict import dictionary_keyword


class Option(StrEnum):
    """Options of PS3.15 E.3. Values are those of the table's columns; pixels have no column."""

    CLEAN_PIXELS = "clean_pixel_data"
    CLEAN_FACES = "clean_recognizable_visual_features"
    CLEAN_GRAPHICS = "clean_graphics"
    CLEAN_CONTENT = "clean_structured_content"
    CLEAN_DESCRIPTORS = "clean_descriptors"
    FULL_DATES = "retain_longitudinal_full_dates"
    MODIFIED_DATES = "retain_longitudinal_modified_dates"
    PATIENT_CHARACTERISTICS = "retain_patient_characteristics"
    DEVICE_IDENTITY = "retain_device_identity"
    RETAIN_UIDS = "retain_uids"
    SAFE_PRIVATE = "retain_safe_private"
    INSTITUTION_IDENTITY = "retain_institution_identity"

    @property
    def code(self) -> tuple[str, str]:
        """CodeValue (scheme DCM) and CodeMeaning of CID 7050."""
        return _CODES[self]

    @property
    def standard_name(self) -> str:
        """The standard's name without the word Option: what a policy file says."""
        return self.code[1].removesuffix(" Option")


_LONGITUDINAL = "Retain Longitudinal Temporal Information"
_CODES = {
    Option.CLEAN_PIXELS: ("113101", "Clean Pixel Data Option"),
    Option.CLEAN_FACES: ("113102", "Clean Recognizable Visual Features Option"),
    Option.CLEAN_GRAPHICS: ("113103", "Clean Graphics Option"),
    Option.CLEAN_CONTENT: ("113104", "Clean Structured Content Option"),
    Option.CLEAN_DESCRIPTORS: ("113105", "Clean Descriptors Option"),
    Option.FULL_DATES: ("113106", f"{_LONGITUDINAL} Full Dates Option"),
    Option.MODIFIED_DATES: ("113107", f"{_LONGITUDINAL} Modified Dates Option"),
    Option.PATIENT_CHARACTERISTICS: ("113108", "Retain Patient Characteristics Option"),
    Option.DEVICE_IDENTITY: ("113109", "Retain Device Identity Option"),
    Option.RETAIN_UIDS: ("113110", "Retain UIDs Option"),
    Option.SAFE_PRIVATE: ("113111", "Retain Safe Private Option"),
    Option.INSTITUTION_IDENTITY: ("113112", "Retain Institution Identity Option"),
}

BASIC_CODE = ("113100", "Basic Application Confidentiality Profile")


@dataclass(frozen=True, slots=True)
class Rule:
    """One row. `basic` holds action codes from mildest need to strictest: X, Z, D, U or a choice such as X/Z/D."""

    tag: str
    """Eight hexadecimal digits, `x` standing for any digit, or PRIVATE."""
    name: str
    basic: str
    options: dict[str, str]


@dataclass(frozen=True, slots=True)
class ContentRule:
    """One row of Table E.3.4-1: what happens to the value of a content item with this concept name."""

    basic: str
    options: dict[str, str]


class Table:
    """The rules, by tag; raises KeyError where `content` is no such table."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.edition: str = content["source"]["edition"]
        self.rules = tuple(Rule(r["tag"], r["name"], r["basic"], r["options"]) for r in content["rules"])
        items = content["content_items"]
        self.content = {(c["scheme"], c["code"]): ContentRule(c["basic"], c["options"]) for c in items}
        self._by_tag = {
            int(r.tag, 16): r for r in self.rules if r.tag.isalnum() and "x" not in r.tag and r.tag != "PRIVATE"
        }
        patterns = {r.tag: r for r in self.rules}
        self.private = patterns["PRIVATE"]
        self._curves = patterns["50xxxxxx"]
        self._overlays = {0x3000: patterns["60xx3000"], 0x4000: patterns["60xx4000"]}

    def changes(self, other: "Table") -> list[dict[str, str]]:
        """What `other` says otherwise: one row for each attribute and content item that is new, gone or changed."""
        mine, theirs = _lines(self), _lines(other)
        return [
            {"what": key, "here": mine.get(key, "(not listed)"), "there": theirs.get(key, "(not listed)")}
            for key in sorted(mine.keys() | theirs.keys())
            if mine.get(key) != theirs.get(key)
        ]

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


def _lines(of: Table) -> dict[str, str]:
    lines = {f"{r.tag} {r.name}": _line(r.basic, r.options) for r in of.rules}
    return lines | {f"{scheme} {code}": _line(c.basic, c.options) for (scheme, code), c in of.content.items()}


def _line(basic: str, options: dict[str, str]) -> str:
    return ", ".join([basic, *(f"{option} {code}" for option, code in sorted(options.items()))])


@lru_cache(maxsize=1)
def table() -> Table:
    """The one table of this version."""
    return Table(json.loads((files(__package__) / "data" / "ps315_2026d.json").read_bytes()))


@lru_cache(maxsize=8192)
def keyword(tag: int) -> str:
    """The attribute's keyword, or its tag as (gggg,eeee) where it has none: never a private creator's text."""
    if not (tag >> 16) & 1:
        try:
            return dictionary_keyword(tag) or f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
        except KeyError:
            pass
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
