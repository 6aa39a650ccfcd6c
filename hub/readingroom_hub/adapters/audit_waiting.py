"""Callers who wait for the same reply, woken one after the other: each wakes the next as soon as it runs itself.

Woken all at once they would queue for the interpreter's lock, and each of them would sleep and wake a second time."""

import threading
from collections.abc import Sequence
from itertools import pairwise

from readingroom_hub.errors import ReadingRoomError


class Waiter:
    """One caller, until all that it waits for is settled, or one part of it failed.

    Everything but `wait` is called with a lock held, the same for all waiters of one owner."""

    __slots__ = ("_gate", "_is_gone", "_is_settled", "_left", "_next", "error")

    def __init__(self) -> None:
        self._gate = threading.Lock()
        self._gate.acquire()
        self._left = 0
        self._next: Waiter | None = None
        self._is_settled = self._is_gone = False
        self.error: ReadingRoomError | None = None

    def expect(self) -> None:
        """Wait for one part more."""
        self._left += 1

    def answer(self, error: ReadingRoomError | None) -> bool:
        """One part is settled. Says whether the caller is to be woken now."""
        self._left -= 1
        if self._is_settled or self._is_gone or (self._left and error is None):
            return False
        self.error, self._is_settled = error, True
        return True

    def wait(self, seconds: float) -> bool:
        """Whether it was woken within so many seconds."""
        woken = self._gate.acquire(timeout=max(0.0, seconds))
        if woken:
            self._pass_on()
        return woken

    def leave(self) -> bool:
        """Wait no longer: nobody relies on this caller any more. Says whether it was settled all the same."""
        self._is_gone = True
        if self._is_settled:
            self._pass_on()
        return self._is_settled

    def wake(self) -> None:
        """Have the caller, and so those behind it, go on. The one call that needs no lock."""
        self._gate.release()

    def precede(self, following: "Waiter") -> None:
        """Wake that one next."""
        self._next = following

    def _pass_on(self) -> None:
        following, self._next = self._next, None
        if following:
            following.wake()

    @staticmethod
    def line_up(waiters: Sequence["Waiter"]) -> None:
        """Let each wake the next. Under the same hold of the lock in which they were answered."""
        for waiter, following in pairwise(waiters):
            waiter.precede(following)
