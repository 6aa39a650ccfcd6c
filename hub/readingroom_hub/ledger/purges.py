"""Contents that are missing, and the purge records that alone may explain it.

A purge record is a `record-purged` event whose subject says {"class", "before", "from", "to", "count"}: contents of
`count` records of that retention class with an index in [from, to) and a time before `before`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from readingroom_hub.errors import BadInput
from readingroom_hub.ledger.leaf import ACCESS, Envelope
from readingroom_hub.ledger.record import Finding

EVENT = "record-purged"


@dataclass(frozen=True, slots=True)
class _Purge:
    index: int
    first: int
    end: int
    before: str


@dataclass(slots=True)
class _Gap:
    first: int
    last: int
    retention: str
    newest: str


def _purge(index: int, subject: Mapping[str, Any]) -> _Purge:
    first, end, before = subject.get("from"), subject.get("to"), subject.get("before")
    if subject.get("class") != ACCESS or type(before) is not str or type(first) is not int or type(end) is not int:
        raise BadInput("it is a purge record that does not say what was purged")
    return _Purge(index, first, end, before)


class Purges:
    """Collects both in one pass; `uncovered` tells at the end."""

    def __init__(self) -> None:
        self._purges: list[_Purge] = []
        self._gaps: list[_Gap] = []

    def see(self, index: int, row: Mapping[str, Any]) -> None:
        """Take a record. Raises BadInput for a purge record that does not say what was purged."""
        if row["event"] == EVENT and row["outcome"] == "success":
            self._purges.append(_purge(index, row.get("subject", {})))

    def missing(self, index: int, envelope: Envelope) -> None:
        """The contents of this record are not there."""
        gap = self._gaps[-1] if self._gaps else None
        if gap and gap.last == index - 1 and gap.retention == envelope.retention:
            gap.last, gap.newest = index, max(gap.newest, envelope.time)
        else:
            self._gaps.append(_Gap(index, index, envelope.retention, envelope.time))

    def uncovered(self) -> Iterator[Finding]:
        """Yield the gaps that no later purge record covers."""
        for gap in self._gaps:
            if not any(self._covers(p, gap) for p in self._purges):
                others = f" (it, and those up to record {gap.last})" if gap.last > gap.first else ""
                yield Finding(gap.first, f"its contents are missing{others}", "contents, or a purge record", "neither")

    @staticmethod
    def _covers(purge: _Purge, gap: _Gap) -> bool:
        inside = purge.first <= gap.first and gap.last < purge.end <= purge.index
        return inside and gap.retention == ACCESS and gap.newest < purge.before
