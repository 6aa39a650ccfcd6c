"""Pages of the data steward: reads, access grants, datasets, projects."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from readingroom_hub.errors import BadInput, Conflict, IntegrityError, NotFound
from readingroom_hub.ledger.note import Checkpoint, open_note
from readingroom_hub.model.ids import DatasetName, GrantId, PersonId, ProjectId
from readingroom_hub.ports.records import Filter
from readingroom_hub.web import reads
from readingroom_hub.web.desk import PREFIX, Desk, Render
from readingroom_hub.web.guard import RECORD, STEWARDS, Guard
from readingroom_hub.web.visitor import Visitor
from readingroom_hub.web.words import card_facts, end_of, start_of

RECORDS_AT_ONCE = 5000

Posted = tuple[Visitor, dict[str, str]]


def router(desk: Desk, guard: Guard, render: Render) -> APIRouter:
    """Routes of these pages."""
    routes = APIRouter()
    _reads(routes, desk, guard, render)
    _grants(routes, desk, guard, render)
    _catalogue(routes, desk, guard, render)
    return routes


def _reads(routes: APIRouter, desk: Desk, guard: Guard, render: Render) -> None:
    @routes.get("/reads")
    def read_page(
        request: Request,
        visitor: Annotated[Visitor, Depends(guard.page(RECORD))],
        person: str = "",
        project: str = "",
        dataset: str = "",
        since: str = "",
        until: str = "",
        show: str = "reads",
    ) -> Response:
        """The record. Looking at it is itself recorded."""
        asked = {"person": person, "project": project, "dataset": dataset, "since": since, "until": until, "show": show}
        trouble, found, answer = "", [], None
        try:
            answer = desk.audit.search(_filter(desk, asked), visitor.person)
            found = answer.found
        except (BadInput, NotFound) as error:
            trouble = str(error)
        rows = reads.rows_of(found)
        if show == "refused":
            rows = [row for row in rows if row.failed]
        context = {"asked": asked, "rows": rows, "full": len(found) == RECORDS_AT_ONCE, "trouble": trouble}
        context |= {"answer": answer}
        context |= {"projects": desk.projects.all(), "people": sorted(set(desk.names().values()))}
        context |= {"datasets": sorted({v.dataset for v in desk.versions.all()}), "integrity": integrity(desk)}
        status = 400 if trouble else 200
        return render(request, "reads.html", status, visitor=visitor, here="reads", **context)


def _filter(desk: Desk, asked: dict[str, str]) -> Filter:
    events = {"reads": reads.READS, "refused": reads.REFUSALS}.get(asked["show"], ())
    return Filter(
        person=_person(desk, asked["person"]),
        project=ProjectId(asked["project"]) if asked["project"] else None,
        dataset=DatasetName(asked["dataset"]) if asked["dataset"] else None,
        events=tuple(event.value for event in events),
        since=start_of(asked["since"]),
        until=end_of(asked["until"]),
        limit=RECORDS_AT_ONCE,
    )


def _person(desk: Desk, text: str) -> PersonId | None:
    if not text:
        return None
    found = desk.audit.people(text)
    if not found:
        raise NotFound(f"nobody called {text[:80]!r} ever signed in: write the whole name, or the person's id")
    if len(found) > 1:
        ids = ", ".join(p.person for p in found)
        raise BadInput(f"{len(found)} people are called {text[:80]!r}; write one of these ids instead: {ids}")
    return found[0].person


@dataclass(frozen=True, slots=True)
class Integrity:
    """What the newest checkpoint says, and whether its signature is the log's."""

    size: int
    root: str
    note: str
    signed_by: str
    good: bool
    checked_at: datetime


def integrity(desk: Desk) -> Integrity:
    """Check the newest checkpoint's signature. Raises AuditUnavailable."""
    note = desk.audit.checkpoint()
    lines = note.splitlines()
    key = desk.log_key()
    try:
        body, signers = open_note(note, [key] if key else [])
        point = Checkpoint.parse(body)
    except (BadInput, IntegrityError):
        return Integrity(int(lines[1]), lines[2], note, "", good=False, checked_at=datetime.now(UTC))
    signer = next(iter(signers)).name
    return Integrity(point.size, point.root.hex(), note, signer, good=True, checked_at=datetime.now(UTC))


def _grants(routes: APIRouter, desk: Desk, guard: Guard, render: Render) -> None:
    def show(request: Request, visitor: Visitor, status: int = 200, trouble: str = "", **asked: str) -> Response:
        now = datetime.now(UTC)
        context = {"grants": desk.grants.all(), "now": now, "names": desk.names(), "trouble": trouble, "asked": asked}
        context |= {"projects": desk.projects.all(), "versions": desk.versions.all()}
        context["done"] = request.query_params.get("done", "")
        return render(request, "grants.html", status, visitor=visitor, here="grants", **context)

    @routes.get("/grants")
    def grants_page(request: Request, visitor: Annotated[Visitor, Depends(guard.page(STEWARDS))]) -> Response:
        """Every access grant, newest first, and a form for a new one."""
        return show(request, visitor)

    @routes.post("/grants")
    def issue(request: Request, posted: Annotated[Posted, Depends(guard.form(STEWARDS))]) -> Response:
        """Give access until the end of a day."""
        visitor, form = posted
        try:
            project, until = ProjectId(form.get("project", "")), _last_moment(form)
            desk.grant_service.issue(project, form.get("version", ""), until, visitor.person)
        except (BadInput, NotFound, Conflict) as error:
            fields = {k: form.get(k, "") for k in ("project", "version", "until")}
            return show(request, visitor, 400, str(error), **fields)
        return RedirectResponse(f"{PREFIX}/grants?done=given", 303)

    @routes.get("/grants/{id}/revoke")
    def confirm(request: Request, id: str, visitor: Annotated[Visitor, Depends(guard.page(STEWARDS))]) -> Response:
        """Ask once more."""
        grant = desk.grants.get(GrantId(id))
        sessions = [s for s in desk.sessions.open_ones() if s.project == grant.project]
        context = {"grant": grant, "running": len(sessions)}
        return render(request, "revoke.html", visitor=visitor, here="grants", **context)

    @routes.post("/grants/{id}/revoke")
    def revoke(id: str, posted: Annotated[Posted, Depends(guard.form(STEWARDS))]) -> Response:
        """Withdraw access now."""
        visitor, _ = posted
        desk.grant_service.revoke(GrantId(id), visitor.person)
        return RedirectResponse(f"{PREFIX}/grants?done=withdrawn", 303)


def _last_moment(form: dict[str, str]) -> datetime:
    until = end_of(form.get("until", ""))
    if until is None:
        raise BadInput("say until which day the access lasts")
    return until - timedelta(seconds=1)


def _catalogue(routes: APIRouter, desk: Desk, guard: Guard, render: Render) -> None:
    @routes.get("/datasets")
    def datasets(request: Request, visitor: Annotated[Visitor, Depends(guard.page(STEWARDS))]) -> Response:
        """Published versions with their cards."""
        versions = [(v, card_facts(v.card)) for v in desk.versions.all()]
        return render(request, "datasets.html", visitor=visitor, here="datasets", versions=versions)

    @routes.get("/projects")
    def projects(request: Request, visitor: Annotated[Visitor, Depends(guard.page(STEWARDS))]) -> Response:
        """Projects with their members."""
        rows = [(p, desk.projects.members(p.id)) for p in desk.projects.all()]
        context = {"rows": rows, "names": desk.names(), "now": datetime.now(UTC)}
        return render(request, "projects.html", visitor=visitor, here="projects", **context)
