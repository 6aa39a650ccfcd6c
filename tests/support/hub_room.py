"""A real hub behind a real edge, a real identity provider and a real audit record repository, on free ports."""

import contextlib
import dataclasses
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from tests.support.browser import HttpBrowser
from tests.support.ports import free_ports

from readingroom_hub import compose
from readingroom_hub.config import Settings, executable
from readingroom_hub.demo.identity import DemoPerson, DemoProvider
from readingroom_hub.embedded.processes import socket_answers
from readingroom_hub.ports.records import Filter, Found

REPOSITORY = Path(__file__).parents[2]
CONFIG = """
from readingroom_hub.config import load
from readingroom_hub.jhub.configure import apply
c = get_config()
apply(c, load())
c.JupyterHub.spawner_class = "simple"
c.Spawner.cmd = [{singleuser!r}]
c.SimpleLocalProcessSpawner.home_dir_template = {home!r}
c.Spawner.args = c.Spawner.args + ["--allow-root"]
c.JupyterHub.services[0]["command"][1:] = ["-c", {portal!r}]
"""
# One command each: the whole command line loads twice as long.
AUDIT = "from readingroom_hub.cli.audit import app; app(['serve'])"
PORTAL = "from readingroom_hub.cli.portal import app; app(['serve'])"
DEADLINE_SECONDS = 60


@dataclass
class HubRoom:
    settings: Settings
    people: dict[str, DemoPerson]
    base: Settings
    audit: subprocess.Popen
    idp: subprocess.Popen

    @property
    def url(self) -> str:
        return self.settings.public_url

    def browser(self) -> HttpBrowser:
        return HttpBrowser(str(self.settings.oidc_ca_file))

    @contextlib.contextmanager
    def provider_asking_for(self, *factors: str) -> Iterator[None]:
        """The provider with other factors for a while: same people, same keys."""
        port = int(self.settings.oidc_issuer.rsplit(":", 1)[1])
        for wanted in (factors, ("password", "otp")):
            _stop(self.idp)
            provider = DemoProvider(self.base, REPOSITORY / ".venv-idp", port, wanted)
            provider.ensure()
            self.idp = provider.start()
            with self.browser() as browser:
                url = provider.issuer + "/.well-known/openid-configuration"
                _until(lambda: _is_ok(browser, url), self.settings, "idp", self.idp)  # noqa: B023  # called at once
            if wanted == factors:
                yield

    def stop_audit(self) -> None:
        """From now on nothing can be recorded."""
        _stop(self.audit)

    def records(self, *events: str) -> list[Found]:
        return compose.audit(self.settings, "test").query(Filter(events=events), None)


@contextlib.contextmanager
def running_room(folder: Path, **more: Any) -> Iterator[HubRoom]:
    """Everything but mounts and sandboxes; nothing is left running. `more`: settings."""
    ports = free_ports(6)
    base = Settings(state=folder, public_url=f"https://localhost:{ports + 4}", internal_port=ports)
    base.paths.make()
    provider = DemoProvider(base, REPOSITORY / ".venv-idp", ports + 5)
    people = {p.user_name: p for p in provider.ensure()}
    settings = dataclasses.replace(provider.settings, **more)
    config = folder / "jupyterhub_config.py"
    config.write_text(
        CONFIG.format(
            home=str(folder / "homes" / "{username}"), portal=PORTAL, singleuser=executable("jupyterhub-singleuser")
        )
    )
    with contextlib.ExitStack() as stack:
        audit = _start(stack, [sys.executable, "-c", AUDIT], settings, "audit")
        idp = provider.start()
        room = HubRoom(settings, people, base, audit, idp)
        stack.callback(lambda: _stop(room.idp))
        _until(socket_answers(settings.paths.audit_socket), settings, "audit", audit)
        hub = _start(stack, [sys.executable, "-m", "jupyterhub", "--config", str(config)], settings, "hub")
        with room.browser() as browser:
            _until(lambda: _is_ok(browser, f"{room.url}/hub/health"), settings, "hub", hub)
            _until(lambda: _is_ok(browser, provider.issuer + "/.well-known/openid-configuration"), settings, "idp", idp)
            _until(lambda: _is_ok(browser, f"{room.url}/services/portal/static/readingroom.css"), settings, "hub", hub)
        yield room


def _start(stack: contextlib.ExitStack, command: list[str], settings: Settings, name: str) -> subprocess.Popen:
    with (settings.paths.logs / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            command, env=settings.to_environ(), cwd=settings.state, stdout=log, stderr=log, start_new_session=True
        )
    stack.callback(_stop, process)
    return process


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _is_ok(browser: HttpBrowser, url: str) -> bool:
    try:
        return browser.get(url, timeout=5).status_code == 200
    except requests.RequestException:
        return False


def _until(ready, settings: Settings, name: str, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            tail = (settings.paths.logs / f"{name}.log").read_text()[-3000:]
            raise TimeoutError(f"{name} is not ready; its log ends:\n{tail}")
        time.sleep(0.05)
