"""The mount daemon as a process: build it from the settings, serve until SIGTERM, leave nothing mounted."""

import contextlib
import fcntl
import logging
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from readingroom_hub import compose
from readingroom_hub.config import Settings
from readingroom_hub.errors import Conflict
from readingroom_hub.mount.control import ControlServer
from readingroom_hub.mount.daemon import MountDaemon
from readingroom_hub.mount.library import Library
from readingroom_hub.mount.limits import Limits
from readingroom_hub.mount.metrics import Counts, publish
from readingroom_hub.mount.process import harden, tune

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Hold the one place of a mount daemon; the kernel gives it back when the process ends, however it ends.

    A second daemon would unmount what the first one serves. flock(2)."""
    path = settings.paths.run / "mount.lock"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict(f"another mount daemon serves {settings.paths.mounts}; stop it first") from error
        yield
    finally:
        os.close(fd)


def serve(settings: Settings) -> None:
    """Serve every open session; return after SIGTERM or SIGINT.

    Raises Conflict where another mount daemon runs on this state, AuditUnavailable where the start cannot be recorded,
    SystemUnfit where FUSE cannot be used."""
    harden()
    tune()
    settings.paths.make()
    with _alone(settings):
        _serve(settings)


def _serve(settings: Settings) -> None:
    audit = compose.audit(settings, "mount-daemon")
    catalogue = compose.open_catalogue(settings)
    custody = compose.custody(settings, for_mount=True)
    library = Library(catalogue.versions, compose.objects(settings), custody, audit)
    daemon = MountDaemon(
        settings.paths.mounts, catalogue.projects, catalogue.grants, catalogue.sessions, catalogue.holds, library,
        audit,
        limits=Limits(settings.session_open_files, settings.session_mb_per_minute * 1_000_000),
    )  # fmt: skip
    stop = threading.Event()

    def ask_to_stop(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask_to_stop)
    with contextlib.ExitStack() as undo:
        if settings.mount_metrics_port:
            undo.callback(publish(Counts(lambda: library.keys, daemon.counts), settings.mount_metrics_port))
        undo.callback(daemon.stop)
        daemon.start()
        control = ControlServer(settings.paths.mount_socket, daemon)
        threading.Thread(target=control.serve_forever, name="control", daemon=True).start()
        _log.info("serving %s", settings.paths.mounts)
        stop.wait()
        control.shutdown()
        control.server_close()
        settings.paths.mount_socket.unlink(missing_ok=True)
