"""Homes and project folders of real sandboxes in real vaults: what the members see, what the disk shows afterwards."""

import json
import os
import secrets
import shutil

import psutil
import pytest
from tests.support.house import LUNG, OMAR, ROSA, open_house
from tests.support.mount_process import soon
from tests.support.planted import holds
from tests.support.sandbox_runner import log_of

from readingroom_hub.errors import AuditUnavailable, IntegrityError, StoreUnavailable
from readingroom_hub.model.ids import SessionId, VaultId
from readingroom_hub.mount import mounting
from readingroom_hub.sandbox.servers import Running, Servers

pytestmark = [
    pytest.mark.sandbox,
    pytest.mark.filterwarnings("ignore::readingroom_hub.adapters.keys_file.DevelopmentCustodyWarning"),
]
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives each server an account and an image")


@pytest.fixture
def house():
    with open_house() as made:
        yield made


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


def test_a_vault_that_a_program_made_lead_elsewhere_is_refused(house, tmp_path):
    session = house.session(ROSA)
    house.homes.open(session)
    content = house.content(VaultId.shared(LUNG))
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
