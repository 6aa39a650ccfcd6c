"""What a stored record must look like, and who sent it: checks on parsed leaves, in the order of the log."""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from readingroom_hub.errors import BadInput

_TEXT = ("id", "time", "event", "outcome")
_OPTIONAL_TEXT = ("person", "project", "session", "reason")
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


def _typed(row: Mapping[str, Any], key: str, kind: type, where: str) -> Any:
    value = row.get(key)
    if type(value) is not kind:
        raise BadInput(f"the audit record's {where}{key} is {value!r:.80} where {kind.__name__} belongs")
    return value


def check_record(row: Mapping[str, Any]) -> Source:
    """Raises BadInput naming the field of a version 1 record that is missing or of the wrong kind."""
    if row.get("v") != 1:
        raise BadInput(f"the audit record is of version {row.get('v')!r:.20}, this program knows version 1")
    for key in _TEXT:
        _typed(row, key, str, "")
    for key in _OPTIONAL_TEXT:
        if key in row:
            _typed(row, key, str, "")
    for key in ("subject", "claims"):
        if key in row:
            _typed(row, key, dict, "")
    try:
        moment = datetime.fromisoformat(row["time"])
    except ValueError as error:
        raise BadInput(f"the audit record's time is {row['time']!r:.80}, not an RFC 3339 time") from error
    if moment.utcoffset() is None or not row["time"].endswith("Z"):
        raise BadInput(f"the audit record's time is {row['time']!r:.80}, not in UTC with a Z")
    source = _typed(row, "source", dict, "")
    found = Source(*(_typed(source, k, t, "source.") for k, t in (("process", str), ("epoch", str), ("seq", int))))
    if found.seq < 0:
        raise BadInput(f"the audit record's source.seq is {found.seq}, counters start at 0")
    return found


@dataclass(slots=True)
class _Counter:
    next: int = 0
    missing: dict[int, int] = field(default_factory=dict)
    """Number that has not come yet -> index of the record that jumped over it. A late one may still fill it."""


class SourceTracker:
    """Finds duplicate ids, replayed records and records that a process numbered but that never arrived.

    Memory: the last 100,000 ids, one counter a source. An older duplicate is still seen by its source's number."""

    def __init__(self) -> None:
        self._ids: OrderedDict[str, int] = OrderedDict()
        self._counters: dict[tuple[str, str], _Counter] = {}

    def see(self, index: int, id: str, source: Source) -> Iterator[Finding]:
        """Take the next record; yields what is wrong with it."""
        if id in self._ids:
            yield Finding(index, "its id occurs twice", "a new id", f"{id} of record {self._ids[id]}")
        self._ids[id] = index
        if len(self._ids) > _IDS_KEPT:
            self._ids.popitem(last=False)
        counter = self._counters.setdefault((source.process, source.epoch), _Counter())
        replayed = source.seq < counter.next and counter.missing.pop(source.seq, None) is None
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
