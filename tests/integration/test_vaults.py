"""Vaults under real gocryptfs: what is on disk, and what becomes of it when keys, processes and disks fail."""

import os
import secrets
import shutil
import subprocess
from pathlib import Path

import psutil
import pytest
from tests.support.planted import holds
from tests.support.views import kill_gocryptfs

from readingroom_hub.adapters.keys_file import FileKeyCustody
from readingroom_hub.adapters.vault_keys_dir import DirectoryVaultKeys
from readingroom_hub.errors import BadInput, Conflict, IntegrityError, KeyUnavailable, StoreUnavailable
from readingroom_hub.model.ids import PersonId, ProjectId, VaultId
from readingroom_hub.mount import mounting
from readingroom_hub.mount.mounting import mount_points
from readingroom_hub.mount.vaults import FSTYPE, Vaults

pytestmark = pytest.mark.filterwarnings("ignore::readingroom_hub.adapters.keys_file.DevelopmentCustodyWarning")
HOME = VaultId.home(PersonId("p-" + "a" * 64), ProjectId("lung"))
SHARED = VaultId.shared(ProjectId("lung"))


class Keeper:
    """Vaults with their keys and custody below one state folder; `again` is what a restarted daemon has."""

    def __init__(self, state: Path) -> None:
        self.folder = state / "vaults"
        self.keys = DirectoryVaultKeys(self.folder)
        self.custody = FileKeyCustody(state / "keys")
        self.vaults = Vaults(self.folder, self.keys, self.custody)

    def again(self) -> Vaults:
        return Vaults(self.folder, self.keys, self.custody)


@pytest.fixture
def keeper(tmp_path):
    keeper = Keeper(tmp_path / "state")
    keeper.folder.mkdir(parents=True)
    mounting.share(keeper.folder)  # as the daemon does: no copy in a namespace made meanwhile keeps a view from ending
    yield keeper
    for vault in keeper.keys.all():
        keeper.vaults.close(vault)
    mounting.unshare(keeper.folder)
    assert not list(mount_points(tmp_path))
    assert not servers(keeper)


def servers(keeper):
    """The gocryptfs processes of this keeper's folder."""
    found = psutil.process_iter(["name", "cmdline"])
    return [
        p for p in found if p.info["name"] == "gocryptfs" and str(keeper.folder) in " ".join(p.info["cmdline"] or ())
    ]


def test_a_closed_vault_shows_nothing_on_disk_and_keeps_its_files(keeper, tmp_path):
    planted = secrets.token_hex(16)
    view = keeper.vaults.open(HOME)
    (view / f"{planted}.txt").write_text(planted * 1000)
    keeper.vaults.close(HOME)
    assert not list(mount_points(view, FSTYPE))
    assert not servers(keeper)
    assert list(view.iterdir()) == []
    for path in (tmp_path / "state").rglob("*"):
        assert planted not in path.name
        assert not path.is_file() or not holds(path, planted.encode())
    assert (keeper.vaults.open(HOME) / f"{planted}.txt").read_text() == planted * 1000


def test_a_view_outlives_its_keeper_and_is_found_again(keeper):
    view = keeper.vaults.open(HOME)
    (view / "a").write_text("kept")
    again = keeper.again()
    assert again.open(HOME) == keeper.vaults.open(HOME) == view
    assert len(servers(keeper)) == len(list(mount_points(view, FSTYPE))) == 1
    assert (view / "a").read_text() == "kept"
    again.close(HOME)
    again.close(HOME)
    assert not servers(keeper)


def test_a_killed_gocryptfs_is_replaced(keeper):
    view = keeper.vaults.open(HOME)
    (view / "a").write_text("kept")
    kill_gocryptfs(view)
    with pytest.raises(OSError, match="not connected"):
        (view / "a").read_text()
    assert (keeper.vaults.open(HOME) / "a").read_text() == "kept"


def _instead(keeper, tmp_path, script):
    """Have a shell script run in place of gocryptfs; `$real` is gocryptfs."""
    program = tmp_path / "gocryptfs"
    program.write_text(f"#!/bin/sh\nreal={keeper.vaults._program}\n{script}\n")
    program.chmod(0o755)
    keeper.vaults._program = str(program)


@pytest.mark.skipif(os.geteuid() != 0, reason="only as root does gocryptfs take on the identity of who makes a file")
def test_nobody_reaches_a_view_before_gocryptfs_is_ready(keeper, tmp_path):
    """It would hang for ever, and so would who makes a file there."""
    seen = tmp_path / "seen"
    _instead(keeper, tmp_path, f'"$real" "$@"; code=$?; grep gocryptfs /proc/self/mountinfo >> {seen}; exit $code')
    view = keeper.vaults.open(HOME)
    assert f"/{HOME}/view " in seen.read_text()
    assert str(view) not in seen.read_text()
    assert [point for point, _ in mount_points(keeper.folder, FSTYPE)] == [view]
    # A daemon that was killed in between left it at the first place: the next one goes on.
    (view / "a").write_text("kept")
    mounting.bind(view, keeper.folder / HOME / "view")
    mounting.leave(view)
    assert (keeper.again().open(HOME) / "a").read_text() == "kept"
    assert [point for point, _ in mount_points(keeper.folder, FSTYPE)] == [view]


def test_a_gocryptfs_that_does_not_get_ready_is_ended_with_all_that_it_started(keeper, tmp_path, monkeypatch):
    keeper.vaults.open(HOME)
    keeper.vaults.close(HOME)
    real = keeper.vaults._program
    monkeypatch.setattr("readingroom_hub.mount.vaults.SECONDS", 2)
    _instead(keeper, tmp_path, f'"$real" "$@"; sleep 3600 & echo $! > {tmp_path}/child; wait')
    with pytest.raises(StoreUnavailable, match="did not open in 2 s"):
        keeper.vaults.open(HOME)
    assert not psutil.pid_exists(int((tmp_path / "child").read_text())) or _ended(tmp_path)
    assert keeper.vaults.open_ones() == []
    keeper.vaults._program = real
    keeper.vaults.open(HOME)


def _ended(tmp_path):
    return psutil.Process(int((tmp_path / "child").read_text())).status() == psutil.STATUS_ZOMBIE


def test_a_vault_in_use_is_left_without_loss(keeper):
    view = keeper.vaults.open(HOME)
    with (view / "a").open("w") as file:
        with pytest.raises(Conflict, match="still in use"):
            keeper.vaults.close(HOME)
        with pytest.raises(Conflict, match="still in use"):
            keeper.vaults.open(HOME)
        file.write("written late")
    keeper.vaults.close(HOME)
    assert (keeper.vaults.open(HOME) / "a").read_text() == "written late"


def test_a_key_opens_its_own_vault_only(keeper):
    for vault in (HOME, SHARED):
        keeper.vaults.open(vault)
        keeper.vaults.close(vault)
    own = keeper.keys.get(HOME)
    keeper.keys.put(HOME, keeper.keys.get(SHARED))
    with pytest.raises(IntegrityError, match="not the key of the vault home"):
        keeper.vaults.open(HOME)
    assert not servers(keeper)
    # The same key in a copy of the vault under another name opens nothing either: the name is in the passphrase.
    shutil.rmtree(keeper.folder / SHARED / "cipher")
    shutil.copytree(keeper.folder / HOME / "cipher", keeper.folder / SHARED / "cipher")
    keeper.keys.put(SHARED, own)
    with pytest.raises(IntegrityError, match="not the key of the vault project"):
        keeper.vaults.open(SHARED)
    keeper.keys.put(HOME, own)
    keeper.vaults.open(HOME)


def test_a_lost_or_damaged_key_is_never_made_anew(keeper):
    keeper.vaults.open(HOME)
    keeper.vaults.close(HOME)
    path = keeper.folder / HOME / "key.json"
    kept = path.read_bytes()
    path.write_bytes(kept[:-9])
    with pytest.raises(IntegrityError, match="damaged"):
        keeper.vaults.open(HOME)
    path.unlink()
    with pytest.raises(IntegrityError, match="is lost"):
        keeper.vaults.open(HOME)
    assert not path.exists()
    path.write_bytes(kept)
    keeper.vaults.open(HOME)


def test_a_destroyed_kek_closes_the_vault_for_ever(keeper):
    (keeper.vaults.open(HOME) / "a").write_text("gone")
    keeper.vaults.close(HOME)
    keeper.custody.rotate()
    keeper.custody.destroy(keeper.keys.get(HOME).kek)
    with pytest.raises(KeyUnavailable, match="destroyed"):
        keeper.vaults.open(HOME)
    assert not servers(keeper)


def test_a_making_that_was_killed_is_begun_again(keeper):
    left = keeper.folder / HOME / "cipher.new"
    left.mkdir(parents=True)
    (left / "gocryptfs.conf").write_text("half")
    (keeper.vaults.open(HOME) / "a").write_text("whole")
    assert not left.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_is_said_and_leaves_no_half_vault(tmp_path):
    state = tmp_path / "state"
    (state / "vaults").mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", state / "vaults"], check=True)
    try:
        keeper = Keeper(state)
        filler = state / "vaults/filler"
        with pytest.raises(OSError, match="No space"):
            filler.write_bytes(bytes(1 << 17))
        with pytest.raises(StoreUnavailable, match="vault"):
            keeper.vaults.open(HOME)
        assert not (keeper.folder / HOME / "cipher").exists()
        filler.unlink()
        (keeper.vaults.open(HOME) / "a").write_text("room again")
        keeper.vaults.close(HOME)
    finally:
        subprocess.run(["umount", state / "vaults"], check=True)


def test_a_vault_name_is_a_person_and_a_project():
    for wrong in ("home.alice.lung", "project.", "project.../x", "home.u-" + "a" * 20):
        with pytest.raises(BadInput, match="is not a vault"):
            VaultId(wrong)
