"""The monitor as a whole: from records to an alert on the record, to stewards, and to a hold where a rule may."""

import hmac
import json
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy

import pytest
from tests.support.alert_receivers import mail_relay, webhook
from tests.support.room import PROJECT, make_room

from readingroom_hub.adapters.alert_mail import Mail
from readingroom_hub.adapters.alert_webhook import SIGNATURE, Webhook
from readingroom_hub.adapters.monitor_state import FileMemory
from readingroom_hub.errors import AuditUnavailable, BadInput, Conflict, Denied, NotFound, StoreUnavailable
from readingroom_hub.model.audit import AuditEvent, AuditRecord
from readingroom_hub.ports.monitoring import RecordTail
from readingroom_hub.services.alerts import AlertBook
from readingroom_hub.services.holds import HoldService
from readingroom_hub.services.monitoring import Monitor

LINK = "https://localhost:8443/services/portal/alerts"


class MemoryTail(RecordTail):
    def __init__(self, audit):
        self.audit = audit

    def first(self, since):
        times = [datetime.fromisoformat(r["time"]) for r in self.audit.records]
        return next((i for i, at in enumerate(times) if at >= since), len(times))

    def read(self, start, most):
        found = list(enumerate(self.audit.records))[start : start + most]
        return found, start + len(found)


class World:
    """A steward, Rosa with thirty quiet days behind her, and a monitor at noon of a day that the test makes."""

    def __init__(self, folder):
        self.room = make_room(folder)
        self.audit, self.now = self.room.audit, datetime.now(UTC).replace(hour=12, minute=0)
        self.memory = FileMemory(folder)
        self.holds = HoldService(self.room.catalogue.holds, self.room.catalogue.sessions, self.audit, self.room.mounts)
        for days_ago in range(30, 0, -1):
            self.read([f"1.2.{days_ago % 5}", "1.2.9", "1.2.8"], days_ago)

    def read(self, studies, days_ago=0, hour=10):
        at = (self.now - timedelta(days=days_ago)).replace(hour=hour)
        for study in studies:
            subject = {"dataset": "lung", "study": study, "bytes": 10**8}
            intent = AuditRecord(
                AuditEvent.READ_INTENT, person=self.room.rosa, project=PROJECT, time=at, subject=subject
            )
            more = {"dataset": "lung", "study": study, "intent": intent.id}
            parts = {
                AuditEvent.INSTANCE_OPENED: {"instance": "1.2.3"},
                AuditEvent.READ_COMPLETED: {
                    "bytes": 10**8,
                    "closes": [["1.2.3", 10**8, 10**8, False]],
                    "concluded": 1,
                },
            }
            about = {"person": self.room.rosa, "project": PROJECT, "time": at}
            self.audit.append([intent, *(AuditRecord(e, subject=more | p, **about) for e, p in parts.items())])

    def bulk(self):
        self.read([f"1.3.{n}" for n in range(60)])

    def monitor(self, *channels, suspend=()):
        tail = MemoryTail(self.audit)
        return Monitor(
            tail, self.memory, self.audit, self.holds, channels, frozenset(suspend), LINK, lambda: self.now
        )  # fmt: skip


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def test_a_quiet_day_is_no_alert(world):
    world.read(["1.2.9", "1.2.8"])
    assert world.monitor().step() == []
    assert "access-alert" not in world.audit.events()


def test_a_bulk_download_is_an_alert_on_the_record_with_its_reason(world):
    world.bulk()
    (alert,) = world.monitor().step()
    assert alert.person == world.room.rosa
    assert "studies" in alert.rules
    (record,) = [r for r in world.audit.records if r["event"] == "access-alert"]
    assert (record["person"], record["project"], record["subject"]["suspended"]) == (world.room.rosa, PROJECT, False)
    words = "read 60 studies on one day; their median is 3 studies (of 29 days)"
    assert words in [s["words"] for s in record["subject"]["signs"]]
    assert world.holds.current() == []


def test_a_monitor_that_starts_again_tells_nothing_twice(world):
    world.bulk()
    monitor = world.monitor()
    assert len(monitor.step()) == 1
    assert monitor.step() == []
    assert world.monitor().step() == []
    assert world.audit.events().count("access-alert") == 1


def test_days_on_which_no_monitor_ran_are_judged_later(world):
    world.monitor().step()
    world.bulk()
    world.now += timedelta(days=4)
    (alert,) = world.monitor().step()
    assert alert.day == (world.now - timedelta(days=4)).date()


def test_a_rule_suspends_only_where_the_operator_let_it(world):
    world.bulk()
    session = world.room.sessions.open(world.room.rosa, PROJECT)
    (alert,) = world.monitor(suspend=["studies"]).step()
    (hold,) = world.holds.current()
    assert (hold.person, hold.by, hold.alert) == (world.room.rosa, None, alert.id)
    events = world.audit.events()
    assert events.index("access-suspended") < events.index("access-alert")
    assert world.audit.records[events.index("access-suspended")]["subject"]["sessions"] == [session.id]
    with pytest.raises(Denied, match="on hold"):
        world.room.sessions.open(world.room.rosa, PROJECT)
    world.holds.resume(world.room.rosa, world.room.steward)
    assert world.monitor(suspend=["studies"]).step() == []
    assert world.holds.current() == []


def test_what_cannot_be_recorded_is_tried_again(world):
    world.bulk()
    monitor = world.monitor(suspend=["studies"])
    world.audit.available = False
    with pytest.raises(AuditUnavailable):
        monitor.step()
    assert world.holds.current() == []
    world.audit.available = True
    assert len(monitor.step()) == 1


def test_alerts_go_out_by_webhook_and_mail_and_wait_for_one_that_is_down(world, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("shared\n")
    with webhook() as hook, mail_relay() as relay:
        channels = (
            Webhook(f"http://127.0.0.1:{hook.port}/in?x=1", secret, None),
            Mail(f"127.0.0.1:{relay.port}", "room@example.org", ["sam@example.org", "ali@example.org"], None, None),
        )
        world.monitor(*channels).step()
        world.bulk()
        hook.refuse = True
        (alert,) = world.monitor(*channels).step()
        assert (len(hook.items), len(relay.items)) == (0, 1)
        assert "answered 503" in world.memory.load().trouble
        hook.refuse = False
        world.monitor(*channels).step()
        world.monitor(*channels).step()
        assert (len(hook.items), len(relay.items)) == (1, 1)
        assert world.memory.load().trouble == ""
    headers, body = hook.items[0]
    assert headers[SIGNATURE] == "sha256=" + hmac.digest(b"shared", body, "sha256").hex()
    assert headers["path"] == "/in?x=1"
    told = json.loads(body)
    assert (told["alert"], told["link"], told["rules"]) == (alert.id, LINK, list(alert.rules))
    envelope, raw = relay.items[0]
    assert "ali@example.org" in envelope["RCPT"]
    mail = message_from_bytes(raw, policy=policy.default)
    assert "read 60 studies on one day; their median is 3 studies" in mail.get_content()
    assert LINK in mail.get_content()
    assert "Rosa" not in mail.as_string() + body.decode()


def test_a_receiver_that_is_not_there_is_unavailable(world):
    world.bulk()
    (alert,) = world.monitor().step()
    with webhook() as hook, mail_relay() as relay:
        relay.refuse = True
        with pytest.raises(StoreUnavailable, match="451"):
            Mail(f"127.0.0.1:{relay.port}", "a@b", ["c@d"], None, None).send(alert, LINK)
    with pytest.raises(StoreUnavailable, match="did not take"):
        Webhook(f"http://127.0.0.1:{hook.port}/", None, None).send(alert, LINK)


@pytest.mark.parametrize("address", ["http://hooks.example/x", "ftp://127.0.0.1/", "hooks.example", "https:///x"])
def test_a_webhook_that_is_not_private_is_refused(address):
    with pytest.raises(BadInput, match="READINGROOM_MONITOR_WEBHOOK"):
        Webhook(address, None, None)


def test_a_mail_relay_needs_people():
    with pytest.raises(BadInput, match="MAIL_TO"):
        Mail("relay:25", "a@b", [], None, None)
    with pytest.raises(BadInput, match="host:port"):
        Mail("relay", "a@b", ["c@d"], None, None)


def test_one_monitor_a_folder(tmp_path):
    memory = FileMemory(tmp_path)
    assert not memory.is_running()
    with memory.alone():
        assert memory.is_running()
        with pytest.raises(Conflict), FileMemory(tmp_path).alone():
            pass
    assert not memory.is_running()


def test_the_book_lists_alerts_until_somebody_else_says_what_came_of_them(world):
    world.bulk()
    (alert,) = world.monitor().step()
    book, room = AlertBook(world.audit), world.room
    (line,) = book.lines(room.steward)
    assert (line.alert.id, line.name, line.acknowledged_by) == (alert.id, "Rosa Researcher", None)
    assert world.audit.events()[-1] == "record-searched"
    with pytest.raises(BadInput, match="yourself"):
        book.acknowledge(alert.id, "it was me", room.rosa)
    with pytest.raises(BadInput, match="few words"):
        book.acknowledge(alert.id, " ", room.steward)
    with pytest.raises(NotFound):
        book.acknowledge("nothing", "x", room.steward)
    book.acknowledge(alert.id, "a deadline, asked her", room.steward)
    (line,) = book.lines(room.steward)
    assert (line.acknowledged_by, line.note) == ("Sam Steward", "a deadline, asked her")
