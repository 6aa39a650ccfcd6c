"""Starting and stopping user servers, as the hub sees it: one door process each, found again after a restart."""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import psutil

from readingroom_hub.config import Settings
from readingroom_hub.errors import StoreUnavailable, SystemUnfit
from readingroom_hub.model.ids import ProjectId, SessionId
from readingroom_hub.ports.mounts import Folders
from readingroom_hub.sandbox import homes, layout, limits
from readingroom_hub.sandbox.accounts import Account, Accounts
from readingroom_hub.sandbox.door import GRACE_SECONDS
from readingroom_hub.sandbox.gate import Rules, Service
from readingroom_hub.sandbox.plan import Plan
from readingroom_hub.sandbox.relay import Upstream

START_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Order:
    """What to start, for whom. `volume` is the folder above the session's mount, `folders` are the opened vaults;
    `show_home` mounts the home's image, once it is made."""

    user: str
    project: ProjectId
    session: SessionId
    volume: Path
    folders: Folders
    show_home: Callable[[], object]
    argv: Sequence[str]
    env: Mapping[str, str]
    secrets: Mapping[str, str]
    rules: Rules
    services: Mapping[Service, Upstream]


@dataclass(frozen=True, slots=True)
class Running:
    """One server that runs: enough to find it again. `started` keeps a reused process number apart."""

    session: SessionId
    pid: int
    started: float
    port: int
    groups: tuple[str, ...]
    project: str = ""
    """Empty for one that an older hub started."""

    @property
    def url(self) -> str:
        """Where the proxy sends this server's requests."""
        return f"http://127.0.0.1:{self.port}"

    def to_state(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_state(cls, row: Mapping[str, Any]) -> Self:
        """The other direction."""
        return cls(
            SessionId(row["session"]),
            row["pid"],
            row["started"],
            row["port"],
            tuple(row["groups"]),
            row.get("project", ""),
        )


class Servers:
    """The servers of one machine. As root each gets an account of its own; otherwise all run as this user."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = settings.paths.run / "doors"
        self._accounts = Accounts(settings.paths.hub / "accounts.json", settings.uid_range)
        self._children: dict[int, subprocess.Popen[str]] = {}
        self._moving = threading.Lock()

    def start(self, order: Order) -> Running:
        """Start one server; it may not answer yet. Raises SystemUnfit, StoreUnavailable; then nothing is left."""
        groups: list[Path] = []
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            groups = limits.make_groups(order.session, self._limits())
            with self._moving if self._clear(order.project).exists() else nullcontext():
                running = self._launch(order, self._plan(order, groups))
                self._note(running).write_text(json.dumps(running.to_state()))
        except BaseException as error:
            limits.remove_groups(groups)
            self._forget(order.session)
            if isinstance(error, OSError):
                raise StoreUnavailable(f"the server of {order.project} cannot be started: {error}") from error
            raise
        return running

    def _limits(self) -> limits.Limits:
        s = self._settings
        return limits.Limits(s.server_memory_mb, s.server_processes, s.server_cpu_share, s.home_size_mb)

    def _plan(self, order: Order, groups: list[Path]) -> Plan:
        paths = self._settings.paths
        account = self._accounts.get(order.user, order.project) if os.geteuid() == 0 else None
        clear_home = paths.homes / order.user / order.project
        measured = homes.home(order.folders.home, clear_home, account, self._settings.home_size_mb)
        order.show_home()
        clear_project = self._project(order, account)
        door = self._door(order.session, account)
        logs = paths.logs / "servers"
        logs.mkdir(mode=0o700, exist_ok=True)
        outer = order.folders
        clear = str(clear_project) if clear_project else None
        places = layout.Places(str(outer.home), str(outer.project), str(door), str(order.volume), clear)
        return Plan(
            sandbox=layout.build(places, order.argv, dict(order.env), paths.state),
            limits=self._limits(),
            groups=tuple(str(g) for g in groups),
            account=account,
            measured=str(measured) if measured else None,
            door=str(door),
            refusals=str(self._refusals(order.session)),
            log=str(logs / f"{order.session}.log"),
            rules=order.rules,
            services=order.services,
            secrets=order.secrets,
        )

    def _clear(self, project: ProjectId) -> Path:
        """Where the folder of a project's members lay before there were vaults."""
        return self._settings.paths.shared / project

    def _project(self, order: Order, account: Account | None) -> Path | None:
        """Make the project's folder; where it is still in clear and in use, that one."""
        clear = self._clear(order.project)
        if clear.exists() and any(r.project in {"", order.project} and self.alive(r) for r in self.running()):
            homes.shared(clear, account)  # a server from before an upgrade writes there: moved once none runs
            return clear
        homes.project(order.folders.project, clear, account)
        return None

    def _door(self, session: SessionId, account: Account | None) -> Path:
        folder = self._folder / session
        folder.mkdir(mode=0o700)
        if account:
            os.chown(folder, account.uid, account.uid)
        return folder

    def _launch(self, order: Order, plan: Plan) -> Running:
        with Path(plan.log).open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-I", "-m", "readingroom_hub.sandbox.door"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={},
                cwd="/",
                start_new_session=True,  # Ctrl-C in the hub's terminal is for the hub
            )
        try:
            answer = _ask(process, plan)
            started = psutil.Process(process.pid).create_time()
        except BaseException:
            process.kill()
            process.wait()
            raise
        self._children[process.pid] = process
        return Running(order.session, process.pid, started, int(answer["port"]), plan.groups, order.project)

    def alive(self, running: Running) -> bool:
        """Whether the server still runs."""
        child = self._children.get(running.pid)
        if child is not None and child.poll() is not None:
            return False
        return _process(running) is not None

    def stop(self, running: Running) -> None:
        """End the server and everything in its sandbox; returns when it has ended. A server that ended is no error."""
        process = _process(running)
        if process is not None:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGTERM)
            self._wait(process)
        child = self._children.pop(running.pid, None)
        if child is not None:
            child.wait()
        limits.remove_groups([Path(g) for g in running.groups])
        self._forget(running.session)

    def _wait(self, process: psutil.Process) -> None:
        child = self._children.get(process.pid)
        try:
            child.wait(GRACE_SECONDS * 2) if child else process.wait(GRACE_SECONDS * 2)
        except (subprocess.TimeoutExpired, psutil.TimeoutExpired):
            # bwrap dies with its parent, and every process inside with bwrap.
            process.kill()
            process.wait(GRACE_SECONDS)

    def running(self) -> list[Running]:
        """Every server that this machine has notes of, ended ones too."""
        return [Running.from_state(json.loads(p.read_text())) for p in sorted(self._folder.glob("*.json"))]

    def stop_all(self) -> None:
        """End every server of this machine."""
        for running in self.running():
            self.stop(running)

    def refusals(self, session: SessionId) -> Iterator[dict[str, Any]]:
        """What the door of a session refused since the last call; each is given once, lines cut by a crash never."""
        file, place = self._refusals(session), self._folder / f"{session}.told"
        if not file.exists():
            return
        with file.open("rb") as lines:
            lines.seek(int(place.read_text()) if place.exists() else 0)
            for line in lines:
                if line.endswith(b"\n"):
                    yield json.loads(line)
                    place.write_text(str(lines.tell()))

    def _refusals(self, session: SessionId) -> Path:
        return self._folder / f"{session}.refusals"

    def _note(self, running: Running) -> Path:
        return self._folder / f"{running.session}.json"

    def _forget(self, session: SessionId) -> None:
        shutil.rmtree(self._folder / session, ignore_errors=True)
        for suffix in ("json", "refusals", "told"):
            (self._folder / f"{session}.{suffix}").unlink(missing_ok=True)


def _ask(process: subprocess.Popen[str], plan: Plan) -> dict[str, Any]:
    """Give the door its plan, wait for its one line. Raises SystemUnfit with the door's sentence."""
    assert process.stdin  # noqa: S101  # by the PIPE above
    assert process.stdout  # noqa: S101  # by the PIPE above
    with suppress(BrokenPipeError), process.stdin as pipe:
        pipe.write(plan.to_json())
    ready, _, _ = select.select([process.stdout], [], [], START_SECONDS)
    with process.stdout as pipe:
        line = pipe.readline() if ready else ""
    answer: dict[str, Any] = json.loads(line or "{}")
    if "port" not in answer:
        raise SystemUnfit(
            answer.get("error") or f"the server did not start: the operator finds the reason in {plan.log}"
        )
    return answer


def _process(running: Running) -> psutil.Process | None:
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(running.pid)
        same = abs(process.create_time() - running.started) < 1
        if same and process.status() != psutil.STATUS_ZOMBIE:
            return process
    return None
