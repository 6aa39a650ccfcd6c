"""The page of unusual access: reasons in words, what a steward can do, and that it says when nobody watches."""

from datetime import UTC, date, datetime, timedelta

import pytest
from tests.support.portal import PortalWorld, make_world
from tests.support.room import PROJECT

from readingroom_hub.model.alert import Alert, Sign
from readingroom_hub.model.audit import AuditEvent, AuditRecord
from readingroom_hub.model.project import Role

SIGN = Sign("studies", 41, 3, 8.2, "read 41 studies on one day; their median is 3 studies (of 58 days)")


@pytest.fixture
def world(tmp_path) -> PortalWorld:
    made = make_world(tmp_path)
    made.become(Role.STEWARD)
    made.monitor.looked_at = datetime.now(UTC)
    return made


def an_alert(world, person=None, id="5f000000-0000-5000-8000-000000000001"):
    person = person or world.room.rosa
    alert = Alert(
        id, person, datetime.now(UTC).date(), ("studies",), (SIGN,), "The isolation forest agrees.", (PROJECT,)
    )
    subject = alert.to_subject() | {"suspended": False}
    world.room.audit.append([AuditRecord(AuditEvent.ACCESS_ALERT, person=person, subject=subject, id=alert.id)])
    return alert


def act(world, path, **form):
    answer = world.post(path, {"token": world.token(), **form}, headers={"Origin": "https://localhost:8443"})
    return answer.status_code, answer.headers.get("location", ""), answer.text


def test_an_alert_is_shown_with_its_reason_and_looking_is_recorded(world):
    an_alert(world)
    text = world.get("/alerts").text
    assert "Rosa Researcher" in text
    assert "Read 41 studies on one day; their median is 3 studies (of 58 days)" in text
    assert "z = 8.2" in text
    assert "The isolation forest agrees." in text
    assert f"person={world.room.rosa}" in text
    assert world.room.audit.events()[-1] == "record-searched"
    assert "Nobody watches" not in text


def test_an_alert_is_acknowledged_with_a_note(world):
    alert = an_alert(world)
    status, _, text = act(world, f"/alerts/{alert.id}/acknowledge", note=" ")
    assert (status, "Nothing was changed: write in a few words" in text) == (400, True)
    status, where, _ = act(world, f"/alerts/{alert.id}/acknowledge", note="<b>a deadline</b>")
    assert (status, where) == (303, "/services/portal/alerts?done=acknowledged")
    text = world.get("/alerts").text
    assert "No alert waits." in text
    assert "Sam Steward: “&lt;b&gt;a deadline&lt;/b&gt;”" in text
    assert "alert-acknowledged" in world.room.audit.events()


def test_a_person_is_put_on_hold_and_let_go(world):
    alert = an_alert(world)
    assert act(world, f"/alerts/{alert.id}/suspend")[:2] == (303, "/services/portal/alerts?done=held")
    text = world.get("/alerts").text
    assert "by Sam Steward: a data steward, after an alert" in text
    assert "Put on hold" not in text
    assert act(world, f"/holds/{world.room.rosa}/lift")[:2] == (303, "/services/portal/alerts?done=lifted")
    assert "Put on hold" in world.get("/alerts").text
    assert world.room.mounts.refreshed == 2
    assert act(world, f"/holds/{world.room.rosa}/lift")[0] == 400
    assert act(world, "/alerts/nothing/suspend")[0] == 400


def test_nobody_settles_their_own_alert(world):
    alert = an_alert(world, world.room.steward)
    status, _, text = act(world, f"/alerts/{alert.id}/acknowledge", note="it was me")
    assert (status, "about yourself" in text) == (400, True)


@pytest.mark.parametrize("path", ["alerts/5f000000-0000-5000-8000-000000000001/suspend", "holds/x/lift"])
def test_only_a_steward_and_only_with_our_form(world, path):
    an_alert(world)
    assert world.post(f"/{path}", {"token": "0" * 64}).status_code == 403
    token = world.token()
    world.become(Role.RESEARCHER)
    answer = world.post(f"/{path}", {"token": token}, headers={"Origin": "https://localhost:8443"})
    assert answer.status_code == 403
    assert world.room.catalogue.holds.current() == {}


def test_a_forecast_is_shown_as_what_it_is(world):
    row = {"person": world.room.rosa, "feature": "studies", "now": 9, "limit": 40, "reaches": "2027-04-20"}
    world.monitor.outlook = [row]
    text = world.get("/alerts").text
    assert "Forecasts, not findings: a straight line" in text
    assert "<td>9 studies</td><td>40 studies</td>" in text
    assert str(date(2027, 4, 20)) in text


@pytest.mark.parametrize("ago", [None, timedelta(hours=3)])
def test_the_page_says_when_nobody_watches(world, ago):
    world.monitor.looked_at = ago and datetime.now(UTC) - ago
    world.monitor.trouble = "the webhook at hooks.example answered 503"
    text = world.get("/alerts").text
    assert "Nobody watches" in text
    assert "answered 503" in text
