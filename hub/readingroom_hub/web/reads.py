"""The record as a data steward reads it: one row for one read of one series, whatever number of records it left."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from readingroom_hub.model.audit import AuditEvent, Outcome, closes_of
from readingroom_hub.policy.tally import Tally
from readingroom_hub.ports.records import Found

READS = (
    AuditEvent.READ_INTENT,
    AuditEvent.INSTANCE_OPENED,
    AuditEvent.INSTANCE_CLOSED,
    AuditEvent.READ_COMPLETED,
    AuditEvent.READ_DENIED,
    AuditEvent.INTEGRITY_FAILURE,
)
REFUSALS = (
    AuditEvent.READ_DENIED,
    AuditEvent.REQUEST_REFUSED,
    AuditEvent.SIGN_IN,
    AuditEvent.SESSION_OPENED,
    AuditEvent.INTEGRITY_FAILURE,
)
"""Of these, only the ones that did not succeed."""

WORDS = {
    AuditEvent.SIGN_IN: "signed in",
    AuditEvent.SIGN_OUT: "signed out",
    AuditEvent.SESSION_OPENED: "server started",
    AuditEvent.SESSION_CLOSED: "server ended",
    AuditEvent.READ_INTENT: "read",
    AuditEvent.INSTANCE_OPENED: "read",
    AuditEvent.INSTANCE_CLOSED: "read",
    AuditEvent.READ_COMPLETED: "read",
    AuditEvent.READ_DENIED: "read refused",
    AuditEvent.INGEST: "taken in",
    AuditEvent.VERSION_PUBLISHED: "version published",
    AuditEvent.PROJECT_CREATED: "project created",
    AuditEvent.MEMBER_CHANGED: "membership changed",
    AuditEvent.GRANT_ISSUED: "access given",
    AuditEvent.GRANT_REVOKED: "access withdrawn",
    AuditEvent.GRANT_EXPIRED: "access ended",
    AuditEvent.KEY_CREATED: "key of a home or project folder made",
    AuditEvent.KEY_UNWRAPPED: "data key used",
    AuditEvent.KEY_ROTATED: "key changed",
    AuditEvent.KEY_REWRAPPED: "data keys wrapped anew",
    AuditEvent.KEY_DESTROYED: "key destroyed",
    AuditEvent.APPROVAL_ASKED: "approval asked for",
    AuditEvent.APPROVAL_GIVEN: "approved",
    AuditEvent.APPROVAL_DECLINED: "declined",
    AuditEvent.INTEGRITY_FAILURE: "damaged object",
    AuditEvent.CLOCK_STEPPED: "clock set",
    AuditEvent.SERVICE_STARTED: "service started",
    AuditEvent.SERVICE_STOPPED: "service stopped",
    AuditEvent.NODE_CONNECTED: "node connected",
    AuditEvent.NODE_DISCONNECTED: "node disconnected",
    AuditEvent.CONFIGURATION: "configuration",
    AuditEvent.RECORD_SEARCHED: "record searched",
    AuditEvent.RECORD_REPEATED: "handed over twice",
    AuditEvent.REQUEST_REFUSED: "page refused",
    AuditEvent.ACCESS_ALERT: "unusual access",
    AuditEvent.ALERT_ACKNOWLEDGED: "alert acknowledged",
    AuditEvent.ACCESS_SUSPENDED: "put on hold",
    AuditEvent.ACCESS_RESUMED: "hold lifted",
}

FAILURES = {
    "records-missing": "records missing",
    "spool-damaged": "records of a node changed",
    "witnesses-late": "witnesses late",
    "index-rebuilt": "search index rebuilt",
}
"""Integrity failures that are of no object, by the code of their reason."""


@dataclass(slots=True)
class Row:
    """One line of the page."""

    index: int
    """Place of its newest record in the tree."""
    time: datetime
    """Of its oldest record shown."""
    who: str
    person: str
    project: str
    event: str
    what: str
    outcome: str
    reason: str
    dataset: str
    object: str
    tally: Tally = field(default_factory=Tally)
    distinct: set[str] = field(default_factory=set)
    """Instances that were opened."""
    claims: dict[str, str] = field(default_factory=dict)

    @property
    def is_read(self) -> bool:
        """Whether bytes may have been given out."""
        return self.tally.instances is not None or bool(self.distinct)

    @property
    def is_cut(self) -> bool:
        """Its beginning is not among the records found: nobody can say here what it covers."""
        return self.is_read and self.tally.instances is None

    @property
    def is_open_ended(self) -> bool:
        """The record proves no less than all that the intent covers."""
        return self.is_read and not self.tally.is_exact

    @property
    def failed(self) -> bool:
        """Whether it was refused or went wrong."""
        return self.outcome != Outcome.SUCCESS


def rows_of(found: Iterable[Found]) -> list[Row]:
    """Rows, newest first, from records, newest first. Records of one read intent become one row."""
    rows: list[Row] = []
    reads: dict[str, Row] = {}
    for item in found:
        record, subject = item.record, item.record.get("subject", {})
        intent = record["id"] if record["event"] == AuditEvent.READ_INTENT else subject.get("intent")
        if intent is None:
            rows.append(_row(item))
            continue
        row = reads.get(intent)
        if row is None:
            row = reads[intent] = _row(item)
            rows.append(row)
        _add(row, record, subject)
    return rows


def _row(item: Found) -> Row:
    record, subject = item.record, item.record.get("subject", {})
    person = record.get("person", "")
    dataset = subject.get("dataset", "")
    if dataset and subject.get("version"):
        dataset += "@" + subject["version"].removeprefix("sha256:")[:12]
    return Row(
        index=item.index,
        time=datetime.fromisoformat(record["time"]),
        who=item.person_name or (f"{person[:10]}… (name erased)" if person else "the system"),
        person=person,
        project=record.get("project", ""),
        event=record["event"],
        what=_what(record),
        outcome=record["outcome"],
        reason=record.get("reason", ""),
        dataset=dataset,
        object=_object(record["event"], subject),
        claims=dict(record.get("claims", {})),
    )


def _what(record: Mapping[str, Any]) -> str:
    code = record.get("reason", "").partition(":")[0]
    is_failure = record["event"] == AuditEvent.INTEGRITY_FAILURE
    return (FAILURES.get(code) if is_failure else None) or WORDS.get(record["event"], record["event"])


def _object(event: str, subject: Mapping[str, Any]) -> str:
    if subject.get("series"):
        return f"series {subject['series']}"
    if subject.get("path"):
        return str(subject["path"])
    if event == AuditEvent.RECORD_SEARCHED:
        return f"{subject['count']} records" if "count" in subject else ""
    if subject.get("node"):  # which numbers is for the auditor, in the record itself
        count = subject.get("count", 0)
        return f"{subject.get('service')}{f', {count} records' if count else ''}"
    shown = {k: v for k, v in subject.items() if k not in {"dataset", "version", "count", "amr"} and v}
    return ", ".join(f"{k} {', '.join(v) if isinstance(v, list) else v}" for k, v in shown.items())


def _add(row: Row, record: Mapping[str, Any], subject: Mapping[str, Any]) -> None:
    row.time = min(row.time, datetime.fromisoformat(record["time"]))
    row.claims.update(record.get("claims", {}))
    row.tally.add(record["event"], subject)
    if record["event"] == AuditEvent.INSTANCE_OPENED:
        row.distinct.add(subject.get("instance", ""))
    row.distinct.update(close.instance for close in closes_of(record["event"], subject))
