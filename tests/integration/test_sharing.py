"""A dataset version goes from one deployment to another: two real states, two key custodies, one file between them."""

import base64
import dataclasses
import json
import re
import resource
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.fakes import MemoryAuditRepository
from tests.support.mount_world import World, make_instances
from typer.testing import CliRunner

from readingroom_hub import compose
from readingroom_hub.adapters.keys_file import DevelopmentCustodyWarning
from readingroom_hub.cli.main import app
from readingroom_hub.crypto import hpke
from readingroom_hub.crypto.envelope import seal
from readingroom_hub.errors import (
    AuditUnavailable,
    BadInput,
    Conflict,
    IntegrityError,
    NotFound,
    ReadingRoomError,
    StoreUnavailable,
)
from readingroom_hub.model.dataset import manifest_of
from readingroom_hub.model.ids import UID, DatasetName, ProjectId
from readingroom_hub.services import institution, manifests, object_checks
from readingroom_hub.services.institution import Institution
from readingroom_hub.services.package import Package, placed

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.filterwarnings("ignore::readingroom_hub.adapters.keys_file.DevelopmentCustodyWarning")
CARD = json.dumps({"format": "readingroom-card/1", "profile": "PS3.15 2026d", "left_out": {}, "actions": {}})
LUNG, CHEST = ProjectId("lung"), DatasetName("chest")


def silent(_done, _total):
    pass


class Site:
    """One institution's deployment."""

    def __init__(self, folder):
        self.world = World(folder)
        self.audit = MemoryAuditRepository()
        self.people = [self.audit.identify("idp", name.lower(), name) for name in ("Sam", "Olga", "Stella")]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DevelopmentCustodyWarning)
            self.sharing = compose.sharing(self.world.settings, self.audit)
            self.receiving = compose.receiving(self.world.settings, self.audit)
            self.datasets = compose.datasets(self.world.settings, self.audit)
        self.file = folder.parent / f"{folder.name}.pub"
        self.file.write_text(self.sharing.institution().to_text())

    @property
    def institution(self):
        return Institution.read(self.file)

    def share(self, version, to, out, progress=silent):
        return self.sharing.share(version, to.institution, out, self.people[:2], self.people[2], progress)

    def receive(self, package, sender, dataset=CHEST, project=LUNG, progress=silent):
        return self.receiving.receive(package, sender.institution, project, dataset, self.people[2], progress)

    def stored(self):
        folder = self.world.settings.paths.objects
        return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    def nothing_is_left(self):
        paths = self.world.settings.paths
        return not self.world.catalogue.versions.all() and not self.stored() and not list(paths.ingests.glob("*"))


@pytest.fixture
def here(tmp_path):
    return Site(tmp_path / "here")


@pytest.fixture
def there(tmp_path):
    there = Site(tmp_path / "there")
    there.world.project("lung")
    return there


@pytest.fixture
def published(here):
    made = make_instances(((3000, 0, 70_000), (16384,)), 7)
    return here.world.publish_made(here.world.project("nodules"), "chest-ct", made, card=CARD)


@pytest.fixture
def package(here, there, published, tmp_path):
    return here.share(published.version, there, tmp_path).path


def refused(there, package, here, says):
    with pytest.raises(ReadingRoomError, match=says):
        there.receive(package, here)
    assert there.nothing_is_left()
    assert there.audit.records[-1]["outcome"] == "failure"


def test_a_version_arrives_as_it_left(here, there, published, package):
    seen = []
    assert package.name == f"chest-ct-{published.version.digest.short}.rrshare"
    assert package.stat().st_mode & 0o777 == 0o600
    done = there.receive(package, here, progress=lambda *n: seen.append(n))
    assert not done.unchanged
    assert seen[-1] == (4, 4)
    version = done.version
    assert (version.digest, version.dataset, version.project) == (published.version.digest, "chest", "lung")
    assert there.stored() == here.stored()
    assert there.datasets.verify(version, there.people[2]) == []
    assert there.datasets.manifest(version) == published.manifest
    ours, theirs = (s.world.catalogue.versions.key(version.key) for s in (here, there))
    assert ours.wrapped != theirs.wrapped
    assert here.world.custody.unwrap(ours) == there.world.custody.unwrap(theirs)
    sent, received = here.audit.records[-1], there.audit.records[0]
    assert [r["event"] for r in there.audit.records] == ["dataset-received", "version-published"]
    assert sent["event"] == "dataset-shared"
    assert sent["subject"]["approved_by"] == sorted(here.people[:2])
    assert sent["subject"]["recipient"] == there.institution.fingerprint
    assert received["subject"]["sender"] == here.institution.fingerprint
    assert sent["subject"]["package"] == received["subject"]["package"]
    assert json.loads(version.card)["received"]["dataset"] == "chest-ct"


def test_a_package_tells_nothing_of_its_images(published, package):
    text = package.read_bytes()
    for secret in (
        b"chest-ct",
        b"nodules",
        b"P-1",
        b"PS3.15",
        *published.manifest.instances[0].instance.encode().split(),
    ):
        assert secret not in text


def test_the_same_package_again_changes_nothing(here, there, package):
    first = there.receive(package, here)
    before = there.stored()
    again = there.receive(package, here)
    assert (again.version, again.unchanged) == (first.version, True)
    assert there.stored() == before
    with pytest.raises(Conflict, match="here already, as chest@"):
        there.receive(package, here, dataset=DatasetName("other"))
    assert [v.dataset for v in there.world.catalogue.versions.all()] == ["chest"]


def test_what_was_erased_does_not_come_back(here, there, package):
    there.receive(package, here)
    custody = there.world.custody
    old = custody.current_kek()
    custody.rotate()
    custody.destroy(old)
    with pytest.raises(Conflict, match="erased here on purpose"):
        there.receive(package, here)


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_one_changed_byte_anywhere_is_refused(here, there, package, tmp_path, data):
    whole = package.read_bytes()
    note = len(b"".join(whole.splitlines(keepends=True)[:4]))
    place = data.draw(st.integers(0, note - 1) | st.integers(0, len(whole) - 1))
    changed = bytearray(whole)
    changed[place] ^= data.draw(st.integers(1, 255))
    tampered = tmp_path / "tampered"
    tampered.write_bytes(changed)
    refused(there, tampered, here, ".")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d[:-1], "is cut short"),
        (lambda d: d + b"\0", "longer than what was signed"),
        (lambda d: d[:100], "not what the institution of --from signed"),
        (lambda d: b"", "no package of format"),
        (lambda d: d.replace(b"share/1", b"share/2", 1), "no package of format"),
    ],
    ids=["short", "long", "head cut", "empty", "format"],
)
def test_a_package_of_another_length_or_kind_is_refused(here, there, package, change, says):
    package.write_bytes(change(package.read_bytes()))
    refused(there, package, here, says)


def objects_of(package, here, published):
    """Where each object lies, by SOP Instance UID."""
    opened = Package.open(package, here.institution.vkey)
    start = opened.start + opened.head.card + opened.head.manifest
    return {p.instance.instance: p for p in placed(published.manifest.instances, start)}


def test_the_object_that_differs_is_named(here, there, published, package):
    places = objects_of(package, here, published)
    data = bytearray(package.read_bytes())
    uid, place = max(places.items(), key=lambda p: p[1].size)
    data[place.offset + 60_000] ^= 1
    package.write_bytes(data)
    refused(there, package, here, f"object {re.escape(uid)} in the package is not what was sealed")
    assert uid in there.audit.records[-1]["reason"]


def test_exchanged_objects_are_refused(here, there, published, tmp_path):
    made = make_instances(((5000, 5000),), 9)
    version = here.world.publish_made(ProjectId("nodules"), "twins", made, card=CARD)
    package = here.share(version.version, there, tmp_path / "twins").path
    one, two = objects_of(package, here, version).values()
    data = package.read_bytes()
    first, second = (data[p.offset : p.offset + p.size] for p in (one, two))
    package.write_bytes(data[: one.offset] + second + first)
    refused(there, package, here, "is not what was sealed")


def test_the_wrong_institutions_are_told_apart(here, there, package, tmp_path):
    third = Site(tmp_path / "third")
    third.world.project("lung")
    refused(third, package, here, "is sealed for the institution " + there.institution.fingerprint)
    refused(there, package, third, "not what the institution of --from signed")
    mixed = tmp_path / "mixed.pub"
    mixed.write_text(dataclasses.replace(here.institution, sealing=third.institution.sealing).to_text())
    here.file = mixed
    refused(there, package, here, "from the institution")


def signed_anew(here, there, package, **changes):
    """The package with another head, signed by its own sender and the data key sealed for that head."""
    opened = Package.open(package, here.institution.vkey)
    custody = here.world.custody
    key = custody.unwrap(here.world.catalogue.versions.key(here.world.catalogue.versions.all()[0].key))
    head = dataclasses.replace(opened.head, **changes)
    sealed = hpke.seal(there.institution.sealing, key, head.info())
    head = dataclasses.replace(head, sealed_key=base64.b64encode(sealed).decode())
    package.write_bytes(head.note(institution.signer(custody)) + package.read_bytes()[opened.start :])


def test_a_sender_that_signs_something_wrong_is_refused_too(here, there, published, package):
    signed_anew(here, there, package, version="sha256:" + "0" * 64)
    refused(there, package, here, "it was changed or swapped")
    signed_anew(here, there, package, version=published.version.digest, data_key="k-" + "0" * 24)
    refused(there, package, here, "is damaged")


@pytest.mark.parametrize("name", ["../../x", "k-../..", "/etc/passwd", "k-" + "A" * 24])
def test_a_head_with_a_path_for_a_key_is_refused(here, there, package, name):
    signed_anew(here, there, package, data_key=name)
    refused(there, package, here, "is not a data key")


def test_a_sealed_key_does_not_fit_another_head(here, there, package):
    opened = Package.open(package, here.institution.vkey)
    head = dataclasses.replace(opened.head, made_at="2020-01-01T00:00:00+00:00")
    package.write_bytes(head.note(institution.signer(here.world.custody)) + package.read_bytes()[opened.start :])
    refused(there, package, here, "sealed data key was changed")


def test_a_key_that_is_in_use_is_not_taken_over(here, there, published, package):
    mine = there.world.publish_made(LUNG, "mine", make_instances(((100,),), 3), card=CARD)
    signed_anew(here, there, package, data_key=mine.version.key)
    before = there.stored()
    with pytest.raises(Conflict, match="another data key is called"):
        there.receive(package, here)
    assert there.stored() == before
    assert there.datasets.verify(mine.version, there.people[2]) == []


def test_the_next_version_with_the_same_data_key_arrives_too(here, there, published, package, tmp_path):
    more = make_instances(((3000, 0, 70_000), (16384, 99)), 7)
    secret = here.world.custody.unwrap(here.world.catalogue.versions.key(published.version.key))
    key_id = published.version.key
    manifest = manifest_of(ProjectId("nodules"), DatasetName("chest-ct"), "p", [i for i, _ in more[1:]])
    part = manifests.part_of(manifest.digest())
    (new, data) = more[-1]
    here.world.objects.put(f"{key_id}/{new.object_name}", seal(secret, key_id, new.instance, data))
    here.world.objects.put(f"{key_id}/{part}", seal(secret, key_id, part, manifest.to_bytes()))
    version = dataclasses.replace(published.version, digest=manifest.digest(), instances=4)
    here.world.catalogue.versions.publish(version, None)
    there.receive(package, here)
    second = here.share(version, there, tmp_path / "second").path
    whole = second.read_bytes()
    second.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(IntegrityError, match="is not what was sealed"):
        there.receive(second, here)
    (first,) = there.world.catalogue.versions.all()
    assert there.datasets.verify(first, there.people[2]) == []
    second.write_bytes(whole)
    done = there.receive(second, here)
    assert there.stored() == here.stored()
    assert all(there.datasets.verify(v, there.people[2]) == [] for v in there.world.catalogue.versions.all())
    deletion = compose.deletion(there.world.settings, there.audit)
    assert deletion.delete(first, there.people[:2], there.people[2]) == [done.version]
    assert there.datasets.verify(done.version, there.people[2]) == []


def test_an_odd_manifest_or_card_is_refused(here, there, published, tmp_path):
    (one, data), *_ = make_instances(((10,),), 5)
    for change in ({"number": True}, {"rows": "9"}, {"frames": None}):
        odd = dataclasses.replace(one, instance=UID("1.9"), size=10, **change)
        version = here.world.publish_made(ProjectId("nodules"), "odd", [(odd, data)], card=CARD).version
        package = here.share(version, there, tmp_path / f"odd-{version.digest.short}").path
        refused(there, package, here, "in no known form")
    for n, card in enumerate(("{}", "[1", '{"format": "readingroom-card/1"}', CARD.replace("2026d", "\\u001b[31m"))):
        made = [(dataclasses.replace(one, number=n), data)]
        version = here.world.publish_made(ProjectId("nodules"), "odd", made, card=card).version
        refused(there, here.share(version, there, tmp_path / f"card-{n}").path, here, "the card in the package")


def test_without_audit_nothing_leaves_and_nothing_enters(here, there, published, package, tmp_path):
    here.audit.available = there.audit.available = False
    with pytest.raises(AuditUnavailable):
        here.share(published.version, there, tmp_path / "second")
    assert not (tmp_path / "second").exists()
    assert not list(tmp_path.glob("*.part"))
    with pytest.raises(AuditUnavailable):
        there.receive(package, here)
    assert there.nothing_is_left()


def test_the_record_is_durable_before_the_first_byte_leaves(here, there, published, tmp_path):
    append, seen = here.audit.append, []

    def looking(records):
        seen.append([p.name for p in tmp_path.iterdir() if "second" in p.name])
        return append(records)

    here.audit.append = looking
    here.share(published.version, there, tmp_path / "second")
    assert seen == [[]]


def test_a_damaged_object_does_not_leave(here, there, published, tmp_path):
    path = published.object_file(here.world, published.manifest.instances[0])
    whole = path.read_bytes()
    for damage, says in (
        (whole[:-1], "bytes long, its manifest says"),
        (whole[:-1] + b"\0", "is damaged"),
        (None, "missing"),
    ):
        path.unlink()
        if damage is not None:
            path.write_bytes(damage)
        with pytest.raises(IntegrityError, match=says):
            here.share(published.version, there, tmp_path / "out")
        assert [r["outcome"] for r in here.audit.records[-2:]] == ["success", "failure"]
        if damage is None:
            path.touch()
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["here.pub", "there.pub"]


def test_two_people_and_another_institution_are_needed(here, there, published, tmp_path):
    for approvers in ([], here.people[:1], [here.people[0]] * 2):
        with pytest.raises(BadInput, match="two different people"):
            here.sharing.share(published.version, there.institution, tmp_path / "x", approvers, here.people[2], silent)
    with pytest.raises(BadInput, match="own keys"):
        here.share(published.version, here, tmp_path / "x")
    (tmp_path / "x").touch()
    with pytest.raises(Conflict, match="exists"):
        here.share(published.version, there, tmp_path / "x")
    assert not here.audit.records


def test_a_full_disk_leaves_no_file(here, there, published, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(StoreUnavailable, match="cannot be written"):
            here.share(published.version, there, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["here.pub", "there.pub"]
    assert here.audit.records[-1]["outcome"] == "failure"


def test_two_receives_at_once_are_told_apart(here, there, published, package):
    with (
        there.receiving._locks.hold(published.version.key),
        pytest.raises(Conflict, match="when it has ended"),
    ):
        there.receive(package, here)
    assert not there.receive(package, here).unchanged


def test_a_large_object_is_checked_in_steps(here, there, tmp_path, monkeypatch):
    monkeypatch.setattr(object_checks, "_WHOLE", 100_000)
    project = here.world.project("large")
    version = here.world.publish_made(project, "large", make_instances(((3 << 20, 99),), 8), card=CARD).version
    package = here.share(version, there, tmp_path / "large").path
    assert there.receive(package, here).version.instances == 2
    assert there.stored() == here.stored()


def test_a_receipt_of_destruction_names_whom_the_key_was_given_to(here, there, published, package):
    keys, old = compose.keys(here.world.settings, here.audit), here.world.custody.current_kek()
    keys.rotate(here.people[0])
    receipt = keys.destroy(old, here.people[:2], here.people[2])["receipt"]
    assert [(s["version"], s["recipient"]) for s in receipt["shared"]] == [
        (published.version.digest, there.institution.fingerprint)
    ]
    assert not there.receive(package, here).unchanged


def test_an_unknown_project_takes_nothing(here, there, package):
    with pytest.raises(NotFound):
        there.receive(package, here, project=ProjectId("nobody"))
    assert there.nothing_is_left()


def test_many_objects_go_through_several_processes(here, there, published, tmp_path, monkeypatch):
    monkeypatch.setattr(object_checks, "_WORTH", 1000)
    package = here.share(published.version, there, tmp_path / "spread").path
    assert there.receive(package, here).version.instances == 4
    assert there.stored() == here.stored()
    path = published.object_file(here.world, published.manifest.instances[2])
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match="is damaged"):
        here.share(published.version, there, tmp_path / "again")


@pytest.mark.parametrize("moment", ["put:0", "put:2", "manifest", "record", "publish", "published"])
def test_killed_at_any_moment_run_again(here, there, package, moment):
    argv = [
        sys.executable,
        "-m",
        "tests.support.receive_process",
        there.world.settings.state,
        package,
        here.file,
        moment,
    ]
    killed = subprocess.run([str(a) for a in argv], cwd=ROOT, check=False, timeout=60)
    assert killed.returncode == -9
    assert len(there.world.catalogue.versions.all()) == (1 if moment == "published" else 0)
    done = there.receive(package, here)
    assert done.unchanged == (moment == "published")
    assert there.stored() == here.stored()
    assert there.datasets.verify(done.version, there.people[2]) == []
    assert list(there.world.settings.paths.ingests.glob("*")) == []


def run(site, monkeypatch, *argv):
    monkeypatch.setenv("READINGROOM_STATE", str(site.world.settings.state))
    monkeypatch.setenv("READINGROOM_APPROVALS", "command-line")
    monkeypatch.setattr(compose, "audit", lambda settings, process: site.audit)
    done = CliRunner().invoke(app, [str(a) for a in argv])
    return done.exit_code, re.sub(r"\s+", " ", done.output)


def test_on_the_command_line(here, there, published, tmp_path, monkeypatch):
    ours, theirs, box = tmp_path / "ours.pub", tmp_path / "theirs.pub", tmp_path / "box"
    box.mkdir()
    code, said = run(here, monkeypatch, "key", "institution", ours)
    assert (code, here.institution.spoken in said) == (0, True), said
    assert run(here, monkeypatch, "key", "institution", ours)[0] == 1
    run(there, monkeypatch, "key", "institution", theirs)
    assert there.institution.spoken in run(here, monkeypatch, "key", "fingerprint", theirs)[1]
    command = ["dataset", "share", "chest-ct", "--to", theirs, "--out", box, "--approved-by", "Sam", "--approved-by"]
    assert "two different people" in run(here, monkeypatch, *command, "sam")[1]
    assert "0 people" in run(here, monkeypatch, *command, "Nobody")[1]
    code, said = run(here, monkeypatch, *command, "olga")
    assert code == 0, said
    (package,) = box.iterdir()
    command = ["dataset", "receive", package, "--from", ours, "--project", "lung", "--name", "chest"]
    code, said = run(there, monkeypatch, *command)
    assert code == 0, said
    assert "is published: 4 instances" in said
    assert "was there already" in run(there, monkeypatch, *command)[1]
    assert (
        f"Received from the institution {here.institution.fingerprint}"
        in run(there, monkeypatch, "dataset", "show", "chest")[1]
    )


def test_an_institution_s_file_has_one_form(here, tmp_path):
    text = here.file.read_text()
    assert here.institution.to_text() == text
    path = tmp_path / "x.pub"
    for wrong in (
        text + "\n",
        text[:-1],
        text.replace("/1", "/2", 1),
        text.replace("opens ", "opens  "),
        "",
        "\xff",
        text[:99],
    ):
        path.write_text(wrong)
        with pytest.raises(BadInput, match="holds no institution's keys"):
            Institution.read(path)
    with pytest.raises(BadInput, match="cannot be read"):
        Institution.read(tmp_path / "nowhere.pub")
