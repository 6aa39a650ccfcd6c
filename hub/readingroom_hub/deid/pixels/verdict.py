"""What a line of burnt-in text is: an identifier, harmless scanner text, or nobody can tell."""

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from functools import lru_cache
from importlib.resources import files

import pydicom

from readingroom_hub.deid.actions import vr_of

_WORD = re.compile(r"[^\W\d_]+\d*|\d+(?:[.,]\d+)*[^\W\d_]*\d*")
_MONTH = r"(?:jan|feb|mar|mae|apr|may|mai|jun|jul|aug|sep|oct|0ct|okt|nov|dec|dez)[a-z]*\.?"
_DATE = re.compile(
    r"(?<!\d)\d{1,2} ?[-/.] ?\d{1,2} ?[-/.] ?(?:\d{4}|\d{2})(?!\d)|(?<!\d)\d{4} ?[-/.] ?\d{1,2} ?[-/.] ?\d"
    rf"|\d{{1,2}}[ -./]*{_MONTH}[ -./,]*\d{{2,4}}|{_MONTH}[ -./]*\d{{1,2}},?[ -./]*\d{{2,4}}"
    r"|(?<!\d)(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:[0-2]\d|3[01])(?!\d)"
    r"|\d{1,2}[:.h]\d{2}[:.]\d{2}|\d{1,2}:\d{2}(?!\d)",
    re.IGNORECASE,
)
# Characters that a recogniser takes for each other come out as one.
_ALIKE = str.maketrans("01i|!52869", "ollllszbgg")
_TEXTS = frozenset({"LO", "SH", "ST", "LT", "UT", "UC"})
_NAMING = (
    "Institution",
    "Physician",
    "Address",
    "PatientID",
    "OtherPatientIDs",
    "Accession",
    "Admission",
    "Requesting",
)
_SHORT, _PIECE, _FUZZY = 2, 4, 5
_TITLES = frozenset({"dr", "drs", "prof", "mr", "mrs", "ms", "md"})
# Parts of names that stand for nobody: without this, DR (dynamic range) and MD would be somebody.
_NOBODY = _TITLES | {"jr", "sr", "ii", "iii", "phd", "rn", "test", "phantom", "none", "unknown", "anonymous"}


# What is left of a date that something is drawn over.
_PART_OF_DATE = re.compile(r"\d{1,2}/(?:\d{2,4}/?)?")
_SURE, _SURE_OF_WORDS, _CHARACTER_WIDTH = 0.82, 0.6, 0.6


class Verdict(StrEnum):
    """Values appear in reports."""

    IDENTIFIER = "a value of this object that identifies"
    DATE = "a date or time"
    REGION = "a place that the policy masks"
    LABEL = "a word that names a person, a place or a number"
    UNSURE = "not known to be harmless"
    HARMLESS = "scanner text"


class Judge:
    """Judges text on the images of one object."""

    def __init__(self, words: Iterable[str], others: Callable[[str], bool]) -> None:
        """`words`: what identifies here, in any case and spelling; `others` tells whether a text names anybody else."""
        self._others = others
        folded = {f for w in words for f in (_folded(w),) if f}
        self._exact = frozenset(w for w in folded if len(w) < _FUZZY)
        self._fuzzy = sorted(w for w in folded if len(w) >= _FUZZY)

    def __call__(self, text: str) -> Verdict:
        """The verdict on one line."""
        tokens = [_plain(t) for t in _WORD.findall(text)]
        folded = [_folded(t) for t in tokens]
        if self._exact & set(folded) or self._names("".join(folded)) or self._others(text):
            return Verdict.IDENTIFIER
        if _DATE.search(text) or _PART_OF_DATE.fullmatch(text.strip()):
            return Verdict.DATE
        if _lists().labels & set(tokens):
            return Verdict.LABEL
        # One character again and again is what a recogniser makes of hatching and grids.
        drawn = len(set("".join(folded))) <= 1
        if drawn or sum(map(len, tokens)) <= _SHORT or all(map(_harmless, tokens)):
            return Verdict.HARMLESS
        return Verdict.LABEL if _TITLES & set(tokens) else Verdict.UNSURE

    def _names(self, line: str) -> bool:
        return any(_within(word, line, len(word) // _FUZZY) for word in self._fuzzy)


def legible(text: str, score: float, width: int, height: int) -> bool:
    """Whether a reading can be believed: a date that was read as two digits is no two digits.

    Characters are about as wide as high; known words are right at a lower score than numbers."""
    read = [c for c in text.lower() if c.isalnum()]
    if len(set(read)) <= 1:
        return True  # drawn, not written
    if len(read) < _CHARACTER_WIDTH * max(width, height) / max(1, min(width, height)):
        return False
    if len(read) <= _SHORT:
        return True
    known = any(
        len(w) > 1 and w in _lists().words for t in _WORD.findall(text) for w in (_plain(t).strip("0123456789.,"),)
    )
    return score >= (_SURE_OF_WORDS if known else _SURE)


def identifying(header: pydicom.Dataset) -> set[str]:
    """Words of names, institutions, numbers and addresses of an object, sequences included."""
    words: set[str] = set()
    for vr, value in _values(header):
        shortest = _SHORT if vr == "PN" else _PIECE
        pieces = (value, *re.split(r"[\s^=\\,;/()._-]+", value))
        words |= {p for p in pieces if len(p) >= shortest and p.lower() not in _NOBODY}
    return words


def _values(ds: pydicom.Dataset) -> Iterator[tuple[str, str]]:
    for tag in list(ds.keys()):
        vr = vr_of(tag)
        if vr == "SQ" and not tag.is_private:
            element = ds[tag]
            for item in element.value if element.VR == "SQ" and element.value else ():
                yield from _values(item)
        elif vr == "PN" or (vr in _TEXTS and pydicom.datadict.keyword_for_tag(tag).startswith(_NAMING)):
            value = ds[tag].value
            for v in value if isinstance(value, pydicom.multival.MultiValue) else [value]:
                yield from ((vr, part) for part in str(v if v is not None else "").split("="))


class _Lists:
    def __init__(self) -> None:
        content = json.loads((files("readingroom_hub.deid") / "data" / "harmless_text.json").read_bytes())
        self.words = frozenset(w for group in content["words"].values() for w in group.split())
        self.pattern = re.compile("|".join(f"(?:{p})" for p in content["patterns"]))
        self.labels = frozenset(content["labels"].split())


@lru_cache(maxsize=1)
def _lists() -> _Lists:
    return _Lists()


def _harmless(token: str) -> bool:
    lists = _lists()
    letters = token.strip("0123456789.,²³")
    digits = sum(c.isdigit() for c in token)
    if digits > 4:
        return False
    return len(letters) <= 1 or letters in lists.words or bool(lists.pattern.fullmatch(token))


@lru_cache(maxsize=4096)
def _folded(text: str) -> str:
    """Letters and digits alone, without case, accents and what is easily misread."""
    return "".join(c for c in _plain(text).translate(_ALIKE) if c.isalnum())


def _plain(text: str) -> str:
    """Lower case without accents."""
    return "".join(c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))


def _within(word: str, line: str, errors: int) -> bool:
    """Whether `word` is in `line` with at most so many letters wrong, missing or too many (Sellers 1980)."""
    if word in line:
        return True
    if not errors or len(line) < len(word) - errors:
        return False
    row = list(range(len(word) + 1))
    for letter in line:
        last, row[0] = row[0], 0
        for i, wanted in enumerate(word, start=1):
            last, row[i] = row[i], min(last + (letter != wanted), row[i] + 1, row[i - 1] + 1)
        if row[-1] <= errors:
            return True
    return False
