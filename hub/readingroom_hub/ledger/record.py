"""What a stored record must look like, and who sent it: checks on parsed leaves, in the order of the log."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from readingroom_hub.errors import BadInput

_TEXT = ("id", "time", "event", "outcome")
_OPTIONAL = {
    "person": str,
    "project": str,
    "session": str,
    "reason": str,
    "subject": dict,
    "claims": dict,
    "node": dict,
}
_IDS_KEPT = 100_000
_GAP_LIMIT = 100_000


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong with the log. `index` is the first record that it concerns."""

    index: int
    what: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"record {self.index}: {self.what} (expected {self.expected}, found {self.found})"


@dataclass(frozen=True, slots=True)
class Source:
    """Who handed a record over: a process, one random epoch per connection object in it, a gap-free counter from 0."""

    process: str
    epoch: str
    seq: int


def _wrong(key: str, value: object, kind: str) -> BadInput:
    return BadInput(f"the audit record's {key} is {value!r:.80} where {kind} belongs")


def check_record(row: Mapping[str, Any]) -> Source:
    """Raises BadInput naming the field of a version 1 record that is missing or of the wrong kind."""
    if row.get("v") != 1:
        raise BadInput(f"the audit record is of version {row.get('v')!r:.20}, this program knows version 1")
    for key in _TEXT:
        if type(row.get(key)) is not str:
            raise _wrong(key, row.get(key), "text")
    for key, kind in _OPTIONAL.items():
        if key in row and type(row[key]) is not kind:
            raise _wrong(key, row[key], kind.__name__)
    check_time(row["time"])
    return source_of(row)


def source_of(row: Mapping[str, Any]) -> Source:
    """The source of a record or a leaf. Raises BadInput."""
    source = row.get("source")
    if type(source) is not dict:
        raise _wrong("source", source, "a map")
    process, epoch, seq = source.get("process"), source.get("epoch"), source.get("seq")
    if type(process) is not str or type(epoch) is not str or type(seq) is not int or seq < 0:
        raise _wrong("source", source, "process, epoch and a number from 0 on")
    return Source(process, epoch, seq)


def check_time(text: str) -> None:
    """Raises BadInput for what is no RFC 3339 time in UTC."""
    try:
        datetime.fromisoformat(text)
    except ValueError as error:
        raise _wrong("time", text, "an RFC 3339 time") from error
    if not text.endswith("Z"):
        raise _wrong("time", text, "a time in UTC, with a Z,")


@dataclass(slots=True)
class _Counter:
    first: int = 0
    next: int = 0
    missing: dict[int, int] = field(default_factory=dict)
    """Number that has not come yet -> index of the record that jumped over it. A late one may still fill it."""


class SourceTracker:
    """Finds duplicate ids, replayed records and records that a process numbered but that never arrived.

    Memory: the last 100,000 ids, one counter a source. An older duplicate is still seen by its source's number."""

    def __init__(self, *, whole: bool = True) -> None:
        """`whole=False` is for a part of a log: the first number seen of a source is then its first."""
        self._whole = whole
        self._ids: OrderedDict[str, int] = OrderedDict()
        self._counters: dict[tuple[str, str], _Counter] = {}

    def see(self, index: int, id: str, source: Source) -> Iterator[Finding]:
        """Take the next record; yields what is wrong with it."""
        if id in self._ids:
            yield Finding(index, "its id occurs twice", "a new id", f"{id} of record {self._ids[id]}")
        self._ids[id] = index
        if len(self._ids) > _IDS_KEPT:
            self._ids.popitem(last=False)
        first = 0 if self._whole else source.seq
        counter = self._counters.setdefault((source.process, source.epoch), _Counter(first, first))
        replayed = counter.first <= source.seq < counter.next and counter.missing.pop(source.seq, None) is None
        if replayed or source.seq - counter.next > _GAP_LIMIT:
            yield self._jump(index, source, counter.next)
        else:
            counter.missing.update(dict.fromkeys(range(counter.next, source.seq), index))
        counter.next = max(counter.next, source.seq + 1)

    @staticmethod
    def _jump(index: int, source: Source, expected: int) -> Finding:
        return Finding(
            index, f"its number from {source.process}/{source.epoch} is out of order", str(expected), str(source.seq)
        )

    def gaps(self) -> Iterator[Finding]:
        """Yield the numbers that never came, one finding a place."""
        for (process, epoch), counter in self._counters.items():
            places: dict[int, list[int]] = {}
            for seq, index in counter.missing.items():
                places.setdefault(index, []).append(seq)
            for index, lost in places.items():
                text = f"{len(lost)} record(s) that {process}/{epoch} sent before it are not in the log"
                yield Finding(index, text, f"numbers {min(lost)} to {max(lost)}", "none of them in the log")
