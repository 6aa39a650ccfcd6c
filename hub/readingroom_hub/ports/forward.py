"""Where results go on to."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol


class Forward(Protocol):
    """A receiver of results."""

    def send(self, files: Sequence[Path], /) -> Iterator[tuple[Path, str]]:
        """Send each file, and tell it when the receiver has it; with a reason where the receiver will never take it.

        Raises StoreUnavailable where the receiver does not answer or has no room: what was not told is sent again."""
        ...
