"""Proofs from a log's file: that a record is in it, and that a later tree continues an earlier one (RFC 6962 2.1)."""

from collections.abc import Sequence

from readingroom_hub.adapters.audit_log import LogReader
from readingroom_hub.ledger.merkle import Nodes, consistency_path, inclusion_path


class Proofs:
    """Of one append-only log; remembers complete subtrees, so that a proof reads some hundred hashes and not all.

    Not for use from several threads at once."""

    def __init__(self) -> None:
        self._nodes = Nodes()

    def consistency(self, reader: LogReader, old: int, size: int) -> list[bytes]:
        """Between these two sizes. Raises IndexError for 0 > old > size, IntegrityError."""
        self._extend(reader, size)
        return consistency_path(lambda start, end: self._nodes.root(start, end, reader.hashes), old, size)

    def inclusion(self, reader: LogReader, index: int, size: int) -> list[bytes]:
        """Of a record in the tree of this size. Raises IndexError outside of it, IntegrityError."""
        self._extend(reader, size)
        first = index - index % Nodes.LEAVES
        own = reader.hashes(first, min(first + Nodes.LEAVES, size))

        def hashes(start: int, end: int) -> Sequence[bytes]:
            if first <= start and end <= first + len(own):
                return own[start - first : end - first]
            return reader.hashes(start, end)

        return inclusion_path(lambda start, end: self._nodes.root(start, end, hashes), index, size)

    def _extend(self, reader: LogReader, size: int) -> None:
        while (start := self._nodes.size) + Nodes.LEAVES <= size:
            self._nodes.append(reader.hashes(start, start + Nodes.LEAVES))
