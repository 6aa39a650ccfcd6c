"""Objects on their way in: in memory only, each and all together within limits, until the spool has them sealed."""

import io
from dataclasses import dataclass
from threading import Lock
from typing import Any, Protocol

from readingroom_hub.services.edge_objects import Arrived
from readingroom_hub.services.edge_spool import Spool


class Door(Protocol):
    """Where objects come in; open from the start."""

    @property
    def port(self) -> int:
        """Where it listens."""
        ...

    def close(self) -> None:
        """Take no more; what was not confirmed is the sender's still."""
        ...


@dataclass(slots=True)
class Counts:
    """What came over one connection."""

    taken: int = 0
    refused: int = 0


class Reception:
    """Takes objects in. `largest` is one object's limit, `together` that of all that come in at once; in bytes."""

    def __init__(self, spool: Spool, largest: int, together: int) -> None:
        self._spool = spool
        self.largest, self._left = largest, together
        self._lock = Lock()

    def take(self, arrived: Arrived) -> None:
        """Keep an object: sealed and durable when this returns. Raises StoreUnavailable."""
        self._spool.receive(arrived)

    def reserve(self, size: int) -> bool:
        """Whether so many more bytes have room; then they are taken."""
        with self._lock:
            if size > self._left:
                return False
            self._left -= size
            return True

    def give_back(self, size: int) -> None:
        """Bytes that were reserved and are in memory no more."""
        with self._lock:
            self._left += size


class Incoming(io.BytesIO):
    """One object's bytes. What there is no room for is dropped, all of it, and `refused` says so."""

    def __init__(self, reception: Reception) -> None:
        super().__init__()
        self._reception = reception
        self._reserved = 0
        self.refused = self.too_large = False

    def write(self, data: Any, /) -> int:
        """Append."""
        size = memoryview(data).nbytes
        if self.refused:
            return size
        self.too_large = self._reserved + size > self._reception.largest
        if self.too_large or not self._reception.reserve(size):
            self.refused = True
            self._drop()
            return size
        self._reserved += size
        return super().write(data)

    def close(self) -> None:
        """Give the room back; so does the end of the last reference."""
        self._drop()
        super().close()

    def _drop(self) -> None:
        if not self.closed:
            self.seek(0)
            self.truncate()
        self._reception.give_back(self._reserved)
        self._reserved = 0
