"""The real mount daemon in its own process, beside the real audit record repository."""

import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.support.audit_process import AuditProcess, audit_process
from tests.support.mount_world import World, ends_of

from readingroom_hub.adapters.audit_client import SocketAuditRepository
from readingroom_hub.adapters.mounts_socket import SocketMounts
from readingroom_hub.errors import StoreUnavailable
from readingroom_hub.mount import mounting
from readingroom_hub.ports.records import Filter

_SECONDS = 20.0
_SERVE = """
import logging, sys
from readingroom_hub.config import load
from readingroom_hub.errors import ReadingRoomError
from readingroom_hub.mount.service import serve
logging.basicConfig(level=logging.WARNING)
try:
    serve(load())
except ReadingRoomError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""
"""What `readingroom mount serve` does, without the imports of the other commands."""
_ARGV = [sys.executable, "-W", "ignore", "-c", _SERVE]


def soon(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.02)


class MountProcess(World):
    """A world with a mount daemon and an audit record repository."""

    def __init__(self, audit_server: AuditProcess, client: SocketAuditRepository) -> None:
        super().__init__(audit_server.paths.state)
        self.audit_server = audit_server
        self.client = client
        self.mounts = SocketMounts(self.settings.paths.mount_socket)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Return once it answers. Raises RuntimeError with its log where it ends first."""
        log = self.settings.paths.logs / "mount.log"
        with log.open("ab") as out:
            self._process = subprocess.Popen(_ARGV, stderr=out, env=self.settings.to_environ())
        deadline = time.monotonic() + _SECONDS
        while True:
            try:
                self.mounts.status()
            except StoreUnavailable:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.stop(signal.SIGKILL)
                    raise RuntimeError(log.read_text()) from None
                time.sleep(0.02)
            else:
                return

    def second(self) -> str:
        """What a second daemon on the same state says when it ends."""
        return subprocess.run(
            _ARGV, env=self.settings.to_environ(), capture_output=True, text=True, timeout=_SECONDS, check=False
        ).stderr

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it; returns its exit code."""
        if self._process is None:
            return 0
        self._process.send_signal(number)
        code = self._process.wait(_SECONDS)
        self._process = None
        return code

    def log(self) -> str:
        return (self.settings.paths.logs / "mount.log").read_text()

    def records(self, *events: str) -> list[dict[str, Any]]:
        """Oldest first."""
        return [f.record for f in self.client.query(Filter(events=events, limit=100_000), None)][::-1]

    def ends(self) -> list[dict[str, Any]]:
        """How single opens ended, oldest first."""
        return ends_of(self.records("read-completed"))


@contextlib.contextmanager
def mount_process(state: Path | None = None) -> Iterator[MountProcess]:
    """Both processes, running. Nothing stays mounted or running; a temporary state folder is removed."""
    folder = state or Path(tempfile.mkdtemp(prefix="rr-"))
    try:
        with audit_process(folder) as (server, client):
            world = MountProcess(server, client)
            try:
                world.start()
                yield world
            finally:
                world.stop(signal.SIGKILL)
                for point, _ in sorted(mounting.mount_points(folder), reverse=True):
                    mounting.unmount(point)
    finally:
        if state is None:
            shutil.rmtree(folder, ignore_errors=True)
