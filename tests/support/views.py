"""What befalls the views of vaults."""

import os
import select
import signal
from pathlib import Path

import psutil


def kill_gocryptfs(view: Path) -> None:
    """Kill the process that serves `view`; returns once it has ended."""
    found = psutil.process_iter(["name", "cmdline"])
    (server,) = [p for p in found if p.info["name"] == "gocryptfs" and str(view) in (p.info["cmdline"] or ())]
    ended = os.pidfd_open(server.pid)
    server.send_signal(signal.SIGKILL)
    assert select.select([ended], [], [], 10)[0]
    os.close(ended)
