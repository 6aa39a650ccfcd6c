"""The page of unusual access: alerts with their reasons, who is on hold, forecasts."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from readingroom_hub.errors import BadInput, NotFound
from readingroom_hub.model.ids import PersonId
from readingroom_hub.policy.alerts import quantity
from readingroom_hub.policy.unusual import Feature
from readingroom_hub.ports.monitoring import MonitorState
from readingroom_hub.web.desk import PREFIX, Desk, Render
from readingroom_hub.web.guard import STEWARDS, Guard
from readingroom_hub.web.visitor import Visitor

LATE = timedelta(hours=1)
"""A monitor that did not look for so long does not watch."""

Posted = tuple[Visitor, dict[str, str]]


@dataclass(frozen=True, slots=True)
class Outlook:
    """One forecast in words."""

    who: str
    now: str
    limit: str
    reaches: date


def outlook(state: MonitorState, names: dict[PersonId, str]) -> list[Outlook]:
    """The forecasts of the monitor's last look."""
    return [_outlook(row, names) for row in state.outlook]


def _outlook(row: dict[str, Any], names: dict[PersonId, str]) -> Outlook:
    feature, who = Feature(row["feature"]), PersonId(row["person"])
    now, limit = (quantity(feature, row[k]) for k in ("now", "limit"))
    return Outlook(names.get(who, who), now, limit, date.fromisoformat(row["reaches"]))


def router(desk: Desk, guard: Guard, render: Render) -> APIRouter:
    """Routes of this page."""
    routes = APIRouter()

    def show(request: Request, visitor: Visitor, status: int = 200, trouble: str = "") -> Response:
        lines, names, state = desk.alerts.lines(visitor.person), desk.names(), desk.monitor()
        is_late = state.looked_at is None or datetime.now(UTC) - state.looked_at > LATE
        context = {
            "waiting": [n for n in lines if n.acknowledged_by is None],
            "done": [n for n in lines if n.acknowledged_by is not None],
            "holds": desk.holds.current(),
            "held": {h.person for h in desk.holds.current()},
            "names": names,
            "monitor": state,
            "is_late": is_late,
            "outlook": outlook(state, names),
            "trouble": trouble,
            "said": request.query_params.get("done", ""),
        }
        return render(request, "alerts.html", status, visitor=visitor, here="alerts", **context)

    @routes.get("/alerts")
    def alerts_page(request: Request, visitor: Annotated[Visitor, Depends(guard.page(STEWARDS))]) -> Response:
        """Alerts that wait, holds, forecasts, and what came of earlier alerts. Looking is itself recorded."""
        return show(request, visitor)

    @routes.post("/alerts/{id}/acknowledge")
    def acknowledge(request: Request, id: str, posted: Annotated[Posted, Depends(guard.form(STEWARDS))]) -> Response:
        """Say what came of an alert."""
        visitor, form = posted
        try:
            desk.alerts.acknowledge(id, form.get("note", ""), visitor.person)
        except (BadInput, NotFound) as error:
            return show(request, visitor, 400, str(error))
        return RedirectResponse(f"{PREFIX}/alerts?done=acknowledged", 303)

    @routes.post("/alerts/{id}/suspend")
    def suspend(request: Request, id: str, posted: Annotated[Posted, Depends(guard.form(STEWARDS))]) -> Response:
        """Put the person of an alert on hold."""
        visitor, _ = posted
        line = next((n for n in desk.alerts.lines(visitor.person) if n.alert.id == id), None)
        if line is None:
            return show(request, visitor, 400, f"there is no alert {id[:80]}")
        desk.holds.suspend(line.alert.person, "a data steward, after an alert", visitor.person, id)
        return RedirectResponse(f"{PREFIX}/alerts?done=held", 303)

    @routes.post("/holds/{person}/lift")
    def lift(request: Request, person: str, posted: Annotated[Posted, Depends(guard.form(STEWARDS))]) -> Response:
        """Give a person's access back."""
        visitor, _ = posted
        try:
            desk.holds.resume(PersonId(person), visitor.person)
        except (BadInput, NotFound) as error:
            return show(request, visitor, 400, str(error))
        return RedirectResponse(f"{PREFIX}/alerts?done=lifted", 303)

    return routes
