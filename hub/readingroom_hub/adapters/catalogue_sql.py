"""The catalogue on SQL: the five doors of `ports.catalogue` on one engine."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Row, Select, delete, insert, select, update
from sqlalchemy.exc import IntegrityError as ConstraintError
from sqlalchemy.exc import SQLAlchemyError

from readingroom_hub.adapters import catalogue_tables as t
from readingroom_hub.errors import BadInput, Conflict, NotFound, StoreUnavailable
from readingroom_hub.model.alert import Hold
from readingroom_hub.model.dataset import DatasetVersion, WrappedKey
from readingroom_hub.model.grant import Grant
from readingroom_hub.model.ids import DatasetName, GrantId, KeyId, PersonId, ProjectId, SessionId, VersionDigest
from readingroom_hub.model.project import Member, Project, Role
from readingroom_hub.model.session import Session
from readingroom_hub.ports.catalogue import Grants, Holds, Projects, Sessions, Versions


class _Table:
    """What the five share: a transaction whose failures are ours."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextmanager
    def _begin(self, conflict: str = "") -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except ConstraintError as error:
            if "FOREIGN KEY" in str(error.orig):
                raise NotFound(f"{conflict}: what it refers to does not exist") from error
            raise Conflict(f"{conflict} exists already") from error
        except SQLAlchemyError as error:
            raise StoreUnavailable(
                f"the catalogue could not be used: {getattr(error, 'orig', None) or error}"
            ) from error

    def _rows(self, query: Select[Any]) -> list[Row[Any]]:
        with self._begin() as c:
            return list(c.execute(query))

    def _one(self, query: Select[Any], missing: str) -> Row[Any]:
        rows = self._rows(query)
        if not rows:
            raise NotFound(missing)
        return rows[0]


def _project(r: Row[Any]) -> Project:
    return Project(ProjectId(r.id), r.title, r.owner, r.created_at, r.ends_at, r.pictures)


def _member(r: Row[Any]) -> Member:
    return Member(ProjectId(r.project), PersonId(r.person), Role(r.role), r.since)


def _version(r: Row[Any]) -> DatasetVersion:
    return DatasetVersion(
        digest=VersionDigest(r.digest),
        project=ProjectId(r.project),
        dataset=DatasetName(r.dataset),
        key=KeyId(r.key),
        instances=r.instances,
        series=r.series,
        studies=r.studies,
        size=r.size,
        published_at=r.published_at,
        card=r.card,
    )


def _grant(r: Row[Any]) -> Grant:
    return Grant(
        id=GrantId(r.id),
        project=ProjectId(r.project),
        dataset=DatasetName(r.dataset),
        version=VersionDigest(r.version),
        ends_at=r.ends_at,
        approved_by=PersonId(r.approved_by),
        created_at=r.created_at,
        revoked_at=r.revoked_at,
        revoked_by=PersonId(r.revoked_by) if r.revoked_by else None,
    )


def _session(r: Row[Any]) -> Session:
    return Session(SessionId(r.id), PersonId(r.person), ProjectId(r.project), r.opened_at, r.expires_at, r.closed_at)


class SqlProjects(_Table, Projects):
    """Projects and members."""

    def create(self, project: Project) -> None:
        """See the port."""
        with self._begin(f"project {project.id}") as c:
            c.execute(insert(t.projects).values(asdict(project)))

    def allow_pictures(self, id: ProjectId, allowed: bool) -> None:
        """See the port."""
        self.get(id)
        with self._begin(f"project {id}") as c:
            c.execute(update(t.projects).where(t.projects.c.id == id).values(pictures=allowed))

    def get(self, id: ProjectId) -> Project:
        """See the port."""
        query = select(t.projects).where(t.projects.c.id == id)
        return _project(self._one(query, f"there is no project {id}; `readingroom project list` names them"))

    def all(self) -> list[Project]:
        """See the port."""
        return [_project(r) for r in self._rows(select(t.projects).order_by(t.projects.c.id))]

    def set_member(self, member: Member) -> None:
        """See the port."""
        with self._begin(f"member of {member.project}") as c:
            c.execute(
                delete(t.members).where(t.members.c.project == member.project, t.members.c.person == member.person)
            )
            c.execute(insert(t.members).values(asdict(member)))

    def remove_member(self, project: ProjectId, person: PersonId) -> None:
        """See the port."""
        with self._begin() as c:
            c.execute(delete(t.members).where(t.members.c.project == project, t.members.c.person == person))

    def members(self, project: ProjectId) -> list[Member]:
        """See the port."""
        return [_member(r) for r in self._rows(select(t.members).where(t.members.c.project == project))]

    def of_person(self, person: PersonId) -> list[Member]:
        """See the port."""
        query = select(t.members).where(t.members.c.person == person).order_by(t.members.c.project)
        return [_member(r) for r in self._rows(query)]


class SqlVersions(_Table, Versions):
    """Dataset versions and wrapped data keys."""

    def publish(self, version: DatasetVersion, key: WrappedKey | None) -> None:
        """See the port."""
        with self._begin(f"dataset version {version.label}") as c:
            if key is not None:
                c.execute(insert(t.keys).values(asdict(key)))
            c.execute(insert(t.versions).values(asdict(version)))

    def get(self, digest: VersionDigest) -> DatasetVersion:
        """See the port."""
        query = select(t.versions).where(t.versions.c.digest == digest)
        return _version(self._one(query, f"there is no dataset version {digest}"))

    def find(self, label: str) -> DatasetVersion:
        """See the port."""
        if label.startswith("sha256:"):
            return self.get(VersionDigest(label))
        name, _, digits = label.partition("@")
        found = self.all(dataset=DatasetName(name))
        if digits:
            if len(digits) < 8:  # shorter prefixes collide by chance too easily
                raise BadInput(f"{label!r}: give at least 8 digits of the version")
            found = [v for v in found if v.digest.removeprefix("sha256:").startswith(digits)]
            if len(found) > 1:
                raise BadInput(f"{label!r} fits {len(found)} versions: give more digits")
        if not found:
            raise NotFound(f"there is no dataset version {label}; `readingroom dataset list` names them")
        return found[0]

    def all(self, project: ProjectId | None = None, dataset: DatasetName | None = None) -> list[DatasetVersion]:
        """See the port."""
        query = select(t.versions).order_by(t.versions.c.published_at.desc())
        if project is not None:
            query = query.where(t.versions.c.project == project)
        if dataset is not None:
            query = query.where(t.versions.c.dataset == dataset)
        return [_version(r) for r in self._rows(query)]

    def key(self, id: KeyId) -> WrappedKey:
        """See the port."""
        r = self._one(select(t.keys).where(t.keys.c.id == id), f"there is no data key {id}")
        return WrappedKey(KeyId(r.id), r.kek, r.wrapped)

    def rewrap(self, key: WrappedKey) -> None:
        """See the port."""
        self.key(key.id)
        with self._begin() as c:
            c.execute(update(t.keys).where(t.keys.c.id == key.id).values(kek=key.kek, wrapped=key.wrapped))

    def remove(self, digest: VersionDigest, at: datetime) -> None:
        """See the port. The first statement writes, so that no grant can come between (SQLite takes its lock there)."""
        version = self.get(digest)
        with self._begin(f"dataset version {version.label}") as c:
            of_it = t.grants.c.version == digest
            ended = t.grants.c.revoked_at.is_not(None) | (t.grants.c.ends_at <= at)
            c.execute(delete(t.grants).where(of_it, ended))
            if c.execute(select(t.grants.c.id).where(of_it)).first():
                raise Conflict(f"{version.label} may still be read: revoke its grants first")
            c.execute(delete(t.versions).where(t.versions.c.digest == digest))
            if not c.execute(select(t.versions.c.digest).where(t.versions.c.key == version.key)).first():
                c.execute(delete(t.keys).where(t.keys.c.id == version.key))


class SqlGrants(_Table, Grants):
    """Access grants."""

    def add(self, grant: Grant) -> None:
        """See the port."""
        with self._begin(f"access grant {grant.id} of {grant.version} to {grant.project}") as c:
            c.execute(insert(t.grants).values(asdict(grant)))

    def get(self, id: GrantId) -> Grant:
        """See the port."""
        query = select(t.grants).where(t.grants.c.id == id)
        return _grant(self._one(query, f"there is no access grant {id}; `readingroom grant list` names them"))

    def revoke(self, id: GrantId, at: datetime, by: PersonId) -> Grant:
        """See the port."""
        with self._begin() as c:
            changed = c.execute(
                update(t.grants)
                .where(t.grants.c.id == id, t.grants.c.revoked_at.is_(None))
                .values(revoked_at=at, revoked_by=by)
            ).rowcount
        grant = self.get(id)
        if not changed:
            raise Conflict(f"access grant {id} was already revoked at {grant.revoked_at}")
        return grant

    def all(self, project: ProjectId | None = None) -> list[Grant]:
        """See the port."""
        query = select(t.grants).order_by(t.grants.c.created_at.desc(), t.grants.c.id)
        if project is not None:
            query = query.where(t.grants.c.project == project)
        return [_grant(r) for r in self._rows(query)]


class SqlSessions(_Table, Sessions):
    """Sessions."""

    def open(self, session: Session) -> None:
        """See the port."""
        with self._begin(f"session {session.id}") as c:
            c.execute(insert(t.sessions).values(asdict(session)))

    def get(self, id: SessionId) -> Session:
        """See the port."""
        return _session(self._one(select(t.sessions).where(t.sessions.c.id == id), f"there is no session {id}"))

    def close(self, id: SessionId, at: datetime) -> None:
        """See the port."""
        with self._begin() as c:
            c.execute(
                update(t.sessions).where(t.sessions.c.id == id, t.sessions.c.closed_at.is_(None)).values(closed_at=at)
            )

    def open_ones(self) -> list[Session]:
        """See the port."""
        query = select(t.sessions).where(t.sessions.c.closed_at.is_(None)).order_by(t.sessions.c.opened_at)
        return [_session(r) for r in self._rows(query)]


class SqlHolds(_Table, Holds):
    """Holds."""

    def add(self, hold: Hold) -> None:
        """See the port."""
        with self._begin() as c:
            c.execute(insert(t.holds).values(asdict(hold)))

    def lift(self, person: PersonId, at: datetime, by: PersonId) -> None:
        """See the port."""
        with self._begin() as c:
            current = update(t.holds).where(t.holds.c.person == person, t.holds.c.lifted_at.is_(None))
            if not c.execute(current.values(lifted_at=at, lifted_by=by)).rowcount:
                raise NotFound(f"the access of {person} is not suspended")

    def current(self) -> dict[PersonId, Hold]:
        """See the port."""
        query = select(t.holds).where(t.holds.c.lifted_at.is_(None)).order_by(t.holds.c.id.desc())
        return {(hold := _hold(r)).person: hold for r in self._rows(query)}


def _hold(r: Row[Any]) -> Hold:
    by = None if r.by is None else PersonId(r.by)
    return Hold(PersonId(r.person), r.since, by, r.reason, r.alert)
