"""All of JupyterHub's configuration, as a function of the settings."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from traitlets.config import Config

from readingroom_hub import compose, web
from readingroom_hub.config import Settings
from readingroom_hub.errors import BadInput
from readingroom_hub.jhub import edge
from readingroom_hub.jhub.pages import Pages
from readingroom_hub.jhub.stored import stored_secret
from readingroom_hub.jhub.tls import server_tls
from readingroom_hub.services.signin import SignIn

TEMPLATES = Path(__file__).with_name("templates")
STYLES = Path(web.__file__).with_name("static")

COOKIE_DAYS = 8 / 24
REFRESH_SECONDS = 60
"""How long a removed group may keep its hub pages; user servers ask the hub again after HUB_AUTH_CACHE_SECONDS."""
HUB_AUTH_CACHE_SECONDS = 30

USER_SCOPES = [
    "read:users!user",
    "servers!user",
    "access:servers!user",
    "access:services!service=portal",
    "users:activity!user",  # a server's token cannot hold what its owner does not
]
"""What a person may do with the hub: their own servers and the portal. No tokens: scripts have no business here."""

SERVER_SCOPES = ["users:activity!user", "access:servers!server"]


def apply(c: Config, settings: Settings) -> None:
    """Write the whole configuration into `c`. Raises BadInput where a setting is missing or cannot be used."""
    settings.paths.make()
    record = compose.audit(settings, "jupyterhub")
    catalogue = compose.open_catalogue(settings)
    _addresses(c, settings)
    edge.apply(c, settings, server_tls(settings))
    _cookies(c)
    sign_in = SignIn(record, compose.projects(settings, record), settings)
    pages = Pages(catalogue.projects, catalogue.grants, settings)
    # traitlets copies deeply whatever is configured, except functions.
    _identity(c, settings, lambda: sign_in)
    _servers(c)
    _pages(c, lambda user: pages.for_template(user))  # noqa: PLW0108  # a bound method would be copied, database and all
    _portal(c, settings)


def _addresses(c: Config, settings: Settings) -> None:
    public = urlsplit(settings.public_url)
    if public.scheme != "https" or public.path.strip("/"):
        raise BadInput(f"READINGROOM_PUBLIC_URL={settings.public_url!r} must be https://host[:port] without a path")
    port = public.port or 443
    c.JupyterHub.bind_url = f"https://{settings.bind_address}:{port}"
    c.JupyterHub.public_url = settings.public_url
    c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{settings.internal_port}"
    folder = settings.paths.hub
    c.JupyterHub.db_url = f"sqlite:///{folder / 'jupyterhub.sqlite'}"
    c.JupyterHub.cookie_secret = stored_secret(folder / "cookie.secret")
    c.CryptKeeper.keys = [stored_secret(folder / "auth-state.key")]
    # A hub that restarts finds its servers again; `readingroom serve` stops them itself when everything ends.
    c.JupyterHub.cleanup_servers = False
    c.JupyterHub.concurrent_spawn_limit = 8
    c.JupyterHub.active_server_limit = 0


def _cookies(c: Config) -> None:
    c.JupyterHub.cookie_max_age_days = COOKIE_DAYS
    c.JupyterHub.tornado_settings = {
        # Without a lifetime of their own, so that closing the browser signs out.
        "cookie_options": {"expires_days": None, "secure": True, "samesite": "Lax"},
        "xsrf_cookie_kwargs": {"secure": True, "samesite": "Lax"},
        "headers": {
            "Content-Security-Policy": "frame-ancestors 'none'; base-uri 'self'; object-src 'none'",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cache-Control": "no-store",
        },
    }
    c.JupyterHub.oauth_token_expires_in = int(COOKIE_DAYS * 24 * 3600)
    c.JupyterHub.oauth_require_pkce = True


def _identity(c: Config, settings: Settings, make_sign_in: Callable[[], SignIn]) -> None:
    if not settings.oidc_issuer or settings.oidc_client_secret_file is None:
        raise BadInput(
            "set READINGROOM_OIDC_ISSUER and READINGROOM_OIDC_CLIENT_SECRET_FILE to your identity provider's, or start "
            "the demo with `readingroom demo`"
        )
    try:
        secret = settings.oidc_client_secret_file.read_text().strip()
    except OSError as error:
        raise BadInput(f"the client secret file {settings.oidc_client_secret_file} cannot be read: {error}") from error
    c.JupyterHub.authenticator_class = "readingroom_hub.jhub.authenticator.ReadingRoomAuthenticator"
    a = c.ReadingRoomAuthenticator
    a.issuer, a.make_sign_in = settings.oidc_issuer, make_sign_in
    a.project_group_prefix, a.role_group_prefix = settings.project_group_prefix, settings.role_group_prefix
    a.client_id, a.client_secret = settings.oidc_client_id, secret
    a.oauth_callback_url = settings.public_url.rstrip("/") + "/hub/oauth_callback"
    a.scope = ["openid", "profile", "email", "groups"]
    a.basic_auth = True
    a.login_service = "your institution"
    request: dict[str, Any] = {"connect_timeout": 10, "request_timeout": 10}
    if settings.oidc_ca_file is not None:
        request["ca_certs"] = str(settings.oidc_ca_file)
    a.http_request_kwargs = request
    a.any_allow_config = True  # `check_allowed` is the rule: whoever has a project or a role
    a.manage_groups = True
    a.enable_auth_state = True
    a.auth_refresh_age = REFRESH_SECONDS
    a.auth_refresh_strict = True
    a.refresh_pre_spawn = True


def _servers(c: Config) -> None:
    c.JupyterHub.spawner_class = "readingroom_hub.jhub.spawner.SandboxSpawner"
    c.JupyterHub.allow_named_servers = True
    c.JupyterHub.redirect_to_server = False
    c.JupyterHub.default_url = "/hub/home"
    c.JupyterHub.shutdown_on_logout = True  # a reading room is left empty
    c.Spawner.start_timeout = 60
    c.Spawner.http_timeout = 60
    c.Spawner.server_token_scopes = SERVER_SCOPES
    c.Spawner.oauth_client_allowed_scopes = []
    c.Spawner.args = [
        f"--HubOAuth.cache_max_age={HUB_AUTH_CACHE_SECONDS}",
        '--ServerApp.tornado_settings={"xsrf_cookie_kwargs":{"secure":True}}',
    ]


def _pages(c: Config, pages: Callable[[Any], Any]) -> None:
    c.JupyterHub.template_paths = [str(TEMPLATES), str(STYLES)]
    c.JupyterHub.template_vars = {"readingroom": pages}


def _portal(c: Config, settings: Settings) -> None:
    """The portal is a service of the hub: started, restarted and stopped by it, reached through OAuth only."""
    c.JupyterHub.services = [
        {
            "name": "portal",
            "url": f"http://127.0.0.1:{settings.internal_port + 2}",
            "command": [sys.executable, "-m", "readingroom_hub.cli.main", "portal", "serve"],
            "environment": settings.to_environ(),
            "oauth_no_confirm": True,
            "oauth_client_allowed_scopes": ["read:users!user"],
            "display": False,
        }
    ]
    c.JupyterHub.load_roles = [{"name": "user", "scopes": USER_SCOPES}]
