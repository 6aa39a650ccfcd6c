"""GET /api/v1/session: what a server may know about itself. Wire format `readingroom-session/1`; it only grows."""

from typing import Annotated, Any

from fastapi import APIRouter, Header

from readingroom_hub.crypto.vouch import SESSION_HEADER, VOUCH_HEADER, check_vouch
from readingroom_hub.errors import BadInput, Denied, NotFound
from readingroom_hub.model.audit import AuditEvent, AuditRecord, Outcome
from readingroom_hub.model.grant import Grant
from readingroom_hub.model.ids import SessionId
from readingroom_hub.web.desk import Desk

FORMAT = "readingroom-session/1"


def router(desk: Desk) -> APIRouter:
    """The API's routes. Errors are `{"error": sentence}`."""
    routes = APIRouter()

    @routes.get("/api/v1/session")
    def session(
        name: Annotated[str, Header(alias=SESSION_HEADER)], code: Annotated[str, Header(alias=VOUCH_HEADER)]
    ) -> dict[str, Any]:
        """The caller's session, as its door vouches for it."""
        return describe(desk, _vouched(desk, name, code))

    return routes


def _vouched(desk: Desk, name: str, code: str) -> SessionId:
    try:
        id = SessionId(name)
    except BadInput as error:
        raise Denied("this request does not name a session") from error
    try:
        check_vouch(desk.door_key, id, code)
    except Denied as error:
        reason = f"vouch-wrong: {error}"
        desk.audit.append([AuditRecord(AuditEvent.REQUEST_REFUSED, Outcome.DENIED, session=id, reason=reason)])
        raise
    return id


def describe(desk: Desk, id: SessionId) -> dict[str, Any]:
    """The wire form. Raises Denied where there is no such open session."""
    try:
        session, grants = desk.sessions.view(id)
    except NotFound as error:
        raise Denied("there is no such session") from error
    if session.closed_at is not None:
        raise Denied("this session has ended")
    return {
        "format": FORMAT,
        "session": session.id,
        "project": session.project,
        "person_name": desk.names().get(session.person, ""),
        "expires_at": session.expires_at.isoformat(),
        "datasets": [_dataset(desk, grant) for grant in sorted(grants, key=lambda g: (g.dataset, g.version))],
    }


def _dataset(desk: Desk, grant: Grant) -> dict[str, Any]:
    version = desk.versions.get(grant.version)
    return {
        "name": grant.dataset,
        "version": grant.version,
        "label": version.label,
        "until": grant.ends_at.isoformat(),
        "instances": version.instances,
        "series": version.series,
    }
