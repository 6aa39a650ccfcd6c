"""Projects, access grants and sessions: record first, refuse in plain words, never half done."""

from datetime import UTC, datetime, timedelta

import pytest
from tests.support.room import PROJECT, make_room

from readingroom_hub.errors import AuditUnavailable, BadInput, Conflict, Denied, NotFound
from readingroom_hub.model.ids import GrantId, ProjectId, SessionId
from readingroom_hub.model.project import Role


@pytest.fixture
def room(tmp_path):
    return make_room(tmp_path)


def test_a_project_is_on_the_record_before_it_exists(room):
    room.audit.available = False
    with pytest.raises(AuditUnavailable):
        room.projects.create(ProjectId("brain-mr"), "Brain", "Owner", None, room.steward)
    assert [p.id for p in room.catalogue.projects.all()] == [PROJECT]


def test_a_project_is_created_once_and_recorded_once(room):
    with pytest.raises(Conflict):
        room.projects.create(PROJECT, "again", "Owner", None, room.steward)
    assert room.audit.events().count("project-created") == 1


def test_memberships_follow_the_identity_provider_in_both_directions(room):
    assert room.projects.sync_memberships(
        room.rosa, {PROJECT: Role.REVIEWER, ProjectId("unknown"): Role.RESEARCHER}
    ) == {PROJECT}
    assert room.projects.member(PROJECT, room.rosa).role == Role.REVIEWER
    assert room.projects.sync_memberships(room.rosa, {}) == set()
    with pytest.raises(NotFound, match="not a member"):
        room.projects.member(PROJECT, room.rosa)
    changes = [r["subject"] for r in room.audit.records if r["event"] == "member-changed"]
    assert changes == [
        {"role": "researcher", "before": "none"},
        {"role": "reviewer", "before": "researcher"},
        {"role": "none", "before": "reviewer"},
    ]


def test_an_unchanged_membership_is_no_event(room):
    before = len(room.audit.records)
    room.projects.sync_memberships(room.rosa, {PROJECT: Role.RESEARCHER})
    assert len(room.audit.records) == before


def test_forbidding_pictures_is_on_record_before_it_holds(room):
    room.projects.allow_pictures(PROJECT, False, room.steward)
    assert room.catalogue.projects.get(PROJECT).pictures is False
    assert room.audit.records[-1]["subject"] == {
        "what": "pictures-in-notebooks",
        "before": "allowed",
        "after": "forbidden",
    }
    room.audit.available = False
    with pytest.raises(AuditUnavailable):
        room.projects.allow_pictures(PROJECT, True, room.steward)
    assert room.catalogue.projects.get(PROJECT).pictures is False


def test_a_grant_is_issued_recorded_and_told_to_the_daemon(room):
    grant = room.grants.issue(PROJECT, "lung", room.tomorrow, room.steward)
    assert room.catalogue.grants.get(grant.id) == grant
    assert room.audit.records[-1]["subject"]["grant"] == grant.id
    assert room.mounts.refreshed == 1


def test_a_grant_that_cannot_be_recorded_is_not_given(room):
    room.audit.available = False
    with pytest.raises(AuditUnavailable):
        room.grants.issue(PROJECT, "lung", room.tomorrow, room.steward)
    assert room.catalogue.grants.all() == []


@pytest.mark.parametrize(
    ("project", "label", "days", "error"),
    [
        ("nowhere", "lung", 1, NotFound),
        ("chest-ct", "brain", 1, NotFound),
        ("chest-ct", "lung", -1, BadInput),
    ],
)
def test_a_grant_that_makes_no_sense_is_refused(room, project, label, days, error):
    with pytest.raises(error):
        room.grants.issue(ProjectId(project), label, datetime.now(UTC) + timedelta(days=days), room.steward)
    assert room.catalogue.grants.all() == []


def test_a_grant_cannot_outlive_its_project(room):
    room.projects.create(ProjectId("short"), "Short", "Owner", datetime.now(UTC) + timedelta(hours=1), room.steward)
    with pytest.raises(BadInput, match="outlive"):
        room.grants.issue(ProjectId("short"), "lung", room.tomorrow, room.steward)


def test_a_second_grant_of_the_same_is_a_conflict_but_a_longer_one_is_not(room):
    room.grants.issue(PROJECT, "lung", room.tomorrow, room.steward)
    with pytest.raises(Conflict, match="already reads"):
        room.grants.issue(PROJECT, "lung", room.tomorrow - timedelta(hours=1), room.steward)
    room.grants.issue(PROJECT, "lung", room.tomorrow + timedelta(days=1), room.steward)


def test_a_withdrawal_works_without_the_record_and_is_recorded_when_asked_again(room):
    grant = room.grants.issue(PROJECT, "lung", room.tomorrow, room.steward)
    room.audit.available = False
    with pytest.raises(AuditUnavailable, match="is withdrawn, but that is not on the record"):
        room.grants.revoke(grant.id, room.steward)
    assert room.catalogue.grants.get(grant.id).revoked_at is not None
    assert room.mounts.refreshed == 2
    room.audit.available = True
    room.grants.revoke(grant.id, room.steward)
    assert room.audit.events()[-1] == "grant-revoked"


def test_an_unknown_grant_is_not_found(room):
    with pytest.raises(NotFound):
        room.grants.revoke(GrantId.new(), room.steward)


def test_a_session_opens_for_a_member_and_names_the_grants_of_now(room):
    grant = room.grants.issue(PROJECT, "lung", room.tomorrow, room.steward)
    session = room.sessions.open(room.rosa, PROJECT)
    assert room.sessions.view(session.id) == (session, [grant])
    last = room.audit.records[-1]
    assert (last["event"], last["session"], last["subject"]["grants"]) == ("session-opened", session.id, [grant.id])
    room.sessions.close(session.id)
    room.sessions.close(session.id)
    room.sessions.close(SessionId.new())
    assert room.audit.events().count("session-closed") == 1
    assert room.sessions.view(session.id)[1] == []


@pytest.mark.parametrize(("project", "code"), [("brain-mr", "no-project"), ("chest-ct", "no-member")])
def test_others_are_denied_on_the_record(room, project, code):
    with pytest.raises(Denied, match="ask"):
        room.sessions.open(room.steward, ProjectId(project))
    last = room.audit.records[-1]
    assert last["outcome"] == "denied"
    assert last["reason"].startswith(code)
    assert room.sessions.open_ones() == []


def test_an_ended_project_opens_no_session(room):
    ended = ProjectId("ended")
    room.projects.create(ended, "Ended", "Owner", datetime.now(UTC) - timedelta(days=1), room.steward)
    room.projects.sync_memberships(room.rosa, {ended: Role.RESEARCHER})
    with pytest.raises(Denied, match="ended on"):
        room.sessions.open(room.rosa, ended)


def test_no_session_without_a_record(room):
    room.audit.available = False
    with pytest.raises(AuditUnavailable):
        room.sessions.open(room.rosa, PROJECT)
    assert room.sessions.open_ones() == []
