"""Approvals: what cannot be undone is asked for by one person, and approved by two others who read what it means."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Self

from readingroom_hub.model.audit import AuditEvent, Outcome
from readingroom_hub.model.ids import ApprovalId, PersonId

LASTS = timedelta(hours=72)
"""From the asking: by then it is approved and done, or it has to be asked for again. Long enough for a weekend."""
NEEDED = 2
"""People who approve; whoever asked is none of them."""


class Act(StrEnum):
    """What may be asked for. Stored values, never renamed."""

    DESTROY_KEY = "destroy-key"
    DELETE_VERSION = "delete-version"
    DESTROY_CROSSWALK = "destroy-crosswalk"
    KEEP_CROSSWALK = "keep-crosswalk"
    SHARE_VERSION = "share-version"
    FORGET_PERSON = "forget-person"
    PURGE_RECORDS = "purge-records"


class State(StrEnum):
    """How far it is."""

    WAITING = "waiting"
    APPROVED = "approved"
    DECLINED = "declined"
    DONE = "done"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Approval:
    """As the record tells it."""

    id: ApprovalId
    act: Act
    target: str
    """A KEK's name, a version's digest (for sharing, with the recipient's fingerprint), a project, a person, a time."""
    concerns: tuple[str, ...]
    """What is lost by it, or given away, a line each, as it was when it was asked for."""
    why: str
    asked_by: PersonId
    asked_at: datetime
    given_by: tuple[PersonId, ...] = ()
    declined_by: PersonId | None = None
    done: bool = False

    @property
    def until(self) -> datetime:
        """Afterwards it approves nothing."""
        return self.asked_at + LASTS

    def state(self, now: datetime) -> State:
        """As of `now`. What was done or declined stays so."""
        if self.done:
            return State.DONE
        if self.declined_by is not None:
            return State.DECLINED
        if now >= self.until:
            return State.EXPIRED
        return State.APPROVED if len(self.given_by) >= NEEDED else State.WAITING

    def to_subject(self) -> dict[str, object]:
        """As the subject of `approval-asked`."""
        about = {"approval": self.id, "act": self.act.value, "target": self.target}
        return about | {"concerns": list(self.concerns), "why": self.why}

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Self:
        """From its `approval-asked`."""
        s, at = record["subject"], datetime.fromisoformat(record["time"])
        concerns, by = tuple(s["concerns"]), PersonId(record["person"])
        return cls(ApprovalId(s["approval"]), Act(s["act"]), s["target"], concerns, s["why"], by, at)


def _with(approval: Approval, record: Mapping[str, Any]) -> Approval:
    """After one more record of it. What came too late, twice, or from whoever asked, counts for nothing."""
    if record["event"] not in {AuditEvent.APPROVAL_GIVEN, AuditEvent.APPROVAL_DECLINED}:
        return replace(approval, done=True)
    by, at = PersonId(record["person"]), datetime.fromisoformat(record["time"])
    if record["event"] == AuditEvent.APPROVAL_DECLINED:
        return replace(approval, declined_by=by)
    if at >= approval.until or by == approval.asked_by or by in approval.given_by:
        return approval
    return replace(approval, given_by=(*approval.given_by, by))


def approvals_of(records: Iterable[Mapping[str, Any]]) -> list[Approval]:
    """Every approval that these records, oldest first, tell of: in the order of their asking."""
    found: dict[str, Approval] = {}
    for record in records:
        id = record["subject"].get("approval")
        if record["event"] == AuditEvent.APPROVAL_ASKED:
            found[id] = Approval.of_record(record)
        elif id in found and record["outcome"] == Outcome.SUCCESS:
            found[id] = _with(found[id], record)
    return list(found.values())
