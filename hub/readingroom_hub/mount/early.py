"""The next image of a series that is read in order, decrypted while its reader is busy with the one before.

Only for readers who pause between two images, to decode one for example: who goes on at once would wait for the same
work. The series' intent covers what is decrypted here. Only an open gives it out, which is on the record first."""

import logging
import math
import threading
from collections.abc import Callable
from time import monotonic

from readingroom_hub.errors import ReadingRoomError
from readingroom_hub.mount.budget import Budget

PAUSE = 0.001
"""Seconds between the end of one image and the first read of the next: twice as long as decrypting takes."""
PAUSES = 2
"""So many in a row: on a busy machine everybody is held up now and then."""
KEPT = 5.0
"""Seconds after which plaintext that nobody asked for is forgotten."""
_log = logging.getLogger(__name__)

Where = tuple[str, int]
"""Dataset version, and place in its tree."""
Make = Callable[[], bytes]


class Early:
    """Of one session: one image at most. Thread-safe. `before_waiting` is called before its thread is waited for."""

    def __init__(self, budget: Budget, before_waiting: Callable[[], None]) -> None:
        self._budget = budget
        self._before_waiting = before_waiting
        self._changed = threading.Condition()
        self._expected: Where | None = None
        self._following: Callable[[], tuple[Where, Make] | None] | None = None
        self._pauses = 0
        self._closed = math.inf
        """When the last image was closed."""
        self._making: tuple[Where, Make] | None = None
        self._made: tuple[Where, bytes, float] | None = None
        self._thread: threading.Thread | None = None
        self._ended = False

    def open(self, where: Where, make: Make, following: Callable[[], tuple[Where, Make] | None]) -> bytes:
        """What `make` returns, or was returned early. `following`: what comes after it, if something does.

        Raises what `make` raises."""
        data = self._take(where, following)
        if data is None:
            return make()
        self._budget.note(self)
        return data

    def _take(self, where: Where, following: Callable[[], tuple[Where, Make] | None]) -> bytes | None:
        with self._changed:
            paused = where == self._expected and monotonic() - self._closed >= PAUSE
            self._pauses = self._pauses + 1 if paused else 0
            self._expected = where[0], where[1] + 1
            self._following = following if self._pauses >= PAUSES else None
            making = self._making
            if making is not None and making[0] == where:
                self._before_waiting()
                self._changed.wait_for(lambda: self._making is not making)
            if self._made is None or self._made[0] != where:
                return None
            data, self._made = self._made[1], None
            return data

    def closed(self) -> None:
        """The reader has closed an image, and is busy with it now."""
        with self._changed:
            self._closed = monotonic()
            following, self._following = self._following, None
            if following is None or self._making is not None or self._ended:
                return
            self._making = following()
            if self._making is None:
                return
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="fuse-early", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._making is not None or self._ended)
                making = self._making
                if making is None:
                    return
            data = self._result(making[1])
            with self._changed:
                if self._making is making:
                    self._making = None
                    if data is not None:
                        self._made = (making[0], data, monotonic())
                self._changed.notify_all()
            del data
            self._budget.note(self)

    @staticmethod
    def _result(make: Make) -> bytes | None:
        try:
            return make()
        except (ReadingRoomError, OSError):  # who opens it meets the same, and is told; then it is on the record
            return None
        except Exception:  # noqa: BLE001  # the next one may do
            _log.exception("an image could not be decrypted early")
            return None

    @property
    def held(self) -> int:
        """Bytes of plaintext in memory."""
        made = self._made
        return 0 if made is None else len(made[1])

    def shed(self) -> None:
        """Forget the plaintext."""
        with self._changed:
            self._made = None

    def drop(self) -> None:
        """Forget the plaintext, also of what is being decrypted, and expect nothing."""
        with self._changed:
            self._made = self._making = self._following = self._expected = None
            self._changed.notify_all()
        self._budget.note(self)

    def tidy(self) -> None:
        """Forget what nobody asked for."""
        made = self._made
        if made is not None and monotonic() - made[2] > KEPT:
            self.drop()

    def end(self) -> None:
        """The session ended."""
        self._ended = True
        self.drop()
