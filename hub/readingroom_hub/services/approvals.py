"""Asking for what two others must approve, approving it, and proving at the doing that it was approved.

The audit record is the only store of it: nobody can change afterwards who approved what."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from readingroom_hub.errors import BadInput, Conflict, Denied, NotFound
from readingroom_hub.model.approval import LASTS, NEEDED, Act, Approval, State, approvals_of
from readingroom_hub.model.audit import AuditEvent, AuditRecord, Outcome
from readingroom_hub.model.ids import ApprovalId, PersonId
from readingroom_hub.ports.records import AuditRepository, Filter

SHOWN = timedelta(days=30)
_EVENTS = (
    AuditEvent.APPROVAL_ASKED,
    AuditEvent.APPROVAL_GIVEN,
    AuditEvent.APPROVAL_DECLINED,
    AuditEvent.KEY_DESTROYED,
    AuditEvent.VERSION_DELETED,
    AuditEvent.CROSSWALK_CHANGED,
    AuditEvent.DATASET_SHARED,
    AuditEvent.PERSON_FORGOTTEN,
    AuditEvent.RECORD_PURGED,
)
_MOST = 10_000
_WHY = 500


def _utc() -> datetime:
    return datetime.now(UTC)


class Approvals:
    """The use cases of approvals. All raise AuditUnavailable."""

    def __init__(self, audit: AuditRepository, clock: Callable[[], datetime] = _utc) -> None:
        self._audit = audit
        self._clock = clock

    def all(self, asked_by: PersonId) -> list[Approval]:
        """Those of the last 30 days, the newest first. Looking is itself recorded."""
        wanted = Filter(events=tuple(e.value for e in _EVENTS), since=self._clock() - SHOWN, limit=_MOST)
        return approvals_of([f.record for f in self._audit.query(wanted, asked_by)][::-1])[::-1]

    def get(self, id: ApprovalId, asked_by: PersonId) -> Approval:
        """Raises NotFound."""
        found = next((a for a in self.all(asked_by) if a.id == id), None)
        if found is None:
            raise NotFound(f"there is no approval {id} of the last {SHOWN.days} days")
        return found

    def ask(self, act: Act, target: str, concerns: Sequence[str], why: str, by: PersonId) -> Approval:
        """Raises BadInput without a reason, Conflict where it is asked for already."""
        if not why.strip():
            raise BadInput("say why: those who approve it read it, and it goes on the record")
        now = self._clock()
        open_one = self._of(act, target, by, {State.WAITING, State.APPROVED})
        if open_one is not None:
            raise Conflict(f"approval for this is asked for already, until {open_one.until:%Y-%m-%d %H:%M} UTC")
        asked = Approval(ApprovalId.new(), act, target, tuple(concerns), why.strip()[:_WHY], by, now)
        record = AuditRecord(AuditEvent.APPROVAL_ASKED, person=by, subject=asked.to_subject(), time=now)
        self._audit.append([record])
        return asked

    def give(self, id: ApprovalId, by: PersonId) -> Approval:
        """One of two. The caller checks the role. Raises NotFound; Denied, recorded: for one's own, twice, too late."""
        return self._say(AuditEvent.APPROVAL_GIVEN, id, by)

    def decline(self, id: ApprovalId, by: PersonId) -> Approval:
        """End it. Whoever asked may do that too. Raises NotFound; Denied, recorded, where it has ended already."""
        return self._say(AuditEvent.APPROVAL_DECLINED, id, by)

    def _say(self, event: AuditEvent, id: ApprovalId, by: PersonId) -> Approval:
        found, now = self.get(id, by), self._clock()
        state, why = found.state(now), ""
        if state in {State.DECLINED, State.DONE, State.EXPIRED}:
            ended = {State.DECLINED: "was declined", State.DONE: "is done", State.EXPIRED: "was not approved in time"}
            why = f"this {ended[state]}: nothing can be approved or declined any more"
        elif event is AuditEvent.APPROVAL_GIVEN and by == found.asked_by:
            why = "you asked for this yourself: two others must approve it"
        elif event is AuditEvent.APPROVAL_GIVEN and by in found.given_by:
            why = "you have approved this already: somebody else must be the second"
        if why:
            raise self.refuse(found.act, found.target, why, by)
        subject = {"approval": id, "act": found.act.value, "target": found.target}
        self._audit.append([AuditRecord(event, person=by, subject=subject, time=now)])
        return self.get(id, by)

    def approved(self, act: Act, target: str, concerns: Sequence[str], by: PersonId) -> Approval:
        """What allows `by` to do it now; its `given_by` are the approvers.

        Raises Denied, recorded, where two people did not approve exactly this within the time."""
        found = self._of(act, target, by, {State.WAITING, State.APPROVED})
        if found is None:
            hours = LASTS // timedelta(hours=1)
            text = f"nobody was asked to approve this within {hours} hours, or it was declined: ask with --ask"
            raise self.refuse(act, target, text, by)
        if len(found.given_by) < NEEDED:
            count = f"{len(found.given_by)} of {NEEDED} data stewards have"
            text = f"{count} approved this; the others have until {found.until:%Y-%m-%d %H:%M} UTC"
            raise self.refuse(act, target, text, by)
        if sorted(found.concerns) != sorted(concerns):
            text = "what this would do is not what was approved any more: have it declined, and ask again"
            raise self.refuse(act, target, text, by)
        return found

    def _of(self, act: Act, target: str, by: PersonId, states: set[State]) -> Approval | None:
        now = self._clock()
        return next(
            (a for a in self.all(by) if (a.act, a.target) == (act, target) and a.state(now) in states), None
        )  # fmt: skip

    def refuse(self, act: Act, target: str, why: str, by: PersonId) -> Denied:
        """Put a refusal on the record; returns the error to raise."""
        subject = {"path": act.value, "target": target}
        reason = f"not-approved: {why}"
        self._audit.append(
            [AuditRecord(AuditEvent.REQUEST_REFUSED, Outcome.DENIED, by, reason=reason, subject=subject)]
        )
        return Denied(why)
