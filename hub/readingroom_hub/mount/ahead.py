"""Fetching sealed bytes ahead: while one image is decrypted and copied, the store already reads the next.

Only ciphertext is fetched ahead, so nothing is released that nobody asked for."""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence

from readingroom_hub.errors import ReadingRoomError
from readingroom_hub.ports.objects import ObjectStore

Piece = tuple[str, int, int | None]
"""Object name, offset, size (None: to the end)."""
_KEPT = 3
"""Pieces that wait to be asked for; each is at most as large as a small object."""


class ReadAhead:
    """Of one session. Guesses only after two pieces were read in the order of their guess. Thread-safe."""

    def __init__(self, objects: ObjectStore) -> None:
        self.objects = objects
        self._changed = threading.Condition()
        self._wanted: deque[Piece] = deque()
        self._busy: Piece | None = None
        self._ready: OrderedDict[Piece, bytes] = OrderedDict()
        self._guess: frozenset[Piece] = frozenset()
        self._thread: threading.Thread | None = None
        self._stopped = False

    def read(self, piece: Piece, following: Callable[[], Sequence[Piece]]) -> bytes:
        """The bytes of `piece`; then the store is asked for `following`, where reading goes on in that order.

        Raises what `ObjectStore.read` raises."""
        with self._changed:
            if piece in self._wanted:
                self._wanted.remove(piece)
            elif piece == self._busy:
                self._changed.wait_for(lambda: self._busy != piece)
            data = self._ready.pop(piece, None)
        if data is None:
            data = self.objects.read(*piece)
        self._expect(piece, following())
        return data

    def _expect(self, piece: Piece, following: Sequence[Piece]) -> None:
        with self._changed:
            in_order = piece in self._guess
            self._guess = frozenset(following)
            if not in_order or self._stopped:
                return
            self._wanted.clear()
            self._wanted.extend(p for p in following if p not in self._ready and p != self._busy)
            if self._thread is None:
                self._thread = threading.Thread(target=self._fetch_all, name="read-ahead", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def _fetch_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted or self._stopped)
                if self._stopped:
                    return
                piece = self._busy = self._wanted.popleft()
            data = self._fetch(piece)
            with self._changed:
                self._busy = None
                if data is not None:
                    self._ready[piece] = data
                    while len(self._ready) > _KEPT:
                        self._ready.popitem(last=False)
                self._changed.notify_all()

    def _fetch(self, piece: Piece) -> bytes | None:
        try:
            return self.objects.read(*piece)
        except ReadingRoomError:
            return None  # whoever really wants it will meet the error

    def stop(self) -> None:
        """End the thread and forget what was fetched."""
        with self._changed:
            self._stopped = True
            self._ready.clear()
            self._wanted.clear()
            self._changed.notify_all()
