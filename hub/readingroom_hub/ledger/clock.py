"""Whether somebody set the wall clock: it must advance as the clock that nobody can set does.

Linux derives CLOCK_REALTIME and CLOCK_BOOTTIME from one timekeeper and steers both at the same rate (clock_gettime(2),
adjtimex(2)), so their distance changes only when the wall clock is set, by a person, a time daemon or a leap second."""

from typing import NamedTuple

LIMIT_MS = 1000


class Clocks(NamedTuple):
    """Both clocks at one moment, nanoseconds."""

    wall: int
    """CLOCK_REALTIME: since 1970."""
    boot: int
    """CLOCK_BOOTTIME: since the machine started, suspended or not. Nobody can set it."""


class StepWatch:
    """Tells each step of the wall clock once. Small steps add up, so that many of them are no way around the limit."""

    def __init__(self, first: Clocks, limit_ms: int = LIMIT_MS) -> None:
        self._offset = first.wall - first.boot
        self._limit = limit_ms * 1_000_000

    def see(self, now: Clocks) -> int | None:
        """Milliseconds by which the wall clock was set since the last step told, towards 0; None below the limit."""
        step = now.wall - now.boot - self._offset
        if abs(step) < self._limit:
            return None
        self._offset += step
        return abs(step) // 1_000_000 * (1 if step > 0 else -1)
