"""The portal as a service of JupyterHub: signing in is the hub's OAuth, roles and projects are the hub's groups."""

import asyncio
import hmac
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse
from jupyterhub.services.auth import HubOAuth
from jupyterhub.utils import url_path_join
from tornado.httputil import url_concat
from tornado.web import HTTPError

from readingroom_hub import compose
from readingroom_hub.compose import monitoring
from readingroom_hub.config import Settings
from readingroom_hub.errors import Denied
from readingroom_hub.jhub.edge import die_with_parent
from readingroom_hub.jhub.stored import door_key
from readingroom_hub.ledger.note import VKey
from readingroom_hub.model.ids import PersonId
from readingroom_hub.policy.rights import rights_of
from readingroom_hub.web.app import create_app
from readingroom_hub.web.desk import PREFIX, Desk
from readingroom_hub.web.visitor import SignInNeededError, Visitor

TOKEN_COOKIE = "readingroom-portal"  # noqa: S105  # a name
STATE_COOKIE = "readingroom-portal-state"
COOKIE: dict[str, Any] = {"path": PREFIX + "/", "secure": True, "httponly": True, "samesite": "lax"}
CACHE_SECONDS = 10
"""How long a withdrawn role keeps its pages."""


class HubSignIn:
    """Asks the hub who sent a request."""

    def __init__(self, settings: Settings, names: Callable[[], dict[PersonId, str]]) -> None:
        self._settings = settings
        self._names = names
        self._auth = HubOAuth(cache_max_age=CACHE_SECONDS)

    async def __call__(self, request: Request) -> Visitor:
        """The visitor. Raises SignInNeededError with a redirect to the hub."""
        token = request.cookies.get(TOKEN_COOKIE)
        model = await self._model(token) if token else None
        if token is None or model is None:
            raise SignInNeededError(self._to_hub(request))
        person = PersonId((model.get("user_info") or {})["person"])
        prefixes = self._settings.project_group_prefix, self._settings.role_group_prefix
        rights = rights_of(model["groups"], *prefixes)
        name = (await asyncio.to_thread(self._names)).get(person, "")
        return Visitor(person, name, rights.roles, rights.projects, token)

    async def _model(self, token: str) -> dict[str, Any] | None:
        try:
            model: dict[str, Any] | None = await self._auth.user_for_token(token, sync=False)
        except HTTPError:
            return None
        return model if model and model.get("kind") == "user" else None

    def _to_hub(self, request: Request) -> RedirectResponse:
        """Only a page that was asked for with GET is a place to come back to."""
        here = request.url.path + ("?" + request.url.query if request.url.query else "")
        verifier, challenge, method = self._auth.generate_pkce_code_challenge()
        next_url = here if request.method == "GET" else PREFIX + "/"
        state = self._auth.generate_state(next_url=next_url, code_verifier=verifier)
        extra = {"state": state, "code_challenge": challenge, "code_challenge_method": method}
        answer = RedirectResponse(url_concat(self._auth.login_url, extra), 302)
        answer.set_cookie(STATE_COOKIE, state, max_age=600, **COOKIE)
        return answer

    async def callback(self, request: Request) -> RedirectResponse:
        """The hub's answer: a code becomes a token of this browser. Raises Denied for an answer nobody asked for."""
        state, code = request.query_params.get("state", ""), request.query_params.get("code", "")
        verifier = self._auth.get_code_verifier(state)
        sent = request.cookies.get(STATE_COOKIE, "")
        if not code or not verifier or not hmac.compare_digest(sent.encode(), state.encode()):
            raise Denied("This sign-in was not started in this browser, or too long ago. Open the portal again.")
        next_url = self._auth.get_next_url(state)
        self._auth.clear_oauth_state(state)
        try:
            token = await self._auth.token_for_code(code, code_verifier=verifier, sync=False)
        except HTTPError as error:
            raise Denied("The hub did not confirm this sign-in. Open the portal again.") from error
        answer = RedirectResponse(next_url, 302)
        answer.set_cookie(TOKEN_COOKIE, token, **COOKIE)
        answer.delete_cookie(STATE_COOKIE, **COOKIE)
        return answer


def desk(settings: Settings) -> Desk:
    """The portal's ports and use cases."""
    record = compose.audit(settings, "portal")
    catalogue = compose.open_catalogue(settings)
    public = urlsplit(settings.public_url)

    def log_key() -> VKey | None:
        path = settings.paths.audit / "vkey"
        return VKey.parse(path.read_text()) if path.exists() else None

    return Desk(
        audit=record,
        projects=catalogue.projects,
        versions=catalogue.versions,
        grants=catalogue.grants,
        grant_service=compose.grants(settings, record),
        sessions=compose.sessions(settings, record),
        origin=f"{public.scheme}://{public.netloc}",
        door_key=door_key(settings),
        log_key=log_key,
        alerts=compose.alerts(record),
        approvals=compose.approvals(record),
        holds=compose.holds(settings, record),
        monitor=monitoring.memory(settings).load,
    )


def portal_app(settings: Settings) -> FastAPI:
    """The portal, with the hub's sign-in."""
    tools = desk(settings)
    sign_in = HubSignIn(settings, tools.names)
    app = create_app(tools, sign_in)
    app.add_api_route(url_path_join(PREFIX, "oauth_callback"), sign_in.callback, response_model=None)
    return app


def serve(settings: Settings) -> None:
    """Serve on the portal's loopback port until SIGTERM. The hub starts this; it ends with the hub."""
    die_with_parent()
    port = settings.internal_port + 2
    # One hop, the edge, which is the only one that connects from outside.
    uvicorn.run(
        portal_app(settings), host="127.0.0.1", port=port, log_level="info", access_log=False, server_header=False
    )
