"""Versions that share a data key and objects, and their deletion: no version ever breaks another."""

import secrets
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.dicom_objects import as_file, ct_image
from tests.support.fakes import MemoryAuditRepository
from tests.support.ingest_process import PROJECT, open_room
from tests.support.mount_world import STEWARD, World, make_instances

from readingroom_hub import compose
from readingroom_hub.crypto.envelope import seal
from readingroom_hub.errors import (
    AuditUnavailable,
    BadInput,
    Conflict,
    IntegrityError,
    KeyUnavailable,
    NotFound,
    StoreUnavailable,
)
from readingroom_hub.model.dataset import DatasetVersion, manifest_of
from readingroom_hub.model.grant import Grant
from readingroom_hub.model.ids import GrantId
from readingroom_hub.mount.library import Library
from readingroom_hub.services import manifests

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.filterwarnings("ignore::readingroom_hub.adapters.keys_file.DevelopmentCustodyWarning")


def write(folder, numbers, **elements):
    folder.mkdir(exist_ok=True)
    for n in numbers:
        image = ct_image(SOPInstanceUID=f"1.2.276.99.3.{n}", InstanceNumber=n, **elements)
        (folder / f"{n:03}.dcm").write_bytes(as_file(image))
    return folder


@pytest.fixture
def source(tmp_path):
    return write(tmp_path / "source", range(1, 6))


@pytest.fixture
def room(tmp_path):
    return open_room(tmp_path / "state")


def delete(room, version, people=2):
    approvers = [room.audit.identify("idp", str(n), str(n)) for n in range(people)]
    return room.deletion.delete(version, approvers, room.person)


def stored(room):
    return {
        p.relative_to(room.state / "objects").as_posix() for p in (room.state / "objects").rglob("*") if p.is_file()
    }


def whole(room):
    """Every version is what was published, and nothing else is stored."""
    needed = set()
    for version in room.versions.all():
        assert room.datasets.verify(version, room.person) == []
        secret = room.service._custody.unwrap(room.versions.key(version.key))
        names = [i.object_name for i in manifests.load(room.store, version, secret).instances]
        needed |= {f"{version.key}/{n}" for n in [*names, manifests.sealed(room.store, version)[0]]}
    assert stored(room) == needed
    assert room.left_overs() == []


def test_a_version_reuses_what_is_the_same_and_each_goes_without_the_other(room, source, tmp_path):
    first = room.ingest(source)
    before = stored(room)
    write(source, [9])
    (source / "001.dcm").unlink()
    second = room.ingest(source, reuse=True)
    assert (second.reused, second.unchanged, second.version.instances) == (4, False, 5)
    assert second.version.key == first.version.key
    assert len(stored(room) - before) == 2
    whole(room)
    again = room.ingest(source, reuse=True)
    assert (again.unchanged, again.version) == (True, second.version)
    whole(room)
    assert delete(room, first.version) == [second.version]
    assert len(before - stored(room)) == 2
    whole(room)
    with pytest.raises(NotFound):
        room.versions.get(first.version.digest)
    assert room.audit.records[-1]["event"] == "version-deleted"
    back = room.ingest(write(tmp_path / "back", range(1, 6)), reuse=True)
    assert (back.version.digest, back.reused) == (first.version.digest, 4)
    assert delete(room, second.version) == [back.version]
    whole(room)
    assert delete(room, back.version) == []
    assert stored(room) == set()
    with pytest.raises(NotFound):
        room.versions.key(back.version.key)


def test_without_asking_for_it_nothing_is_shared(room, source):
    first = room.ingest(source)
    write(source, [9])
    second = room.ingest(source)
    assert second.version.key != first.version.key
    delete(room, first.version)
    whole(room)


def test_an_instance_that_changed_gives_a_version_of_its_own(room, source):
    first = room.ingest(source)
    write(source, [9])
    write(source, [5], PixelData=bytes(32))
    second = room.ingest(source, reuse=True)
    assert second.version.key != first.version.key
    assert (second.reused, second.version.instances) == (0, 6)
    whole(room)


def test_reuse_of_nothing_or_of_what_was_erased_makes_a_first_version(room, source):
    first = room.ingest(source, reuse=True)
    assert first.reused == 0
    custody = room.service._custody
    old = custody.current_kek()
    custody.rotate()
    custody.destroy(old)
    write(source, [9])
    second = room.ingest(source, reuse=True)
    assert second.version.key != first.version.key
    assert room.datasets.verify(second.version, room.person) == []
    with pytest.raises(KeyUnavailable):
        room.datasets.verify(first.version, room.person)


@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_a_damaged_object_is_not_reused(room, source, damage):
    first = room.ingest(source)
    instance = room.datasets.manifest(first.version).instances[2]
    path = room.state / "objects" / first.version.key / instance.object_name
    data = path.read_bytes()
    path.unlink()
    if damage == "changed":
        path.write_bytes(data[:-1] + b"\0")
    write(source, [9])
    with pytest.raises(IntegrityError, match="without --reuse"):
        room.ingest(source, reuse=True)
    assert room.versions.all() == [first.version]
    assert room.ingest(source).version.instances == 6


@pytest.mark.parametrize("moment", ["writing", "put:1", "manifest", "record", "publish", "published"])
def test_killed_at_any_moment_the_earlier_version_stays_whole(room, source, moment):
    first = room.ingest(source)
    write(source, [8, 9])
    command = [sys.executable, "-m", "tests.support.ingest_process", room.state, source, moment, "reuse"]
    killed = subprocess.run([str(c) for c in command], cwd=ROOT, check=False, timeout=60)
    assert killed.returncode == -9
    assert room.datasets.verify(first.version, room.person) == []
    done = room.ingest(source, reuse=True)
    assert done.unchanged == (moment == "published")
    assert done.version.key == first.version.key
    whole(room)


def test_a_deletion_that_is_cut_off_is_ended_by_whoever_comes_next(room, source, monkeypatch):
    first = room.ingest(source).version
    (source / "001.dcm").unlink()
    second = room.ingest(source, reuse=True).version

    def down(_name):
        raise StoreUnavailable("the store does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(room.store, "remove", down)
        with pytest.raises(StoreUnavailable):
            delete(room, first)
    assert room.versions.all() == [second]
    assert room.left_overs() != []
    assert room.ingest(source).unchanged
    whole(room)


def test_two_people_are_needed_and_nobody_may_read_it(room, source):
    version = room.ingest(source).version
    for people in (0, 1):
        with pytest.raises(BadInput, match="two different people"):
            delete(room, version, people)
    now = datetime.now(UTC)
    grant = Grant(GrantId.new(), PROJECT, version.dataset, version.digest, now + timedelta(hours=1), STEWARD, now)
    room.grants.add(grant)
    with pytest.raises(Conflict, match="may still be read by lung"):
        delete(room, version)
    room.grants.revoke(grant.id, now, STEWARD)
    with room.deletion._locks.hold(version.key), pytest.raises(Conflict, match="another process"):
        delete(room, version)
    approvers = [room.audit.identify("idp", n, n) for n in "ab"]
    room.audit.available = False
    with pytest.raises(AuditUnavailable):
        room.deletion.delete(version, approvers, room.person)
    room.audit.available = True
    assert "version-deleted" not in room.audit.events()
    assert room.datasets.verify(version, room.person) == []
    delete(room, version)
    assert stored(room) == set()


def test_a_grant_that_comes_between_stops_the_deletion_and_that_is_on_the_record(room, source, monkeypatch):
    version = room.ingest(source).version
    monkeypatch.setattr(room.deletion, "check_nobody_reads", lambda _version: None)
    now = datetime.now(UTC)
    room.grants.add(Grant(GrantId.new(), PROJECT, version.dataset, version.digest, now + timedelta(1), STEWARD, now))
    with pytest.raises(Conflict):
        delete(room, version)
    assert [(r["event"], r["outcome"]) for r in room.audit.records[-2:]] == [
        ("version-deleted", "success"),
        ("version-deleted", "failure"),
    ]
    whole(room)


def test_nothing_is_deleted_where_it_is_not_known_what_another_version_needs(room, source):
    first = room.ingest(source).version
    write(source, [9])
    second = room.ingest(source, reuse=True).version
    path = room.state / "objects" / second.key / manifests.part_of(second.digest)
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    before = stored(room)
    with pytest.raises(IntegrityError):
        delete(room, first)
    assert stored(room) == before
    assert len(room.versions.all()) == 2


MADE = make_instances([range(6)], 4)


def publish_under(world, base, chosen):
    """A version of these instances below the data key of `base`."""
    manifest = manifest_of(base.project, base.dataset, "p", [MADE[n][0] for n in chosen])
    secret = world.custody.unwrap(world.catalogue.versions.key(base.key))
    for n in chosen:
        name = f"{base.key}/{MADE[n][0].object_name}"
        if name not in world.objects.names(base.key):
            world.objects.put(name, seal(secret, base.key, MADE[n][0].instance, MADE[n][1]))
    part = manifests.part_of(manifest.digest())
    world.objects.put(f"{base.key}/{part}", seal(secret, base.key, part, manifest.to_bytes()))
    size = sum(MADE[n][0].size for n in chosen)
    version = DatasetVersion(
        manifest.digest(), base.project, base.dataset, base.key, len(chosen), 1, 1, size, datetime.now(UTC), "{}"
    )
    world.catalogue.versions.publish(version, None)
    return version


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    world = World(tmp_path_factory.mktemp("world"))
    world.project("lung")
    return world


SUBSETS = st.lists(st.frozensets(st.integers(0, 5), min_size=1), min_size=2, max_size=5, unique=True)


@given(SUBSETS.flatmap(lambda s: st.tuples(st.just(s), st.permutations(range(len(s))))))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_in_any_order_of_deletions_the_others_stay_whole(world, drawn):
    subsets, order = drawn
    audit = MemoryAuditRepository()
    people = [audit.identify("idp", n, n) for n in "ab"]
    deletion, datasets = compose.deletion(world.settings, audit), compose.datasets(world.settings, audit)
    chosen = [sorted(s) for s in subsets]
    base = world.publish_made(PROJECT, f"family-{secrets.token_hex(8)}", [MADE[n] for n in chosen[0]]).version
    family = dict(enumerate([(base, chosen[0]), *((publish_under(world, base, c), c) for c in chosen[1:])]))
    for which in order:
        deletion.delete(family.pop(which)[0], people, people[0])
        objects = {MADE[n][0].object_name for _, c in family.values() for n in c}
        found = {n.removeprefix(f"{base.key}/") for n in world.objects.names(base.key)}
        assert {n for n in found if not n.startswith("manifest")} == objects
        assert all(datasets.verify(v, people[0]) == [] for v, _ in family.values())
    assert found == set()


def test_who_erases_one_erases_all_that_share_its_key_and_is_told(world):
    audit = MemoryAuditRepository()
    people = [audit.identify("idp", n, n) for n in "ab"]
    keys, deletion = compose.keys(world.settings, audit), compose.deletion(world.settings, audit)
    base = world.publish_made(PROJECT, "erased", MADE[:3]).version
    second = publish_under(world, base, [1, 2, 3, 4])
    other = world.publish_made(PROJECT, "kept", MADE[4:]).version
    old = world.custody.current_kek()
    keys.rotate(people[0])
    with pytest.raises(Conflict, match="shares its data key with erased@"):
        keys.rewrap(people[0], {base.digest})
    assert keys.rewrap(people[0], {base.digest, second.digest}) == [other]
    receipt = keys.destroy(old, people, people[0])
    assert {v["version"] for v in receipt["receipt"]["unreadable"]} == {base.digest, second.digest}
    deletion.delete(base, people, people[0])
    assert list(world.objects.names(base.key))
    deletion.delete(second, people, people[0])
    assert not list(world.objects.names(base.key))
    deletion.delete(other, people, people[0])


def test_a_version_that_comes_again_is_read_with_its_new_key(world):
    audit = MemoryAuditRepository()
    people = [audit.identify("idp", n, n) for n in "ab"]
    library = Library(world.catalogue.versions, world.objects, world.custody, audit)
    first = world.publish_made(PROJECT, "again", MADE[:2]).version
    library.keep([first.digest])
    assert library.shelf(library.version(first.digest)).version.key == first.key
    library.keep([])
    deletion = compose.deletion(world.settings, audit)
    deletion.delete(first, people, people[0])
    second = world.publish_made(PROJECT, "again", MADE[:2]).version
    assert (second.digest, second.key != first.key) == (first.digest, True)
    library.keep([second.digest])
    assert library.shelf(library.version(second.digest)).version.key == second.key
    library.keep([])
    deletion.delete(second, people, people[0])


def test_a_rewrap_moves_all_that_share_a_key_once_and_records_each(world):
    audit = MemoryAuditRepository()
    people = [audit.identify("idp", n, n) for n in "ab"]
    base = world.publish_made(PROJECT, "moved", MADE[:3]).version
    second = publish_under(world, base, [0, 5])
    keys = compose.keys(world.settings, audit)
    keys.rotate(people[0])
    assert {v.digest for v in keys.rewrap(people[0])} == {base.digest, second.digest}
    rewrapped = [r["subject"]["version"] for r in audit.records if r["event"] == "key-rewrapped"]
    assert sorted(rewrapped) == sorted([base.digest, second.digest])
    assert keys.rewrap(people[0]) == []
    deletion = compose.deletion(world.settings, audit)
    for version in (base, second):
        deletion.delete(version, people, people[0])
