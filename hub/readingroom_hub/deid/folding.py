"""Letters made comparable: case and accents folded, other alphabets written in Latin letters."""

import unicodedata
from functools import lru_cache
from importlib.resources import files

_GERMAN = {"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "å": "aa", "ø": "oe", "æ": "ae", "þ": "th", "œ": "oe"}
# Letters with a stroke, which Unicode does not take apart.
_STROKES = {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "ħ": "h", "\u0131": "i", "ŧ": "t"}
# Cyrillic and Greek, one letter a line.
_TABLE = (files(__package__) / "data" / "latin.txt").read_text("utf-8")
_LETTERS: dict[str, str] = dict(line.split("=", 1) for line in _TABLE.split()) | _GERMAN


def fold(text: str) -> str:
    """Lower case without accents, as many characters as `text`, so that places in one are places in the other."""
    if text.isascii():
        return text.lower()
    return "".join(map(_folded, text))


def latin(text: str) -> str:
    """`text` in Latin letters (Cyrillic, Greek, Hangul, kana; German umlauts as two letters); the rest stays."""
    return text if text.isascii() else "".join(map(_latin, text.lower()))


@lru_cache(maxsize=4096)
def _folded(character: str) -> str:
    if "\uac00" <= character <= "\ud7a3":
        return character  # of a Hangul syllable, the first letter alone would be left
    base = unicodedata.normalize("NFKD", character)[0].lower()
    base = _STROKES.get(base, base)
    return base if len(base) == 1 else character


@lru_cache(maxsize=4096)
def _latin(character: str) -> str:
    found = _LETTERS.get(character)
    if found is None:
        found = _LETTERS.get(_folded(character))
    if found is not None:
        return found
    kind, _, syllable = unicodedata.name(character, "").rpartition(" ")
    return syllable.lower() if kind in {"HANGUL SYLLABLE", "HIRAGANA LETTER", "KATAKANA LETTER"} else character
