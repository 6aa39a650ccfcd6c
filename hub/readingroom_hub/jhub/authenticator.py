"""Sign-in by the institution's identity provider: OpenID Connect Core 1.0, second factor by RFC 8176, all recorded.

oauthenticator does the protocol; this adds what it leaves out: the ID token's validation and nonce, the second factor,
the keying by issuer and subject, and a refresh that asks again whether somebody may still be here."""

import asyncio
import json
import time
from http.client import responses
from typing import Any, NoReturn

import jwt
from jupyterhub.handlers.base import BaseHandler
from oauthenticator.generic import GenericOAuthenticator
from tornado import web
from tornado.httpclient import HTTPError as FetchError
from traitlets import Any as AnyTrait
from traitlets import Unicode

from readingroom_hub.errors import AuditUnavailable, BadInput
from readingroom_hub.jhub.handlers import SignInCallbackHandler, SignInHandler, SignOutHandler
from readingroom_hub.jhub.oidc import (
    Provider,
    claims_of,
    groups_in,
    key_id_of,
    key_of,
    nonce_for,
    provider_trouble,
    verify_id_token,
)
from readingroom_hub.model.ids import PersonId, ProjectId
from readingroom_hub.policy.rights import Rights
from readingroom_hub.services.signin import SignedIn, SignIn, SignInRefused

KEYS_MIN_AGE_SECONDS = 30
"""A token with an unknown key makes us ask for the keys again, at most this often."""

# JupyterHub 6.1.1 reads this on page handlers after a failed refresh but sets it on API handlers only, so that people
# would see an internal error where they must sign in again.
BaseHandler._token_authenticated = False  # noqa: SLF001  # the only place to mend it


class ReadingRoomAuthenticator(GenericOAuthenticator):  # type: ignore[misc]  # untyped
    """JupyterHub's authenticator. Hub user name = PersonId.hub_name; hub groups = the rights groups, nothing else."""

    issuer = Unicode(help="The identity provider's issuer identifier, exactly as it writes it.").tag(config=True)
    make_sign_in = AnyTrait(help="A function without arguments that gives the use case `SignIn`.").tag(config=True)
    project_group_prefix = Unicode("rr-project-").tag(config=True)
    role_group_prefix = Unicode("rr-role-").tag(config=True)

    login_handler = SignInHandler
    callback_handler = SignInCallbackHandler
    logout_handler = SignOutHandler

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.sign_in: SignIn = self.make_sign_in()
        self._provider: Provider | None = None
        self._keys: jwt.PyJWKSet | None = None
        self._keys_at = 0.0
        self._refreshes: dict[str, asyncio.Task[Any]] = {}

    async def discover(self) -> Provider:
        """The provider's endpoints, asked for once. Raises SignInRefused while it does not answer."""
        if self._provider is None:
            url = self.issuer.rstrip("/") + "/.well-known/openid-configuration"
            document = await self._fetch(url)
            self._provider = Provider.from_discovery(document, self.issuer)
            self.authorize_url = self._provider.authorize_url
            self.token_url = self._provider.token_url
            self.userdata_url = self._provider.userinfo_url
        return self._provider

    async def fetch(self, req: Any, label: str = "fetching", parse_json: bool = True, **kwargs: Any) -> Any:
        """As the base class does, but no answer's body goes to the log: a token endpoint's may hold a token."""
        try:
            answer = await self.http_client.fetch(req, **kwargs)
        except FetchError as error:
            self.log.warning("%s: %s %s answered %d", label, req.method, req.url.partition("?")[0], error.code)
            raise
        return json.loads(answer.body or b"null") if parse_json else answer

    async def _fetch(self, url: str) -> Any:
        try:
            return await self.httpfetch(url, "asking the identity provider")
        except (FetchError, OSError, ValueError) as error:
            raise provider_trouble("does not answer") from error

    async def _key(self, kid: str | None) -> Any:
        """The provider's public key. Unknown ones make us look again: providers rotate keys."""
        key = key_of(kid, self._keys) if self._keys else None
        if key is None and time.monotonic() - self._keys_at > KEYS_MIN_AGE_SECONDS:
            document = await self._fetch((await self.discover()).jwks_url)
            self._keys_at = time.monotonic()
            try:
                self._keys = jwt.PyJWKSet.from_dict(document)
            except (jwt.PyJWTError, AttributeError, TypeError) as error:
                raise provider_trouble("gives no usable signing keys") from error
            key = key_of(kid, self._keys)
        return key

    async def _verified(self, token_info: dict[str, Any], nonce: str | None) -> dict[str, Any]:
        """The ID token's claims. Raises SignInRefused."""
        token = token_info.get("id_token")
        if not isinstance(token, str):
            raise provider_trouble("sent no ID token")
        key = await self._key(key_id_of(token))
        return verify_id_token(token, key, self.issuer, self.client_id, nonce)

    async def authenticate(self, handler: Any, data: Any = None, **_: Any) -> dict[str, Any]:
        """One sign-in. Refusals are recorded, then shown as web.HTTPError."""
        try:
            return await self._sign_in(handler, data)
        except SignInRefused as error:
            if error.recorded:
                self._show(error)
            await self.refuse(error)
        except AuditUnavailable as error:
            _unavailable(error)
        except (FetchError, OSError, web.HTTPError, KeyError, ValueError) as error:
            self.log.warning("sign-in failed at the identity provider: %s", type(error).__name__)
            await self.refuse(provider_trouble("did not complete the sign-in"))

    async def _sign_in(self, handler: Any, data: Any) -> dict[str, Any]:
        await self.discover()
        params = self.build_access_tokens_request_params(handler, data)
        token_info = await self.get_token_info(handler, params)
        id_token = await self._verified(token_info, nonce_for(handler.get_state_cookie()))
        userinfo = await self.token_to_user(token_info)
        claims = claims_of(id_token, userinfo)
        signed_in: SignedIn = await asyncio.to_thread(self.sign_in.accept, claims)
        state = self.build_auth_state_dict(token_info, userinfo) | {"subject": claims.subject, "name": claims.name}
        return self._model(signed_in.person, signed_in.rights, state)

    async def refuse(self, error: SignInRefused) -> NoReturn:
        """Record a refusal, then show it."""
        try:
            await asyncio.to_thread(self.sign_in.refuse, error)
        except AuditUnavailable as unavailable:
            _unavailable(unavailable)
        self._show(error)

    def _show(self, error: SignInRefused) -> NoReturn:
        raise web.HTTPError(502 if error.code == "provider-error" else 403, str(error)) from None

    def _model(self, person: PersonId, rights: Rights, auth_state: dict[str, Any]) -> dict[str, Any]:
        groups = [self.project_group_prefix + p for p in rights.projects]
        groups += [self.role_group_prefix + r for r in rights.roles]
        return {
            "name": person.hub_name,
            "admin": False,
            "groups": sorted(groups),
            "user_info": {"person": person},
            "auth_state": auth_state,
        }

    async def check_allowed(self, username: str, auth_model: dict[str, Any] | None) -> bool:  # noqa: ARG002
        """Whoever has a project or a role."""
        return bool(auth_model and auth_model["groups"])

    async def refresh_user(self, user: Any, handler: Any = None, **_: Any) -> Any:
        """Ask the provider whether the person is still there and in which groups; False where they must sign in again.

        One refresh a person at a time: a provider that rotates refresh tokens takes a second use for theft."""
        task = self._refreshes.get(user.name)
        if task is None:
            task = asyncio.ensure_future(self._refresh(user, handler))
            self._refreshes[user.name] = task
            task.add_done_callback(lambda _: self._refreshes.pop(user.name, None))
        model = await asyncio.shield(task)
        return dict(model) if isinstance(model, dict) else model

    async def _refresh(self, user: Any, handler: Any) -> Any:
        state = await user.get_auth_state() or {}
        info = user.orm_user.user_info or {}
        if "subject" not in state or "person" not in info:
            return False
        person = PersonId(info["person"])
        try:
            await self.discover()
            groups, tokens = await self._groups_now(state, handler)
            rights: Rights = await asyncio.to_thread(self.sign_in.renew, person, groups)
        except SignInRefused as error:
            self.log.warning("%s must sign in again: %s", user.name, error.code)
            return False
        except AuditUnavailable as error:
            _unavailable(error)
        if not rights:
            self.log.warning("%s has no project and no role any more", user.name)
            return False
        return self._model(person, rights, state | tokens)

    async def _groups_now(self, state: dict[str, Any], handler: Any) -> tuple[frozenset[str], dict[str, Any]]:
        """The person's groups of now, and the tokens to keep. Raises SignInRefused."""
        try:
            userinfo = await self.token_to_user(state["token_response"])
            groups = groups_in(userinfo) if userinfo.get("sub") == state["subject"] else frozenset()
            if groups is not None:
                return groups, {}
        except (FetchError, OSError) as error:
            # An access token that ran out is the usual cause; the refresh token below decides.
            self.log.info("%s at the provider's userinfo", type(error).__name__)
        if not state.get("refresh_token"):
            raise provider_trouble("gave no refresh token")
        try:
            params = self.build_refresh_token_request_params(state["refresh_token"])
            token_info = await self.get_token_info(handler, params)
            token_info.setdefault("refresh_token", state["refresh_token"])
            userinfo = await self.token_to_user(token_info)
        except (FetchError, OSError, web.HTTPError, ValueError) as error:
            raise provider_trouble("does not know this sign-in any more") from error
        groups = groups_in(userinfo)
        if groups is None:
            groups = groups_in(await self._verified(token_info, None))
        if userinfo.get("sub") != state["subject"]:
            raise provider_trouble("answered about somebody else")
        return groups or frozenset(), self.build_auth_state_dict(token_info, userinfo)

    async def pre_spawn_start(self, user: Any, spawner: Any) -> None:
        """A server belongs to one of the person's projects, by the groups of now. Refusals are recorded."""
        person = PersonId(user.orm_user.user_info["person"])
        if self.project_group_prefix + spawner.name in {g.name for g in user.groups} and spawner.name:
            return
        try:
            project = ProjectId(spawner.name)
        except BadInput:
            project = None
        text = "A server belongs to one of your projects: start it from “My projects”."
        try:
            await asyncio.to_thread(self.sign_in.refuse_request, person, project, f"no-member: {text}")
        except AuditUnavailable as error:
            _unavailable(error)
        raise _ServerRefusedError(403, text)


class _ServerRefusedError(web.HTTPError):
    """JupyterHub shows `jupyterhub_message`; without it, a sentence of its own that does not say why."""

    @property
    def jupyterhub_message(self) -> str:
        return str(self.get_message())


def _unavailable(error: AuditUnavailable) -> NoReturn:
    raise web.HTTPError(
        503,
        "Sign-in is not possible while the audit record is unavailable. Try again in a minute; if it stays so, tell "
        "whoever runs this service.",
        reason=responses[503],
    ) from error
