"""Identifiers taken out of texts, the other words kept (PS3.15 E.3.5 Clean Descriptors)."""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache

from readingroom_hub.deid import patterns
from readingroom_hub.deid.dummies import WORD
from readingroom_hub.deid.folding import fold
from readingroom_hub.deid.identifiers import Identifiers
from readingroom_hub.deid.patterns import Found
from readingroom_hub.deid.pixels.search import SHORTEST
from readingroom_hub.deid.words import ordinary

_LONG = 6
_INSIDE = 7
_CACHED = 20_000
# Thousands of words cost as much time as one; more of them would be spelt by chance.
_MOST_SPELT = 5_000
_TOKEN = re.compile(r"[^\W_]+")


class Others:
    """What identifies all people of a batch, so that one patient's file does not name another.

    Words of medicine and everyday language are no names here: among thousands of people somebody is called Head."""

    def __init__(self, people: Identifiers) -> None:
        self.names = frozenset(n for n in people.names if len(n) >= (5 if n.isascii() else 2) and n not in ordinary())
        self.ids = frozenset(i for i in people.ids if len(i) >= 6 and sum(c.isdigit() for c in i) >= 4)
        self._long = frozenset(n for n in self.names if len(n) >= _INSIDE)
        self._lengths = sorted({len(n) for n in self._long})
        spelt = {w.encode() for w in people.names | people.ids | people.phrases if w.isascii() and len(w) >= SHORTEST}
        self.spelt = frozenset(spelt if len(spelt) <= _MOST_SPELT else ())
        """What no Pixel Data may spell; empty where people are too many to look for among so many values."""
        self._phrases: dict[str, set[tuple[str, ...]]] = {}
        for phrase in people.phrases:
            words = tuple(phrase.split())
            if len(words) > 1:
                self._phrases.setdefault(words[0], set()).add(words)

    def find(self, folded: str) -> Iterator[tuple[int, int]]:
        """Where `folded` names anybody."""
        tokens = list(_TOKEN.finditer(folded))
        for i, m in enumerate(tokens):
            word = m[0]
            if word in self.names or word in self.ids or self._within(word):
                yield m.span()
            for phrase in self._phrases.get(word, ()):
                end = i + len(phrase)
                if tuple(t[0] for t in tokens[i:end]) == phrase:
                    yield m.start(), tokens[end - 1].end()

    def _within(self, word: str) -> bool:
        return any(
            word[start : start + length] in self._long
            for length in self._lengths
            if length < len(word)
            for start in range(len(word) - length + 1)
        )


NOBODY = Others(Identifiers())


class Cleaner:
    """Cleans one patient's texts. `days` moves dates that are found in texts; None removes them."""

    def __init__(self, own: Identifiers, others: Others, uid: Callable[[str], str], days: int | None) -> None:
        self._own = pattern(own)
        self._others, self._uid, self._days = others, uid, days
        self._known: dict[tuple[str, bool, bool], str] = {}

    def clean(self, text: str, *, contacts: bool, prose: bool) -> str:
        """`text` without the batch's identifiers; without what is told by its form, too, where asked for."""
        key = text, contacts, prose
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _CACHED:
                self._known.clear()
            found = self._known[key] = self._clean(text, contacts=contacts, prose=prose)
        return found

    def _clean(self, text: str, *, contacts: bool, prose: bool) -> str:
        folded = fold(text)
        finds: list[Found] = [(*span, "") for span in self._others.find(folded)]
        if self._own:
            finds += [(*m.span(), "") for m in self._own.finditer(folded)]
        if contacts:
            finds += patterns.contacts(text)
            finds += patterns.uids(text, self._uid)
        if prose:
            finds += patterns.prose(text, self._days)
        return _replaced(text, finds)


def _replaced(text: str, finds: list[Found]) -> str:
    """Each run of overlapping finds gives way to one word: to what stands for its longest find, where that is all."""
    runs: list[list[Found]] = []
    for find in sorted(f for f in finds if f[0] < f[1]):
        if runs and find[0] < max(end for _, end, _ in runs[-1]):
            runs[-1].append(find)
        else:
            runs.append([find])
    for run in reversed(runs):
        start, end = run[0][0], max(e for _, e, _ in run)
        whole = {new for s, e, new in run if (s, e) == (start, end)}
        text = text[:start] + ((whole.pop() if len(whole) == 1 else "") or WORD) + text[end:]
    return text


@lru_cache(maxsize=64)
def pattern(own: Identifiers) -> re.Pattern[str] | None:
    """What finds any of one patient's identifiers in folded text; None where there is none.

    Long names count within words too, since people glue them to other text, and backwards; short ones and numbers
    only where no letter or digit is next to them."""
    inside = {n for n in own.names if len(n) >= _LONG or (not n.isascii() and len(n) >= 2)}
    inside |= {n[::-1] for n in inside}
    alone = {n for n in own.names if n.isascii() and len(n) < _LONG}
    numbers = own.ids | {i[::-1] for i in own.ids if len(i) >= _LONG}
    spread = {re.escape(n) for n in alone} | {r"[\W_]*".join(i) if len(i) >= _LONG else i for i in numbers}
    spread |= {r"[\W_]+".join(map(re.escape, p.split())) for p in own.phrases}
    parts = [re.escape(n) + ("[a-z]*" if n.isascii() else "") for n in inside]
    if spread:
        parts.append(r"(?<![^\W_])(?:" + "|".join(sorted(spread, key=lambda s: (-len(s), s))) + r")(?![^\W_])")
    return re.compile("|".join(sorted(parts, key=lambda p: (-len(p), p)))) if parts else None
