"""Proofs from a log's file: that a record is in it, and that a later tree continues an earlier one (RFC 6962 2.1)."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from readingroom_hub.adapters.audit_place import read_log
from readingroom_hub.durable import whole_file
from readingroom_hub.errors import BadInput
from readingroom_hub.ledger.merkle import Nodes, consistency_path, inclusion_path
from readingroom_hub.ledger.note import Checkpoint, split_note
from readingroom_hub.ledger.proof import Proof
from readingroom_hub.ports.log import LogView


def provable(reader: LogView) -> list[tuple[str, Checkpoint]]:
    """The checkpoints to prove by: the one that witnesses have seen, which proves more, then the newest."""
    return [(n, Checkpoint.parse(split_note(n)[0])) for n in (reader.cosigned(), reader.newest()) if n]


def write_proof(folder: Path, index: int, target: Path) -> int:
    """Write the proof of one record of the log in `folder`, with its contents; returns the size of its tree.

    Raises BadInput where no checkpoint covers it yet, IntegrityError, StoreUnavailable."""
    with contextlib.closing(read_log(folder)) as reader:
        found = provable(reader)
        for note, state in found:
            if 0 <= index < state.size:
                entry = next(reader.entries(index))
                proof = Proof(entry, tuple(Proofs().inclusion(reader, index, state.size)), note)
                with whole_file(target) as file:
                    file.write(str(proof).encode())
                return state.size
    last = max((state.size for _, state in found), default=0) - 1
    raise BadInput(f"the log has no record {index}: its records are 0 to {last}")


class Proofs:
    """Of one append-only log; remembers complete subtrees, so that a proof reads some hundred hashes and not all.

    Not for use from several threads at once."""

    def __init__(self) -> None:
        self._nodes = Nodes()

    def consistency(self, reader: LogView, old: int, size: int) -> list[bytes]:
        """Between these two sizes. Raises IndexError for 0 > old > size, IntegrityError."""
        self._extend(reader, size)
        return consistency_path(lambda start, end: self._nodes.root(start, end, reader.hashes), old, size)

    def inclusion(self, reader: LogView, index: int, size: int) -> list[bytes]:
        """Of a record in the tree of this size. Raises IndexError outside of it, IntegrityError."""
        self._extend(reader, size)
        first = index - index % Nodes.LEAVES
        own = reader.hashes(first, min(first + Nodes.LEAVES, size))

        def hashes(start: int, end: int) -> Sequence[bytes]:
            if first <= start and end <= first + len(own):
                return own[start - first : end - first]
            return reader.hashes(start, end)

        return inclusion_path(lambda start, end: self._nodes.root(start, end, hashes), index, size)

    def _extend(self, reader: LogView, size: int) -> None:
        while (start := self._nodes.size) + Nodes.LEAVES <= size:
            self._nodes.append(reader.hashes(start, start + Nodes.LEAVES))
