"""Reading sealed bytes, and telling the store which ones will be asked for next where they are read in order."""

import threading
from collections.abc import Callable, Sequence

from readingroom_hub.ports.objects import ObjectStore

Piece = tuple[str, int, int | None]
"""Object name, offset, size (None: to the end)."""


class ReadAhead:
    """Of one session. It only hints, so that nothing is held here and no thread works. Thread-safe.

    `before_waiting` is called before the store is asked for something."""

    def __init__(self, objects: ObjectStore, before_waiting: Callable[[], None]) -> None:
        self._objects = objects
        self.before_waiting = before_waiting
        self._guess: frozenset[Piece] = frozenset()
        self._lock = threading.Lock()

    def read(self, piece: Piece, following: Callable[[], Sequence[Piece]]) -> bytes:
        """The bytes of `piece`, and a hint for `following` where reading goes on in that order.

        Raises what `ObjectStore.read` raises."""
        guess = following()
        with self._lock:
            before, self._guess = self._guess, frozenset(guess)
        if piece in before:
            for hint in guess:
                if hint not in before:
                    self._objects.expect(*hint)
        self.before_waiting()
        return self._objects.read(*piece)

    def size(self, name: str) -> int:
        """Length of an object. Raises what `ObjectStore.size` raises."""
        self.before_waiting()
        return self._objects.size(name)
