"""What every AuditRepository must do. Subclass it and give `audit` and `switch_off` fixtures.

The repository may hold other records already."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from readingroom_hub.errors import AuditUnavailable, BadInput
from readingroom_hub.model.audit import AuditEvent, AuditRecord, Outcome
from readingroom_hub.model.ids import UID, DatasetName, PersonId, ProjectId, SessionId
from readingroom_hub.ports.records import AuditRepository, Filter

PROJECT = ProjectId("contract-project")


def a_record(event: AuditEvent = AuditEvent.INSTANCE_OPENED, **fields) -> AuditRecord:
    return AuditRecord(event, **fields)


class AuditRepositoryContract:
    @pytest.fixture
    def audit(self) -> AuditRepository:
        raise NotImplementedError

    @pytest.fixture
    def switch_off(self) -> Callable[[], None]:
        """Makes the repository of `audit` unreachable."""
        raise NotImplementedError

    def test_records_are_stored_in_order(self, audit):
        records = [a_record(subject={"count": i}) for i in range(5)]
        receipts = audit.append(records)
        assert [r.index for r in receipts] == list(range(receipts[0].index, receipts[0].index + 5))
        assert len({r.leaf_hash for r in receipts}) == 5
        found = audit.query(Filter(limit=5), None)
        assert [f.record["id"] for f in found] == [r.id for r in reversed(records)]
        assert [f.index for f in found] == [r.index for r in reversed(receipts)]

    def test_an_answer_says_for_how_many_records_it_is_complete(self, audit):
        (receipt,) = audit.append([a_record()])
        answer = audit.search(Filter(limit=1), None)
        assert [f.index for f in answer.found] == [receipt.index]
        assert answer.size == receipt.index + 1
        assert answer.newer == 0
        again = audit.search(Filter(limit=1, events=("record-searched",)), None)
        assert (again.size, again.found[0].index) == (answer.size + 1, answer.size), "the search before is one of them"

    def test_many_records_at_once_stay_together(self, audit):
        receipts = audit.append([a_record(subject={"count": i}) for i in range(2500)])
        assert [r.index for r in receipts] == list(range(receipts[0].index, receipts[0].index + 2500))

    def test_nothing_is_nothing(self, audit):
        assert audit.append([]) == []

    def test_a_stored_record_is_not_stored_again(self, audit):
        record, other = a_record(), a_record()
        (first,) = audit.append([record])
        assert audit.append([record]) == [first]
        again, new = audit.append([record, other])
        assert again == first
        assert new.index != first.index
        (third, same) = audit.append([other, other])
        assert third == same == new

    def test_what_was_posted_is_there_after_flush(self, audit):
        session = SessionId.new()
        posted = [a_record(session=session, subject={"count": i}) for i in range(700)]
        for record in posted:
            audit.check()
            audit.post(record)
        audit.flush()
        found = audit.query(Filter(session=session), None)
        assert [f.record["id"] for f in found] == [r.id for r in reversed(posted)]

    def test_everything_of_a_record_is_kept(self, audit):
        person = audit.identify("https://idp.example", "s-1", "Ann Example")
        record = a_record(
            AuditEvent.READ_DENIED,
            outcome=Outcome.DENIED,
            person=person,
            project=PROJECT,
            session=SessionId.new(),
            reason="grant-ended: the grant ended yesterday",
            subject={"dataset": "lung-ct", "bytes": 2**52, "ok": True, "list": ["a", "\x1b[31m", "ü"]},
            claims={"notebook": "=cmd()\r\n"},
        )
        audit.append([record])
        (found,) = audit.query(Filter(session=record.session), None)
        assert {k: v for k, v in found.record.items() if k != "source"} == record.to_wire()
        assert found.person_name == "Ann Example"

    @pytest.mark.parametrize("bad", [1.5, None, 2**60, "x" * 70_000])
    def test_a_record_that_cannot_be_stored_is_refused_whole(self, audit, bad):
        session = SessionId.new()
        good = a_record(session=session)
        with pytest.raises(BadInput):
            audit.append([good, a_record(session=session, subject={"count": bad})])
        assert audit.query(Filter(session=session), None) == []

    def test_filters_all_count(self, audit):
        person = audit.identify("https://idp.example", "s-2", "Bo Example")
        session = SessionId.new()
        start = datetime(2031, 5, 1, tzinfo=UTC)
        fields = {"person": person, "project": PROJECT, "session": session, "subject": {"dataset": "lung-ct"}}
        fields["subject"]["study"] = "1.2.3"
        other = {"person": PersonId("p-" + "0" * 64), "project": ProjectId("other-one"), "session": SessionId.new()}
        match = a_record(time=start, **fields)
        misses = [a_record(time=start, **(fields | {k: v})) for k, v in other.items()]
        misses.append(a_record(time=start, **(fields | {"subject": {"dataset": "brain-mr", "study": "1.2.3"}})))
        misses.append(a_record(time=start, **(fields | {"subject": {"dataset": "lung-ct", "study": "1.2.30"}})))
        misses.append(a_record(time=start, **(fields | {"subject": {"dataset": "lung-ct"}})))
        misses.append(a_record(AuditEvent.INGEST, time=start, **fields))
        misses.append(a_record(time=start - timedelta(microseconds=1), **fields))
        misses.append(a_record(time=start + timedelta(hours=1), **fields))
        audit.append([*misses, match])
        wanted = Filter(
            person=person,
            project=PROJECT,
            dataset=DatasetName("lung-ct"),
            session=session,
            studies=(UID("1.2.9"), UID("1.2.3")),
            events=("instance-opened",),
            since=start,
            until=start + timedelta(hours=1),
        )
        assert [f.record["id"] for f in audit.query(wanted, None)] == [match.id]
        assert len(audit.query(Filter(person=person), None)) == len(misses)
        assert len(audit.query(Filter(person=person, limit=2), None)) == 2
        assert audit.query(Filter(person=person, events=("sign-in",)), None) == []
        assert {f.record["event"] for f in audit.query(Filter(person=person, events=("ingest", "sign-in")), None)} == {
            "ingest"
        }

    def test_a_search_is_itself_on_record(self, audit):
        person = audit.identify("https://idp.example", "s-3", "Cy Example")
        audit.query(Filter(project=PROJECT), person)
        (found,) = audit.query(Filter(person=person, events=("record-searched",)), None)
        assert found.record["dcm"] == "110101"

    def test_a_person_is_issuer_and_subject(self, audit):
        one = audit.identify("https://idp.example", "s-9", "Dee")
        assert audit.identify("https://idp.example", "s-9", "Dee Example") == one
        assert audit.identify("https://other.example", "s-9", "Dee Example") != one
        assert audit.identify("https://idp.example", "s-10", "Dee Example") != one
        assert [p.name for p in audit.people(one)] == ["Dee Example"]
        assert len(audit.people("dee EXAMPLE")) == 3
        assert {p.issuer for p in audit.people("S-9")} == {"https://idp.example", "https://other.example"}
        assert audit.people("dee") == []
        assert one in {p.person for p in audit.people("")}

    def test_the_checkpoint_counts_all_records(self, audit):
        (receipt,) = audit.append([a_record()])
        assert audit.checkpoint().split("\n")[1] == str(receipt.index + 1)

    def test_threads_share_it(self, audit):
        session, receipts = SessionId.new(), []

        def work():
            for _ in range(20):
                receipts.extend(audit.append([a_record(session=session)]))
                audit.post(a_record(session=session))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        audit.flush()
        assert len({r.index for r in receipts}) == 160
        assert len(audit.query(Filter(session=session), None)) == 320

    def test_nobody_there_is_said(self, audit, switch_off):
        audit.append([a_record()])
        switch_off()
        calls = [
            lambda: audit.append([a_record()]),
            lambda: audit.identify("i", "s", "n"),
            lambda: audit.people(""),
            lambda: audit.query(Filter(), None),
            audit.checkpoint,
            audit.check,
        ]
        for call in calls:
            with pytest.raises(AuditUnavailable):
                call()
        with pytest.raises(AuditUnavailable):
            audit.post(a_record())
