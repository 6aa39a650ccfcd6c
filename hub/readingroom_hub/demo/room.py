"""The demonstration room: starts everything, fills it at first start, and says who can sign in."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from readingroom_hub import compose
from readingroom_hub.config import Settings
from readingroom_hub.demo.content import DATASETS, fill
from readingroom_hub.demo.identity import DemoPerson, DemoProvider
from readingroom_hub.embedded import processes
from readingroom_hub.embedded.deployment import config_file
from readingroom_hub.embedded.supervisor import Process, Supervisor
from readingroom_hub.errors import SystemUnfit
from readingroom_hub.sandbox import fitness

IDP_VENV = Path(".venv-idp")


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that the demo did, and how long it took."""

    name: str
    seconds: float


class DemoRoom:
    """One demonstration below `settings.state`."""

    def __init__(
        self, settings: Settings, say: Callable[[Step], None], warn: Callable[[str], None], idp_venv: Path = IDP_VENV
    ) -> None:
        self._base = settings
        self._say = say
        self.supervisor = Supervisor(warn)
        port = urlsplit(settings.public_url).port or 443
        self.provider = DemoProvider(settings, idp_venv, port + 1)
        self.people: list[DemoPerson] = []

    @property
    def settings(self) -> Settings:
        """The settings that the running processes have."""
        return self.provider.settings

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self._say(Step(name, time.monotonic() - began))

    def start(self) -> None:
        """Check the machine, start every process, and fill the room where it is empty.

        Raises SystemUnfit naming what the machine lacks, before anything starts."""
        with self._step("This machine has what is needed"):
            fitness.check_required(self._base)
            _check_ports(self._base, self.provider.issuer)
        with self._step("Demo people and identity provider are set up"):
            self._base.paths.make()
            self.people = self.provider.ensure()
        idp, hub = self._identity_provider(), processes.hub(self.settings, config_file(self.settings))
        audit, mount = processes.audit_repository(self.settings), processes.mount_daemon(self.settings)
        self.supervisor.start(idp)  # the slowest to come up, and nothing of ours needs it before somebody signs in
        with self._step("The audit record repository runs"):
            self.supervisor.start(audit)
            self.supervisor.wait(audit.name)
        with self._step("The mount daemon runs"):
            self.supervisor.start(mount)
            self.supervisor.wait(mount.name)
        monitor = processes.monitor(self.settings)
        self.supervisor.start(monitor)
        self.supervisor.start(hub)
        for name in DATASETS:
            with self._step(f"The dataset {name} is de-identified, encrypted and published"):
                fill(self.settings, name)
        with self._step("The hub, its proxy and the portal run"):
            self.supervisor.wait(monitor.name)
            self.supervisor.wait(hub.name)
        with self._step("The identity provider runs"):
            self.supervisor.wait(idp.name)

    def stop(self) -> None:
        """Stop every server and process; nothing of ours stays mounted or running."""
        self.supervisor.stop()

    def person(self, user_name: str) -> DemoPerson:
        """A demo person by user name."""
        return next(p for p in self.people if p.user_name == user_name)

    def _identity_provider(self) -> Process:
        return Process(
            "identity provider",
            self.provider.command,
            processes.url_answers(self.provider.issuer + "/.well-known/openid-configuration"),
            self.provider.environ,
            self._base.paths.logs / "idp.log",
        )


def demo_settings(state: Path, port: int) -> Settings:
    """A demo's settings: the hub at `port`, its identity provider at the next, four internal ones from `port` + 38."""
    return replace(Settings(), state=state.absolute(), public_url=f"https://localhost:{port}", internal_port=port + 38)


def _check_ports(settings: Settings, issuer: str) -> None:
    public = [urlsplit(u).port or 443 for u in (settings.public_url, issuer)]
    for port in (*public, *range(settings.internal_port, settings.internal_port + 4)):
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
            except OSError as error:
                raise SystemUnfit(
                    f"port {port} of this machine is in use: stop what listens there (`ss -ltnp 'sport = :{port}'`), "
                    "perhaps another demo"
                ) from error


def record_size(settings: Settings) -> int:
    """How many records the audit record repository holds."""
    return int(compose.audit(settings, "demo").checkpoint().splitlines()[1])
