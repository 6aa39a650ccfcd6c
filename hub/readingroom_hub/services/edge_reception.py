"""Objects on their way in: in memory only, each and all together within limits, until the spool has them sealed."""

from threading import Lock

from readingroom_hub.deid.received import Arrived
from readingroom_hub.ports.reception import Reception
from readingroom_hub.services.edge_spool import Spool


class SpoolReception(Reception):
    """Into a spool. `largest` is one object's limit, `together` that of all that come in at once; in bytes."""

    def __init__(self, spool: Spool, largest: int, together: int) -> None:
        self._spool = spool
        self._largest, self._left = largest, together
        self._lock = Lock()

    @property
    def largest(self) -> int:
        """As it was given."""
        return self._largest

    def take(self, arrived: Arrived) -> None:
        """Seal it and write it."""
        self._spool.receive(arrived)

    def reserve(self, size: int) -> bool:
        """As long as there is room."""
        with self._lock:
            if size > self._left:
                return False
            self._left -= size
            return True

    def give_back(self, size: int) -> None:
        """For others."""
        with self._lock:
            self._left += size
