"""Steps of this machine's clock, for the audit record: most of its times are this clock's."""

import contextlib
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from readingroom_hub.errors import BadInput
from readingroom_hub.ledger.canonical import from_leaf
from readingroom_hub.ledger.clock import LIMIT_MS, Clocks, StepWatch
from readingroom_hub.ledger.leaf import check_envelope
from readingroom_hub.model.audit import AuditEvent, AuditRecord, Outcome
from readingroom_hub.ports.log import IndexedLog

_CLOSE_NS = 1_000_000
_TRIES = 10
_CHUNK = 1000


def read_clocks() -> Clocks:
    """Both clocks now; of ten readings the one that was interrupted least, so that a busy machine is no step."""
    best, width = Clocks(0, 0), -1
    for _ in range(_TRIES):
        before, wall = time.clock_gettime_ns(time.CLOCK_BOOTTIME), time.time_ns()
        took = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - before
        if not 0 <= width <= took:
            best, width = Clocks(wall, before + took // 2), took
        if took < _CLOSE_NS:
            break
    return best


class ClockSteps:
    """Looks at the clocks, and keeps what has to go on record until its writer took it."""

    def __init__(self, read: Callable[[], Clocks] = read_clocks) -> None:
        self._read = read
        self._watch = StepWatch(read())
        self.waiting: deque[AuditRecord] = deque()
        """Steps that are not on record yet, the oldest first."""

    def look(self) -> None:
        """Notice a step since the last look."""
        now = self._read()
        step = self._watch.see(now)
        if step is not None:
            self._add(now, step, "the clock was set while the service ran")

    def compare(self, log: IndexedLog, size: int, process: str) -> None:
        """Notice at a start that the clock is behind `process`'s newest record: it was set back meanwhile.

        That it was set forward looks like a longer pause, so that nobody can tell."""
        last, now = _newest(log, size, process), self._read()
        if last is not None:
            step = (_moment(now) - last) // timedelta(milliseconds=1)
            if step <= -LIMIT_MS:
                self._add(now, step, "the clock is behind the service's last record")

    def _add(self, now: Clocks, step: int, what: str) -> None:
        reason = f"clock-step: {what}: {step:+} ms. Times on both sides of this record do not compare"
        subject = {"step_ms": step, "limit_ms": LIMIT_MS}
        made = AuditRecord(AuditEvent.CLOCK_STEPPED, Outcome.FAILURE, reason=reason, subject=subject, time=_moment(now))
        self.waiting.append(made)


def _moment(now: Clocks) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=now.wall // 1000)


def _newest(log: IndexedLog, size: int, process: str) -> datetime | None:
    """The time of the newest record of `process` among the first `size`; None where there is none."""
    named = f'"{process}"'.encode()
    for start in range(size - _CHUNK, -_CHUNK, -_CHUNK):
        for entry in reversed(log.at(range(max(start, 0), start + _CHUNK))):
            if named not in entry.leaf:  # spares parsing it
                continue
            with contextlib.suppress(BadInput):
                leaf = check_envelope(from_leaf(entry.leaf))
                if leaf.source.process == process:
                    return datetime.fromisoformat(leaf.time)
    return None
