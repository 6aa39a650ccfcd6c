"""Loopback ports for servers that must be told theirs: no two processes that run tests get the same ones, and none gets
those of a server that is only down for a while."""

import contextlib
import fcntl
import itertools
import os
import socket
import tempfile
from functools import cache
from pathlib import Path

_SPAN, _SPANS = 2400, 5  # all below the ports that the kernel gives to connections, from 32768 on
_starts = itertools.cycle(range(_SPAN))


@cache
def _first() -> int:
    """Of a span that is this process's as long as it lives: its lock is never let go."""
    for n in range(_SPANS):
        path = Path(tempfile.gettempdir()) / f"readingroom-test-ports-{n}"
        with contextlib.suppress(OSError):
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(lock)
                continue
            return 20_000 + n * _SPAN
    return 20_000 + os.getpid() % _SPANS * _SPAN


def free_ports(count: int) -> int:
    """The first of `count` neighbouring loopback ports that are all free now. A port comes again as late as can be."""
    for start in itertools.islice(_starts, _SPAN):
        if start + count > _SPAN:
            continue
        first = _first() + start
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for port in range(first, first + count):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            for _ in range(count - 1):
                next(_starts)
            return first
    raise RuntimeError("no free ports")
