"""Suspending somebody's access: on the record first, for every server of theirs, until somebody else lifts it."""

import pytest
from tests.support.room import PROJECT, make_room

from readingroom_hub.errors import AuditUnavailable, BadInput, Denied, NotFound
from readingroom_hub.services.holds import HoldService


@pytest.fixture
def room(tmp_path):
    return make_room(tmp_path)


@pytest.fixture
def holds(room):
    return HoldService(room.catalogue.holds, room.catalogue.sessions, room.audit, room.mounts)


def test_a_hold_is_recorded_told_to_the_daemon_and_keeps_new_servers_away(room, holds):
    room.grants.issue(PROJECT, "lung", room.tomorrow, room.steward)
    session = room.sessions.open(room.rosa, PROJECT)
    hold = holds.suspend(room.rosa, "studies", None, "a" * 36)
    record = room.audit.records[-1]
    assert (record["event"], record["person"]) == ("access-suspended", room.rosa)
    assert record["subject"] == {"by": "monitor", "why": "studies", "sessions": [session.id], "alert": "a" * 36}
    assert room.mounts.refreshed == 2
    with pytest.raises(Denied, match=r"on hold since .* ask a data steward, who can lift the hold.$"):
        room.sessions.open(room.rosa, PROJECT)
    assert room.audit.records[-1]["reason"].startswith("on-hold: ")
    assert room.sessions.view(session.id) == (session, [])
    assert holds.suspend(room.rosa, "again", room.steward).since == hold.since
    assert room.audit.events().count("access-suspended") == 1


def test_a_lifted_hold_lets_in_again(room, holds):
    holds.suspend(room.rosa, "studies", room.steward)
    holds.resume(room.rosa, room.steward)
    assert room.audit.records[-1]["subject"] == {"by": room.steward}
    assert room.mounts.refreshed == 2
    assert holds.current() == []
    room.sessions.open(room.rosa, PROJECT)
    with pytest.raises(NotFound):
        holds.resume(room.rosa, room.steward)


def test_nobody_lifts_their_own_hold(room, holds):
    holds.suspend(room.steward, "studies", None)
    with pytest.raises(BadInput, match="another data steward"):
        holds.resume(room.steward, room.steward)
    assert [h.person for h in holds.current()] == [room.steward]


def test_without_a_record_nothing_is_changed(room, holds):
    room.audit.available = False
    with pytest.raises(AuditUnavailable):
        holds.suspend(room.rosa, "studies", None)
    assert holds.current() == []
    room.audit.available = True
    holds.suspend(room.rosa, "studies", None)
    room.audit.available = False
    with pytest.raises(AuditUnavailable):
        holds.resume(room.rosa, room.steward)
    assert [h.person for h in holds.current()] == [room.rosa]
