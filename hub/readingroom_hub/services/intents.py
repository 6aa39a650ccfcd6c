"""What one session has said that it may read, and how the opens under it ended.

An end releases nothing, and the durable intent covers what was read, so its record waits for others: a record an end
would cost as much as one an open. The last `read-completed` under an intent has `concluded`, the number of all ends:
nothing under it is open, and nothing more will be. Since records arrive in their order, all of it is on the record
then. Without that (a crash, an image still open) an intent means that all of it may have been read."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from readingroom_hub.model.audit import Close
from readingroom_hub.model.ids import GrantId

LIFETIME = timedelta(seconds=60)
"""So long an intent may be opened under."""
IDLE = timedelta(seconds=5)
"""So long after the last end under it, when nothing is open, it is over: from then on stewards see the exact sum, and
the next open has to wait for a new one."""
GATHER = timedelta(seconds=1)
"""So long an end waits for others."""
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
    touched: datetime | None = None
    """When something was last opened or closed under it."""
    closes: list[Close] = field(default_factory=list)
    ended: int = 0
    """How many were recorded."""
    since: datetime | None = None
    """When the first of these ended."""


class Intents:
    """Of one session. `record` is handed the subject of each `read-completed`, and must not raise. Thread-safe."""

    def __init__(self, record: Callable[[dict[str, object]], None]) -> None:
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

    def enter(self, place: Place, grant: GrantId, now: datetime) -> Intent | None:
        """What `at` finds; from now on something is open under it."""
        with self._lock:
            found = self.at(place, grant, now)
            if found is not None:
                found.open += 1
                found.touched = now
                self._unsettled.add(found)
            return found

    def leave(self, intent: Intent, now: datetime, close: Close | None) -> None:
        """What was open is open no more. `close`: how it ended; None where it came to nothing."""
        with self._lock:
            intent.open -= 1
            intent.touched = now
            if close is None:
                return
            intent.since = intent.since or now
            intent.closes.append(close)
            if len(intent.closes) < MOST:
                return
            made = _gathered(intent)
        self._record(made)

    def settle(self, now: datetime, last: bool = False) -> None:
        """Record ends that waited long enough, and conclude what is over (where `last`: all that is not open)."""
        made = []
        with self._lock:
            for intent in [*self._unsettled]:
                touched = intent.touched or now
                if not intent.open and (last or not touched <= now < min(intent.until, touched + IDLE)):
                    made.append(_gathered(intent) | {"concluded": intent.ended})
                    self._unsettled.remove(intent)
                    intent.until = now
                elif intent.since and (last or not now - GATHER < intent.since <= now):
                    made.append(_gathered(intent))
            self._current = {p: i for p, i in self._current.items() if now < i.until}
        for subject in made:
            self._record(subject)


def _gathered(intent: Intent) -> dict[str, object]:
    closes, intent.closes, intent.since = intent.closes, [], None
    intent.ended += len(closes)
    return {
        **intent.about,
        "instances": len({c.instance for c in closes}),
        "bytes": sum(c.bytes for c in closes),
        "closes": [list(c) for c in closes],
    }
