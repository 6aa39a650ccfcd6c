"""JupyterHub's spawner: a named server is a project; each start is a recorded session, a mount, a sandbox, a door."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jupyterhub.spawner import Spawner, SpawnException
from traitlets import Callable as CallableTrait

from readingroom_hub import compose
from readingroom_hub.config import load
from readingroom_hub.crypto.vouch import SESSION_HEADER, VOUCH_HEADER, vouch
from readingroom_hub.errors import AuditUnavailable, BadInput, Denied, ReadingRoomError
from readingroom_hub.jhub.stored import door_key
from readingroom_hub.model.audit import AuditEvent, AuditRecord, Outcome
from readingroom_hub.model.ids import PersonId, ProjectId, SessionId
from readingroom_hub.model.session import Session
from readingroom_hub.ports.catalogue import Projects
from readingroom_hub.ports.mounts import Folders, Mounts
from readingroom_hub.ports.records import AuditRepository
from readingroom_hub.sandbox.bubblewrap import DOOR
from readingroom_hub.sandbox.gate import Rules, Service
from readingroom_hub.sandbox.relay import Upstream
from readingroom_hub.sandbox.servers import Order, Running, Servers
from readingroom_hub.services.sessions import SessionService

SECRET = ("JUPYTERHUB_API_TOKEN", "JPY_API_TOKEN")
RECORDS_AT_ONCE = 100
STEPS = (
    "Opening the session on the record",
    "Mounting your datasets",
    "Opening your home and project folder",
    "Starting JupyterLab",
)


@dataclass(frozen=True, slots=True)
class Backend:
    """What a spawner works with."""

    sessions: SessionService
    mounts: Mounts
    servers: Servers
    audit: AuditRepository
    vouch_key: bytes
    portal_port: int
    projects: Projects


@cache
def embedded() -> Backend:
    """The backend of this machine, by the settings."""
    settings = load()
    record = compose.audit(settings, "jupyterhub")
    sessions = compose.sessions(settings, record)
    portal_port = settings.internal_port + 2
    projects = compose.open_catalogue(settings).projects
    return Backend(
        sessions, compose.mounts(settings), Servers(settings), record, door_key(settings), portal_port, projects
    )


@dataclass(frozen=True, slots=True)
class Live:
    """A session whose server was started."""

    session: SessionId
    person: PersonId
    project: ProjectId
    expires_at: datetime
    running: Running


class SandboxSpawner(Spawner):  # type: ignore[misc]  # untyped
    """One spawner a user and project. Blocking work happens in threads; `_lock` keeps a stop behind its start."""

    make_backend = CallableTrait(embedded, help="Gives the backend.").tag(config=True)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.disable_user_config = True  # a configuration file in the home would run in the server, beside its token
        self.env_keep: list[str] = []
        self._lock = asyncio.Lock()
        self._live: Live | None = None
        self._step = 0

    async def start(self) -> str:
        """Returns the door's address. Raises SpawnException with a sentence for the person; then nothing is left."""
        project, person = self._project(), self._person()
        self._step = 0
        async with self._lock:
            try:
                self._live = await asyncio.to_thread(self._begin, person, project)
            except ReadingRoomError as error:
                self.log.warning("no server for %s in %s: %s", self.user.name, project, error)
                raise SpawnException(str(error), reason=type(error).__name__, status_code=_status(error)) from error
            return self._live.running.url

    def _project(self) -> ProjectId:
        try:
            return ProjectId(self.name)
        except BadInput as error:
            sentence = "A server belongs to a project: go to “My projects” and start one there."
            raise SpawnException(sentence, reason="no-project") from error

    def _person(self) -> PersonId:
        info = self.user.user_info or {}
        if "person" not in info:
            raise SpawnException("Sign out and in again: your account is not complete.", reason="no-person")
        return PersonId(info["person"])

    def _begin(self, person: PersonId, project: ProjectId) -> Live:
        backend, self._step = self.make_backend(), 1
        session = backend.sessions.open(person, project)
        with ExitStack() as undo:
            undo.callback(backend.sessions.close, session.id)
            undo.callback(backend.mounts.detach, session.id)
            self._step = 2
            volume = backend.mounts.attach(session.id)
            self._step = 3
            folders = backend.mounts.open_folders(session.id)
            self._step = 4
            running = backend.servers.start(self._order(backend, session, volume, folders))
            undo.pop_all()
        return Live(session.id, person, project, session.expires_at, running)

    def _order(self, backend: Backend, session: Session, volume: Path, folders: Folders) -> Order:
        env: dict[str, str] = self.get_env()
        hub = urlsplit(self.hub.url)
        api = f"http+unix://{DOOR.replace('/', '%2F')}%2Fhub.sock{self.hub.base_url}api"
        public = {n: v for n, v in env.items() if n.startswith("JUPYTERHUB_") and n not in SECRET and v}
        public |= {"JUPYTERHUB_API_URL": api, "JUPYTERHUB_ACTIVITY_URL": f"{api}/users/{self.user.name}/activity"}
        if not backend.projects.get(session.project).pictures:
            public["READINGROOM_PICTURES"] = "none"
        portal = {SESSION_HEADER: session.id, VOUCH_HEADER: vouch(backend.vouch_key, session.id)}
        return Order(
            user=self.user.name,
            project=session.project,
            session=session.id,
            volume=volume,
            folders=folders,
            show_home=partial(backend.mounts.show_home, session.id),
            argv=(f"{sys.prefix}/bin/python", "-I", "-m", "readingroom.server", *self.get_args()),
            env=public,
            secrets={"api_token": env["JUPYTERHUB_API_TOKEN"]},
            rules=Rules(self.hub.base_url.removesuffix("hub/"), self.user.name),
            services={
                Service.HUB: Upstream(hub.hostname or "127.0.0.1", hub.port or 80, {}),
                Service.PORTAL: Upstream("127.0.0.1", backend.portal_port, portal),
            },
        )

    async def poll(self) -> int | None:
        """None while the server runs. A server that ended by itself, or whose session is over, is cleaned up here:
        JupyterHub does not call `stop` for it."""
        live = self._live
        if live is None:
            return 0
        if self.make_backend().servers.alive(live.running) and datetime.now(UTC) < live.expires_at:
            await asyncio.to_thread(self._report, live)
            return None
        await self.stop()
        return 1

    async def stop(self, now: bool = False) -> None:  # noqa: ARG002  # the sandbox never takes longer than ten seconds
        """End everything in the sandbox, then mount and session."""
        async with self._lock:
            if self._live is not None:
                await asyncio.to_thread(self._end, self._live)
                self._live = None

    def _end(self, live: Live) -> None:
        backend = self.make_backend()
        self._report(live)
        backend.servers.stop(live.running)
        for finish in (backend.mounts.detach, backend.sessions.close):
            try:
                finish(live.session)
            except ReadingRoomError:
                # The server is gone in any case; what could not be told is in the hub's log.
                self.log.exception("session %s ended, but not all of it is tidied", live.session)

    def _report(self, live: Live) -> None:
        """Put on the record what the door refused."""
        backend = self.make_backend()
        rows = list(backend.servers.refusals(live.session))
        records = [_refusal(live, row) for row in rows]
        try:
            for start in range(0, len(records), RECORDS_AT_ONCE):
                backend.audit.append(records[start : start + RECORDS_AT_ONCE])
        except AuditUnavailable:
            self.log.exception("refused requests of session %s are not on the record: %s", live.session, rows)

    def get_state(self) -> dict[str, Any]:
        """What a restarted hub needs to find the server again."""
        state: dict[str, Any] = super().get_state()
        if self._live is not None:
            live = self._live
            state["live"] = {
                "person": live.person,
                "project": live.project,
                "expires_at": live.expires_at.isoformat(),
                "running": live.running.to_state(),
            }
        return state

    def load_state(self, state: dict[str, Any]) -> None:
        """The other direction."""
        super().load_state(state)
        if row := state.get("live"):
            running = Running.from_state(row["running"])
            expires_at = datetime.fromisoformat(row["expires_at"])
            person, project = PersonId(row["person"]), ProjectId(row["project"])
            self._live = Live(running.session, person, project, expires_at, running)

    def clear_state(self) -> None:
        """Forget the server."""
        super().clear_state()
        self._live = None

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """The steps of a start, for the page that waits."""
        shown = 0
        while True:
            while shown < self._step:
                yield {"progress": 20 * (shown + 1), "message": STEPS[shown]}
                shown += 1
            await asyncio.sleep(0.1)


def _status(error: ReadingRoomError) -> int:
    return 403 if isinstance(error, Denied) else 503


def _refusal(live: Live, row: dict[str, Any]) -> AuditRecord:
    return AuditRecord(
        AuditEvent.REQUEST_REFUSED,
        Outcome.DENIED,
        person=live.person,
        project=live.project,
        session=live.session,
        reason=f"{row['code']}: the server asked its door for something that is not on the list",
        subject={"path": row["request"], "count": 1 + row["left_out"]},
        time=datetime.fromtimestamp(row["at"], UTC),
    )
