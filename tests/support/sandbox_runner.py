"""Run one program in a real sandbox and print what it said: the same for root and, started as one, an ordinary user."""

import json
import shutil
import sys
import time
import warnings
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support.fakes import MemoryAuditRepository

from readingroom_hub import compose
from readingroom_hub.config import Settings
from readingroom_hub.model.ids import PersonId, ProjectId, SessionId
from readingroom_hub.model.session import Session
from readingroom_hub.mount import mounting
from readingroom_hub.mount.homes import Homes
from readingroom_hub.mount.vaults import Vaults
from readingroom_hub.sandbox.gate import Rules, Service
from readingroom_hub.sandbox.relay import Upstream
from readingroom_hub.sandbox.servers import Order, Servers

SECRET = "token-0123456789abcdef"


def settings(state: Path, **given) -> Settings:
    made = Settings(state=state, home_size_mb=64, server_memory_mb=2048, server_processes=64, **given)
    made.paths.make()
    return made


def vaults_of(made: Settings) -> Vaults:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # keys in a file
        return Vaults(made.paths.vaults, compose.vault_keys(made), compose.custody(made))


def homes_of(made: Settings, audit: MemoryAuditRepository | None = None) -> Homes:
    """What a mount daemon, or a restarted one, has."""
    return Homes(made.paths.vaults, vaults_of(made), audit or MemoryAuditRepository())


def close_all(made: Settings) -> None:
    """Close every vault, as a daemon that finds no session does."""
    homes = homes_of(made)
    homes.start([])
    homes.stop()


def order(made: Settings, argv, *, hub_port: int = 0, portal_port: int = 0, user: str = "u-abc", **given) -> Order:
    """A server with vaults of its own, which `close_all` closes, or with those of `homes`."""
    session = given.pop("session", None) or SessionId.new()
    volume = made.paths.mounts / session
    (volume / "data").mkdir(parents=True, exist_ok=True)
    volume.chmod(0o755)
    services = {
        Service.HUB: Upstream("127.0.0.1", hub_port, {}),
        Service.PORTAL: Upstream("127.0.0.1", portal_port, {"X-Readingroom-Session": session}),
    }
    given = {"env": {}, "secrets": {"api_token": SECRET}, "project": ProjectId("lung"), **given}
    homes = given.pop("homes", None)
    if homes is None:
        mounting.share(made.paths.vaults)
        homes = homes_of(made)
    now = datetime.now(UTC)
    person = given.pop("person", PersonId("p-" + "c" * 64))
    opened = Session(session, person, given["project"], now, now + timedelta(hours=1))
    return Order(
        user=user, session=session, volume=volume, folders=homes.open(opened), argv=argv, rules=Rules("/", user),
        show_home=partial(homes.show_home, opened), services=services, **given,
    )  # fmt: skip


def log_of(made: Settings, session: SessionId) -> str:
    return (made.paths.logs / "servers" / f"{session}.log").read_text(errors="replace")


def run(made: Settings, argv, seconds: float = 60, **given) -> str:
    servers = Servers(made)
    wanted = order(made, argv, **given)
    running = servers.start(wanted)
    try:
        deadline = time.monotonic() + seconds
        while servers.alive(running) and time.monotonic() < deadline:
            time.sleep(0.02)
        if servers.alive(running):
            raise TimeoutError(log_of(made, running.session))
    finally:
        servers.stop(running)
        if "homes" not in given:
            close_all(made)
    return log_of(made, running.session)


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    state = Path(asked["state"])
    sys.stdout.write(run(settings(state), [sys.executable, "-I", "-c", asked["script"], *asked["arguments"]]))
    shutil.rmtree(state)
