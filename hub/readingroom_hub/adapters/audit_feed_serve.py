"""The process of the feeds: a thread each, their metrics, and an end on SIGTERM that need not wait for a receiver."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from readingroom_hub.adapters.audit_feed import Feed, run, status
from readingroom_hub.adapters.audit_feed_metrics import publish
from readingroom_hub.adapters.audit_feed_state import FeedState
from readingroom_hub.ports.receivers import Receiver

_STOP_SECONDS = 3.0


def serve(log: Path, folder: Path, receivers: Mapping[str, Receiver], metrics_port: int = 0) -> None:
    """Run these feeds of the log in `log`, their state in `folder`, until SIGTERM or SIGINT.

    Raises Conflict where another process runs one of them, StoreUnavailable, SystemUnfit."""
    os.umask(0o077)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with contextlib.ExitStack() as stack:
        states = {name: stack.enter_context(contextlib.closing(FeedState(folder, name))) for name in receivers}
        if metrics_port:
            stack.callback(publish(lambda: [status(log, folder, name) for name in receivers], metrics_port))
        threads = [
            threading.Thread(
                target=run, args=(name, Feed(log, states[name], receiver), states[name], stop), daemon=True
            )
            for name, receiver in receivers.items()
        ]
        for thread in threads:
            thread.start()
        sys.stderr.write(f"audit feeds run: {', '.join(receivers)}\n")
        sys.stderr.flush()
        stop.wait()
        for thread in threads:
            thread.join(_STOP_SECONDS)
        if any(thread.is_alive() for thread in threads):
            os._exit(0)  # one waits for its receiver; what is not settled is sent again at the next start
