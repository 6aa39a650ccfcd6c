"""The steward's list of alerts: read from the record, acknowledged on the record."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from readingroom_hub.errors import BadInput, NotFound
from readingroom_hub.model.alert import Alert
from readingroom_hub.model.audit import AuditEvent, AuditRecord
from readingroom_hub.model.ids import PersonId
from readingroom_hub.ports.records import AuditRepository, Filter

SHOWN = timedelta(days=120)
_MOST = 5000
_NOTE = 500


@dataclass(frozen=True, slots=True)
class AlertLine:
    """An alert as a steward sees it. `note` and `acknowledged_by` are None while nobody has looked at it."""

    alert: Alert
    at: datetime
    name: str | None
    suspended: bool
    acknowledged_by: str | None = None
    note: str | None = None


class AlertBook:
    """The use cases of the list. Looking at it is itself recorded."""

    def __init__(self, audit: AuditRepository) -> None:
        self._audit = audit

    def lines(self, asked_by: PersonId) -> list[AlertLine]:
        """Of the last 120 days, the newest first. Raises AuditUnavailable."""
        events = (AuditEvent.ACCESS_ALERT.value, AuditEvent.ALERT_ACKNOWLEDGED.value)
        since = datetime.now(UTC) - SHOWN
        found = self._audit.query(Filter(events=events, since=since, limit=_MOST), asked_by)
        done: dict[str, tuple[str, str]] = {}
        lines = []
        for item in found:
            record, subject = item.record, item.record["subject"]
            if record["event"] == AuditEvent.ALERT_ACKNOWLEDGED:
                done[subject["alert"]] = (item.person_name or record["person"], subject["note"])
                continue
            by, note = done.get(subject["alert"], (None, None))
            at = datetime.fromisoformat(record["time"])
            lines.append(AlertLine(Alert.of_record(record), at, item.person_name, subject["suspended"], by, note))
        return lines

    def acknowledge(self, id: str, note: str, by: PersonId) -> None:
        """Say what came of an alert. Raises NotFound, BadInput without a note or for an alert about oneself."""
        note = note.strip()
        if not note:
            raise BadInput("write in a few words what you found: it stays with the alert")
        line = next((n for n in self.lines(by) if n.alert.id == id), None)
        if line is None:
            raise NotFound(f"there is no alert {id[:80]} of the last {SHOWN.days} days")
        if line.alert.person == by:
            raise BadInput("this alert is about yourself: another data steward must look at it")
        subject = {"alert": id, "note": note[:_NOTE]}
        self._audit.append([AuditRecord(AuditEvent.ALERT_ACKNOWLEDGED, person=by, subject=subject)])
