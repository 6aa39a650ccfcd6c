"""Run one program in a real sandbox and print what it said: the same for root and, started as one, an ordinary user."""

import json
import shutil
import sys
import time
from pathlib import Path

from readingroom_hub.config import Settings
from readingroom_hub.model.ids import ProjectId, SessionId
from readingroom_hub.ports.mounts import Folders
from readingroom_hub.sandbox.gate import Rules, Service
from readingroom_hub.sandbox.relay import Upstream
from readingroom_hub.sandbox.servers import Order, Servers

SECRET = "token-0123456789abcdef"


def settings(state: Path, **given) -> Settings:
    made = Settings(state=state, home_size_mb=64, server_memory_mb=2048, server_processes=64, **given)
    made.paths.make()
    return made


def order(made: Settings, argv, *, hub_port: int = 0, portal_port: int = 0, user: str = "u-abc", **given) -> Order:
    session = given.pop("session", None) or SessionId.new()
    volume = made.paths.mounts / session
    (volume / "data").mkdir(parents=True, exist_ok=True)
    volume.chmod(0o755)
    folders = given.pop("folders", None) or Folders(made.paths.vaults / "home", made.paths.vaults / "project")
    for folder in (folders.home, folders.project):
        folder.mkdir(exist_ok=True)
    services = {
        Service.HUB: Upstream("127.0.0.1", hub_port, {}),
        Service.PORTAL: Upstream("127.0.0.1", portal_port, {"X-Readingroom-Session": session}),
    }
    given = {"env": {}, "secrets": {"api_token": SECRET}, "project": ProjectId("lung"), **given}
    return Order(
        user=user, session=session, volume=volume, folders=folders, argv=argv, rules=Rules("/", user),
        services=services, **given,
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
    return log_of(made, running.session)


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    state = Path(asked["state"])
    sys.stdout.write(run(settings(state), [sys.executable, "-I", "-c", asked["script"], *asked["arguments"]]))
    shutil.rmtree(state)
