"""The real audit record repository in its own process, on a temporary state folder."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from readingroom_hub.adapters.audit_client import SocketAuditRepository
from readingroom_hub.config import Paths, Settings
from readingroom_hub.errors import AuditUnavailable

START_SECONDS = 20.0
_SERVE = """
import sys
from pathlib import Path
from readingroom_hub.adapters.audit_server import serve
from readingroom_hub.config import Paths
from readingroom_hub.errors import ReadingRoomError
paths = Paths(Path(sys.argv[1]))
paths.make()
try:
    serve(paths.audit, paths.keys, paths.audit_socket, log_url=sys.argv[2])
except ReadingRoomError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


_SERVE_SETTINGS = """
import sys
from readingroom_hub import compose
from readingroom_hub.compose import repository
from readingroom_hub.config import load
from readingroom_hub.errors import ReadingRoomError
try:
    repository.serve(load())
except ReadingRoomError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


class AuditProcess:
    """One server on one state folder; it can be killed and started again."""

    def __init__(self, paths: Paths, log_url: str = "", settings: Settings | None = None) -> None:
        """`settings`: as `readingroom audit serve` takes them, where more is needed than a folder."""
        self.paths = paths
        self.log_url = log_url
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        paths.make()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self, until_it_answers: bool = True) -> None:
        """Return once it answers. Raises RuntimeError with what it said where it ends first."""
        with (self.paths.logs / "audit.log").open("ab") as log:
            argv, environ = [sys.executable, "-c", _SERVE, str(self.paths.state), self.log_url], None
            if self._settings:
                argv = [sys.executable, "-c", _SERVE_SETTINGS]
                environ = self._settings.to_environ() | {"PYTHONPATH": os.pathsep.join(sys.path)}
            self._process = subprocess.Popen(argv, stderr=log, env=environ)
        deadline = time.monotonic() + START_SECONDS
        while not (until_it_answers and self._answers()):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop(signal.SIGKILL)
                raise RuntimeError(self.said())
            time.sleep(0.01)

    def _answers(self) -> bool:
        probe = SocketAuditRepository(self.paths.audit_socket, "probe", 1000)
        try:
            probe.status()
        except AuditUnavailable:
            return False
        else:
            return True
        finally:
            probe.close()

    def said(self) -> str:
        """Everything on its stderr so far."""
        return (self.paths.logs / "audit.log").read_text()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it; returns its exit code."""
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.send_signal(number)
            if number != signal.SIGKILL:
                os.kill(self._process.pid, signal.SIGCONT)
        code = self._process.wait(START_SECONDS)
        self._process = None
        return code


@contextlib.contextmanager
def audit_process(
    state: Path | None = None, timeout_ms: int = 5000, log_url: str = "", settings: Settings | None = None
) -> Iterator[tuple[AuditProcess, SocketAuditRepository]]:
    """A running server and a client of it. `state` is removed afterwards only where it is not given.

    The folder is short by default: a Unix socket's path has at most 107 bytes."""
    folder = state or Path(tempfile.mkdtemp(prefix="rr-"))
    server = AuditProcess(Paths(folder), log_url, settings)
    client = SocketAuditRepository(server.paths.audit_socket, "test", timeout_ms)
    try:
        server.start()
        yield server, client
    finally:
        client.close()
        server.stop(signal.SIGKILL)
        if state is None:
            shutil.rmtree(folder)


@contextlib.contextmanager
def running_audit_repository(timeout_ms: int = 5000) -> Iterator[tuple[Paths, SocketAuditRepository]]:
    """As `audit_process`, for those who only want the paths and a client."""
    with audit_process(timeout_ms=timeout_ms) as (server, client):
        yield server.paths, client
