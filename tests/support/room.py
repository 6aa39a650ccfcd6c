"""A small catalogue with a project, a published version and people, for tests of use cases."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.support.fakes import MemoryAuditRepository

from readingroom_hub.compose import Catalogue, open_catalogue
from readingroom_hub.config import Settings
from readingroom_hub.model.dataset import DatasetVersion, WrappedKey
from readingroom_hub.model.ids import DatasetName, KeyId, PersonId, ProjectId, SessionId, VersionDigest
from readingroom_hub.model.project import Role
from readingroom_hub.ports.mounts import Folders, Mounts
from readingroom_hub.services.grants import GrantService
from readingroom_hub.services.projects import ProjectService
from readingroom_hub.services.sessions import SessionService

PROJECT = ProjectId("chest-ct")


class CountingMounts(Mounts):
    """Counts how often it was told to refresh."""

    def __init__(self) -> None:
        self.refreshed = 0

    def attach(self, session: SessionId) -> Path:
        raise NotImplementedError

    def open_folders(self, session: SessionId) -> Folders:
        raise NotImplementedError

    def show_home(self, session: SessionId) -> None:
        raise NotImplementedError

    def detach(self, session: SessionId) -> None:
        raise NotImplementedError

    def refresh(self) -> None:
        self.refreshed += 1

    def status(self) -> dict[str, int]:
        return {}


@dataclass
class Room:
    audit: MemoryAuditRepository
    catalogue: Catalogue
    mounts: CountingMounts
    projects: ProjectService
    grants: GrantService
    sessions: SessionService
    steward: PersonId
    rosa: PersonId
    version: DatasetVersion

    @property
    def tomorrow(self) -> datetime:
        return datetime.now(UTC) + timedelta(days=1)


def make_room(folder: Path) -> Room:
    audit = MemoryAuditRepository()
    catalogue = open_catalogue(Settings(state=folder))
    mounts = CountingMounts()
    projects = ProjectService(catalogue.projects, audit)
    steward = audit.identify("test", "steward", "Sam Steward")
    rosa = audit.identify("test", "rosa", "Rosa Researcher")
    projects.create(PROJECT, "Chest CT", "Dr Owner", None, steward)
    projects.sync_memberships(rosa, {PROJECT: Role.RESEARCHER})
    key = WrappedKey(KeyId.new(), "kek-1", b"wrapped")
    digest = VersionDigest("sha256:" + "a" * 64)
    version = DatasetVersion(digest, PROJECT, DatasetName("lung"), key.id, 1, 1, 1, 10, datetime.now(UTC), "{}")
    catalogue.versions.publish(version, key)
    return Room(
        audit,
        catalogue,
        mounts,
        projects,
        GrantService(catalogue.grants, catalogue.versions, catalogue.projects, audit, mounts),
        SessionService(catalogue.projects, catalogue.grants, catalogue.sessions, catalogue.holds, audit, 8),
        steward,
        rosa,
        version,
    )
