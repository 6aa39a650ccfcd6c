"""What one session may take at once and in a minute, so that no session takes the daemon from the others."""

import errno
import threading
import time
from dataclasses import dataclass

from readingroom_hub.policy.access import Deny, DenyCode

_MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Of each session. `bytes_a_minute` counts what leaves the daemon, not what the kernel's cache answers."""

    open_files: int = 4096
    bytes_a_minute: int = 60_000_000_000


class OverLimit(OSError):
    """A request that exceeds a limit: EMFILE or EDQUOT, with what is to be recorded and told."""

    def __init__(self, number: int, deny: Deny) -> None:
        super().__init__(number, deny.sentence)
        self.deny = deny


class Allowance:
    """What one session has left. Thread-safe."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._since = time.monotonic()
        self._taken = 0

    def open(self, held: int) -> None:
        """One more file while `held` are open. Raises OverLimit."""
        if held >= self._limits.open_files:
            raise OverLimit(
                errno.EMFILE,
                Deny(
                    DenyCode.OPEN_FILES,
                    f"This session holds {held} images open, which is its limit. Close some, for example with `with`.",
                ),
            )
        self.take(0)

    def take(self, count: int) -> None:
        """`count` more bytes. Raises OverLimit where the minute's bytes are already used up: the last may exceed."""
        with self._lock:
            now = time.monotonic()
            if now - self._since >= _MINUTE:
                self._since, self._taken = now, 0
            if self._taken < self._limits.bytes_a_minute:
                self._taken += count
                return
            wait = self._since + _MINUTE - now
        raise OverLimit(
            errno.EDQUOT,
            Deny(
                DenyCode.BYTES,
                f"This session has read {self._limits.bytes_a_minute / 1e6:.0f} MB within a minute, its limit. "
                f"Go on in {wait:.0f} seconds; ask the operator if your work needs more.",
            ),
        )
