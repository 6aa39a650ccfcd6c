"""What a session was refused: on the record at once, repeats counted, and in plain words for its user."""

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from readingroom_hub.errors import AuditUnavailable
from readingroom_hub.model.audit import AuditEvent, AuditRecord, Outcome
from readingroom_hub.model.session import Session
from readingroom_hub.policy.access import Deny
from readingroom_hub.ports.records import AuditTrail

COUNT_EVERY = timedelta(seconds=60)
_KEYS = 512
_WAITING = 10_000
_NOTES = 12


@dataclass(slots=True)
class _Repeat:
    record: AuditRecord
    since: datetime
    count: int = 0


class Refusals:
    """Of one session. The first refusal of a path is a durable record; repeats are counted and recorded once a minute.

    Records that the repository does not take are kept and handed over by `settle`: a refusal releases nothing, so it
    need not wait. Thread-safe."""

    def __init__(
        self, session: Session, audit: AuditTrail, clock: Callable[[], datetime], before_waiting: Callable[[], None]
    ) -> None:
        self._session = session
        self._audit = audit
        self._clock = clock
        self._before_waiting = before_waiting
        self._lock = threading.Lock()
        self._handing = threading.Lock()
        self._seen: dict[tuple[str, str, str], _Repeat] = {}
        self._waiting: deque[AuditRecord] = deque(maxlen=_WAITING)
        self._notes: deque[tuple[datetime, str]] = deque(maxlen=_NOTES)
        self.denied = 0

    def deny(self, decision: Deny, path: str, subject: Mapping[str, object]) -> None:
        """Record `read-denied`."""
        self.denied += 1
        self.report(AuditEvent.READ_DENIED, Outcome.DENIED, decision.code, decision.sentence, path, subject)

    def report(
        self, event: AuditEvent, outcome: Outcome, code: str, sentence: str, path: str, subject: Mapping[str, object]
    ) -> None:
        """Record durably at first sight of (event, code, path), else count. Paths past the 512th share one count."""
        with self._lock:
            key = (event.value, code, path)
            if key not in self._seen and len(self._seen) >= _KEYS:
                path, subject = "(more paths)", {}
                key = (event.value, code, path)
            repeat = self._seen.get(key)
            if repeat is not None:
                repeat.count += 1
                return
            session = self._session
            record = AuditRecord(
                event,
                outcome,
                session.person,
                session.project,
                session.id,
                f"{code}: {sentence}",
                {**subject, "path": path},
                time=self._clock(),
            )
            self._seen[key] = _Repeat(record, record.time)
        self.note(sentence)
        self._before_waiting()
        try:
            self._audit.append([record])
        except AuditUnavailable:
            self._waiting.append(record)

    def post(self, record: AuditRecord) -> None:
        """Hand over what a durable intent covers; never raises."""
        self._waiting.append(record)
        self._hand_over()

    def note(self, sentence: str) -> None:
        """Remember a sentence for the session's user; the same one twice in a row is kept once."""
        if not self._notes or self._notes[-1][1] != sentence:
            self._notes.append((self._clock(), sentence))

    def notes(self) -> list[tuple[datetime, str]]:
        """The last sentences, oldest first."""
        return list(self._notes)

    def settle(self, last: bool = False) -> None:
        """Post counts that are a minute old (all of them where `last`), and what could not be handed over before.

        A path is forgotten once counted, so its next refusal is a record of its own again."""
        now = self._clock()
        with self._lock:
            due = [k for k, r in self._seen.items() if last or now - r.since >= COUNT_EVERY]
            for key in due:
                repeat = self._seen.pop(key)
                if repeat.count:
                    self._waiting.append(self._counted(repeat, now))
        self._hand_over()

    def _hand_over(self) -> None:
        with self._handing:
            while self._waiting:
                record = self._waiting.popleft()
                try:
                    self._audit.post(record)
                except AuditUnavailable:
                    self._waiting.appendleft(record)
                    return

    @staticmethod
    def _counted(repeat: _Repeat, now: datetime) -> AuditRecord:
        r = repeat.record
        return AuditRecord(
            r.event, r.outcome, r.person, r.project, r.session, r.reason, {**r.subject, "count": repeat.count}, time=now
        )
