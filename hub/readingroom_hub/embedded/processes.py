"""Which processes the embedded deployment has, and when each is ready."""

import http
import socket
import ssl
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

from readingroom_hub import compose
from readingroom_hub.compose import monitoring
from readingroom_hub.config import Settings
from readingroom_hub.embedded.supervisor import Process
from readingroom_hub.sandbox.servers import Servers


def socket_answers(path: Path) -> Callable[[], bool]:
    """Whether somebody accepts connections on a unix socket."""

    def ready() -> bool:
        with socket.socket(socket.AF_UNIX) as s:
            return s.connect_ex(str(path)) == 0

    return ready


def url_answers(url: str) -> Callable[[], bool]:
    """Whether a loopback URL of ours answers 200; its certificate is not the question."""
    context = ssl._create_unverified_context()  # noqa: S323, SLF001
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))

    def ready() -> bool:
        try:
            with opener.open(url, timeout=2) as answer:
                return bool(answer.status == http.HTTPStatus.OK)
        except OSError:  # HTTPError is one too: the proxy answers 404 until the hub has told it where it is
            return False

    return ready


def _cli(settings: Settings, name: str, *arguments: str) -> tuple[list[str], dict[str, str], Path]:
    argv = [sys.executable, "-m", "readingroom_hub.cli.main", *arguments]
    return argv, settings.to_environ(), settings.paths.logs / f"{name}.log"


def audit_repository(settings: Settings) -> Process:
    """The only process that writes the log."""
    argv, environ, log = _cli(settings, "audit", "audit", "serve")
    return Process("audit repository", argv, socket_answers(settings.paths.audit_socket), environ, log)


def mount_daemon(settings: Settings) -> Process:
    """The only process that holds data keys."""
    argv, environ, log = _cli(settings, "mount", "mount", "serve")
    return Process("mount daemon", argv, socket_answers(settings.paths.mount_socket), environ, log)


def audit_feeds(settings: Settings) -> Process:
    """Sends copies of the audit record. Nobody waits for it; it is ready when it runs, whether a receiver is or not."""
    argv, environ, log = _cli(settings, "audit-feed", "audit", "feed", "serve")
    return Process("audit feeds", argv, compose.feeds(settings).are_running, environ, log)


def monitor(settings: Settings) -> Process:
    """Looks for unusual access. Nobody waits for it; it is ready when it runs."""
    argv, environ, log = _cli(settings, "monitor", "audit", "monitor", "serve")
    return Process("monitor", argv, monitoring.memory(settings).is_running, environ, log)


def hub(settings: Settings, config_file: Path) -> Process:
    """JupyterHub, which starts the proxy and the portal itself. User servers outlive it, so they are ended after it."""
    argv = [sys.executable, "-m", "jupyterhub", "--config", str(config_file)]
    ready = url_answers(settings.public_url + "/hub/health")
    log = settings.paths.logs / "hub.log"
    return Process("hub", argv, ready, settings.to_environ(), log, after=lambda: end_servers(settings))


def end_servers(settings: Settings) -> None:
    """Stop every user server of this machine, take its mount away, and end its session on the record."""
    servers, mounts = Servers(settings), compose.mounts(settings)
    sessions = compose.sessions(settings, compose.audit(settings, "serve"))
    for running in servers.running():
        servers.stop(running)
    for session in sessions.open_ones():
        mounts.detach(session.id)
        sessions.close(session.id)
