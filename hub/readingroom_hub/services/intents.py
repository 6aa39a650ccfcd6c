"""What one session has said that it may read, and what was opened under it.

The durable intent covers every open, so no open needs a record at once. Most have ended a moment later; their ends wait
for each other, since a record each would cost more than the reads do. What stays open gets a record of its own.

The last `read-completed` under an intent has `concluded`, the number of all ends: nothing under it is open, and nothing
more will be. Since records arrive in their order, all of it is on the record then. Without that (a crash, an image
still open) an intent means that all of it may have been read."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from readingroom_hub.model.audit import AuditEvent, Close
from readingroom_hub.model.ids import UID, GrantId

LIFETIME = timedelta(seconds=60)
"""So long an intent may be opened under."""
IDLE = timedelta(seconds=5)
"""So long after the last end under it, when nothing is open, it is over: from then on stewards see the exact sum, and
the next open has to wait for a new one."""
GATHER = timedelta(seconds=0.25)
"""So long an end waits for others, and so long an image is open before that is a record."""
MOST = 100
"""Ends in one record: its DICOM audit message then fits in the 32 KiB that every receiver takes (ITI TF-2 3.20)."""

Place = tuple[str, str]
"""Dataset version, and a series or a table in it."""


@dataclass(slots=True, eq=False)
class Intent:
    """One durable `read-intent`."""

    grant: GrantId
    until: datetime
    about: Mapping[str, object]
    """What the records under it have in common: the object, the grant and the intent's id."""
    open: int = 0
    unrecorded: set["Opening"] = field(default_factory=set)
    """Those of them of which nothing is on record yet but the intent."""
    touched: datetime | None = None
    """When something was last opened or closed under it."""
    closes: list[Close] = field(default_factory=list)
    ended: int = 0
    """How many were recorded."""
    since: datetime | None = None
    """When the first of these ended."""


@dataclass(slots=True, eq=False)
class Opening:
    """One open of one instance, under one intent."""

    intent: Intent
    instance: UID
    since: datetime


class Intents:
    """Of one session. `record` is handed each `instance-opened` and `read-completed`, with its subject and time, and
    must not raise. Thread-safe."""

    def __init__(self, record: Callable[[AuditEvent, dict[str, object], datetime], None]) -> None:
        self._record = record
        self._current: dict[Place, Intent] = {}
        self._unsettled: set[Intent] = set()
        """Of which something was opened, and which are not concluded."""
        self._lock = threading.Lock()

    def at(self, place: Place, grant: GrantId, now: datetime) -> Intent | None:
        """The one under which `place` may be read now, if there is one."""
        held = self._current.get(place)
        return held if held and held.grant == grant and now < held.until else None

    def hold(self, place: Place, intent: Intent) -> None:
        """A new one is durable."""
        with self._lock:
            self._current[place] = intent

    def enter(self, place: Place, grant: GrantId, instance: UID, now: datetime) -> Opening | None:
        """An open under what `at` finds."""
        with self._lock:
            found = self.at(place, grant, now)
            if found is None:
                return None
            found.open += 1
            found.touched = now
            self._unsettled.add(found)
            opening = Opening(found, instance, now)
            found.unrecorded.add(opening)
            return opening

    def leave(self, opening: Opening, now: datetime, close: Close) -> None:
        """What was open is open no more, and this is how it ended."""
        intent = opening.intent
        with self._lock:
            intent.open -= 1
            intent.unrecorded.discard(opening)
            intent.touched = now
            intent.since = intent.since or now
            intent.closes.append(close)
            if len(intent.closes) < MOST:
                return
            made = _gathered(intent)
        self._record(AuditEvent.READ_COMPLETED, made, now)

    def settle(self, now: datetime, last: bool = False) -> None:
        """Record ends that waited, and opens that lasted, long enough. Conclude what is over; where `last`, all that is
        not open."""
        made = list[tuple[AuditEvent, dict[str, object], datetime]]()
        with self._lock:
            for intent in [*self._unsettled]:
                for opening in [o for o in intent.unrecorded if last or not now - GATHER < o.since <= now]:
                    subject = {**intent.about, "instance": opening.instance}
                    made.append((AuditEvent.INSTANCE_OPENED, subject, opening.since))
                    intent.unrecorded.remove(opening)
                touched = intent.touched or now
                if not intent.open and (last or not touched <= now < min(intent.until, touched + IDLE)):
                    made.append((AuditEvent.READ_COMPLETED, _gathered(intent) | {"concluded": intent.ended}, now))
                    self._unsettled.remove(intent)
                    intent.until = now
                elif intent.since and (last or not now - GATHER < intent.since <= now):
                    made.append((AuditEvent.READ_COMPLETED, _gathered(intent), now))
            self._current = {p: i for p, i in self._current.items() if now < i.until}
        for event, subject, time in made:
            self._record(event, subject, time)


def _gathered(intent: Intent) -> dict[str, object]:
    closes, intent.closes, intent.since = intent.closes, [], None
    intent.ended += len(closes)
    return {
        **intent.about,
        "instances": len({c.instance for c in closes}),
        "bytes": sum(c.bytes for c in closes),
        "closes": [list(c) for c in closes],
    }
