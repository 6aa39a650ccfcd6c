"""What the portal works with, handed in by whoever composes it."""

from collections.abc import Callable
from dataclasses import dataclass

from fastapi import Response

from readingroom_hub.errors import AuditUnavailable
from readingroom_hub.ledger.note import VKey
from readingroom_hub.model.ids import PersonId
from readingroom_hub.ports.catalogue import Grants, Projects, Versions
from readingroom_hub.ports.monitoring import MonitorState
from readingroom_hub.ports.records import AuditRepository
from readingroom_hub.services.alerts import AlertBook
from readingroom_hub.services.approvals import Approvals
from readingroom_hub.services.grants import GrantService
from readingroom_hub.services.holds import HoldService
from readingroom_hub.services.sessions import SessionService

PREFIX = "/services/portal"
"""The portal's path below the public address, fixed by its being the hub's service `portal`."""

Render = Callable[..., Response]
"""`render(request, template, status=200, **context)`."""


@dataclass(frozen=True, slots=True)
class Desk:
    """Ports and use cases. `origin` is the public scheme and host; `door_key` is what doors vouch with."""

    audit: AuditRepository
    projects: Projects
    versions: Versions
    grants: Grants
    grant_service: GrantService
    sessions: SessionService
    origin: str
    door_key: bytes
    log_key: Callable[[], VKey | None]
    """The audit record repository's public key; None before its first start."""
    alerts: AlertBook
    approvals: Approvals
    holds: HoldService
    monitor: Callable[[], MonitorState]
    """What the monitor of unusual access last said of itself."""

    def names(self) -> dict[PersonId, str]:
        """The names of everybody who ever signed in and was not erased.

        None at all while the audit record repository does not answer: access can be withdrawn even then."""
        try:
            return {p.person: p.name for p in self.audit.people("")}
        except AuditUnavailable:
            return {}
