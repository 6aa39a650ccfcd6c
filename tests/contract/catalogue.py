"""What every catalogue must do: subclass `CatalogueContract` and give it a `catalogue` fixture."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from readingroom_hub.errors import BadInput, Conflict, NotFound
from readingroom_hub.model.alert import Hold
from readingroom_hub.model.dataset import DatasetVersion, WrappedKey
from readingroom_hub.model.grant import Grant
from readingroom_hub.model.ids import DatasetName, GrantId, KeyId, PersonId, ProjectId, SessionId, VersionDigest
from readingroom_hub.model.project import Member, Project, Role
from readingroom_hub.model.session import Session

NOW = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)
PROJECT = ProjectId("chest-ct")
ROSA = PersonId("p-" + "1" * 64)
SAM = PersonId("p-" + "2" * 64)


def project(id: str = PROJECT) -> Project:
    return Project(ProjectId(id), "Chest CT", "Dr Owner", NOW, NOW + timedelta(days=365))


def version(digit: str, *, name: str = "lung", at: datetime = NOW) -> tuple[DatasetVersion, WrappedKey]:
    key = WrappedKey(KeyId.new(), "kek-1", b"wrapped")
    digest = VersionDigest("sha256:" + digit * 64)
    return DatasetVersion(digest, PROJECT, DatasetName(name), key.id, 10, 2, 1, 999, at, "{}"), key


class CatalogueContract:
    def test_a_project_is_created_once(self, catalogue):
        catalogue.projects.create(project())
        assert catalogue.projects.get(PROJECT) == project()
        with pytest.raises(Conflict, match="chest-ct"):
            catalogue.projects.create(project())
        assert catalogue.projects.all() == [project()]

    def test_pictures_are_allowed_until_a_project_forbids_them(self, catalogue):
        catalogue.projects.create(project())
        catalogue.projects.create(project("other"))
        assert catalogue.projects.get(PROJECT).pictures is True
        catalogue.projects.allow_pictures(PROJECT, False)
        assert [p.pictures for p in catalogue.projects.all()] == [False, True]
        catalogue.projects.allow_pictures(PROJECT, True)
        assert catalogue.projects.get(PROJECT).pictures is True
        with pytest.raises(NotFound, match="never"):
            catalogue.projects.allow_pictures(ProjectId("never"), False)

    def test_a_missing_project_is_named(self, catalogue):
        with pytest.raises(NotFound, match="chest-ct"):
            catalogue.projects.get(PROJECT)

    def test_members_are_set_changed_and_removed(self, catalogue):
        catalogue.projects.create(project())
        rosa = Member(PROJECT, ROSA, Role.RESEARCHER, NOW)
        catalogue.projects.set_member(rosa)
        catalogue.projects.set_member(replace(rosa, role=Role.REVIEWER))
        assert catalogue.projects.members(PROJECT) == [replace(rosa, role=Role.REVIEWER)]
        assert catalogue.projects.of_person(ROSA) == [replace(rosa, role=Role.REVIEWER)]
        catalogue.projects.remove_member(PROJECT, ROSA)
        catalogue.projects.remove_member(PROJECT, ROSA)
        assert catalogue.projects.of_person(ROSA) == []

    def test_a_member_needs_a_project(self, catalogue):
        with pytest.raises(NotFound):
            catalogue.projects.set_member(Member(PROJECT, ROSA, Role.RESEARCHER, NOW))

    def test_version_and_key_are_published_together_or_not_at_all(self, catalogue):
        catalogue.projects.create(project())
        first, key = version("a")
        catalogue.versions.publish(first, key)
        again, other = version("a")
        with pytest.raises(Conflict):
            catalogue.versions.publish(again, other)
        assert catalogue.versions.key(key.id) == key
        with pytest.raises(NotFound):
            catalogue.versions.key(other.id)
        assert catalogue.versions.get(first.digest) == first
        assert catalogue.versions.key(key.id) == key
        with pytest.raises(NotFound):
            catalogue.versions.key(other.id)

    def test_versions_may_share_a_data_key_and_the_last_one_takes_it_along(self, catalogue):
        catalogue.projects.create(project())
        first, key = version("a")
        second = replace(version("b")[0], key=key.id)
        with pytest.raises(NotFound):
            catalogue.versions.publish(second, None)
        catalogue.versions.publish(first, key)
        catalogue.versions.publish(second, None)
        with pytest.raises(Conflict):
            catalogue.versions.publish(second, None)
        catalogue.versions.remove(first.digest, NOW)
        assert catalogue.versions.all() == [second]
        assert catalogue.versions.key(key.id) == key
        catalogue.versions.remove(second.digest, NOW)
        for gone in (
            lambda: catalogue.versions.key(key.id),
            lambda: catalogue.versions.get(first.digest),
            lambda: catalogue.versions.remove(first.digest, NOW),
        ):
            with pytest.raises(NotFound):
                gone()
        catalogue.versions.publish(first, key)
        assert catalogue.versions.all() == [first]

    def test_a_version_that_may_be_read_is_not_removed(self, catalogue):
        catalogue.projects.create(project())
        v, key = version("a")
        catalogue.versions.publish(v, key)
        ended, current = (
            Grant(GrantId.new(), PROJECT, v.dataset, v.digest, NOW + timedelta(hours=h), SAM, NOW) for h in (0, 1)
        )
        catalogue.grants.add(ended)
        catalogue.grants.add(current)
        with pytest.raises(Conflict, match="may still be read"):
            catalogue.versions.remove(v.digest, NOW)
        assert catalogue.versions.get(v.digest) == v
        assert len(catalogue.grants.all()) == 2
        catalogue.grants.revoke(current.id, NOW, SAM)
        catalogue.versions.remove(v.digest, NOW)
        assert catalogue.versions.all() == catalogue.grants.all() == []

    def test_a_hold_is_in_force_until_it_is_lifted(self, catalogue):
        first = Hold(SAM, NOW, None, "studies", "0" * 36)
        catalogue.holds.add(first)
        catalogue.holds.add(Hold(SAM, NOW + timedelta(hours=1), SAM, "again"))
        assert catalogue.holds.current() == {SAM: first}
        catalogue.holds.lift(SAM, NOW, SAM)
        assert catalogue.holds.current() == {}
        with pytest.raises(NotFound, match="not suspended"):
            catalogue.holds.lift(SAM, NOW, SAM)

    def test_a_data_key_is_rewrapped(self, catalogue):
        catalogue.projects.create(project())
        first, key = version("a")
        with pytest.raises(NotFound, match=key.id):
            catalogue.versions.rewrap(key)
        catalogue.versions.publish(first, key)
        catalogue.versions.rewrap(replace(key, kek="kek-2", wrapped=b"anew"))
        assert catalogue.versions.key(key.id) == WrappedKey(key.id, "kek-2", b"anew")

    def test_a_version_is_found_by_name_by_prefix_and_by_digest(self, catalogue):
        catalogue.projects.create(project())
        old, old_key = version("a")
        new, new_key = version("b", at=NOW + timedelta(hours=1))
        catalogue.versions.publish(old, old_key)
        catalogue.versions.publish(new, new_key)
        assert catalogue.versions.find("lung") == new
        assert catalogue.versions.find("lung@aaaaaaaa") == old
        assert catalogue.versions.find(old.digest) == old
        assert catalogue.versions.all(dataset=DatasetName("lung")) == [new, old]
        with pytest.raises(BadInput, match="8 digits"):
            catalogue.versions.find("lung@aaa")
        with pytest.raises(NotFound, match="lung@cccccccc"):
            catalogue.versions.find("lung@cccccccc")

    def test_a_grant_is_added_and_revoked_once(self, catalogue):
        catalogue.projects.create(project())
        v, key = version("a")
        catalogue.versions.publish(v, key)
        grant = Grant(GrantId.new(), PROJECT, v.dataset, v.digest, NOW + timedelta(days=1), SAM, NOW)
        catalogue.grants.add(grant)
        assert catalogue.grants.all(PROJECT) == [grant]
        revoked = catalogue.grants.revoke(grant.id, NOW + timedelta(hours=1), SAM)
        assert revoked == catalogue.grants.get(grant.id)
        assert revoked.revoked_at == NOW + timedelta(hours=1)
        assert not revoked.is_current(NOW)
        with pytest.raises(Conflict):
            catalogue.grants.revoke(grant.id, NOW, SAM)
        with pytest.raises(NotFound):
            catalogue.grants.revoke(GrantId.new(), NOW, SAM)

    def test_a_grant_needs_project_and_version(self, catalogue):
        v, _ = version("a")
        with pytest.raises(NotFound):
            catalogue.grants.add(Grant(GrantId.new(), PROJECT, v.dataset, v.digest, NOW, SAM, NOW))

    def test_sessions_open_and_close(self, catalogue):
        catalogue.projects.create(project())
        session = Session(SessionId.new(), ROSA, PROJECT, NOW, NOW + timedelta(hours=8))
        catalogue.sessions.open(session)
        with pytest.raises(Conflict):
            catalogue.sessions.open(session)
        assert catalogue.sessions.open_ones() == [session]
        catalogue.sessions.close(session.id, NOW + timedelta(hours=1))
        catalogue.sessions.close(session.id, NOW + timedelta(hours=2))
        assert catalogue.sessions.open_ones() == []
        assert catalogue.sessions.get(session.id).closed_at == NOW + timedelta(hours=1)
