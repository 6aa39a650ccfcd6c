"""Starts processes in order, restarts those that die, stops all of them in the opposite order."""

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from readingroom_hub.errors import ReadingRoomError, SystemUnfit

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1

RESTARTS_PER_MINUTE = 5
"""A process that dies more often than this has a reason that a restart does not cure."""


@dataclass(frozen=True, slots=True)
class Process:
    """One long-running process. `ready` answers whether it serves; it is asked again and again until it does."""

    name: str
    argv: Sequence[str]
    ready: Callable[[], bool]
    environ: dict[str, str]
    log: Path
    start_seconds: float = 60
    stop_seconds: float = 30
    """How long it may take from SIGTERM to its end; then it is killed."""
    after: Callable[[], None] | None = None
    """What is left to do once it has been stopped, while those started before it still run."""


@dataclass(slots=True)
class _Running:
    process: Process
    popen: subprocess.Popen[bytes]
    restarts: deque[float] = field(default_factory=lambda: deque(maxlen=RESTARTS_PER_MINUTE))


def _die_with_parent() -> None:
    # A supervisor that is killed must not leave servers behind: the kernel then sends each child a SIGTERM.
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class Supervisor:
    """Keeps a list of processes running. Not for several threads: children die with the thread that started them."""

    def __init__(self, on_event: Callable[[str], None]) -> None:
        self._on_event = on_event
        self._running: list[_Running] = []

    def start(self, process: Process) -> None:
        """Start one process and return at once; `wait` waits for it."""
        self._running.append(_Running(process, self._spawn(process)))

    def wait(self, name: str) -> None:
        """Return once the named process serves. Raises SystemUnfit with the end of its log where it ends or is late."""
        running = next(r for r in self._running if r.process.name == name)
        seconds = running.process.start_seconds
        deadline = time.monotonic() + seconds
        while not running.process.ready():
            if running.popen.poll() is not None:
                raise SystemUnfit(f"{name} ended while it started (exit {running.popen.returncode}). {_tail(running)}")
            if time.monotonic() > deadline:
                raise SystemUnfit(f"{name} did not start within {seconds:.0f} s. {_tail(running)}")
            time.sleep(0.05)

    def watch(self) -> None:
        """Look once at every process and restart those that died.

        Raises ReadingRoomError where one dies again and again."""
        for running in self._running:
            code = running.popen.poll()
            if code is None:
                continue
            now = time.monotonic()
            if len(running.restarts) == RESTARTS_PER_MINUTE and now - running.restarts[0] < 60:
                raise ReadingRoomError(f"{running.process.name} ends again and again (exit {code}). {_tail(running)}")
            running.restarts.append(now)
            self._on_event(f"{running.process.name} ended (exit {code}) and is started again")
            running.popen = self._spawn(running.process)
        if os.getpid() == 1:
            self._reap()

    def _reap(self) -> None:
        """A container's first process inherits orphans, such as a vault's gocryptfs: let go of those that ended."""
        ours = {r.popen.pid for r in self._running}
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                if ended.si_pid in ours:
                    return  # its own `poll` wants to know how it ended
                os.waitpid(ended.si_pid, os.WNOHANG)

    def stop(self) -> None:
        """Stop everything, last started first. Always ends, and leaves no process of ours."""
        for running in reversed(self._running):
            if running.popen.poll() is None:
                running.popen.terminate()
                try:
                    running.popen.wait(running.process.stop_seconds)
                except subprocess.TimeoutExpired:
                    self._on_event(f"{running.process.name} did not stop within its time and is killed")
                    running.popen.kill()
                    running.popen.wait()
            if running.process.after is not None:
                try:
                    running.process.after()
                except ReadingRoomError as error:
                    self._on_event(f"after {running.process.name} had stopped: {error}")
        self._running.clear()

    def pid(self, name: str) -> int:
        """The process id of a running process."""
        return next(r.popen.pid for r in self._running if r.process.name == name)

    @staticmethod
    def _spawn(process: Process) -> subprocess.Popen[bytes]:
        process.log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with process.log.open("ab") as log:
            return subprocess.Popen(
                list(process.argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=process.environ,
                start_new_session=True,  # Ctrl-C reaches the supervisor only, which then stops them in order
                preexec_fn=_die_with_parent,  # noqa: PLW1509  # the supervisor has one thread
            )


def _tail(running: _Running) -> str:
    lines = running.process.log.read_text(errors="replace").splitlines()[-8:]
    return f"The end of {running.process.log}:\n" + "\n".join(lines)
