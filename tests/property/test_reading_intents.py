"""For any order of opens, reads, closes, changes of access and failures of audit, and for a kill at any point: the
durable intents cover every byte that was given out, under a grant that was current when it was given."""

from datetime import UTC, datetime, timedelta
from itertools import count

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule
from tests.support.fakes import MemoryAuditRepository

from readingroom_hub.errors import AuditUnavailable, Denied
from readingroom_hub.model.audit import AuditEvent, AuditRecord, Receipt
from readingroom_hub.model.dataset import DatasetVersion, Instance
from readingroom_hub.model.grant import Grant
from readingroom_hub.model.ids import UID, DatasetName, GrantId, KeyId, PersonId, ProjectId, SessionId, VersionDigest
from readingroom_hub.model.project import Project
from readingroom_hub.model.session import Session
from readingroom_hub.policy.access import Standing
from readingroom_hub.services.reading import INTENT_LIFETIME, OpenInstance, Reading, Series

T0 = datetime(2026, 1, 1, tzinfo=UTC)
PERSON = PersonId("p-" + "0" * 64)
LUNG = ProjectId("lung")
VERSION = DatasetVersion(
    VersionDigest("sha256:" + "a" * 64), LUNG, DatasetName("ct"), KeyId.new(), 4, 2, 1, 400, T0, "{}"
)
SERIES = [Series(VERSION, UID("1.1"), UID(f"1.1.{n}"), 2, 200) for n in range(2)]


def instance(series: Series, number: int) -> Instance:
    uid = UID(f"{series.series}.{number}")
    return Instance(series.study, series.series, uid, UID("1.2"), "CT", number, 100, "0" * 64)


class CrashingAudit(MemoryAuditRepository):
    """Posts are lost at a kill; only what was appended is durable."""

    def __init__(self) -> None:
        super().__init__()
        self.posted: list[AuditRecord] = []
        self.durable: list[AuditRecord] = []

    def append(self, records: list[AuditRecord]) -> list[Receipt]:  # type: ignore[override]
        receipts = super().append(records)
        self.durable += records
        return receipts

    def post(self, record: AuditRecord) -> None:
        self._check()
        self.posted.append(record)


class Reads(RuleBasedStateMachine):
    handles = Bundle("handles")

    @initialize()
    def begin(self) -> None:
        self.now = T0
        self.numbers = count()
        self.audit = CrashingAudit()
        self.session = Session(SessionId.new(), PERSON, LUNG, T0, T0 + timedelta(hours=1))
        self.grants: list[Grant] = []
        self.given: list[tuple[UID, datetime, frozenset[GrantId]]] = []
        self.reading = Reading(self.standing(), self.audit, lambda: self.now)

    def standing(self) -> Standing:
        return Standing(self.session, Project(LUNG, "t", "Dr O", T0), tuple(self.grants))

    def current(self) -> frozenset[GrantId]:
        return frozenset(g.id for g in self.grants if g.is_current(self.now))

    @rule(minutes=st.integers(1, 10))
    def grant(self, minutes: int) -> None:
        ends = self.now + timedelta(minutes=minutes)
        self.grants.append(Grant(GrantId.new(), LUNG, VERSION.dataset, VERSION.digest, ends, PERSON, self.now))
        self.reading.standing = self.standing()

    @rule()
    def revoke(self) -> None:
        if self.grants:
            g = self.grants[-1]
            self.grants[-1] = Grant(
                g.id, g.project, g.dataset, g.version, g.ends_at, g.approved_by, g.created_at, self.now, PERSON
            )
            self.reading.standing = self.standing()

    @rule()
    def renew(self) -> None:
        self.revoke()
        self.now += timedelta(seconds=1)
        self.grant(10)

    @rule(seconds=st.integers(1, 120))
    def wait(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(available=st.booleans())
    def switch_audit(self, available: bool) -> None:
        self.audit.available = available

    @rule(target=handles, series=st.sampled_from(SERIES), number=st.integers(1, 2))
    def open(self, series: Series, number: int) -> OpenInstance | None:
        try:
            opened = self.reading.open(series, instance(series, number))
        except Denied:
            assert not self.current() or self.now >= self.session.expires_at
            return None
        except AuditUnavailable:
            assert not self.audit.available
            return None
        assert self.current()
        assert self.audit.available
        return opened

    @rule(handle=handles)
    def read(self, handle: OpenInstance | None) -> None:
        if handle is None:
            return
        try:
            self.reading.check(handle)
        except (Denied, AuditUnavailable):
            return
        self.given.append((handle.instance.series, self.now, self.current()))
        handle.served += 1

    @rule(handle=consumes(handles), cached=st.booleans())
    def close(self, handle: OpenInstance | None, cached: bool) -> None:
        if handle is not None:
            self.reading.close(handle, cached)

    @rule()
    def kill_and_start_again(self) -> None:
        self.audit.posted.clear()
        self.reading = Reading(self.standing(), self.audit, lambda: self.now)

    @invariant()
    def what_was_given_is_covered(self) -> None:
        if not hasattr(self, "given"):
            return
        intents = [r for r in self.audit.durable if r.event is AuditEvent.READ_INTENT]
        for series, at, current in self.given:
            assert any(
                r.subject["series"] == series and r.time <= at and r.subject["grant"] in current for r in intents
            )
        self.given.clear()

    @invariant()
    def no_open_relies_on_an_old_intent(self) -> None:
        if not hasattr(self, "audit"):
            return
        made = {r.id: r.time for r in self.audit.durable}
        for r in self.audit.posted:
            if r.event is AuditEvent.INSTANCE_OPENED:
                assert r.time - made[r.subject["intent"]] < INTENT_LIFETIME


TestReads = Reads.TestCase
