"""Who was turned away at the port for nodes, put together so that nobody can fill the log with it.

The first refusal of a kind is due at once, those that follow as one sum a minute. So many kinds are told apart in a
minute, all others share one sum: with both, a port scan by every address there is makes so many records a minute, and
their counts are exact. What was not stored yet when the process is killed is lost; a planned end stores it."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from readingroom_hub.model.audit import AuditEvent, AuditRecord, Outcome

SECONDS = 60.0
MOST = 40
"""Kinds that are told apart in a minute. A kind is an address with a reason, or a certificate."""
_CERTIFICATES = 8
"""As many are named in one record."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """One machine that was not let in."""

    kind: tuple[str, ...]
    """What it is counted with."""
    reason: str
    """A stable code and a sentence."""
    subject: Mapping[str, Any]
    certificate: str = ""
    """The fingerprint of what it showed (SHA-256, hexadecimal), where it showed one."""


@dataclass(slots=True)
class _Sum:
    last: Refusal
    due: float
    count: int = 0
    certificates: dict[str, None] = field(default_factory=dict)


class Refusals:
    """For one event loop. `now`: a clock that nobody can set (seconds)."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._sums: dict[tuple[str, ...], _Sum] = {}

    def see(self, refusal: Refusal) -> None:
        """Count it."""
        kind = refusal.kind
        if kind not in self._sums and len(self._sums) >= MOST:
            others = "others: from more addresses, or with more certificates, than are told apart in a minute"
            kind, refusal = (), Refusal((), f"{others}; the last one: {refusal.reason}"[:4000], refusal.subject)
        held = self._sums.setdefault(kind, _Sum(refusal, self._now()))
        held.last = refusal
        held.count += 1
        if refusal.certificate and len(held.certificates) < _CERTIFICATES:
            held.certificates[refusal.certificate] = None

    def store(self, record: Callable[[AuditRecord], object], *, all: bool = False) -> None:
        """Hand over what is due, or all. What `record` raises goes through; what it did not take is due a minute on."""
        now = self._now()
        for kind, held in tuple(self._sums.items()):
            if now < held.due and not all:
                continue
            if not held.count:
                del self._sums[kind]
                continue
            held.due = now + SECONDS
            record(_record(held))
            held.count, held.certificates = 0, {}


def _record(held: _Sum) -> AuditRecord:
    subject = {**held.last.subject, "count": held.count}
    if held.certificates:
        subject["certificates"] = list(held.certificates)
    times = f"; {held.count} times since the record before" if held.count > 1 else ""
    return AuditRecord(AuditEvent.REQUEST_REFUSED, Outcome.DENIED, reason=f"{held.last.reason}{times}", subject=subject)
