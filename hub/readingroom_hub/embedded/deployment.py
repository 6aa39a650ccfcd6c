"""One machine's Reading Room: starts every process of `processes`, watches, and ends in order on SIGINT or SIGTERM."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from readingroom_hub import compose
from readingroom_hub.config import Settings
from readingroom_hub.embedded import processes
from readingroom_hub.embedded.supervisor import Process, Supervisor

CONFIG_FILE = Path(__file__).parents[3] / "jupyterhub_config.py"
"""The top-level file of a checkout; an installed wheel has its own copy, see `config_file`."""

CONFIG_TEXT = """from readingroom_hub.config import load
from readingroom_hub.jhub.configure import apply

apply(get_config(), load())
"""


def config_file(settings: Settings) -> Path:
    """JupyterHub's configuration file: the checkout's, or one of the same two lines below the state folder."""
    if CONFIG_FILE.exists():
        return CONFIG_FILE
    made = settings.paths.hub / "jupyterhub_config.py"
    made.write_text(CONFIG_TEXT)
    return made


def core(settings: Settings) -> list[Process]:
    """What must run before anybody can be let in."""
    return [processes.audit_repository(settings), processes.mount_daemon(settings)]


def all_processes(settings: Settings) -> list[Process]:
    """Every process of the deployment, in the order of their start."""
    feeds = [processes.audit_feeds(settings)] if compose.feeds(settings).names else []
    monitor = [processes.monitor(settings)] if settings.monitor_minutes else []
    return [*core(settings), *feeds, *monitor, processes.hub(settings, config_file(settings))]


@contextmanager
def running(supervisor: Supervisor, wanted: Sequence[Process]) -> Iterator[None]:
    """Start the processes one after the other, each once the one before it serves; stop all at the end."""
    try:
        for process in wanted:
            supervisor.start(process)
            supervisor.wait(process.name)
        yield
    finally:
        supervisor.stop()


def watch_until_signalled(supervisor: Supervisor, stop: threading.Event) -> None:
    """Restart what dies until `stop` is set. Raises ReadingRoomError where something dies again and again."""
    while not stop.wait(0.5):
        supervisor.watch()


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set, instead of tearing through whatever runs."""
    stop = threading.Event()
    old = {s: signal.signal(s, lambda *_: stop.set()) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def serve(settings: Settings, say: Callable[[str], None]) -> None:
    """Run the embedded deployment until a signal arrives."""
    settings.paths.make()
    supervisor = Supervisor(say)
    with stop_on_signals() as stop, running(supervisor, all_processes(settings)):
        say(f"Reading Room serves {settings.public_url}")
        with contextlib.suppress(KeyboardInterrupt):
            watch_until_signalled(supervisor, stop)
        say("Stopping")
