"""For any order of opens, reads, closes, changes of access and failures of audit, and for a kill at any point: the
durable intents cover every byte that was given out, under a grant that was current when it was given; and what the
record says of an intent is never less than what was read under it, and exactly that once it is concluded."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)
from tests.support.fakes import MemoryAuditRepository

from readingroom_hub.errors import AuditUnavailable, Denied
from readingroom_hub.model.audit import AuditEvent, AuditRecord, Receipt
from readingroom_hub.model.dataset import DatasetVersion, Instance
from readingroom_hub.model.grant import Grant
from readingroom_hub.model.ids import UID, DatasetName, GrantId, KeyId, PersonId, ProjectId, SessionId, VersionDigest
from readingroom_hub.model.project import Project
from readingroom_hub.model.session import Session
from readingroom_hub.policy.access import Standing
from readingroom_hub.policy.activity import Activity
from readingroom_hub.ports.records import Found
from readingroom_hub.services.intents import GATHER, IDLE, LIFETIME, MOST
from readingroom_hub.services.reading import OpenInstance, Reading, Series
from readingroom_hub.web.reads import rows_of

WITH_INTENT = {AuditEvent.READ_INTENT, AuditEvent.INSTANCE_OPENED, AuditEvent.READ_COMPLETED}
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


def intent_of(row: dict) -> str:
    return row["id"] if row["event"] == AuditEvent.READ_INTENT else row["subject"]["intent"]


class CrashingAudit(MemoryAuditRepository):
    """Records arrive in their order. A kill loses the last of those that were posted; what was appended is durable, and
    so is all before it."""

    def __init__(self) -> None:
        super().__init__()
        self.posted: list[AuditRecord] = []
        self.durable: list[AuditRecord] = []

    def append(self, records: list[AuditRecord]) -> list[Receipt]:  # type: ignore[override]
        receipts = super().append(records)
        self.durable += [*self.posted, *records]
        self.posted.clear()
        return receipts

    def lose(self, count: int) -> None:
        """The last `count` of those that may be lost."""
        self.durable += self.posted[: max(0, len(self.posted) - count)]
        self.posted.clear()

    def post(self, record: AuditRecord) -> None:
        self.check()
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
        self.read_under: Counter[str] = Counter()
        self.reading = Reading(self.standing(), self.audit, lambda: self.now)
        self.grant(10)

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

    @rule(available=st.sampled_from([True, True, False]))
    def switch_audit(self, available: bool) -> None:
        self.audit.available = available

    @rule(target=handles, series=st.sampled_from(SERIES), number=st.integers(1, 2))
    def open(self, series: Series, number: int) -> OpenInstance | MultipleResults[OpenInstance]:
        try:
            opened = self.reading.open(series, instance(series, number))
        except Denied:
            assert not self.current() or self.now >= self.session.expires_at
            return multiple()
        except AuditUnavailable:
            assert not self.audit.available
            return multiple()
        assert self.current()
        assert self.audit.available
        return opened

    @rule(handle=handles)
    def read(self, handle: OpenInstance) -> None:
        try:
            self.reading.check(handle)
        except (Denied, AuditUnavailable):
            return
        self.given.append((handle.instance.series, self.now, self.current()))
        handle.served += 1
        self.read_under[str(handle.opening.intent.about["intent"])] += 1

    @rule(handle=consumes(handles), cached=st.booleans())
    def close(self, handle: OpenInstance, cached: bool) -> None:
        self.reading.close(handle, cached)

    @rule(last=st.booleans())
    def settle(self, last: bool) -> None:
        self.reading.settle(last)

    @rule(lost=st.integers(0, 5))
    def kill_and_start_again(self, lost: int) -> None:
        self.audit.lose(lost)
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
        made = {r.id: r.time for r in self.audit.durable if r.event is AuditEvent.READ_INTENT}
        for r in (*self.audit.durable, *self.audit.posted):
            if r.event is AuditEvent.INSTANCE_OPENED:
                assert r.time - made[r.subject["intent"]] < LIFETIME

    @invariant()
    def no_kill_now_makes_the_record_say_less_than_was_read(self) -> None:
        if not hasattr(self, "audit"):
            return
        for kept in range(len(self.audit.posted) + 1):
            self.compare([*self.audit.durable, *self.audit.posted[:kept]])

    def compare(self, stored: list[AuditRecord]) -> None:
        rows = [r.to_wire() for r in stored if r.event in WITH_INTENT]
        shown: dict[str, list[dict]] = {}
        for row in rows:
            shown.setdefault(intent_of(row), []).append(row)
        activity = Activity()
        for row in rows:
            activity.add(row)
        counted = {id: i for d in activity.people[PERSON].days.values() for id, i in d.intents.items()} if rows else {}
        for intent, found in shown.items():
            (line,) = rows_of(Found(0, row, None) for row in reversed(found))
            read = self.read_under[intent]
            assert not line.is_cut
            assert line.tally.upper >= line.tally.least
            assert line.tally.upper >= read
            assert counted[intent].is_exact != line.is_open_ended
            assert counted[intent].upper >= read
            if not line.is_open_ended:
                assert line.tally.least == read


TestReads = Reads.TestCase


class World:
    """One session with one grant and a clock of its own."""

    def __init__(self) -> None:
        self.now, self.audit = T0, CrashingAudit()
        session = Session(SessionId.new(), PERSON, LUNG, T0, T0 + timedelta(hours=1))
        self.grants = [self.grant(30)]
        self.standing = lambda: Standing(session, Project(LUNG, "t", "Dr O", T0), tuple(self.grants))
        self.reading = Reading(self.standing(), self.audit, lambda: self.now)

    def grant(self, minutes: int) -> Grant:
        ends = self.now + timedelta(minutes=minutes)
        return Grant(GrantId.new(), LUNG, VERSION.dataset, VERSION.digest, ends, PERSON, self.now)

    def read(self, number: int = 1, served: int = 100, cached: bool = False, series: Series = SERIES[0]) -> None:
        opened = self.reading.open(series, instance(series, number))
        opened.served = served
        self.reading.close(opened, cached)

    def after(self, seconds: timedelta) -> list[dict]:
        """What is recorded of ends when this time has passed."""
        self.now += seconds
        before = len(self.audit.posted)
        self.reading.settle()
        return [dict(r.subject) for r in self.audit.posted[before:] if r.event is AuditEvent.READ_COMPLETED]


def test_ends_of_one_series_are_one_record_with_each_instance_and_its_bytes() -> None:
    world = World()
    world.read(1, 100)
    world.read(2, 60, cached=True)
    world.read(1, 0, cached=True)
    assert world.after(GATHER / 2) == []
    (found,) = world.after(GATHER)
    (intent,) = world.audit.durable
    assert found == {
        "dataset": "ct", "version": VERSION.digest, "study": "1.1", "series": "1.1.0", "grant": world.grants[0].id,
        "intent": intent.id, "instances": 2, "bytes": 160,
        "closes": [["1.1.0.1", 100, 100, False], ["1.1.0.2", 60, 100, True], ["1.1.0.1", 0, 100, True]],
    }  # fmt: skip
    (last,) = world.after(IDLE)
    assert (last["concluded"], last["closes"], last["intent"]) == (3, [], intent.id)
    assert world.after(LIFETIME) == []


def test_a_hundred_ends_do_not_wait() -> None:
    world = World()
    for number in range(MOST + 1):
        world.read(number)
    found = [r for r in world.audit.posted if r.event is AuditEvent.READ_COMPLETED]
    assert [r.subject["instances"] for r in found] == [MOST]
    (last,) = world.after(IDLE)
    assert (last["closes"], last["concluded"]) == ([[f"1.1.0.{MOST}", 100, 100, False]], MOST + 1)


def test_series_are_told_apart() -> None:
    world = World()
    for series in (*SERIES, *SERIES):
        world.read(series=series)
    found = world.after(IDLE)
    assert {s["series"]: len(s["closes"]) for s in found} == {s.series: 2 for s in SERIES}
    assert len({s["intent"] for s in found}) == 2


def test_an_intent_is_not_concluded_while_an_image_is_open() -> None:
    world = World()
    opened = world.reading.open(SERIES[0], instance(SERIES[0], 1))
    world.read(2)
    assert [s.get("concluded") for s in world.after(LIFETIME)] == [None]
    world.read(2)
    world.reading.close(opened, cached=True)
    intents = [r.id for r in world.audit.durable if r.event is AuditEvent.READ_INTENT]
    ends = {s["intent"]: (len(s["closes"]), s.get("concluded")) for s in world.after(IDLE)}
    assert ends == dict(zip(intents, [(1, 2), (1, 1)], strict=True))


def test_what_stays_open_is_recorded_once_and_what_was_closed_by_then_only_with_its_end() -> None:
    world = World()
    kept = world.reading.open(SERIES[0], instance(SERIES[0], 1))
    world.read(2)
    world.after(GATHER / 2)
    assert world.audit.posted == []
    world.after(GATHER)
    (opened,) = [r for r in world.audit.posted if r.event is AuditEvent.INSTANCE_OPENED]
    (intent,) = world.audit.durable
    assert opened.subject == {
        "dataset": "ct", "version": VERSION.digest, "study": "1.1", "series": "1.1.0", "grant": world.grants[0].id,
        "intent": intent.id, "instance": "1.1.0.1",
    }  # fmt: skip
    world.after(IDLE)
    world.reading.close(kept, cached=True)
    (last,) = world.after(IDLE)
    assert (last["closes"], last["concluded"]) == ([["1.1.0.1", 0, 100, True]], 2)
    assert [r.event for r in world.audit.posted].count(AuditEvent.INSTANCE_OPENED) == 1


def test_a_clock_that_was_set_back_holds_up_no_record() -> None:
    world = World()
    kept = world.reading.open(SERIES[0], instance(SERIES[0], 1))
    world.after(-timedelta(hours=1))
    assert [r.subject["instance"] for r in world.audit.posted] == [kept.instance.instance]


def test_after_a_pause_reading_has_an_intent_of_its_own() -> None:
    world = World()
    world.read()
    world.after(IDLE)
    world.read()
    first, second = [r.id for r in world.audit.durable if r.event is AuditEvent.READ_INTENT]
    assert [(s["intent"], s["concluded"]) for s in world.after(IDLE)] == [(second, 1)]
    assert first != second


def test_what_is_read_under_another_grant_is_recorded_under_that() -> None:
    world = World()
    opened = world.reading.open(SERIES[0], instance(SERIES[0], 1))
    opened.served += 40
    world.now += timedelta(minutes=1)
    world.grants = [replace(world.grants[0], revoked_at=world.now, revoked_by=PERSON), world.grant(10)]
    world.reading.standing = world.standing()
    world.reading.check(opened)
    opened.served += 25
    world.reading.close(opened, cached=False)
    found = {s["grant"]: s["closes"] for s in world.after(IDLE)}
    uid = opened.instance.instance
    assert found == {world.grants[0].id: [[uid, 40, 100, True]], world.grants[1].id: [[uid, 25, 100, False]]}
