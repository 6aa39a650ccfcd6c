"""The actions of Table E.1-1 done to every element of one object, sequences included."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag

from readingroom_hub.deid import colour_profiles, identifiers, residual, safe_private, structured
from readingroom_hub.deid.actions import Action, action, vr_of
from readingroom_hub.deid.cleaner import Cleaner
from readingroom_hub.deid.dummies import WORD, dummy
from readingroom_hub.deid.policy import Policy
from readingroom_hub.deid.pseudonyms import shift
from readingroom_hub.deid.table import Option, keyword

_LIMITS = {"AE": 16, "CS": 16, "SH": 16, "LO": 64, "PN": 64, "ST": 1024, "LT": 10240, "UC": 1 << 31, "UT": 1 << 31}
_LIMITS |= {"UR": 1 << 31, "UN": 1 << 31, "DS": 16, "IS": 12}
_PROSE = frozenset({"LO", "LT", "SH", "ST", "UC", "UN", "UT"})
_LONG_PROSE = frozenset({"LT", "ST", "UT"})
_ONE_VALUE = frozenset({"LT", "ST", "UT", "UR"})
_PRIVATE = 1 << 16  # groups of odd number (PS3.5 7.8)
_NUMBER = re.compile(rb"[-+0-9.eE \\\0]*")
_AGE = re.compile(r"\s*(\d{3})Y\s*")
_OLDEST = 89  # 45 CFR 164.514(b)(2)(i)(C): ages over 89 become one group of 90 or older
# Actions after which there is a value to look at.
_SHOWN = frozenset({Action.CAP, Action.CLEAN, Action.DUMMY, Action.PSEUDONYM, Action.SHIFT})
_SAMPLE = 80
_Element = DataElement | RawDataElement


@dataclass(slots=True)
class Case:
    """What holds for all elements of one object."""

    policy: Policy
    sop_class: str
    pseudonym: str
    days: int
    cleaner: Cleaner
    uids: Callable[[str], str]
    actions: Counter[tuple[str, Action]] = field(default_factory=Counter)
    """How often which action was done to which attribute (by keyword); what is kept as it is does not count."""
    samples: dict[tuple[str, Action], str] = field(default_factory=dict)
    """What an attribute says now, once for each action that leaves a value."""

    @property
    def _safe_private(self) -> bool:
        return Option.SAFE_PRIVATE in self.policy.options

    def apply(self, ds: Dataset, parent: int = 0, *, private: bool = False) -> None:
        """Do to each element of `ds`, an item of sequence `parent` (0: the object itself), what the policy says."""
        content = None
        if parent in structured.PARENTS and Option.CLEAN_CONTENT in self.policy.options:
            content = structured.value_action(self.policy.options, ds)
        if not private and not self._safe_private:
            self._remove_private(ds)
        # Private elements come before the creators that tell what they are.
        for tag in sorted(ds.keys(), key=int, reverse=True):
            todo = self._action(ds, parent, tag)
            if content is not None and tag in structured.VALUES:
                todo = self._content(tag, content)
            done = self._do(ds, parent, tag, todo, private=private)
            if done is not Action.KEEP:
                key = keyword(int(tag)), done
                self.actions[key] += 1
                if done in _SHOWN and key not in self.samples and (element := ds[tag]).VR != "SQ":
                    self.samples[key] = _sample(element.value)

    def _remove_private(self, ds: Dataset) -> None:
        """Most elements of many objects, so all at once: nothing in them is looked at."""
        for tag in [t for t in ds.keys() if int(t) & _PRIVATE]:  # noqa: SIM118  # iterating would convert every element
            del ds[tag]
            self.actions[keyword(int(tag)), Action.REMOVE] += 1

    def _action(self, ds: Dataset, parent: int, tag: BaseTag) -> Action:
        number = int(tag)  # pydicom compares its tags slowly
        if number & _PRIVATE:  # here only where some of them are kept
            return Action.CLEAN if safe_private.is_safe(ds, tag) else Action.REMOVE
        return action(self.policy.options, self.sop_class, parent, number)

    def _content(self, tag: BaseTag, content: Action) -> Action:
        """A content item's own row goes before that of the attribute which holds its value."""
        if content is not Action.CLEAN:
            return content
        return Action.SHIFT if vr_of(tag) in {"DA", "DT", "TM"} else Action.CLEAN

    def _do(self, ds: Dataset, parent: int, tag: BaseTag, todo: Action, *, private: bool) -> Action:
        if todo is Action.SHIFT:
            if self._shift(ds, tag, _vr(tag, ds.get_item(tag))):
                return Action.SHIFT
            todo = action(frozenset(), self.sop_class, parent, tag)
            todo = Action.EMPTY if todo is Action.KEEP else todo
        if todo is Action.REMOVE:
            del ds[tag]
            return todo
        if tag == colour_profiles.ICC_PROFILE:
            return self._profile(ds, tag)
        vr = _vr(tag, ds.get_item(tag))
        if todo in {Action.KEEP, Action.CLEAN}:
            if vr == "UN" and tag.is_private:
                vr = str(ds[tag].VR)  # pydicom knows that of some private elements: numbers are no text
            return self._keep(ds, parent, tag, vr, described=todo is Action.CLEAN, private=private)
        ds[tag] = self._replaced(ds, tag, vr, todo)
        return todo

    def _keep(self, ds: Dataset, parent: int, tag: BaseTag, vr: str, *, described: bool, private: bool) -> Action:
        """Go into a sequence; take identifiers out of a text and cap an age."""
        if vr == "SQ":
            return self._descend(ds, tag, private=private)
        if vr == "AS":
            return self._cap(ds, tag)
        number = vr in {"DS", "IS"} and _NUMBER.fullmatch(identifiers.encoded(ds, tag))
        if vr not in _LIMITS or number:
            return Action.KEEP
        text = identifiers.decoded(ds, tag)
        if not text or residual.exempt(tag, text.encode(errors="replace"), top=not parent):
            return Action.KEEP
        new = self._texts(text, vr, prose=described or vr in _LONG_PROSE)
        if "\\".join(new) == text:
            return Action.KEEP
        ds[tag] = DataElement(tag, "LO" if vr == "UN" else vr, new if len(new) > 1 else new[0])
        return Action.CLEAN

    def _descend(self, ds: Dataset, tag: BaseTag, *, private: bool) -> Action:
        element = ds[tag]
        if element.VR != "SQ":
            del ds[tag]  # of unknown VR, and no sequence could be read from it
            return Action.REMOVE
        for item in element.value or ():
            self.apply(item, tag, private=private or tag.is_private)
        return Action.KEEP

    def _profile(self, ds: Dataset, tag: BaseTag) -> Action:
        value = ds[tag].value
        new = colour_profiles.without_texts(value) if isinstance(value, bytes) else None
        if new is None:
            del ds[tag]
            return Action.REMOVE
        ds[tag] = DataElement(tag, "OB", new)
        return Action.CLEAN

    def _texts(self, text: str, vr: str, *, prose: bool) -> list[str]:
        contacts = vr in _PROSE
        values = [text] if vr in _ONE_VALUE else text.split("\\")
        return [self._text(v, vr, contacts=contacts, prose=contacts and prose) for v in values]

    def _text(self, value: str, vr: str, *, contacts: bool, prose: bool) -> str:
        new = self.cleaner.clean(value, contacts=contacts, prose=prose)
        if new == value:
            return value
        if vr in {"DS", "IS"}:
            return "0"
        if vr == "UR":
            return "urn:removed"
        return new if len(new) <= _LIMITS[vr] else new.replace(WORD, "X")[: _LIMITS[vr]].strip()

    def _cap(self, ds: Dataset, tag: BaseTag) -> Action:
        text = identifiers.decoded(ds, tag)
        found = _AGE.fullmatch(text)
        if not found or int(found[1]) <= _OLDEST:
            return Action.KEEP
        ds[tag] = DataElement(tag, "AS", "090Y")
        return Action.CAP

    def _replaced(self, ds: Dataset, tag: BaseTag, vr: str, todo: Action) -> DataElement:
        if todo is Action.PSEUDONYM:
            return DataElement(tag, vr if vr in {"LO", "PN"} else vr_of(tag) or "LO", self.pseudonym)
        if todo is Action.UID:
            return DataElement(tag, "UI", [self.uids(u) for u in _texts(ds, tag)] or None)
        if todo is Action.EMPTY:
            return DataElement(tag, vr, None if vr != "SQ" else [])
        if vr != "SQ":
            return dummy(tag, vr, None, self.uids)
        if (value := structured.dummy_value(tag)) is not None:
            return value
        source = ds[tag]
        return dummy(tag, vr, source.value if source.VR == "SQ" else None, self.uids)

    def _shift(self, ds: Dataset, tag: BaseTag, vr: str) -> bool:
        """Move a date back; a time of day stays. False where the value is no date: then the basic profile decides."""
        if vr == "TM":
            return True
        texts = _texts(ds, tag) if vr in {"DA", "DT"} else []
        moved = [shift(t.strip(), self.days) for t in texts]
        if not moved or None in moved:
            return False
        ds[tag] = DataElement(tag, vr, moved)
        return True


def _vr(tag: BaseTag, element: _Element) -> str:
    """The VR by which an element is treated: that of the dictionary where the file's own would hide a text."""
    vr = element.VR
    known = vr_of(int(tag)) or "UN"
    if vr not in {None, "UN", "OB"}:
        return known if known in _LIMITS and vr not in _LIMITS and vr != "SQ" and known != "UN" else str(vr)
    return str(vr) if vr == "OB" and "OB" in known else known


def _sample(value: object) -> str:
    values = value if isinstance(value, MultiValue) else [value]
    text = "\\".join(str(v) for v in values if v is not None and not isinstance(v, bytes))
    return text if len(text) <= _SAMPLE else text[: _SAMPLE - 1] + "\u2026"


def _texts(ds: Dataset, tag: BaseTag) -> list[str]:
    """The values of an ASCII element, without padding."""
    value = ds.get_item(tag).value
    if isinstance(value, bytes):
        value = value.decode("ascii", "surrogateescape").split("\\")
    values = [value] if isinstance(value, str) else list(value or ())
    return [t for v in values if (t := str(v).strip(" \0"))]
