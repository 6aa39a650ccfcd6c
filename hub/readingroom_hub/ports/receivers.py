"""Where copies of audit records go. A receiver proves nothing and stands in for nothing: the log is the record."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


class Receiver(ABC):
    """Somebody else's audit record repository or event server."""

    @abstractmethod
    def message(self, row: Mapping[str, Any]) -> bytes:
        """A record in the form that goes out. Raises BadInput where it has none."""

    @abstractmethod
    def deliver(self, messages: Sequence[bytes]) -> Iterator[str | None]:
        """Send in this order. Yields once for each: None when it has arrived, or why it is refused for ever.

        What was not yielded may have arrived all the same. Raises StoreUnavailable where the receiver cannot be
        reached, is not who it should be, or takes nothing now: deliver the rest again later."""
