"""Home and project folders whose gocryptfs ends: who is told, what comes back, and what does not."""

import os
import shutil
import threading
from pathlib import Path

import pytest
from tests.support.house import LUNG, OMAR, ROSA, open_house
from tests.support.mount_process import soon
from tests.support.views import kill_gocryptfs

from readingroom_hub import compose
from readingroom_hub.adapters.keys_file import FileKeyCustody
from readingroom_hub.errors import KeyUnavailable, StoreUnavailable
from readingroom_hub.model.ids import VaultId

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.filterwarnings("ignore::readingroom_hub.adapters.keys_file.DevelopmentCustodyWarning"),
]


@pytest.fixture
def house():
    with open_house() as made:
        yield made


def lose(house, vault):
    kill_gocryptfs(house.content(vault).parent)


def events(house, vault):
    """What happened to a vault's view, by the record."""
    told = ("service-stopped", "service-started", "integrity-failure")
    rows = [r for r in house.audit.records if r["event"] in told and r["subject"]["vault"] == vault]
    return [(r["event"], r["outcome"], r.get("reason", "").partition(":")[0]) for r in rows]


LOST, BACK = ("service-stopped", "failure", "view-lost"), ("service-started", "success", "")
SHARED = VaultId.shared(LUNG)


def test_a_lost_view_is_told_once_to_each_session_that_uses_it(house):
    rosa, omar = house.session(ROSA), house.session(OMAR)
    for session in (rosa, omar):
        house.homes.open(session)
    lose(house, SHARED)
    house.homes.look()
    soon(lambda: events(house, SHARED) == [LOST, LOST, BACK, BACK])
    house.homes.look()
    assert sorted({r["session"] for r in house.audit.records if r["event"] == "service-stopped"}) == sorted(
        [rosa.id, omar.id]
    )
    soon(lambda: not house.homes._returning)
    told = house.homes.news()
    assert [said for session, said in told if session == rosa.id] == [said for s, said in told if s == omar.id]
    assert len(told) == 4
    assert house.homes.news() == []
    for session in (rosa, omar):
        house.homes.close(session.id)
    assert events(house, SHARED) == [LOST, LOST, BACK, BACK]


def test_a_view_that_is_lost_while_a_server_starts_ends_its_start_with_a_sentence(house):
    session = house.session(ROSA)
    house.homes.open(session)
    lose(house, VaultId.home(ROSA, LUNG))
    if os.geteuid() == 0:
        with pytest.raises(StoreUnavailable, match=r"cannot be read: .* try again"):
            house.homes.show_home(session)
    house.homes.look()
    soon(lambda: events(house, VaultId.home(ROSA, LUNG)) == [LOST, BACK])
    house.homes.show_home(session)
    house.homes.close(session.id)


def test_a_start_brings_a_lost_view_back_and_tells_those_who_lost_it(house):
    rosa, omar = house.session(ROSA), house.session(OMAR)
    house.homes.open(rosa)
    lose(house, SHARED)
    house.homes.open(omar)
    assert events(house, SHARED) == [LOST, BACK]
    assert {session for session, _ in house.homes.news()} == {rosa.id}
    for session in (rosa, omar):
        house.homes.close(session.id)


def test_a_vault_that_hangs_holds_up_no_other(house, monkeypatch):
    rosa, again, home = house.session(ROSA), house.session(ROSA), VaultId.home(ROSA, LUNG)
    house.homes.open(rosa)
    monkeypatch.setattr("readingroom_hub.mount.homes.LEAVE_SECONDS", 0.1)
    go_on, waited, unwrap = threading.Event(), [], FileKeyCustody.unwrap

    def slow(custody, key):
        if key.id == hanging:
            waited.append(go_on.wait(20))
        return unwrap(custody, key)

    hanging = compose.vault_keys(house.settings).get(home).id
    monkeypatch.setattr(FileKeyCustody, "unwrap", slow)
    lose(house, home)
    opening = threading.Thread(target=house.homes.open, args=(again,))
    opening.start()
    soon(lambda: events(house, home) == [LOST])
    lose(house, SHARED)
    house.homes.look()
    soon(lambda: events(house, SHARED) == [LOST, LOST, BACK, BACK])
    house.homes.close(rosa.id)
    assert (events(house, home), waited) == ([LOST], [])
    go_on.set()
    opening.join()
    assert events(house, home) == [LOST, BACK]
    house.homes.close(again.id)


def test_a_view_that_ends_again_and_again_is_given_up_once_and_a_start_tries_anew(house):
    house.homes._pauses = (0, 0)
    session = house.session(ROSA)
    house.homes.open(session)
    for times in (1, 2):
        lose(house, SHARED)
        house.homes.look()
        soon(lambda: events(house, SHARED) == [LOST, BACK] * times)  # noqa: B023  # waited for here
    house.homes.news()
    lose(house, SHARED)
    for _ in range(3):
        house.homes.look()
        soon(lambda: not house.homes._returning)
    assert events(house, SHARED)[4:] == [LOST, ("service-started", "failure", "vault-closed")]
    assert "ends again and again): ask the operator, or start your server again" in house.homes.news()[-1][1]
    house.homes.open(house.session(OMAR))
    assert events(house, SHARED)[6:] == [BACK]
    assert "is back" in house.homes.news()[-1][1]
    house.homes.close(session.id)


def test_what_does_not_open_is_tried_again_and_comes_back_with_its_reason_gone(house, monkeypatch):
    house.homes._pauses = (0, 0, 0, 0)
    session = house.session(ROSA)
    house.homes.open(session)
    failures, unwrap = iter("ab"), FileKeyCustody.unwrap

    def away(custody, key):
        if next(failures, None):
            raise KeyUnavailable("key custody does not answer")
        return unwrap(custody, key)

    monkeypatch.setattr(FileKeyCustody, "unwrap", away)
    lose(house, SHARED)
    house.homes.look()
    soon(lambda: events(house, SHARED) == [LOST, BACK])
    assert next(failures, None) is None
    house.homes.close(session.id)


def test_a_lost_view_whose_key_is_damaged_is_on_the_record_and_no_key_is_made(house):
    session = house.session(ROSA)
    house.homes.open(session)
    key = house.settings.paths.vaults / SHARED / "key.json"
    kept = key.read_bytes()
    for damage, word in ((lambda: key.write_text("{}"), "damaged"), (lambda: _empty(key.parent), "nothing is left")):
        made = len(house.audit.records)
        damage()
        lose(house, SHARED)
        house.homes.look()
        soon(lambda: not house.homes._returning)
        assert events(house, SHARED)[-2:] == [LOST, ("integrity-failure", "failure", "damaged")]
        assert word in house.audit.records[-1]["reason"]
        assert "key-created" not in [r["event"] for r in house.audit.records[made:]]
        if word == "damaged":
            key.write_bytes(kept)
            house.run(OMAR, "print('works')")
    house.homes.close(session.id)


def _empty(vault: Path) -> None:
    (vault / "key.json").unlink()
    shutil.rmtree(vault / "cipher")


def test_no_record_no_return(house):
    session = house.session(ROSA)
    house.homes.open(session)
    house.audit.available = False
    lose(house, SHARED)
    house.homes.look()
    soon(lambda: not house.homes._returning)
    assert house.homes._vaults.ended(SHARED)
    assert house.homes.news() == []
    house.audit.available = True
    house.homes.look()
    soon(lambda: events(house, SHARED) == [LOST, BACK])
    house.homes.close(session.id)
