"""Pages for everybody who is signed in."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from readingroom_hub.services.overview import project_cards
from readingroom_hub.web.desk import Desk, Render
from readingroom_hub.web.guard import ANYBODY, Guard
from readingroom_hub.web.visitor import Visitor


def router(desk: Desk, guard: Guard, render: Render) -> APIRouter:
    """Routes of these pages."""
    routes = APIRouter()

    @routes.get("/")
    def home(request: Request, visitor: Annotated[Visitor, Depends(guard.page(ANYBODY))]) -> Response:
        """My projects, and where else this person may go."""
        cards = project_cards(visitor.projects, desk.projects, desk.grants)
        return render(request, "home.html", visitor=visitor, here="home", cards=cards)

    return routes
