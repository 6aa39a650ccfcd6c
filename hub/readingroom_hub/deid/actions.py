"""Which action one attribute gets: a row of Table E.1-1, its choice settled by the IOD and the policy's options."""

from enum import StrEnum
from functools import lru_cache

from pydicom.datadict import dictionary_VR

from readingroom_hub.deid.iod import Need, need
from readingroom_hub.deid.table import Option, Rule, table


class Action(StrEnum):
    """What is done to an element. Values appear in dataset cards."""

    KEEP = "keep"
    REMOVE = "remove"
    EMPTY = "empty"
    DUMMY = "dummy"
    UID = "uid"
    PSEUDONYM = "pseudonym"
    SHIFT = "shift"
    CLEAN = "clean"
    CAP = "cap"
    PAD = "pad"
    DEFACE = "deface"


_PATIENT = frozenset({0x00100010, 0x00100020})  # PatientName, PatientID
# OIDs of vocabularies (PS3.16 section 8), not of objects; many are outside PS3.6.
_VOCABULARY = frozenset({0x0008010C, 0x00080118})
_TIMES = frozenset({"DA", "DT", "TM"})
# Texts that can be cleaned. An AE title is one word, and often the institution's.
_TEXTS = frozenset({"CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})


@lru_cache(maxsize=16384)
def vr_of(tag: int) -> str | None:
    """The VR of the data dictionary; None for what it does not hold."""
    try:
        return dictionary_VR(tag)
    except KeyError:
        return None


@lru_cache(maxsize=65536)
def action(options: frozenset[Option], sop_class: str, parent: int, tag: int) -> Action:
    """The action for `tag` at the top level (`parent` 0) or in items of sequence `parent`."""
    if tag >> 16 in {0, 2} or not tag & 0xFFFF:
        return Action.REMOVE  # commands, file meta and group lengths have no place in a data set (PS3.5 7.2)
    if tag in _PATIENT:
        return Action.PSEUDONYM
    rule = table().rule(tag)
    if rule is None:
        return _unlisted(options, sop_class, parent, tag)
    chosen = _optional(rule, options, vr_of(tag)) or _choose(rule.basic, need(sop_class, parent, tag))
    return Action.UID if chosen is Action.DUMMY and vr_of(tag) == "UI" else chosen


def _optional(rule: Rule, options: frozenset[Option], vr: str | None) -> Action | None:
    """What the options make of the row; None where the basic profile's action stands."""
    codes = {o: code for o in options if (code := rule.options.get(o))}
    if not codes or vr is None:
        return None  # no option, or nobody can tell how to clean it
    if codes.get(Option.MODIFIED_DATES):
        # Dates that one option keeps and another modifies are modified: kept ones would give the shift away.
        return Action.SHIFT if vr in _TIMES else None
    if "K" in codes.values():
        return Action.KEEP
    if vr == "SQ":
        return Action.KEEP  # each item's elements have rules of their own
    return Action.CLEAN if vr in _TEXTS else None


def _unlisted(options: frozenset[Option], sop_class: str, parent: int, tag: int) -> Action:
    vr = vr_of(tag)
    if vr is None or tag >> 24 == 0x60:
        return Action.REMOVE  # nobody knows what it holds; an overlay plane without its data is no plane
    if vr in {"DA", "DT"} and Option.FULL_DATES not in options:
        kind = need(sop_class, parent, tag)
        return Action.SHIFT if Option.MODIFIED_DATES in options else _choose("X/Z/D", kind)
    return Action.UID if vr == "UI" and tag not in _VOCABULARY and Option.RETAIN_UIDS not in options else Action.KEEP


def _choose(basic: str, wanted: Need) -> Action:
    """PS3.15 E.1.1: the mildest of the choices that keeps the object valid; the surest where nothing is known."""
    if basic.endswith("U*"):
        # References with replaced UIDs say nothing of the patient, and without them a series loses its localizers.
        return Action.KEEP
    choices = basic.split("/")
    if wanted is Need.VALUE:  # Z allows a dummy; and X of a mandatory value (PresentationCreationDate) would be invalid
        choices.append("D")
    ladder = {
        Need.NOTHING: ("X", "Z", "D", "U"),
        Need.PRESENT: ("Z", "D", "X", "U"),
        Need.VALUE: ("D", "Z", "X", "U"),
        Need.UNKNOWN: ("D", "Z", "X", "U"),
    }[wanted]
    code = next(c for c in ladder if c in choices)
    return {"X": Action.REMOVE, "Z": Action.EMPTY, "D": Action.DUMMY, "U": Action.UID}[code]
