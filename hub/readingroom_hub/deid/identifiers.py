"""A patient's and the staff's own identifying values, as one object gives them: what no other element may repeat."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.valuerep import PersonName

from readingroom_hub.deid import patterns
from readingroom_hub.deid.actions import vr_of
from readingroom_hub.deid.folding import fold, latin
from readingroom_hub.deid.table import Option, table
from readingroom_hub.deid.words import NOBODY, ordinary

_NAME_PARTS = re.compile(r"[\^=\\ ,;/()\"<>]+")
_PIECES = re.compile(r"[^\W_]+")
_CUT = 8
_IN_PROSE = 5
_IDENTIFYING = re.compile(
    r"\b(ID|IDs|Identif\w*|Number|Numbers|Serial|Address|Telephone|Telecom|Institution\w*|Insurance|Locator|"
    r"Department|Station Name|Physician|Site Name|Center Name)\b"
)
_VALUES = frozenset({"AE", "DA", "LO", "SH", "ST", "UC", "UT"})
_BIRTH_DATE = 0x00100030


@dataclass(frozen=True, slots=True)
class Identifiers:
    """Folded values (see `fold`). All of one object, or of a batch."""

    names: frozenset[str] = frozenset()
    """Single words of people's names, in every form in which people write them."""
    ids: frozenset[str] = frozenset()
    """Record numbers and the like: the letters and digits alone, punctuation gone."""
    phrases: frozenset[str] = frozenset()
    """Institutions, addresses: several words with one blank between."""

    def __or__(self, other: "Identifiers") -> "Identifiers":
        return Identifiers(self.names | other.names, self.ids | other.ids, self.phrases | other.phrases)


@lru_cache(maxsize=64)
def _tags(options: frozenset[Option]) -> frozenset[int]:
    """Attributes of Table E.1-1 that hold numbers, addresses, institutions, and that no option retains."""
    return frozenset(
        int(r.tag, 16)
        for r in table().rules
        if r.tag.isalnum()
        and "x" not in r.tag
        and r.tag != "PRIVATE"
        and _IDENTIFYING.search(r.name)
        and "clean_descriptors" not in r.options
        and not any(r.options.get(o) for o in options)
        and vr_of(int(r.tag, 16)) in _VALUES
    ) | {_BIRTH_DATE}


@lru_cache(maxsize=1)
def _described() -> frozenset[int]:
    """Attributes that Clean Descriptors is about: prose, in which people are named who stand nowhere else."""
    return frozenset(
        int(r.tag, 16)
        for r in table().rules
        if "clean_descriptors" in r.options and vr_of(int(r.tag, 16)) in _VALUES | {"LT"}
    )


def collect(header: Dataset, options: frozenset[Option] = frozenset()) -> Identifiers:
    """Every identifier of one object, its sequences included."""
    names: set[str] = set()
    ids: set[str] = set()
    phrases: set[str] = set()
    for tag, text in _texts(header, _tags(options)):
        if tag in _described():
            for start, end in patterns.people(text):
                names.update(f for f in _forms(text[start:end]) if len(f) >= _IN_PROSE and f not in ordinary())
        elif vr_of(tag) == "PN":
            for word in (*_NAME_PARTS.split(text), *_glued(text)):
                names.update(_forms(word))
            names.update(_with_initial(text))
            phrases.update(_pairs(text))
        else:
            for value in text.split("\\"):
                _sort(value, ids, phrases)
    return Identifiers(frozenset(names), frozenset(ids), frozenset(phrases))


def encoded(ds: Dataset, tag: int) -> bytes:
    """The element's value as the file has it, so that no character set stands between the value and its copies."""
    value = ds.get_item(tag).value
    if isinstance(value, bytes):
        return value.strip(b" \0")
    single = isinstance(value, str | PersonName) or not isinstance(value, Iterable)
    return b"\\".join(_original(v) for v in ([value] if single else value) if v is not None)


def _original(value: object) -> bytes:
    kept = getattr(value, "original_string", None)  # PersonName, DS and IS know what the file has
    return kept if isinstance(kept, bytes) else str(kept or value).encode(errors="replace")


def decoded(ds: Dataset, tag: BaseTag) -> str:
    """The element's value as text, in the file's character set; several values with a backslash between."""
    value = ds.get_item(tag).value
    if not isinstance(value, bytes):
        value = ds[tag].value
    elif value.isascii() and b"\x1b" not in value:
        return value.decode("ascii").strip(" \0")
    else:
        element = ds[tag]
        value = element.value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip(" \0")
    if isinstance(value, str | PersonName) or not isinstance(value, Iterable):
        return str(value if value is not None else "").strip(" \0")
    return "\\".join(str(v) for v in value if v is not None)


def _texts(ds: Dataset, wanted: frozenset[int]) -> Iterator[tuple[int, str]]:
    for tag in ds.keys():  # noqa: SIM118  # iterating the dataset itself would convert every element
        number = int(tag)  # pydicom compares its tags slowly
        vr = vr_of(number)
        if vr is None:
            continue  # private and unknown ones
        if vr == "PN" or number in wanted or number in _described():
            yield number, decoded(ds, tag)
        elif vr == "SQ":
            element = ds[tag]
            for item in element.value if element.VR == "SQ" and element.value else ():
                yield from _texts(item, wanted)


def _sort(value: str, ids: set[str], phrases: set[str]) -> None:
    """One value of a number, an address or an institution: what of it can be told from ordinary text."""
    whole = fold(value)
    pieces = _PIECES.findall(whole)
    glued = "".join(pieces)
    digits = sum(c.isdigit() for c in glued)
    if len(pieces) > 1 and any(len(p) > 2 and p.isalpha() for p in pieces):
        for part in (whole, *whole.split(",")):
            words = _PIECES.findall(part)
            if len(words) > 1 and any(w.isdigit() or w not in ordinary() for w in words):
                phrases.add(" ".join(words))
    elif digits >= 3 and len(glued) >= (4 if glued.isdigit() else 5):
        ids.add(glued)
    elif not digits and len(pieces) == 1 and len(glued) >= 5 and glued not in ordinary():
        phrases.add(glued)


def _components(text: str) -> Iterator[tuple[str, str]]:
    """Family and given name of each component group (PS3.5 6.2.1) of each value."""
    for group in re.split(r"[=\\]", text):
        family, _, rest = group.partition("^")
        yield family.strip(), rest.split("^")[0].strip()


def _glued(text: str) -> Iterator[str]:
    """Family and given name without a blank, as Chinese, Japanese and Korean are written; each may be one character.

    And a name of several words without theirs."""
    for family, given in _components(text):
        if given and not (family + given).isascii():
            yield from (family + given, given + family)
        for name in (family, given):
            if " " in name:
                yield "".join(name.split())


def _with_initial(text: str) -> Iterator[str]:
    """`jsmith` and `smithj`, as accounts and folders are called."""
    for family, given in _components(text):
        name, initial = "".join(_PIECES.findall(fold(family))), fold(given)[:1]
        if len(name) >= 4 and initial.isalpha() and name not in NOBODY:
            yield from {name + initial, initial + name} - ordinary()


def _pairs(text: str) -> Iterator[str]:
    """Family and given name side by side, where one of them alone is too short, or too common a word, to be hunted."""
    for family, given in _components(text):
        for one in _PIECES.findall(fold(family)):
            for other in _PIECES.findall(fold(given)):
                rare = one not in ordinary() or other not in ordinary()
                alone = min(len(one), len(other)) > 2 and NOBODY.isdisjoint({one, other})
                if rare and not alone and len(one + other) > 3 and (one + other).isalpha():
                    yield from (f"{one} {other}", f"{other} {one}")


@lru_cache(maxsize=1)
def _ordinary_starts() -> frozenset[str]:
    """What ordinary words begin with: cut names that are such would be found in half of all texts."""
    return frozenset(w[:_CUT] for w in ordinary() if len(w) >= _CUT)


def _forms(name: str) -> Iterator[str]:
    """How people write one name: whole, in parts, glued together, cut to fit, without accents, in Latin letters."""
    for spelling in {name, latin(name)}:
        word = fold(spelling).strip(" .\0*'`-_")
        parts = [p for p in re.split(r"[-'\u2019._]", word) if p]
        whole = "".join(parts)
        cut = {p[:_CUT] for p in parts if len(p) > _CUT} - _ordinary_starts()
        for form in {whole, *parts, *cut}:
            if form not in NOBODY and not form.isdigit() and len(form) >= (3 if form.isascii() else 1):
                yield form
