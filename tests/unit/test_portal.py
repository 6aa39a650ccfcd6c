"""The portal's pages: who may see which, what they show, what is recorded, what a forged form gets."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from tests.support.portal import DOOR_KEY, ORIGIN, PortalWorld, make_world
from tests.support.room import PROJECT

from readingroom_hub.crypto.vouch import vouch
from readingroom_hub.model.audit import AuditEvent, AuditRecord, Outcome
from readingroom_hub.model.ids import SessionId
from readingroom_hub.model.project import Role
from readingroom_hub.ports.records import Filter, NodeState
from readingroom_hub.web.reads import READS, rows_of


@pytest.fixture
def world(tmp_path) -> PortalWorld:
    return make_world(tmp_path)


PAGES = ("/", "/reads", "/alerts", "/grants", "/datasets", "/projects")
EVERYTHING = dict.fromkeys(PAGES, 200)
NOTHING = dict.fromkeys(PAGES, 403) | {"/": 200}
TABLE = {
    Role.STEWARD: EVERYTHING,
    Role.AUDITOR: NOTHING | {"/reads": 200},
    Role.OWNER: NOTHING | {"/reads": 200},
    Role.RESEARCHER: NOTHING,
    Role.REVIEWER: NOTHING,
    Role.OUTPUT_CHECKER: NOTHING,
    Role.OPERATOR: NOTHING,
}


@pytest.mark.parametrize("role", Role)
def test_each_role_sees_its_pages_only(world, role):
    world.become(role)
    for page in PAGES:
        before = len(world.room.audit.records)
        answer = world.get(page)
        assert answer.status_code == TABLE[role][page], page
        refused = [r for r in world.room.audit.records[before:] if r["event"] == "request-refused"]
        assert len(refused) == (TABLE[role][page] == 403)
        if refused:
            assert refused[0]["subject"]["path"] == f"GET /services/portal{page}"
            assert refused[0]["person"] == world.room.steward
            assert "ask for the group rr-role-" in answer.text


def test_nobody_is_sent_to_sign_in(world):
    for page in PAGES:
        answer = world.get(page)
        assert (answer.status_code, answer.headers["location"]) == (302, "/hub/api/oauth2/authorize")


def test_every_answer_carries_the_headers_that_keep_scripts_out(world):
    world.become(Role.STEWARD)
    for path in ("/reads", "/no-such-page", "/static/readingroom.css", "/api/v1/session"):
        headers = world.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'"), path
        assert (headers["cache-control"], headers["x-frame-options"]) == ("no-store", "DENY")
    pages = "".join(world.get(p).text for p in PAGES)
    assert not re.search(r"<script|style=|\son[a-z]+=", pages)


def test_a_script_in_a_notebook_cannot_read_a_page(world):
    world.become(Role.STEWARD)
    answer = world.get("/grants", headers={"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"})
    assert answer.status_code == 403
    assert "request-refused" in world.room.audit.events()
    assert world.get("/grants", headers={"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}).status_code == 403


def give(world, **over) -> dict[str, str]:
    until = f"{datetime.now(UTC) + timedelta(days=30):%Y-%m-%d}"
    return {"token": world.token(), "project": PROJECT, "version": world.room.version.digest, "until": until} | over


def test_a_steward_gives_and_withdraws_access(world):
    world.become(Role.STEWARD)
    answer = world.post("/grants", give(world))
    assert (answer.status_code, answer.headers["location"]) == (303, "/services/portal/grants?done=given")
    (grant,) = world.room.catalogue.grants.all()
    assert grant.approved_by == world.room.steward
    assert f"{grant.ends_at:%H:%M:%S}" == "23:59:59", "to the end of the day that was chosen"
    page = world.get(f"/grants/{grant.id}/revoke")
    assert "Withdraw this access?" in page.text
    assert world.room.catalogue.grants.get(grant.id).revoked_at is None, "a look withdraws nothing"
    answer = world.post(f"/grants/{grant.id}/revoke", {"token": world.token()})
    assert answer.status_code == 303
    assert world.room.catalogue.grants.get(grant.id).revoked_by == world.room.steward
    assert world.room.mounts.refreshed == 2
    assert [e for e in world.room.audit.events() if e.startswith("grant")] == ["grant-issued", "grant-revoked"]
    assert "withdrawn" in world.get("/grants?done=withdrawn").text


FORGED = {
    "no token": ({"token": ""}, {}),
    "wrong token": ({"token": "0" * 64}, {}),
    "another site": ({}, {"Origin": "https://elsewhere.example"}),
    "cross-site": ({}, {"Sec-Fetch-Site": "cross-site"}),
}


@pytest.mark.parametrize("case", FORGED)
def test_a_forged_form_changes_nothing_and_is_recorded(world, case):
    fields, headers = FORGED[case]
    world.become(Role.STEWARD)
    answer = world.post("/grants", give(world, **fields), headers=headers)
    assert answer.status_code == 403
    assert "Open the page again" in answer.text
    assert world.room.catalogue.grants.all() == []
    assert world.room.audit.records[-1]["event"] == "request-refused"


def test_another_sign_ins_token_is_refused(world):
    world.become(Role.STEWARD, seal="one")
    form = give(world)
    world.become(Role.STEWARD, seal="two")
    assert world.post("/grants", form).status_code == 403


def test_a_researcher_with_a_good_token_cannot_give_access(world):
    world.become(Role.STEWARD)
    form = give(world)
    world.become(Role.RESEARCHER, person=world.room.rosa)
    assert world.post("/grants", form).status_code == 403
    assert world.room.catalogue.grants.all() == []


BAD_FORMS = {
    "no day": {"until": ""},
    "a day that is none": {"until": "tomorrow"},
    "past": {"until": "2020-01-01"},
    "unknown project": {"project": "no-such"},
    "no project": {"project": ""},
    "unknown version": {"version": "nothing"},
}


@pytest.mark.parametrize("case", BAD_FORMS)
def test_a_bad_form_says_so_and_keeps_what_was_written(world, case):
    world.become(Role.STEWARD)
    answer = world.post("/grants", give(world, **BAD_FORMS[case]))
    assert answer.status_code == 400
    assert "Nothing was changed" in answer.text
    assert world.room.catalogue.grants.all() == []


def test_only_a_form_of_reasonable_length_is_read(world):
    world.become(Role.STEWARD)
    assert world.post("/grants", give(world, project="x" * 20000)).status_code == 400
    answer = world.request("POST", "/grants", json={"token": world.token()})
    assert answer.status_code == 400


def records_of_a_read(world, *, finished: bool, earlier: bool = False) -> None:
    """`earlier`: as releases before `read-completed` left them."""
    room = world.room
    subject = {"dataset": "lung", "version": room.version.digest, "study": "1.2", "series": "1.2.3"}
    about = {"person": room.rosa, "project": PROJECT, "session": SessionId("s-" + "1" * 24)}
    intent = AuditRecord(AuditEvent.READ_INTENT, subject=subject | {"instances": 120, "bytes": 9000}, **about)
    one = subject | {"instance": "1.2.3.4", "intent": intent.id}
    claims = {"notebook": "<b>first.ipynb</b>"}
    records = [intent, AuditRecord(AuditEvent.INSTANCE_OPENED, subject=one, claims=claims, **about)]
    if finished:
        end = subject | {"intent": intent.id, "instances": 1, "bytes": 1500000}
        end |= {"closes": [["1.2.3.4", 1500000, 2000000, False]], "concluded": 1}
        last = AuditRecord(AuditEvent.READ_COMPLETED, subject=end, **about)
        if earlier:
            end = one | {"bytes": 1500000, "size": 2000000, "cached": False}
            last = AuditRecord(AuditEvent.INSTANCE_CLOSED, subject=end, **about)
        records.append(last)
    room.audit.append(records)


@pytest.mark.parametrize("earlier", [False, True], ids=["now", "earlier release"])
def test_the_record_shows_a_read_as_one_line_with_its_claims_as_claims(world, earlier):
    records_of_a_read(world, finished=True, earlier=earlier)
    world.become(Role.STEWARD)
    text = world.get("/reads").text
    assert text.count("<tr") == 2, "a head and one line"
    for part in ("Rosa Researcher", "lung@aaaaaaaaaaaa", "series 1.2.3", "1 of 120", "1.5 MB", "✓ success"):
        assert part in text
    assert "claimed by the notebook, not checked" in text
    assert f"first {len(world.room.audit.records) - 1} records" in text, "all but the record of this search"
    assert "&lt;b&gt;first.ipynb&lt;/b&gt;" in text
    assert world.room.audit.records[-1]["event"] == "record-searched"
    assert world.room.audit.records[-1]["person"] == world.room.steward


def test_a_read_without_its_end_is_possibly_all_of_it(world):
    records_of_a_read(world, finished=False)
    world.become(Role.STEWARD)
    text = world.get("/reads").text
    assert "possibly all of it" in text
    assert re.search(r"9\.0 kB<br>\s*<span[^>]*>at most", text), "all that the intent covers"


def test_the_record_says_what_it_does_not_have_yet(world):
    world.become(Role.STEWARD)
    assert "still on the way" not in world.get("/reads").text
    world.room.audit.nodes = (NodeState("node-1", 1, None),)
    text = world.get("/reads").text
    assert "1 record of node-1 is still on the way." in text
    assert "Reads may be missing here" not in text
    since = datetime(2027, 3, 31, 12, 0, 59, tzinfo=UTC)
    world.room.audit.nodes = (NodeState("node-1", 3, None), NodeState("node-2", 0, since))
    text = world.get("/reads").text
    assert "3 records of node-1 are still on the way." in text
    assert "Reads may be missing here" in text
    sentence = (
        "node-2 has not been heard since 2027-03-31 12:00 UTC: what was read there since then is not in here yet."
    )
    assert sentence in text


def test_records_that_are_missing_are_called_so(world):
    subject = {"service": "mount-daemon@node-1", "node": "node-1", "missing": {"e": [[3, 4]]}, "count": 2}
    reason = "records-missing: 2 records of mount-daemon@node-1"
    failure = AuditRecord(AuditEvent.INTEGRITY_FAILURE, Outcome.FAILURE, reason=reason, subject=subject)
    world.room.audit.append([failure])
    world.become(Role.STEWARD)
    text = world.get("/reads").text
    assert "records missing" in text
    assert "mount-daemon@node-1, 2 records" in text
    assert "damaged object" not in text


def test_a_gathered_end_is_as_many_ends_as_it_names(world):
    about = {"person": world.room.rosa, "project": PROJECT}
    subject = {"dataset": "lung", "version": world.room.version.digest, "study": "1.2", "series": "1.2.3"}
    intent = AuditRecord(AuditEvent.READ_INTENT, subject=subject | {"instances": 120, "bytes": 9000000}, **about)
    subject |= {"intent": intent.id}
    opens = [
        AuditRecord(AuditEvent.INSTANCE_OPENED, subject=subject | {"instance": f"1.2.3.{n}"}, **about) for n in range(3)
    ]
    closes = [["1.2.3.0", 1000000, 2000000, False], ["1.2.3.1", 500000, 2000000, True]]
    done = AuditRecord(AuditEvent.READ_COMPLETED, subject=subject | {"closes": closes}, **about)
    world.become(Role.STEWARD)

    def line(*records):
        world.room.audit.append(records)
        (row,) = rows_of(world.room.audit.query(Filter(events=READS), None))
        return row.tally.least, row.tally.most, row.tally.upper, row.is_open_ended, world.get("/reads").text

    *sums, open_ended, text = line(intent, *opens, done)
    assert (sums, open_ended) == ([1500000, 3000000, 9000000], True)
    assert "possibly all of it" in text
    closes = [["1.2.3.2", 7, 2000000, False]]
    *sums, open_ended, text = line(
        AuditRecord(AuditEvent.READ_COMPLETED, subject=subject | {"closes": closes}, **about)
    )
    assert (sums, open_ended) == ([1500007, 3000007, 9000000], True), "another open may not be on record"
    concluded = subject | {"closes": [], "concluded": 3}
    *sums, open_ended, text = line(AuditRecord(AuditEvent.READ_COMPLETED, subject=concluded, **about))
    assert (sums, open_ended) == ([1500007, 3000007, 3000007], False)
    assert "possibly all of it</span>" not in text
    assert "3 of 120" in text


def test_an_intent_that_is_concluded_is_not_exact_where_a_record_of_ends_is_missing(world):
    records_of_a_read(world, finished=True)
    last = world.room.audit.records[-1]
    assert last["event"] == "read-completed"
    last["subject"]["concluded"] = 2
    world.become(Role.STEWARD)
    assert "possibly all of it</span>" in world.get("/reads").text


def test_a_read_whose_beginning_is_not_shown_says_that_it_may_be_more(world):
    about = {"person": world.room.rosa, "project": PROJECT}
    subject = {"dataset": "lung", "version": world.room.version.digest, "study": "1.2", "series": "1.2.3"}
    early = datetime(2027, 3, 30, 23, 59, tzinfo=UTC)
    intent = AuditRecord(
        AuditEvent.READ_INTENT, subject=subject | {"instances": 120, "bytes": 9000}, time=early, **about
    )
    end = subject | {"intent": intent.id, "closes": [["1.2.3.4", 5000, 5000, False]], "concluded": 1}
    done = AuditRecord(AuditEvent.READ_COMPLETED, subject=end, time=early + timedelta(minutes=2), **about)
    world.room.audit.append([intent, done])
    world.become(Role.STEWARD)
    text = world.get("/reads?since=2027-03-31").text
    assert re.search(r"5\.0 kB<br>\s*<span[^>]*>at least", text)
    assert "… possibly more" in text
    assert "✓ success" not in text


def test_the_read_of_an_index_counts_no_instances(world):
    intent = AuditRecord(
        AuditEvent.READ_INTENT, Outcome.SUCCESS, world.room.rosa, PROJECT,
        subject={"dataset": "lung", "path": "index.csv", "instances": 0, "bytes": 9000},
    )  # fmt: skip
    world.room.audit.append([intent])
    world.become(Role.STEWARD)
    text = world.get("/reads").text
    assert "index.csv" in text
    assert "9.0 kB" in text
    assert not re.search(r"\b0 of 0\b", text)


def test_a_refusal_is_marked_by_more_than_its_colour(world):
    denied = AuditRecord(
        AuditEvent.READ_DENIED, Outcome.DENIED, world.room.rosa, PROJECT, reason="grant-ended: no grant any more",
        subject={"dataset": "lung", "path": "lung/1.2/1.2.3"},
    )  # fmt: skip
    world.room.audit.append([denied])
    world.become(Role.STEWARD)
    text = world.get("/reads?show=refused").text
    assert "✗ denied" in text
    assert "grant-ended: no grant any more" in text


FILTERS = {
    "?person=Rosa+Researcher": True,
    "?person=Sam+Steward": False,
    "?project=chest-ct": True,
    "?dataset=lung": True,
    "?dataset=brain": False,
    "?since=2020-01-01": True,
    "?until=2020-01-01": False,
}


@pytest.mark.parametrize("query", FILTERS)
def test_filters_narrow_the_record(world, query):
    records_of_a_read(world, finished=True)
    world.become(Role.STEWARD)
    answer = world.get("/reads" + query)
    assert answer.status_code == 200
    assert ("series 1.2.3" in answer.text) == FILTERS[query]


@pytest.mark.parametrize("query", ["?person=Nobody", "?since=yesterday", "?project=NOT+VALID", "?dataset=../x"])
def test_a_filter_that_cannot_be_used_says_so(world, query):
    world.become(Role.STEWARD)
    answer = world.get("/reads" + query)
    assert answer.status_code == 400
    assert 'role="alert"' in answer.text


def test_a_checkpoint_without_the_logs_signature_is_called_out(world):
    world.become(Role.STEWARD)
    assert "is not signed by the log" in world.get("/reads").text


def test_without_the_audit_record_there_is_no_page(world):
    world.become(Role.STEWARD)
    world.room.audit.available = False
    answer = world.get("/reads")
    assert answer.status_code == 503
    assert "audit record repository does not answer" in answer.text


def test_access_can_be_withdrawn_even_then(world):
    grant = world.room.grants.issue(PROJECT, "lung", datetime(2099, 3, 31, tzinfo=UTC), world.room.steward)
    world.become(Role.STEWARD)
    world.room.audit.available = False
    answer = world.post(f"/grants/{grant.id}/revoke", {"token": world.token()})
    assert answer.status_code == 503
    assert "is withdrawn, but that is not on the record" in answer.text
    assert world.room.catalogue.grants.get(grant.id).revoked_at is not None


def test_names_that_are_erased_are_not_made_up(world):
    world.become(Role.STEWARD)
    world.room.audit._people.clear()
    assert "(no name)" in world.get("/projects").text


# The session API: what the notebook's side reads. Both wings read the golden file.


def open_session(world):
    world.room.grants.issue(PROJECT, "lung", datetime(2099, 3, 31, tzinfo=UTC), world.room.steward)
    return world.room.sessions.open(world.room.rosa, PROJECT)


def ask(world, name: str, code: str):
    return world.get("/api/v1/session", headers={"X-Readingroom-Session": name, "X-Readingroom-Vouch": code})


def test_a_door_learns_about_its_session_in_the_golden_form(world, pytestconfig):
    session = open_session(world)
    answer = ask(world, session.id, vouch(DOOR_KEY, session.id))
    assert answer.status_code == 200
    found = answer.json()
    golden = json.loads((pytestconfig.rootpath / "tests/contract/wire/session.json").read_text())
    assert datetime.fromisoformat(found["expires_at"]) == session.expires_at
    assert found | {"session": golden["session"], "expires_at": golden["expires_at"]} == golden
    assert list(found) == list(golden)
    assert list(found["datasets"][0]) == list(golden["datasets"][0])


def test_a_door_that_does_not_vouch_learns_nothing_and_is_recorded(world):
    session = open_session(world)
    other = SessionId.new()
    for name, code in ((session.id, "00" * 32), (session.id, "junk"), (session.id, vouch(DOOR_KEY, other))):
        answer = ask(world, name, code)
        assert (answer.status_code, list(answer.json())) == (403, ["error"])
        assert world.room.audit.records[-1]["event"] == "request-refused"
    assert ask(world, "nonsense", "00").status_code == 403
    assert ask(world, other, vouch(DOOR_KEY, other)).status_code == 403
    assert world.get("/api/v1/session").status_code == 400


def test_a_closed_session_knows_nothing_more(world):
    session = open_session(world)
    world.room.sessions.close(session.id)
    assert ask(world, session.id, vouch(DOOR_KEY, session.id)).status_code == 403


def test_a_revoked_grant_leaves_the_session(world):
    session = open_session(world)
    (grant,) = world.room.catalogue.grants.all()
    world.room.grants.revoke(grant.id, world.room.steward)
    assert ask(world, session.id, vouch(DOOR_KEY, session.id)).json()["datasets"] == []


def test_origin_is_the_public_one(world):
    world.become(Role.STEWARD)
    assert world.post("/grants", give(world), headers={"Origin": ORIGIN}).status_code == 303
