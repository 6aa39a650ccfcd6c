"""Opening and closing sessions: the record of one is durable before its server starts."""

from datetime import UTC, datetime, timedelta
from typing import NoReturn

from readingroom_hub.errors import Denied, NotFound
from readingroom_hub.model.audit import AuditEvent, AuditRecord, Outcome
from readingroom_hub.model.grant import Grant
from readingroom_hub.model.ids import PersonId, ProjectId, SessionId
from readingroom_hub.model.project import Member, Project
from readingroom_hub.model.session import Session
from readingroom_hub.policy.access import on_hold
from readingroom_hub.ports.catalogue import Grants, Holds, Projects, Sessions
from readingroom_hub.ports.records import AuditRepository


class SessionService:
    """Decides whether a person may have a server in a project, and keeps the list of running ones."""

    def __init__(
        self, projects: Projects, grants: Grants, sessions: Sessions, holds: Holds, audit: AuditRepository, hours: int
    ) -> None:
        self._projects = projects
        self._grants = grants
        self._sessions = sessions
        self._holds = holds
        self._audit = audit
        self._hours = hours

    def open(self, person: PersonId, project: ProjectId) -> Session:
        """A new session with the project's current grants on its record.

        Raises Denied (recorded) where the project does not exist or has ended, the person is no member or on
        hold; AuditUnavailable where it cannot be recorded: then there is no session."""
        now = datetime.now(UTC)
        home, member = self._admit(person, project, now)
        expires = now + timedelta(hours=self._hours)
        session = Session(
            SessionId.new(), person, project, now, min(expires, home.ends_at) if home.ends_at else expires
        )
        current = [g for g in self._grants.all(project) if g.is_current(now)]
        subject: dict[str, object] = {
            "role": member.role.value,
            "grants": [g.id for g in current],
            "until": session.expires_at.isoformat(timespec="seconds"),
        }
        self._audit.append([self._record(AuditEvent.SESSION_OPENED, session, subject)])
        self._sessions.open(session)
        return session

    def close(self, id: SessionId) -> None:
        """End a session. Closing an unknown or closed one changes nothing.

        The session ends even where that cannot be recorded; AuditUnavailable is raised afterwards."""
        try:
            session = self._sessions.get(id)
        except NotFound:
            return
        if session.closed_at is not None:
            return
        self._sessions.close(id, datetime.now(UTC))
        self._audit.append([self._record(AuditEvent.SESSION_CLOSED, session, {})])

    def view(self, id: SessionId) -> tuple[Session, list[Grant]]:
        """A session and the grants that are current in it now. Raises NotFound."""
        session = self._sessions.get(id)
        now = datetime.now(UTC)
        reads = session.is_open(now) and session.person not in self._holds.current()
        grants = self._grants.all(session.project) if reads else []
        return session, [g for g in grants if g.is_current(now)]

    def open_ones(self) -> list[Session]:
        """Sessions that run."""
        return self._sessions.open_ones()

    def _admit(self, person: PersonId, project: ProjectId, now: datetime) -> tuple[Project, Member]:
        try:
            home = self._projects.get(project)
        except NotFound:
            self._deny(person, project, "no-project", f"the project {project} does not exist: ask a data steward")
        member = next((m for m in self._projects.members(project) if m.person == person), None)
        if member is None:
            self._deny(
                person,
                project,
                "no-member",
                f"you are not a member of {project}: ask its information asset owner, then sign in again",
            )
        if home.ends_at is not None and now >= home.ends_at:
            self._deny(person, project, "project-ended", f"the project {project} ended on {home.ends_at:%Y-%m-%d}")
        hold = self._holds.current().get(person)
        if hold is not None:
            refusal = on_hold(hold)
            self._deny(person, project, refusal.code, refusal.sentence)
        return home, member

    def _deny(self, person: PersonId, project: ProjectId, code: str, sentence: str) -> NoReturn:
        self._audit.append(
            [
                AuditRecord(
                    AuditEvent.SESSION_OPENED,
                    Outcome.DENIED,
                    person=person,
                    project=project,
                    reason=f"{code}: {sentence}",
                )
            ]
        )
        raise Denied(sentence[0].upper() + sentence[1:].removesuffix(".") + ".")

    @staticmethod
    def _record(event: AuditEvent, session: Session, subject: dict[str, object]) -> AuditRecord:
        return AuditRecord(event, person=session.person, project=session.project, session=session.id, subject=subject)
