"""The portal as an ASGI application: its pages, its REST API, and one plain page for everything that goes wrong."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from jinja2 import Environment, FileSystemLoader
from starlette.exceptions import HTTPException

from readingroom_hub.errors import AuditUnavailable, BadInput, Conflict, Denied, NotFound, ReadingRoomError
from readingroom_hub.web import alerting, approving, pages, session_api, stewardship, words
from readingroom_hub.web.desk import PREFIX, Desk, Render
from readingroom_hub.web.guard import ANYBODY, RECORD, STEWARDS, Guard
from readingroom_hub.web.security import add_headers, form_token
from readingroom_hub.web.visitor import Authenticate, SignInNeededError, Visitor

HERE = Path(__file__).parent
STATUS = {BadInput: 400, Denied: 403, NotFound: 404, Conflict: 409, AuditUnavailable: 503}

_log = logging.getLogger(__name__)


def create_app(desk: Desk, authenticate: Authenticate) -> FastAPI:
    """The application, to be served at the path /services/portal of the public address."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.middleware("http")(add_headers)
    guard = Guard(desk, authenticate)
    render = _renderer()
    for module in (pages, stewardship, alerting, approving):
        app.include_router(module.router(desk, guard, render), prefix=PREFIX)
    app.include_router(session_api.router(desk), prefix=PREFIX)
    app.mount(PREFIX + "/static", StaticFiles(directory=HERE / "static"))
    _answer_errors(app, render)
    return app


def _tabs(visitor: Visitor) -> list[tuple[str, str, str]]:
    """The pages that this visitor may open: id, address, name."""
    pages = (
        ("home", "/", "My projects", ANYBODY),
        ("reads", "/reads", "Reads", RECORD),
        ("alerts", "/alerts", "Unusual access", STEWARDS),
        ("grants", "/grants", "Access grants", STEWARDS),
        ("approvals", "/approvals", "Approvals", STEWARDS),
        ("datasets", "/datasets", "Datasets", STEWARDS),
        ("projects", "/projects", "Projects", STEWARDS),
    )
    return [(id, PREFIX + path, name) for id, path, name, roles in pages if not roles or visitor.roles & roles]


def _renderer() -> Render:
    environment = Environment(
        loader=FileSystemLoader([HERE / "templates", HERE / "static"]), autoescape=True, trim_blocks=True
    )
    environment.filters |= {"size": words.size, "moment": words.moment, "day": words.day, "number": words.number}
    environment.globals |= {"form_token": form_token, "prefix": PREFIX, "tabs": _tabs}
    templates = Jinja2Templates(env=environment)

    def render(request: Request, name: str, status: int = 200, **context: Any) -> Response:
        return templates.TemplateResponse(request, name, context, status_code=status)

    return render


def _answer_errors(app: FastAPI, render: Render) -> None:
    """Only an error's text reaches the browser; of a foreign error, not even that."""

    def answer(request: Request, status: int, text: str) -> Response:
        if request.url.path.startswith(PREFIX + "/api/"):
            return JSONResponse({"error": text}, status)
        visitor = getattr(request.state, "visitor", None)
        return render(request, "refused.html", status, visitor=visitor, text=text, code=status)

    async def ours(request: Request, error: Exception) -> Response:
        status = next((code for kind, code in STATUS.items() if isinstance(error, kind)), 500)
        return await asyncio.to_thread(answer, request, status, _sentence(str(error)))

    async def http(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 400
        text = "There is no such page." if status == 404 else "This address cannot be used like that."
        return await asyncio.to_thread(answer, request, status, text)

    async def other(request: Request, error: Exception) -> Response:
        _log.error("portal error", exc_info=error)
        text = "Something broke on our side. Try again; if it happens again, tell whoever runs this service."
        return await asyncio.to_thread(answer, request, 500, text)

    async def sign_in(_: Request, error: Exception) -> Response:
        assert isinstance(error, SignInNeededError)  # noqa: S101  # by the registration below
        return error.answer

    handlers: dict[type[Exception], Callable[[Request, Exception], Awaitable[Response]]] = {
        ReadingRoomError: ours,
        HTTPException: http,
        RequestValidationError: http,
        SignInNeededError: sign_in,
        Exception: other,
    }
    for kind, handler in handlers.items():
        app.exception_handler(kind)(handler)


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?", ")")) else text + "."
