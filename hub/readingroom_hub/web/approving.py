"""Pages where data stewards approve what cannot be undone, each by themselves."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from readingroom_hub.errors import Denied
from readingroom_hub.model.approval import NEEDED, Act, Approval, State
from readingroom_hub.model.ids import ApprovalId, PersonId
from readingroom_hub.web.desk import PREFIX, Desk, Render
from readingroom_hub.web.guard import STEWARDS, Guard
from readingroom_hub.web.visitor import Visitor

Posted = tuple[Visitor, dict[str, str]]

TITLES = {
    Act.DESTROY_KEY: "Destroy the key {}",
    Act.DELETE_VERSION: "Delete a dataset version",
    Act.DESTROY_CROSSWALK: "Destroy the crosswalk of {}",
    Act.KEEP_CROSSWALK: "Keep a crosswalk of {}",
    Act.SHARE_VERSION: "Share a dataset version with another institution",
    Act.FORGET_PERSON: "Erase who {} is",
    Act.PURGE_RECORDS: "Remove contents of old access records",
}
MEANS = {
    Act.DESTROY_KEY: "Once it is done, nobody can read these any more: not here, and not in a backup of the images",
    Act.DELETE_VERSION: "This is taken away for ever, and only a backup of the object store still has it",
    Act.DESTROY_CROSSWALK: "This is lost for ever: a patient with an incidental finding can no longer be named",
    Act.KEEP_CROSSWALK: "Whoever may look it up learns, each time on the record and with a reason",
    Act.SHARE_VERSION: "This leaves, and what has left cannot be called back",
    Act.FORGET_PERSON: "Their records stay, but nobody can tell any more whose they were",
    Act.PURGE_RECORDS: "This is lost for ever; that it was there, and when, stays proven",
}


def router(desk: Desk, guard: Guard, render: Render) -> APIRouter:
    """Routes of these pages."""
    routes = APIRouter()

    def context(visitor: Visitor) -> dict[str, object]:
        return {
            "visitor": visitor,
            "here": "approvals",
            "names": desk.names(),
            "now": datetime.now(UTC),
            "needed": NEEDED,
            "titles": TITLES,
            "means": MEANS,
        }

    def show_one(request: Request, visitor: Visitor, asked: Approval, trouble: str = "") -> Response:
        status = 403 if trouble else 200
        return render(request, "approval.html", status, asked=asked, trouble=trouble, **context(visitor))

    def act(
        request: Request, id: str, visitor: Visitor, does: Callable[[ApprovalId, PersonId], object], done: str
    ) -> Response:
        try:
            does(ApprovalId(id), visitor.person)
        except Denied as error:
            return show_one(request, visitor, desk.approvals.get(ApprovalId(id), visitor.person), str(error))
        return RedirectResponse(f"{PREFIX}/approvals?done={done}", 303)

    @routes.get("/approvals")
    def approvals_page(request: Request, visitor: Annotated[Visitor, Depends(guard.page(STEWARDS))]) -> Response:
        """What waits for approval, and what came of it in the last 30 days. Looking is itself recorded."""
        more, found = context(visitor), desk.approvals.all(visitor.person)
        now = datetime.now(UTC)
        waiting = [a for a in found if a.state(now) in {State.WAITING, State.APPROVED}]
        more |= {"waiting": waiting, "past": [a for a in found if a not in waiting]}
        return render(request, "approvals.html", said=request.query_params.get("done", ""), **more)

    @routes.get("/approvals/{id}")
    def approval_page(
        request: Request, id: str, visitor: Annotated[Visitor, Depends(guard.page(STEWARDS))]
    ) -> Response:
        """One of them, whole, with the buttons."""
        return show_one(request, visitor, desk.approvals.get(ApprovalId(id), visitor.person))

    @routes.post("/approvals/{id}/give")
    def give(request: Request, id: str, posted: Annotated[Posted, Depends(guard.form(STEWARDS))]) -> Response:
        """Approve it."""
        return act(request, id, posted[0], desk.approvals.give, "given")

    @routes.post("/approvals/{id}/decline")
    def decline(request: Request, id: str, posted: Annotated[Posted, Depends(guard.form(STEWARDS))]) -> Response:
        """End it."""
        return act(request, id, posted[0], desk.approvals.decline, "declined")

    return routes
