"""The mount daemon as a process: build it from the settings, serve until SIGTERM, leave nothing mounted."""

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from readingroom_hub import compose, locks
from readingroom_hub.compose import repository
from readingroom_hub.config import Settings, running
from readingroom_hub.ledger.running import configuration
from readingroom_hub.metrics import served
from readingroom_hub.mount.control import ControlServer
from readingroom_hub.mount.daemon import MountDaemon
from readingroom_hub.mount.homes import Homes
from readingroom_hub.mount.library import Library
from readingroom_hub.mount.limits import Limits
from readingroom_hub.mount.metrics import REGISTRY, Counts
from readingroom_hub.mount.process import harden, tune
from readingroom_hub.mount.vaults import Vaults

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def _alone(settings: Settings) -> Iterator[None]:
    """Hold the one place of a mount daemon: a second one would unmount what the first one serves."""
    taken = f"another mount daemon serves {settings.paths.mounts}; stop it first"
    fd = locks.take(settings.paths.run / "mount.lock", taken)
    try:
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
    audit = repository.trail(settings, "mount-daemon")
    catalogue = compose.open_catalogue(settings)
    custody = compose.custody(settings, for_mount=True)
    library = Library(catalogue.versions, compose.objects(settings), custody, audit)
    vaults = settings.paths.vaults
    homes = Homes(vaults, Vaults(vaults, compose.vault_keys(settings), custody), audit)
    daemon = MountDaemon(
        settings.paths.mounts, catalogue.projects, catalogue.grants, catalogue.sessions, catalogue.holds, library,
        audit,
        limits=Limits(settings.session_open_files, settings.session_mb_per_minute * 1_000_000),
        homes=homes,
    )  # fmt: skip
    stop = threading.Event()

    def ask_to_stop(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask_to_stop)
    with contextlib.ExitStack() as undo:
        if settings.mount_metrics_port:
            counts = Counts(lambda: library.keys, daemon.counts, audit.behind)
            undo.enter_context(served(counts, settings.mount_metrics_port, REGISTRY))
        undo.callback(daemon.stop)
        if settings.audit_remote:  # how far a node may run ahead is its own word: let the record have it
            audit.append([configuration(running(settings))])
        daemon.start()
        control = ControlServer(settings.paths.mount_socket, daemon)
        threading.Thread(target=control.serve_forever, name="control", daemon=True).start()
        _log.info("serving %s", settings.paths.mounts)
        stop.wait()
        control.shutdown()
        control.server_close()
        settings.paths.mount_socket.unlink(missing_ok=True)
