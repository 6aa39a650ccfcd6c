"""A real JupyterHub with the real spawner; no proxy, no identity provider, and a folder as data: others test those."""

import json
import shutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from jupyterhub.auth import Authenticator
from jupyterhub.proxy import Proxy
from tests.support.fakes import MemoryAuditRepository
from tests.support.sandbox_runner import homes_of, vaults_of

from readingroom_hub import compose
from readingroom_hub.config import Settings
from readingroom_hub.jhub.spawner import Backend, SandboxSpawner
from readingroom_hub.jhub.stored import door_key
from readingroom_hub.model.audit import AuditRecord, Receipt
from readingroom_hub.model.ids import PersonId, SessionId
from readingroom_hub.ports.mounts import Folders, Mounts
from readingroom_hub.sandbox.servers import Servers

PERSON = PersonId("p-" + "5a" * 32)
STRANGER = PersonId("p-" + "77" * 32)


class FileAudit(MemoryAuditRepository):
    """Keeps records where another process can read them."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file

    def append(self, records: Sequence[AuditRecord]) -> list[Receipt]:
        with self._file.open("a") as file:
            file.writelines(json.dumps(record.to_wire()) + "\n" for record in records)
        return super().append(records)


class FolderMounts(Mounts):
    """Gives a plain folder as data, and real vaults."""

    def __init__(self, made: Settings) -> None:
        self._root = made.paths.mounts
        self._sessions = compose.open_catalogue(made).sessions
        self._vaults = vaults_of(made)
        self._homes = homes_of(made)

    def attach(self, session: SessionId) -> Path:
        data = self._root / session / "data"
        data.mkdir(parents=True)
        (data / "README.txt").write_text("mounted")
        data.parent.chmod(0o755)
        return data.parent

    def open_folders(self, session: SessionId) -> Folders:
        return self._homes.open(self._sessions.get(session))

    def show_home(self, session: SessionId) -> None:
        self._homes.show_home(self._sessions.get(session))

    def detach(self, session: SessionId) -> None:
        shutil.rmtree(self._root / session, ignore_errors=True)
        self._homes.close(session)
        if not list(self._root.iterdir()):
            for vault in self._vaults.open_ones():  # of a hub that was killed
                self._vaults.close(vault)

    def refresh(self) -> None:
        pass

    def status(self) -> dict[str, int]:
        return {}


class AnyoneIn(Authenticator):
    """Everybody is who they say."""

    async def authenticate(self, handler, data):
        person = PersonId(data["username"])
        return {"name": person.hub_name, "user_info": {"person": person}}

    def normalize_username(self, username):
        return username


class NoProxy(Proxy):
    """Remembers routes."""

    should_start = False

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.routes = {}

    async def add_route(self, routespec, target, data):
        self.routes[routespec] = {"routespec": routespec, "target": target, "data": data}

    async def delete_route(self, routespec):
        self.routes.pop(routespec, None)

    async def get_all_routes(self):
        return self.routes


def settings(state: Path) -> Settings:
    return Settings(state=state, home_size_mb=64, server_memory_mb=2048, server_processes=128)


def configure(c, state: Path, hub_port: int, portal_port: int) -> None:
    made = settings(state)
    made.paths.make()

    @cache
    def backend() -> Backend:
        audit = FileAudit(state / "audit.jsonl")
        mounts, sessions = FolderMounts(made), compose.sessions(made, audit)
        projects = compose.open_catalogue(made).projects
        return Backend(sessions, mounts, Servers(made), audit, door_key(made), portal_port, projects)

    c.JupyterHub.spawner_class = SandboxSpawner
    c.SandboxSpawner.make_backend = backend
    c.SandboxSpawner.poll_interval = 1
    c.JupyterHub.authenticator_class = AnyoneIn
    c.Authenticator.allow_all = True
    c.JupyterHub.proxy_class = NoProxy
    c.JupyterHub.allow_named_servers = True
    c.JupyterHub.cleanup_servers = False
    c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{hub_port}"
    c.JupyterHub.bind_url = f"http://127.0.0.1:{hub_port}"
    c.JupyterHub.db_url = f"sqlite:///{made.paths.hub / 'jupyterhub.sqlite'}"
    c.JupyterHub.cookie_secret_file = str(made.paths.hub / "cookie")
    c.ConfigurableHTTPProxy.auth_token = "none"
