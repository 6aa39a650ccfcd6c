"""Homes and project folders of real sandboxes in real vaults: what the members see, what the disk shows afterwards."""

import json
import os
import secrets
import shutil
import sys
import tempfile
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest
from tests.support.fakes import MemoryAuditRepository
from tests.support.mount_process import soon
from tests.support.planted import holds
from tests.support.sandbox_runner import close_all, homes_of, log_of, order, run, settings
from tests.support.views import kill_gocryptfs

from readingroom_hub import compose
from readingroom_hub.adapters.keys_file import FileKeyCustody
from readingroom_hub.errors import AuditUnavailable, IntegrityError, KeyUnavailable, StoreUnavailable
from readingroom_hub.model.ids import PersonId, ProjectId, SessionId, VaultId
from readingroom_hub.model.session import Session
from readingroom_hub.mount import mounting
from readingroom_hub.mount.homes import Homes
from readingroom_hub.mount.vaults import FSTYPE
from readingroom_hub.ports.mounts import CONTENT
from readingroom_hub.sandbox.servers import Running, Servers

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.filterwarnings("ignore::readingroom_hub.adapters.keys_file.DevelopmentCustodyWarning"),
]
LUNG = ProjectId("lung")
ROSA, OMAR = PersonId("p-" + "a" * 64), PersonId("p-" + "b" * 64)
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives each server an account and an image")


class House:
    """Vaults below one state folder, and servers that use them."""

    def __init__(self, state: Path) -> None:
        self.settings = settings(state)
        self.audit = MemoryAuditRepository()
        self.homes = self.again()
        self.homes.start([])

    def again(self) -> Homes:
        """What a restarted mount daemon has."""
        return homes_of(self.settings, self.audit)

    def content(self, vault: VaultId) -> Path:
        """What is in an open vault."""
        return self.settings.paths.vaults / vault / "outer" / CONTENT

    def session(self, person: PersonId, project: ProjectId = LUNG) -> Session:
        now = datetime.now(UTC)
        return Session(SessionId.new(), person, project, now, now + timedelta(hours=1))

    def order(self, session: Session, script: str):
        return order(
            self.settings, [sys.executable, "-I", "-c", script], user=session.person.hub_name, session=session.id,
            project=session.project, person=session.person, homes=self.homes,
        )  # fmt: skip

    def run(self, person: PersonId, script: str) -> str:
        """What the script says in a server of its own; everything is closed again."""
        session = self.session(person)
        try:
            return run(
                self.settings, [sys.executable, "-I", "-c", script], user=person.hub_name, session=session.id,
                person=person, homes=self.homes,
            )  # fmt: skip
        finally:
            self.homes.close(session.id)

    @property
    def open_views(self) -> list[str]:
        points = mounting.mount_points(self.settings.paths.vaults, FSTYPE)
        return sorted(point.parents[1].name for point, _ in points)


@pytest.fixture
def house():
    with tempfile.TemporaryDirectory(prefix="readingroom-homes-") as folder:
        house = House(Path(folder))
        yield house
        close_all(house.settings)
        assert house.open_views == []
        assert folder not in Path("/proc/mounts").read_text()


WRITE = """
import os
for name in ("{home}", "{project}"):
    with open(name, "w") as file:
        file.write("{planted}" * 1000)
print(oct(os.umask(0)), "written")
"""
HOME, PROJECT = "/home/researcher/{}.txt", "/project/{}.txt"


def test_members_share_the_project_and_keep_their_homes_and_a_closed_disk_shows_neither(house):
    planted = secrets.token_hex(16)
    home, project = HOME.format(planted), PROJECT.format(planted)
    told = house.run(ROSA, WRITE.format(home=home, project=project, planted=planted))
    assert "written" in told, told
    assert house.open_views == []
    for path in house.settings.state.rglob("*"):
        assert planted not in path.name
        assert not path.is_file() or not holds(path, planted.encode()), path
    assert str(house.settings.state) not in house.run(ROSA, "print(open('/proc/mounts').read())")
    look = f"import os; print([os.path.exists(p) for p in ({home!r}, {project!r})], len(open({project!r}).read()))"
    assert "[False, True] 32000" in house.run(OMAR, look)
    assert "[True, True] 32000" in house.run(ROSA, look)
    change = f"import os; open({project!r}, 'a').write('and Omar'); print(oct(os.stat({project!r}).st_mode))"
    assert "0o100660" in house.run(OMAR, change)
    assert "[True, True] 32008" in house.run(ROSA, look)
    made = [r["subject"]["vault"] for r in house.audit.records if r["event"] == "key-created"]
    assert sorted(made) == sorted([VaultId.home(ROSA, LUNG), VaultId.shared(LUNG), VaultId.home(OMAR, LUNG)])


WAIT = """
import os, time
open("/home/researcher/mine", "w").write("x")
print("ready", flush=True)
while not os.path.exists("/project/go"):
    time.sleep(0.02)
print("seen", open("/home/researcher/mine").read(), flush=True)
"""


def test_views_stay_for_running_servers_when_the_daemon_is_replaced_and_go_with_the_last(house):
    servers = Servers(house.settings)
    rosa, omar = house.session(ROSA), house.session(OMAR)
    running = [servers.start(house.order(s, WAIT)) for s in (rosa, omar)]
    try:
        soon(lambda: all("ready" in log_of(house.settings, s.id) for s in (rosa, omar)))
        assert len(house.open_views) == 3
        house.homes = house.again()
        house.homes.start([rosa, omar])
        assert len(house.open_views) == 3
        (house.content(VaultId.shared(LUNG)) / "project/go").touch()
        soon(lambda: all("seen x" in log_of(house.settings, s.id) for s in (rosa, omar)))
    finally:
        for one in running:
            servers.stop(one)
    house.homes.close(rosa.id)
    assert house.open_views == [VaultId.home(OMAR, LUNG), VaultId.shared(LUNG)]
    house.homes.close(omar.id)
    assert house.open_views == []


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
    told = house.homes.news()
    assert [said for session, said in told if session == rosa.id] == [said for s, said in told if s == omar.id]
    assert len(told) == 4
    assert house.homes.news() == []
    for session in (rosa, omar):
        house.homes.close(session.id)
    assert events(house, SHARED) == [LOST, LOST, BACK, BACK]


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


def test_a_vault_that_a_program_made_lead_elsewhere_is_refused(house, tmp_path):
    session = house.session(ROSA)
    house.homes.open(session)
    content = house.content(SHARED)
    (tmp_path / "elsewhere").mkdir()
    content.rmdir()
    content.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(IntegrityError, match="is a link where a folder was"):
        house.homes.open(session)
    content.unlink()
    house.homes.open(session)
    (content / "project").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(IntegrityError, match="project is a link where a folder was"):
        Servers(house.settings).start(house.order(session, ""))
    assert list((tmp_path / "elsewhere").iterdir()) == []
    house.homes.close(session.id)


def test_a_view_in_use_is_closed_once_it_is_not(house, monkeypatch):
    monkeypatch.setattr("readingroom_hub.mount.homes.LEAVE_SECONDS", 0.1)
    session = house.session(ROSA)
    house.homes.open(session)
    late = house.content(VaultId.home(ROSA, LUNG)) / "late"
    with late.open("w") as file:
        house.homes.close(session.id)
        file.write("kept")
    house.homes.tidy()
    assert house.open_views == []
    house.homes.open(session)
    assert late.read_text() == "kept"
    house.homes.close(session.id)


def test_no_record_no_vault(house):
    session = house.session(ROSA)
    house.audit.available = False
    with pytest.raises(AuditUnavailable):
        house.homes.open(session)
    assert not list(house.settings.paths.vaults.glob("*/key.json"))
    assert not list(house.settings.paths.vaults.glob("*/cipher"))
    house.audit.available = True
    house.homes.open(session)
    house.homes.close(session.id)


def test_a_damaged_key_is_refused_on_the_record_and_nothing_is_written_in_clear(house):
    session = house.session(ROSA)
    house.homes.open(session)
    house.homes.close(session.id)
    key = house.settings.paths.vaults / VaultId.home(ROSA, LUNG) / "key.json"
    key.write_text("{}")
    with pytest.raises(IntegrityError, match="damaged; restore it from its backup"):
        house.homes.open(session)
    (row,) = [r for r in house.audit.records if r["event"] == "integrity-failure"]
    assert row["subject"] == {"vault": VaultId.home(ROSA, LUNG)}
    assert row["session"] == session.id
    assert not house.content(VaultId.home(ROSA, LUNG)).exists()
    house.homes.close(session.id)


@root_only
def test_what_an_earlier_release_left_in_clear_is_moved_in(house):
    paths = house.settings.paths
    house.run(ROSA, WRITE.format(home=HOME.format("old"), project=PROJECT.format("old"), planted="old"))
    session = house.session(ROSA)
    house.homes.open(session)
    home, project = house.content(VaultId.home(ROSA, LUNG)), house.content(VaultId.shared(LUNG))
    mounting.leave(home.parents[1] / "researcher")
    clear_home, clear_project = paths.homes / ROSA.hub_name / LUNG, paths.shared / LUNG
    for folder in (clear_home, clear_project.parent):
        folder.mkdir(parents=True)
    shutil.move(home / "home.ext4", clear_home.with_suffix(".ext4"))
    shutil.move(project / "project", clear_project)
    before = (clear_project / "old.txt").stat()
    # A server that an older hub started writes there, and so do those that are started beside it.
    old = Running(SessionId.new(), os.getpid(), psutil.Process().create_time(), 1, ())
    note = paths.run / "doors" / f"{old.session}.json"
    note.write_text(json.dumps(old.to_state()))
    house.run(OMAR, "open('/project/beside.txt', 'w').close()")
    assert (clear_project / "beside.txt").exists()
    assert not (project / "project").exists()
    note.unlink()
    (project / "project.new").mkdir()  # of a start that was killed
    look = "import os; print(sorted(os.listdir('/project')), os.path.exists('/home/researcher/old.txt'))"
    assert "['beside.txt', 'old.txt'] True" in house.run(ROSA, look)
    assert list(paths.homes.rglob("*")) == [paths.homes / ROSA.hub_name]
    assert list(paths.shared.iterdir()) == []
    after = (project / "project/old.txt").stat()
    kept = ("st_uid", "st_gid", "st_mode", "st_size", "st_mtime_ns")
    assert [getattr(after, n) for n in kept] == [getattr(before, n) for n in kept]
    clear_project.mkdir()
    with pytest.raises(StoreUnavailable, match="beside the vault"):
        house.run(ROSA, look)
    house.homes.close(session.id)
