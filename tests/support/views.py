"""What befalls the views of vaults."""

import os
import select
import signal
from pathlib import Path

import psutil


def _serving(view: Path) -> list[psutil.Process]:
    (cipher,) = [str(p / "cipher") for p in view.parents if (p / "outer").is_dir()]
    found = psutil.process_iter(["name", "cmdline"])
    return [p for p in found if p.info["name"] == "gocryptfs" and cipher in (p.info["cmdline"] or ())]


def kill_gocryptfs(view: Path) -> None:
    """Kill the process that serves `view`; returns once it has ended."""
    for first in _serving(view)[:-1]:  # one that mounts waits for its child, then ends
        first.wait(10)
    (server,) = _serving(view)
    ended = os.pidfd_open(server.pid)
    server.send_signal(signal.SIGKILL)
    assert select.select([ended], [], [], 10)[0]
    os.close(ended)
