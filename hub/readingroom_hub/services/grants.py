"""Giving and taking access. A grant is recorded before it works; a withdrawal works even where that fails."""

import contextlib
from datetime import UTC, datetime

from readingroom_hub.errors import AuditUnavailable, BadInput, Conflict, StoreUnavailable
from readingroom_hub.model.audit import AuditEvent, AuditRecord
from readingroom_hub.model.grant import Grant
from readingroom_hub.model.ids import GrantId, PersonId, ProjectId
from readingroom_hub.ports.catalogue import Grants, Projects, Versions
from readingroom_hub.ports.mounts import Mounts
from readingroom_hub.ports.records import AuditRepository


class GrantService:
    """Issues and revokes access grants, and tells the mount daemon at once."""

    def __init__(
        self, grants: Grants, versions: Versions, projects: Projects, audit: AuditRepository, mounts: Mounts
    ) -> None:
        self._grants = grants
        self._versions = versions
        self._projects = projects
        self._audit = audit
        self._mounts = mounts

    def issue(self, project: ProjectId, label: str, ends_at: datetime, approved_by: PersonId) -> Grant:
        """Give a project's members access to one dataset version until `ends_at` (aware, in the future).

        Raises NotFound for an unknown project or version, BadInput for an end that is past or after the project's,
        Conflict where a grant of this version to this project is already current for at least as long,
        AuditUnavailable where the record has no quorum of witnesses for too long."""
        now = datetime.now(UTC)
        home = self._projects.get(project)
        version = self._versions.find(label)
        if ends_at <= now:
            raise BadInput(f"a grant that ends at {ends_at:%Y-%m-%d %H:%M %Z} has already ended")
        if home.ends_at and ends_at > home.ends_at:
            raise BadInput(f"project {project} ends at {home.ends_at:%Y-%m-%d}: a grant cannot outlive it")
        for g in self._grants.all(project):
            if g.version == version.digest and g.is_current(now) and g.ends_at >= ends_at:
                raise Conflict(f"{project} already reads {version.label} until {g.ends_at:%Y-%m-%d} by grant {g.id}")
        late = self._audit.witnesses_late()
        if late is not None:
            raise AuditUnavailable(late)
        grant = Grant(GrantId.new(), project, version.dataset, version.digest, ends_at, approved_by, now)
        self._audit.append([self._record(AuditEvent.GRANT_ISSUED, grant, approved_by)])
        self._grants.add(grant)
        self._tell_daemon()
        return grant

    def revoke(self, id: GrantId, by: PersonId) -> Grant:
        """Withdraw access now. Raises NotFound.

        Where the audit record repository does not answer, the withdrawal still takes effect, and AuditUnavailable is
        raised afterwards: calling again once it answers records it."""
        grant = self._grants.get(id)
        unrecorded: AuditUnavailable | None = None
        try:
            self._audit.append([self._record(AuditEvent.GRANT_REVOKED, grant, by)])
        except AuditUnavailable as error:
            unrecorded = error
        if grant.revoked_at is None:
            with contextlib.suppress(Conflict):  # somebody else was quicker: the outcome is the one that was wanted
                grant = self._grants.revoke(id, datetime.now(UTC), by)
        self._tell_daemon()
        if unrecorded is not None:
            raise AuditUnavailable(
                f"access by grant {id} is withdrawn, but that is not on the record: the audit record repository does "
                f"not answer. Run `readingroom grant revoke {id}` again once it does"
            ) from unrecorded
        return grant

    def _tell_daemon(self) -> None:
        # A daemon that does not answer re-reads the catalogue by itself, at the latest when it starts.
        with contextlib.suppress(StoreUnavailable):
            self._mounts.refresh()

    @staticmethod
    def _record(event: AuditEvent, grant: Grant, by: PersonId) -> AuditRecord:
        return AuditRecord(
            event,
            person=by,
            project=grant.project,
            subject={
                "grant": grant.id,
                "dataset": grant.dataset,
                "version": grant.version,
                "until": grant.ends_at.astimezone(UTC).isoformat(timespec="seconds"),
            },
        )
