"""The pages of signing in and out: they tie a nonce to the browser and put what fails on the record."""

import asyncio
from typing import Any

from oauthenticator.oauth2 import OAuthCallbackHandler, OAuthLoginHandler, OAuthLogoutHandler
from tornado import web

from readingroom_hub.errors import AuditUnavailable
from readingroom_hub.jhub.oidc import nonce_for, provider_trouble, untrusted
from readingroom_hub.model.ids import PersonId
from readingroom_hub.services.signin import SignInRefused


class SignInHandler(OAuthLoginHandler):  # type: ignore[misc]  # untyped
    """Sends the browser to the identity provider."""

    async def get(self) -> None:
        """Find the provider's endpoints first: it may have been down, or not yet up, when the hub started."""
        try:
            await self.authenticator.discover()
        except SignInRefused as error:
            raise web.HTTPError(503, str(error)) from error
        super().get()

    def set_state_cookie(self, state_cookie_value: str) -> None:
        """Set it, and keep what the nonce is made from."""
        self._nonce = nonce_for(state_cookie_value)
        super().set_state_cookie(state_cookie_value)

    def authorize_redirect(self, *args: Any, **kwargs: Any) -> None:
        """Add the nonce, which oauthenticator does not send."""
        kwargs["extra_params"]["nonce"] = self._nonce
        super().authorize_redirect(*args, **kwargs)


class SignInCallbackHandler(OAuthCallbackHandler):  # type: ignore[misc]  # untyped
    """Takes the identity provider's answer."""

    async def get(self) -> None:
        """Refuse an answer that this browser did not ask for, and record it."""
        try:
            self.check_arguments()
        except web.HTTPError as error:
            await self.authenticator.refuse(_refusal(self, error))
        # RFC 9207: an answer that names another issuer was mixed up, or mixed in.
        if self.get_argument("iss", self.authenticator.issuer) != self.authenticator.issuer:
            await self.authenticator.refuse(untrusted("wrong-issuer"))
        await super().get()

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Without the address: tornado would write the code and the state that are in it to the log."""
        if isinstance(value, web.HTTPError):
            self.log.warning("sign-in refused (%d): %s", value.status_code, value.get_message())
        else:
            self.log.error("sign-in failed", exc_info=(typ, value, tb))


def _refusal(handler: OAuthCallbackHandler, error: web.HTTPError) -> SignInRefused:
    if handler.get_argument("error", None):
        return provider_trouble("ended the sign-in")
    return SignInRefused(
        "wrong-state",
        "This sign-in was not started in this browser, or was started too long ago. Go to the start page and sign in "
        f"again. ({error.get_message()})",
    )


class SignOutHandler(OAuthLogoutHandler):  # type: ignore[misc]  # untyped
    """Signs out, on the record."""

    async def default_handle_logout(self) -> None:
        """End the sign-in even where that cannot be recorded: keeping somebody in is never the safer choice."""
        user = self.current_user
        await super().default_handle_logout()
        if user and user.orm_user.user_info:
            person = PersonId(user.orm_user.user_info["person"])
            try:
                await asyncio.to_thread(self.authenticator.sign_in.leave, person)
            except AuditUnavailable:
                self.log.exception("the sign-out of %s is not on the record", user.name)
