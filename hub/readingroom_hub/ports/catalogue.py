"""The catalogue: projects, members, dataset versions, data keys, grants, sessions, holds. Five doors to one database.

Every mutator is called by a service that has the matching audit record durable first. All raise StoreUnavailable where
the database cannot be read or written."""

from abc import ABC, abstractmethod
from datetime import datetime, timedelta

from readingroom_hub.model.alert import Hold
from readingroom_hub.model.dataset import DatasetVersion, WrappedKey
from readingroom_hub.model.grant import Grant
from readingroom_hub.model.ids import DatasetName, GrantId, KeyId, PersonId, ProjectId, SessionId, VersionDigest
from readingroom_hub.model.project import Member, Project
from readingroom_hub.model.session import Session


class Projects(ABC):
    """Projects and members."""

    @abstractmethod
    def create(self, project: Project) -> None:
        """Raises Conflict where the id is taken."""

    @abstractmethod
    def allow_pictures(self, id: ProjectId, allowed: bool) -> None:
        """Whether saved notebooks may keep pictures. Raises NotFound."""

    @abstractmethod
    def get(self, id: ProjectId) -> Project:
        """Raises NotFound."""

    @abstractmethod
    def all(self) -> list[Project]:
        """Every project, by id."""

    @abstractmethod
    def set_member(self, member: Member) -> None:
        """Add, or change the role of, one member."""

    @abstractmethod
    def remove_member(self, project: ProjectId, person: PersonId) -> None:
        """Removing nobody is no error."""

    @abstractmethod
    def members(self, project: ProjectId) -> list[Member]:
        """Members of one project."""

    @abstractmethod
    def of_person(self, person: PersonId) -> list[Member]:
        """One person's memberships."""


class Versions(ABC):
    """Published dataset versions and their wrapped data keys."""

    @abstractmethod
    def publish(self, version: DatasetVersion, key: WrappedKey | None) -> None:
        """Version and key in one transaction; None: under the data key of an earlier version, which must be there.

        Raises Conflict where the digest is already published, NotFound where there is no such data key."""

    @abstractmethod
    def get(self, digest: VersionDigest) -> DatasetVersion:
        """Raises NotFound."""

    @abstractmethod
    def find(self, label: str) -> DatasetVersion:
        """By NAME (the newest version), NAME@DIGITS (at least 8 hexadecimal digits) or a full digest.

        Raises NotFound, or BadInput where several versions match."""

    @abstractmethod
    def all(self, project: ProjectId | None = None, dataset: DatasetName | None = None) -> list[DatasetVersion]:
        """Newest first."""

    def next_moment(self, dataset: DatasetName, now: datetime) -> datetime:
        """When a version that is published now counts as published: after the dataset's others, though the clock was
        set back meanwhile, so that the newest is the last one."""
        return max([now, *(v.published_at + timedelta(microseconds=1) for v in self.all(dataset=dataset)[:1])])

    @abstractmethod
    def key(self, id: KeyId) -> WrappedKey:
        """Raises NotFound."""

    @abstractmethod
    def rewrap(self, key: WrappedKey) -> None:
        """Replace the wrapped form of a data key that is there; the data key itself stays. Raises NotFound."""

    @abstractmethod
    def remove(self, digest: VersionDigest, at: datetime) -> None:
        """Take a version out, its ended grants, and its data key where no other version uses it; in one transaction.

        Raises NotFound; Conflict where a grant gives it to somebody at `at`."""


class Grants(ABC):
    """Access grants."""

    @abstractmethod
    def add(self, grant: Grant) -> None:
        """Raises NotFound where project or version do not exist."""

    @abstractmethod
    def get(self, id: GrantId) -> Grant:
        """Raises NotFound."""

    @abstractmethod
    def revoke(self, id: GrantId, at: datetime, by: PersonId) -> Grant:
        """Raises NotFound; Conflict where it is already revoked."""

    @abstractmethod
    def all(self, project: ProjectId | None = None) -> list[Grant]:
        """Every grant, ended and revoked ones too, newest first."""


class Sessions(ABC):
    """Sessions: the running servers and those that were."""

    @abstractmethod
    def open(self, session: Session) -> None:
        """Raises Conflict where the id exists."""

    @abstractmethod
    def get(self, id: SessionId) -> Session:
        """Raises NotFound."""

    @abstractmethod
    def close(self, id: SessionId, at: datetime) -> None:
        """Closing a closed session changes nothing."""

    @abstractmethod
    def open_ones(self) -> list[Session]:
        """Sessions without a close, expired ones too."""


class Holds(ABC):
    """Whose access is suspended."""

    @abstractmethod
    def add(self, hold: Hold) -> None:
        """Works at once."""

    @abstractmethod
    def lift(self, person: PersonId, at: datetime, by: PersonId) -> None:
        """End every current hold of this person. Raises NotFound where there is none."""

    @abstractmethod
    def current(self) -> dict[PersonId, Hold]:
        """Those in force, the oldest of each person."""
