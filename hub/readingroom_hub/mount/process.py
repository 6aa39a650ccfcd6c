"""What the mount daemon asks of its own process: keys that stay in memory, and memory that stays in the process."""

import ctypes
import logging
import os
import resource
import sys

_PR_SET_DUMPABLE = 4
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_KEPT = 256 << 20
_log = logging.getLogger(__name__)


def harden() -> None:
    """Keep data keys out of core dumps, of ptrace by the same user, and, as root, out of swap.

    prctl(2) PR_SET_DUMPABLE, setrlimit(2) RLIMIT_CORE, mlockall(2) with MCL_ONFAULT."""
    libc = ctypes.CDLL(None, use_errno=True)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0):
        _log.warning("prctl(PR_SET_DUMPABLE) failed: %s", os.strerror(ctypes.get_errno()))
    if os.geteuid():
        _log.warning("data keys may be swapped out: only root may lock all memory; use encrypted swap")
    elif libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT):
        _log.warning("mlockall failed: %s; data keys may be swapped out", os.strerror(ctypes.get_errno()))


def tune() -> None:
    """Have the allocator reuse the memory of image-sized objects (mallopt(3)), and threads take short turns.

    By default each object is mapped and unmapped anew, and its page faults cost three times as much as its decryption;
    and a read would wait 5 ms for its turn while the catalogue is polled."""
    sys.setswitchinterval(0.0005)
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_ARENA_MAX, 1)
    libc.mallopt(_M_MMAP_THRESHOLD, 32 << 20)
    libc.mallopt(_M_TRIM_THRESHOLD, _KEPT)
