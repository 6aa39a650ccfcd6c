"""Projects and who is in them. The identity provider's groups say who; the catalogue says what exists."""

from collections.abc import Mapping
from datetime import UTC, datetime

from readingroom_hub.errors import Conflict, NotFound
from readingroom_hub.model.audit import AuditEvent, AuditRecord
from readingroom_hub.model.ids import PersonId, ProjectId
from readingroom_hub.model.project import Member, Project, Role
from readingroom_hub.ports.catalogue import Projects
from readingroom_hub.ports.records import AuditRepository


class ProjectService:
    """Creates projects and keeps memberships as the identity provider last stated them."""

    def __init__(self, projects: Projects, audit: AuditRepository) -> None:
        self._projects = projects
        self._audit = audit

    def create(self, id: ProjectId, title: str, owner: str, ends_at: datetime | None, by: PersonId) -> Project:
        """Record, then create. Raises Conflict where the id is taken."""
        if any(p.id == id for p in self._projects.all()):
            raise Conflict(f"project {id} exists already")
        project = Project(id, title, owner, datetime.now(UTC), ends_at)
        subject = {"title": title, "owner": owner} | ({"until": ends_at.isoformat()} if ends_at else {})
        self._audit.append([AuditRecord(AuditEvent.PROJECT_CREATED, person=by, project=id, subject=subject)])
        self._projects.create(project)
        return project

    def allow_pictures(self, id: ProjectId, allowed: bool, by: PersonId) -> None:
        """Whether notebooks that are saved may keep pictures; for servers that start from now on. Recorded before.

        Raises NotFound."""
        before = self._projects.get(id).pictures
        subject = {"what": "pictures-in-notebooks", "before": _allowed(before), "after": _allowed(allowed)}
        self._audit.append([AuditRecord(AuditEvent.CONFIGURATION, person=by, project=id, subject=subject)])
        self._projects.allow_pictures(id, allowed)

    def sync_memberships(self, person: PersonId, stated: Mapping[ProjectId, Role]) -> set[ProjectId]:
        """Make the person's memberships equal to what the identity provider states, and record each change.

        Returns the projects that they are in now: stated ones that the catalogue does not know are left out."""
        held = {m.project: m.role for m in self._projects.of_person(person)}
        known = {p.id for p in self._projects.all()}
        wanted = {project: role for project, role in stated.items() if project in known}
        changes = [
            AuditRecord(
                AuditEvent.MEMBER_CHANGED,
                person=person,
                project=project,
                subject={"role": wanted.get(project, "none"), "before": held.get(project, "none")},
            )
            for project in sorted(held.keys() | wanted.keys())
            if held.get(project) != wanted.get(project)
        ]
        if changes:
            self._audit.append(changes)
        now = datetime.now(UTC)
        for project in held.keys() - wanted.keys():
            self._projects.remove_member(project, person)
        for project, role in wanted.items():
            if held.get(project) != role:
                self._projects.set_member(Member(project, person, role, now))
        return set(wanted)

    def member(self, project: ProjectId, person: PersonId) -> Member:
        """The person's membership. Raises NotFound where there is none."""
        for m in self._projects.of_person(person):
            if m.project == project:
                return m
        raise NotFound(
            f"you are not a member of the project {project}: ask its information asset owner for the group of the "
            "project, then sign in again"
        )


def _allowed(pictures: bool) -> str:
    return "allowed" if pictures else "forbidden"
