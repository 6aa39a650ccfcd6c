"""Suspending a person's access and giving it back: on the record first, then at every mount within a second.

A hold is on the person, not on a session: a new server does not get around it, and the running one keeps its memory and
its files, for its owner and for whoever looks into what happened."""

import contextlib
from datetime import UTC, datetime

from readingroom_hub.errors import BadInput, NotFound, StoreUnavailable
from readingroom_hub.model.alert import Hold
from readingroom_hub.model.audit import AuditEvent, AuditRecord
from readingroom_hub.model.ids import PersonId
from readingroom_hub.ports.catalogue import Holds, Sessions
from readingroom_hub.ports.mounts import Mounts
from readingroom_hub.ports.records import AuditRepository


class HoldService:
    """The use cases of holds."""

    def __init__(self, holds: Holds, sessions: Sessions, audit: AuditRepository, mounts: Mounts) -> None:
        self._holds = holds
        self._sessions = sessions
        self._audit = audit
        self._mounts = mounts

    def suspend(self, person: PersonId, reason: str, by: PersonId | None, alert: str | None = None) -> Hold:
        """No read and no new server for this person until it is lifted; a person who is held already stays so.

        `by`: None where a rule of the monitor did it. Raises AuditUnavailable: then nothing was changed (and
        without the record nothing is read either)."""
        held = self._holds.current().get(person)
        if held is None:
            held = Hold(person, datetime.now(UTC), by, reason, alert)
            running = [s.id for s in self._sessions.open_ones() if s.person == person]
            subject = {"by": by or "monitor", "why": reason, "sessions": running[:100]} | (
                {"alert": alert} if alert else {}
            )
            self._audit.append([AuditRecord(AuditEvent.ACCESS_SUSPENDED, person=person, subject=subject)])
            self._holds.add(held)
        self._tell_daemon()
        return held

    def resume(self, person: PersonId, by: PersonId) -> None:
        """Lift the hold; running servers read again. Raises NotFound, BadInput for one's own, AuditUnavailable."""
        if person not in self._holds.current():
            raise NotFound(f"the access of {person} is not suspended")
        if person == by:
            raise BadInput("nobody lifts their own hold: ask another data steward")
        self._audit.append([AuditRecord(AuditEvent.ACCESS_RESUMED, person=person, subject={"by": by})])
        with contextlib.suppress(NotFound):  # somebody else was quicker
            self._holds.lift(person, datetime.now(UTC), by)
        self._tell_daemon()

    def current(self) -> list[Hold]:
        """Those in force, the newest first."""
        return sorted(self._holds.current().values(), key=lambda h: h.since, reverse=True)

    def _tell_daemon(self) -> None:
        # A daemon that does not answer re-reads the catalogue by itself, at the latest when it starts.
        with contextlib.suppress(StoreUnavailable):
            self._mounts.refresh()
