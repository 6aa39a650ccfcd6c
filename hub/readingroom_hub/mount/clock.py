"""The time by which access ends: never behind what it was, whatever becomes of the machine's clock."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

_boot = partial(time.clock_gettime_ns, time.CLOCK_BOOTTIME)


class SteadyClock:
    """UTC by the machine's clock. Where that is set back, this goes on by the clock that nobody can set, CLOCK_BOOTTIME
    of clock_gettime(2), until the machine's is ahead again: an access that ended does not begin anew."""

    def __init__(self, wall: Callable[[], int] = time.time_ns, boot: Callable[[], int] = _boot) -> None:
        """Both in nanoseconds."""
        self._wall = wall
        self._boot = boot
        self._ahead = wall() - boot()
        """By how much the machine's clock was ahead of the other one, at most."""

    def __call__(self) -> datetime:
        """The time now."""
        wall, boot = self._wall(), self._boot()  # in this order: an interruption in between must not look like a step
        self._ahead = max(self._ahead, wall - boot)
        return datetime.fromtimestamp((boot + self._ahead) / 1e9, UTC)
