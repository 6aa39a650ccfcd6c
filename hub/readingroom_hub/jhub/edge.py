"""The edge: Traefik, TLS 1.3 only (RFC 8446), in front of hub, portal, user servers and the demo provider."""

import ctypes
import secrets
import signal
import subprocess
from typing import Any
from urllib.parse import urlsplit

from jupyterhub_traefik_proxy.fileprovider import TraefikFileProviderProxy
from traitlets.config import Config

from readingroom_hub.config import Settings, executable
from readingroom_hub.jhub.tls import ServerTls

HEADERS = {
    "stsSeconds": 63072000,
    "contentTypeNosniff": True,
    "referrerPolicy": "same-origin",
    "customResponseHeaders": {"Server": "", "X-Powered-By": "", "Cross-Origin-Resource-Policy": "same-origin"},
}
"""On every answer. A Content-Security-Policy is the business of whoever makes the page."""

SIGN_IN_PATHS = "Path(`/hub/oauth_callback`) || Path(`/hub/oauth_login`)"


_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Have the kernel end this process when the one that started it ends, however it ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Edge(TraefikFileProviderProxy):  # type: ignore[misc]  # untyped
    """The proxy class. An edge that outlives a killed hub would keep its ports, and the next hub could not start."""

    def _start_traefik(self) -> None:
        self.traefik_process = subprocess.Popen(
            [executable("traefik"), "--configfile", self.static_config_file],
            env={},
            stdin=subprocess.DEVNULL,
            preexec_fn=die_with_parent,  # noqa: PLW1509  # called once, before the hub has other threads
        )


def apply(c: Config, settings: Settings, tls: ServerTls) -> None:
    """Set up the proxy. Its API has a password of this start only, on loopback."""
    api, folder = settings.internal_port + 1, settings.paths.hub
    c.JupyterHub.proxy_class = Edge
    c.JupyterHub.ssl_cert, c.JupyterHub.ssl_key = str(tls.cert), str(tls.key)
    c.Edge.dynamic_config_file = str(folder / "edge-rules.toml")
    c.Edge.static_config_file = str(folder / "edge.toml")
    c.Edge.traefik_api_url = f"http://127.0.0.1:{api}"
    c.Edge.traefik_api_username = "hub"
    c.Edge.traefik_api_password = secrets.token_hex(16)
    c.Edge.extra_static_config = _static(settings)
    c.Edge.extra_dynamic_config = _dynamic(settings)


def _static(settings: Settings) -> dict[str, Any]:
    secured = {"http": {"middlewares": ["headers@file"], "tls": {"options": "default"}}}
    entry_points: dict[str, Any] = {"https": secured}
    if settings.demo_provider_port:
        issuer = urlsplit(settings.oidc_issuer)
        entry_points["provider"] = {"address": f"127.0.0.1:{issuer.port}"} | secured
    return {"entryPoints": entry_points, "global": {"checkNewVersion": False, "sendAnonymousUsage": False}}


def _dynamic(settings: Settings) -> dict[str, Any]:
    routers: dict[str, Any] = {
        # Each of these makes a record before anybody is known: a flood must not fill the audit record's disk.
        "sign-in": {
            "rule": SIGN_IN_PATHS,
            "priority": 100000,
            "entryPoints": ["https"],
            "service": "hub-sign-in",
            "middlewares": ["sign-in-rate"],
        }
    }
    services: dict[str, Any] = {"hub-sign-in": _service(settings.internal_port)}
    if settings.demo_provider_port:
        routers["provider"] = {"rule": "PathPrefix(`/`)", "entryPoints": ["provider"], "service": "provider"}
        services["provider"] = _service(settings.demo_provider_port)
    middlewares = {"headers": {"headers": HEADERS}, "sign-in-rate": {"rateLimit": {"average": 5, "burst": 20}}}
    return {
        "tls": {"options": {"default": {"minVersion": "VersionTLS13"}}},
        "http": {"routers": routers, "services": services, "middlewares": middlewares},
    }


def _service(port: int) -> dict[str, Any]:
    return {"loadBalancer": {"servers": [{"url": f"http://127.0.0.1:{port}"}]}}
