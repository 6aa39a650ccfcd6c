"""The object store: named, immutable, opaque bytes. It never sees a plaintext or a key."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator

from readingroom_hub.errors import BadInput

_NAME = re.compile(r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*")


def check_name(name: str) -> None:
    """Raise BadInput where `name` is no object name."""
    if not _NAME.fullmatch(name) or not {".", ".."}.isdisjoint(name.split("/")):
        raise BadInput(f"{name[:80]!r} is no object name: segments of letters, digits, dots, hyphens, underscores")


class ObjectStore(ABC):
    """Names are relative POSIX paths of [A-Za-z0-9._-] segments; anything else is BadInput.

    A store can be pickled: what comes of it in another process is the same store, over a connection of its own.
    Every method raises StoreUnavailable where the medium fails (disk full too), NotFound where the name is missing."""

    @abstractmethod
    def put(self, name: str, data: bytes) -> None:
        """Store durably under a new name: after return the whole object survives power loss; before, none is seen.

        Raises Conflict where the name exists."""

    @abstractmethod
    def read(self, name: str, offset: int = 0, size: int | None = None) -> bytes:
        """Bytes [offset, offset+size), fewer at the end of the object, to the end where `size` is None."""

    def expect(self, name: str, offset: int = 0, size: int | None = None) -> None:  # noqa: B027  # a hint needs no answer
        """A hint that these bytes may be read soon. It promises nothing, waits for nothing and raises nothing."""

    @abstractmethod
    def size(self, name: str) -> int:
        """Length in bytes."""

    @abstractmethod
    def names(self, prefix: str) -> Iterator[str]:
        """Every name below the folder `prefix`, in no order; empty where there is none."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove one object. Removing nothing is no error."""

    @abstractmethod
    def delete(self, prefix: str) -> None:
        """Remove everything below the folder `prefix`. Removing nothing is no error."""

    def sweep(self, prefix: str) -> None:  # noqa: B027  # a store whose `put` is one request has nothing to sweep
        """Remove what killed writers left below the folder `prefix` and is no object; objects stay.

        The caller holds off every writer of that folder."""
