"""What the edge's doors need: somewhere to take objects in, and room for them on the way."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    # It brings pydicom, and whoever needs the names of TLS files only has no use for that.
    from readingroom_hub.deid.received import Arrived


class Reception(Protocol):
    """Takes objects in. Thread-safe."""

    @property
    def largest(self) -> int:
        """Bytes that one object may have."""
        ...

    def take(self, arrived: "Arrived", /) -> None:
        """Keep an object: sealed and durable when this returns. Raises StoreUnavailable; then nothing is kept."""
        ...

    def reserve(self, size: int, /) -> bool:
        """Whether so many more bytes of memory may be used; then they are the caller's until it gives them back."""
        ...

    def give_back(self, size: int, /) -> None:
        """Bytes that were reserved and are in memory no more."""
        ...


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files. With `ca`, peers need a certificate that this authority signed."""

    cert: Path
    key: Path
    ca: Path | None = None


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
