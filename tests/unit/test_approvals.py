"""Two people approve what destroys for ever, each signed in: asked for at a terminal, read and given in the portal."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.fakes import MemoryAuditRepository
from tests.support.mount_world import World
from tests.support.portal import PortalWorld, make_world
from typer.testing import CliRunner

from readingroom_hub import compose
from readingroom_hub.cli.main import app
from readingroom_hub.errors import BadInput, Conflict, Denied, NotFound
from readingroom_hub.model.approval import LASTS, Act, State
from readingroom_hub.model.dataset import WrappedKey
from readingroom_hub.model.ids import ApprovalId, PersonId
from readingroom_hub.model.project import Role
from readingroom_hub.services.approvals import Approvals

pytestmark = pytest.mark.filterwarnings("ignore::readingroom_hub.adapters.keys_file.DevelopmentCustodyWarning")
NOW = datetime(2027, 3, 1, tzinfo=UTC)


@pytest.fixture
def world(tmp_path, monkeypatch) -> PortalWorld:
    made = make_world(tmp_path / "state")
    monkeypatch.setenv("READINGROOM_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(compose, "audit", lambda settings, process: made.room.audit)
    return made


def run(*argv):
    done = CliRunner().invoke(app, [str(a) for a in argv])
    return done.exit_code, re.sub(r"\s+", " ", done.output)


def steward(world, name):
    person = world.room.audit.identify("https://idp", name.lower(), name)
    world.become(Role.STEWARD, person=person, seal=name)
    return person


def act(world, id, what):
    answer = world.post(
        f"/approvals/{id}/{what}", {"token": world.token()}, headers={"Origin": "https://localhost:8443"}
    )
    return answer.status_code, re.sub(r"\s+", " ", answer.text)


def last(world):
    return [r for r in world.room.audit.records if r["event"] != "record-searched"][-1]


def test_a_version_is_deleted_once_two_stewards_approved_it_in_the_portal(world):
    label = world.room.version.label
    code, said = run("dataset", "delete", label)
    assert (code, "nobody was asked to approve this" in said) == (1, True)
    assert last(world)["reason"].startswith("not-approved: nobody was asked")
    code, said = run("dataset", "delete", label, "--ask", "the study is over")
    assert code == 0, said
    id = re.search(r"/services/portal/approvals/(a-[0-9a-f]{24})", said)[1]
    assert "asked for already" in run("dataset", "delete", label, "--ask", "again")[1]

    for count, name in enumerate(("Sam", "Olga")):
        assert f"{count} of 2 data stewards have approved" in run("dataset", "delete", label)[1]
        steward(world, name)
        assert f"{count} of 2 approved" in world.get("/approvals").text
        page = world.get(f"/approvals/{id}").text
        assert f"<li>{label}: 1 images of project chest-ct</li>" in page
        assert "the study is over" in page
        assert act(world, id, "give")[0] == 303
        assert "I have read it and approve it" not in world.get(f"/approvals/{id}").text
    assert "approved, not done yet" in world.get("/approvals").text
    assert "Approved by Sam and Olga." in world.get("/approvals").text

    code, said = run("dataset", "delete", label)
    assert (code, "is deleted" in said) == (0, True), said
    people = [p.person for name in ("Sam", "Olga") for p in world.room.audit.people(name)]
    deleted = last(world)
    assert (deleted["event"], deleted["subject"]["approval"]) == ("version-deleted", id)
    assert deleted["subject"]["approved_by"] == sorted(people)
    assert "Nothing waits for approval" in world.get("/approvals").text
    status, text = act(world, id, "give")
    assert (status, "this is done" in text) == (403, True)


def test_a_key_is_destroyed_by_the_two_who_approved_it_and_only_what_they_read(world, tmp_path, monkeypatch):
    monkeypatch.setenv("READINGROOM_STATE", str(tmp_path / "keys"))
    store, approvals = World(tmp_path / "keys"), Approvals(world.room.audit)
    first = store.publish(store.project("lung"), "lung-ct")
    kek = store.catalogue.versions.key(first.version.key).kek
    destroy = ("key", "destroy", kek, "--receipt", tmp_path / "receipt.json")
    assert "is active" in run(*destroy, "--ask", "the data must go")[1]
    run("key", "rotate")
    people = [steward(world, name) for name in ("Sam", "Olga")]
    for _ in range(2):
        assert run(*destroy, "--ask", "the data must go")[0] == 0
        asked = approvals.all(people[0])[0]
        for person in people:
            approvals.give(asked.id, person)
        if asked.concerns == (f"{first.version.label}: 3 images of project lung",):
            other = store.publish(store.project("chest"), "chest-ct", seed=2)
            wrapped = store.catalogue.versions.key(other.version.key).wrapped
            store.catalogue.versions.rewrap(WrappedKey(other.version.key, kek, wrapped))  # as if it had been missed
            code, said = run(*destroy)
            assert (code, "is not what was approved any more" in said) == (1, True)
            assert not (tmp_path / "receipt.json").exists()
            approvals.decline(asked.id, people[0])
    assert run(*destroy)[0] == 0
    receipt = json.loads((tmp_path / "receipt.json").read_text())["receipt"]
    assert {v["version"] for v in receipt["unreadable"]} == {first.version.digest, other.version.digest}
    assert receipt["approved_by"] == sorted(people)
    assert [a.state(datetime.now(UTC)) for a in approvals.all(people[0])] == [State.DONE, State.DECLINED]


@pytest.mark.parametrize("what", ["share", "keep"])
def test_a_version_leaves_and_a_crosswalk_is_kept_by_two_who_signed_in(world, tmp_path, monkeypatch, what):
    here, there = World(tmp_path / "here"), World(tmp_path / "there")
    theirs = compose.sharing(there.settings, world.room.audit).institution()
    (file := tmp_path / "theirs.pub").write_text(theirs.to_text())
    monkeypatch.setenv("READINGROOM_STATE", str(tmp_path / "here"))
    label = here.publish(here.project("lung"), "lung-ct").version.label
    command, event, reads = {
        "share": (("dataset", "share", label, "--to", file, "--out", tmp_path / "a"), "dataset-shared", theirs.spoken),
        "keep": (
            ("crosswalk", "keep", "lung"),
            "crosswalk-changed",
            "who stands behind each pseudonym of project lung",
        ),
    }[what]
    assert "nobody was asked to approve this" in run(*command)[1]
    assert run(*command, "--ask", "a joint study")[0] == 0
    (asked,) = Approvals(world.room.audit).all(world.room.steward)
    for name in ("Sam", "Olga"):
        assert run(*command)[0] == 1
        steward(world, name)
        assert reads in world.get(f"/approvals/{asked.id}").text
        assert act(world, asked.id, "give")[0] == 303
    code, said = run(*command)
    assert code == 0, said
    assert (last(world)["event"], last(world)["subject"]["approval"]) == (event, asked.id)
    assert ">done<" in world.get("/approvals").text
    if what == "share":
        assert (tmp_path / "a").stat().st_size > 73_000
        assert "nobody was asked to approve this" in run(*command[:-1], tmp_path / "b")[1]


def test_names_on_the_command_line_count_only_where_the_institution_chose_that(world, monkeypatch):
    label, named = world.room.version.label, ["--approved-by", "Sam Steward", "--approved-by", "Rosa Researcher"]
    code, said = run("dataset", "delete", label, *named)
    assert (code, "do so themselves, in the portal" in said) == (1, True)
    assert (last(world)["event"], last(world)["outcome"]) == ("request-refused", "denied")
    monkeypatch.setenv("READINGROOM_APPROVALS", "command-line")
    assert "approvers are named here" in run("dataset", "delete", label, "--ask", "why")[1]
    assert run("dataset", "delete", label, *named)[0] == 0
    assert "approval" not in last(world)["subject"]
    monkeypatch.setenv("READINGROOM_APPROVALS", "nobody")
    assert "write portal or command-line" in run("dataset", "delete", label, *named)[1]


def test_only_stewards_approve_and_only_on_the_portals_own_pages(world):
    run("dataset", "delete", world.room.version.label, "--ask", "over")
    id = Approvals(world.room.audit).all(world.room.steward)[0].id
    steward(world, "Sam")
    assert world.post(f"/approvals/{id}/give", {"token": "0" * 64}).status_code == 403
    assert last(world)["reason"].startswith("page-refused")
    token = world.token()
    world.become(Role.RESEARCHER, Role.OWNER, Role.OPERATOR, person=world.room.rosa, seal="Sam")
    for path in ("/approvals", f"/approvals/{id}"):
        assert world.get(path).status_code == 403
    for what in ("give", "decline"):
        assert world.post(f"/approvals/{id}/{what}", {"token": token}).status_code == 403
        assert last(world)["reason"].startswith("page-refused: This page is for stewards")
    assert world.room.audit.events().count("approval-given") == 0
    steward(world, "Sam")
    assert world.get("/approvals/a-" + "0" * 24).status_code == 404
    assert world.get("/approvals/nonsense").status_code == 400
    assert act(world, id, "decline")[0] == 303
    assert "Declined by Sam." in world.get("/approvals").text
    assert run("dataset", "delete", world.room.version.label)[0] == 1
    world.room.audit.available = False
    assert world.get("/approvals").status_code == 503


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


def book():
    audit, clock = MemoryAuditRepository(), Clock()
    people = [audit.identify("https://idp", name, name) for name in ("asker", "a", "b", "c")]
    return Approvals(audit, clock), audit, clock, people


def ask(approvals, by):
    return approvals.ask(Act.DELETE_VERSION, "sha256:" + "a" * 64, ["lung@aaaa"], "over", by)


@pytest.mark.parametrize(
    ("before", "who", "says"),
    [
        ("", 0, "you asked for this yourself"),
        ("give", 1, "you have approved this already"),
        ("decline", 2, "was declined"),
        ("wait", 1, "was not approved in time"),
    ],
)
def test_what_counts_for_nothing_is_refused_and_on_the_record(before, who, says):
    approvals, audit, clock, people = book()
    id = ask(approvals, people[0]).id
    if before == "wait":
        clock.now += LASTS
    elif before:
        getattr(approvals, before)(id, people[1])
    with pytest.raises(Denied, match=says):
        approvals.give(id, people[who])
    refused = audit.records[-1]
    assert (refused["event"], refused["person"]) == ("request-refused", people[who])
    assert says in refused["reason"]


def test_asking_needs_a_reason_and_an_id_that_is_there():
    approvals, _, _, people = book()
    with pytest.raises(BadInput, match="say why"):
        approvals.ask(Act.DESTROY_KEY, "kek-1", [], " ", people[0])
    ask(approvals, people[0])
    with pytest.raises(Conflict, match="asked for already"):
        ask(approvals, people[1])
    with pytest.raises(NotFound):
        approvals.give(ApprovalId.new(), people[1])


STEPS = st.lists(st.tuples(st.sampled_from(["give", "give", "decline", "wait"]), st.integers(0, 3)), max_size=8)


@settings(max_examples=40)
@given(STEPS)
def test_it_is_approved_exactly_when_two_others_said_so_in_time_and_nobody_declined(steps):
    approvals, _, clock, people = book()
    asked = ask(approvals, people[0])
    gave: set[PersonId] = set()
    declined = False
    for what, who in steps:
        if what == "wait":
            clock.now += timedelta(hours=30)
            continue
        alive = not declined and clock.now < NOW + LASTS
        allowed = alive and (what == "decline" or (who != 0 and people[who] not in gave))
        try:
            getattr(approvals, what)(asked.id, people[who])
        except Denied:
            assert not allowed
        else:
            assert allowed
            declined = declined or what == "decline"
            gave |= {people[who]} if what == "give" else set()
    try:
        found = approvals.approved(asked.act, asked.target, asked.concerns, people[0])
    except Denied:
        found = None
    assert (found is not None) == (len(gave) >= 2 and not declined and clock.now < NOW + LASTS)
    assert found is None or set(found.given_by) == gave
