"""The life of a key-encrypting key, on the command line, with real catalogue and file custody."""

import base64
import json
import re

import pytest
from tests.support.fakes import MemoryAuditRepository
from tests.support.mount_world import World
from typer.testing import CliRunner

from readingroom_hub import compose
from readingroom_hub.adapters.keys_file import FileKeyCustody
from readingroom_hub.adapters.vault_keys_dir import DirectoryVaultKeys
from readingroom_hub.cli.key import app
from readingroom_hub.crypto.envelope import MANIFEST_PART, open_whole
from readingroom_hub.errors import KeyUnavailable
from readingroom_hub.model.ids import KeyId, ProjectId, VaultId

pytestmark = pytest.mark.filterwarnings("ignore::readingroom_hub.adapters.keys_file.DevelopmentCustodyWarning")


@pytest.fixture
def audit(monkeypatch):
    audit = MemoryAuditRepository()
    monkeypatch.setattr(compose, "audit", lambda settings, process: audit)
    for name in ("Sam", "Olga"):
        audit.identify("https://idp", name.lower(), name)
    return audit


@pytest.fixture
def world(audit, monkeypatch, tmp_path):
    monkeypatch.setenv("READINGROOM_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("READINGROOM_APPROVALS", "command-line")
    return World(tmp_path / "state")


@pytest.fixture
def versions(world):
    project = world.project("lung")
    return [world.publish(project, name, seed=seed).version for seed, name in enumerate(("lung-ct", "chest-mr"), 1)]


def run(*argv):
    done = CliRunner().invoke(app, [str(a) for a in argv])
    return done.exit_code, re.sub(r"\s+", " ", done.output)


def kek(world, version):
    return world.catalogue.versions.key(version.key).kek


def manifest(world, version):
    key = world.custody.unwrap(world.catalogue.versions.key(version.key))
    return open_whole(key, version.key, MANIFEST_PART, world.objects.read(f"{version.key}/manifest"))


def stored(tmp_path):
    return {p: p.read_bytes() for p in (tmp_path / "state/objects").rglob("*") if p.is_file()}


def test_rotation_and_rewrapping_touch_no_object(world, versions, audit, tmp_path):
    before, old = stored(tmp_path), kek(world, versions[0])
    texts = [manifest(world, v) for v in versions]
    assert run("rotate")[0] == 0
    assert "2 data keys" in run("rewrap")[1]
    assert "0 data keys" in run("rewrap")[1]
    assert stored(tmp_path) == before
    assert [manifest(world, v) for v in versions] == texts
    assert {kek(world, v) for v in versions} == {world.custody.current_kek()} != {old}
    listed = json.loads(CliRunner().invoke(app, ["list", "--json"]).stdout)
    assert [(k["state"], len(k["versions"])) for k in listed] == [("deactivated", 0), ("active", 2)]
    assert [r["event"] for r in audit.records] == ["key-rotated", "key-rewrapped", "key-rewrapped"]


def test_destruction_takes_one_version_and_says_so_in_a_signed_receipt(world, versions, audit, tmp_path):
    gone, kept = versions
    old, text, receipt = kek(world, gone), manifest(world, kept), tmp_path / "receipt.json"
    run("rotate")
    run("rewrap", "--leave", gone.label)
    code, said = run("destroy", old, "--approved-by", "Sam", "--approved-by", "olga", "--receipt", receipt)
    assert code == 0, said
    assert "1 dataset versions are unreadable" in said
    with pytest.raises(KeyUnavailable, match="was destroyed on"):
        manifest(world, gone)
    assert manifest(world, kept) == text
    content = json.loads(receipt.read_text())
    assert [v["version"] for v in content["receipt"]["unreadable"]] == [gone.digest]
    people = {p.person for p in audit.people("") if p.name in {"Sam", "Olga"}}
    assert set(content["receipt"]["approved_by"]) == people
    *_, of_version, of_key = audit.records
    assert of_version["subject"]["version"] == gone.digest
    assert of_key["subject"] == {"kek": old, "approved_by": sorted(people), "count": 1}
    assert content["receipt"]["record"]["index"] == len(audit.records) - 1
    assert content["receipt"]["recall"] is None
    assert "unreadable for ever" in said
    assert "Signed by this key custody" in run("check", receipt)[1]
    content["receipt"]["unreadable"][0]["version"] = kept.digest
    receipt.write_text(json.dumps(content))
    assert run("check", receipt) == (1, "Error: this receipt was changed, or is not of this key custody ")


def test_a_custodian_that_falls_silent_signs_no_receipt(world, versions, audit, tmp_path, monkeypatch):
    old, receipt = kek(world, versions[0]), tmp_path / "receipt.json"
    run("rotate")

    def silent(*_args):
        raise KeyUnavailable("the key custodian does not answer")

    def falls_silent(_self, _kek):
        for name in ("unwrap", "keks"):
            monkeypatch.setattr(FileKeyCustody, name, silent)

    monkeypatch.setattr(FileKeyCustody, "destroy", falls_silent)
    code, said = run("destroy", old, "--approved-by", "Sam", "--approved-by", "Olga", "--receipt", receipt)
    assert (code, receipt.exists()) == (1, False)
    assert "does not answer" in said
    assert audit.records[-1]["outcome"] == "failure"


@pytest.mark.parametrize(
    ("approvers", "says"),
    [(["Sam"], "two different people"), (["Sam", "sam"], "two different people"), (["Sam", "Nobody"], "0 people")],
)
def test_one_person_alone_destroys_nothing(world, versions, tmp_path, approvers, says):
    old = kek(world, versions[0])
    run("rotate")
    options = [o for a in approvers for o in ("--approved-by", a)]
    code, said = run("destroy", old, *options, "--receipt", tmp_path / "r.json")
    assert (code, says in said) == (1, True), said
    assert manifest(world, versions[0])
    assert not (tmp_path / "r.json").exists()


def test_what_may_still_be_read_is_not_destroyed(world, versions, audit, tmp_path):
    old, people = kek(world, versions[0]), ["--approved-by", "Sam", "--approved-by", "Olga"]
    command = ["destroy", old, *people, "--receipt", tmp_path / "r.json"]
    assert "is active" in run(*command)[1]
    run("rotate")
    grant = world.grant(versions[0].project, versions[0])
    assert "Revoke these grants" in run(*command)[1]
    world.revoke(grant)
    audit.available = False
    assert run(*command)[0] == 1
    assert manifest(world, versions[0])
    audit.available = True
    (tmp_path / "r.json").touch()
    assert "cannot be written" in run(*command)[1]
    assert "--receipt FILE" in run(*command[:-2])[1]
    assert manifest(world, versions[0])
    (tmp_path / "r.json").unlink()
    assert run(*command)[0] == 0
    assert "destroyed already" in run(*command[:-1], tmp_path / "again.json")[1]


def test_a_destroyed_key_is_in_no_block_of_its_old_file(world, tmp_path):
    folder = tmp_path / "state/keys"
    old = world.custody.current_kek()
    secret = json.loads((folder / "custody.json").read_text())["keks"][old]
    world.custody.rotate()
    with (folder / "custody.json").open("rb") as held:
        assert secret.encode() in held.read()
        world.custody.destroy(old)
        held.seek(0)
        assert secret.encode() not in held.read()
    assert secret not in (folder / "custody.json").read_text()
    assert len(base64.b64decode(secret)) == 32


def test_the_key_of_a_project_folder_moves_with_the_others_and_keeps_its_kek_alive(world, audit, tmp_path):
    vaults, vault = DirectoryVaultKeys(tmp_path / "state/vaults"), VaultId.shared(ProjectId("lung"))
    secret, old = bytes(range(32)), world.custody.current_kek()
    vaults.put(vault, world.custody.wrap(KeyId.new(), secret))
    run("rotate")
    asked = ("destroy", old, "--approved-by", "Sam", "--approved-by", "olga", "--receipt", tmp_path / "receipt.json")
    code, said = run(*asked)
    assert code
    assert "still protects home and project folders (project.lung)" in said
    assert world.custody.unwrap(vaults.get(vault)) == secret
    assert "1 data keys" in run("rewrap")[1]
    assert "0 data keys" in run("rewrap")[1]
    assert run(*asked)[0] == 0
    assert world.custody.unwrap(vaults.get(vault)) == secret
    (moved,) = (r for r in audit.records if r["event"] == "key-rewrapped")
    assert moved["subject"] == {"vault": vault, "kek": world.custody.current_kek()}
