"""Places that one process may have: flock(2), which the kernel gives back when the process ends, however it ends."""

import fcntl
import os
from pathlib import Path

from readingroom_hub.errors import Conflict


def take(path: Path, taken: str) -> int:
    """Lock a file, made where there is none; returns its descriptor, whose closing lets others have the place.

    Raises Conflict, with `taken` for people, where another process has it; OSError where the file cannot be opened."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        raise Conflict(taken) from error
    return fd
