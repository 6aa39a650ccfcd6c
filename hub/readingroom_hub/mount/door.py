"""Who waits for the kernel's next request: one thread of a session, which stays from request to request.

Were all to wait, the kernel would wake another one for each request, and the two would contend for the interpreter: on
a read from the cache that costs more than the work. So a thread that is about to wait for something else (object
store, key custody, audit record repository) leaves its place to another first."""

import threading
from collections.abc import Callable


class Door:
    """One place, for any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holder = 0

    def enter(self) -> None:
        """Wait for the place."""
        self._lock.acquire()
        self._holder = threading.get_ident()

    def is_ours(self) -> bool:
        """Whether the calling thread has the place."""
        return self._holder == threading.get_ident()

    def leave(self) -> None:
        """Let another thread have the place, where it is the caller's. Call before all that may wait."""
        if self.is_ours():
            self._holder = 0
            self._lock.release()


class Turn:
    """A lock, to be used by `with`, whose holder may wait for long: who has to wait for it calls `before_waiting`."""

    def __init__(self, before_waiting: Callable[[], None]) -> None:
        self._lock = threading.Lock()
        self._before_waiting = before_waiting

    def acquire(self, blocking: bool = True) -> bool:
        """Take it, or, not `blocking`, say that somebody else has it."""
        if self._lock.acquire(blocking=False):
            return True
        if blocking:
            self._before_waiting()
            self._lock.acquire()
        return blocking

    def release(self) -> None:
        """Give it back."""
        self._lock.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()
