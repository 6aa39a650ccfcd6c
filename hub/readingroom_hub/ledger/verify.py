"""Verification of a log from its bytes and public keys alone (RFC 6962, C2SP tlog-checkpoint).

Needs no database: give it records and checkpoints in order, it reads each once and keeps the tree's frontier."""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from readingroom_hub.errors import BadInput, IntegrityError
from readingroom_hub.ledger.canonical import from_leaf
from readingroom_hub.ledger.merkle import Frontier, leaf_hash
from readingroom_hub.ledger.note import Checkpoint, VKey, open_note, split_note
from readingroom_hub.ledger.record import Finding, SourceTracker, check_record

Entry = tuple[int, bytes, bytes]
"""Index, leaf bytes, leaf hash, as stored."""


@dataclass(frozen=True, slots=True)
class _Signed:
    state: Checkpoint
    problem: str | None
    kept: bool


class LogVerifier:
    """One pass over one log. After `findings` is exhausted, `size` and `root` tell what was read."""

    def __init__(self, vkeys: Sequence[VKey], *, read_leaves: bool = True) -> None:
        """`vkeys`: the log's keys and, where wanted, witnesses'; the first one's name is the log's origin.

        `read_leaves=False` leaves out the contents and checks hashes, tree and signatures only."""
        if not vkeys:
            raise BadInput("no verifier key was given: a log can only be verified against its public key")
        self._vkeys = vkeys
        self._origin = vkeys[0].name
        self._read_leaves = read_leaves
        self._frontier = Frontier()
        self._sources = SourceTracker()
        self._signed_size = 0
        self._kept_size = 0
        self._split = False

    @property
    def frontier(self) -> Frontier:
        """The tree's right edge, from which a writer may go on."""
        return self._frontier

    @property
    def size(self) -> int:
        """Records read so far."""
        return self._frontier.size

    @property
    def root(self) -> bytes:
        """The root over them."""
        return self._frontier.root()

    def findings(
        self, entries: Iterable[Entry], checkpoints: Iterable[str], prior: Iterable[str] = ()
    ) -> Iterator[Finding]:
        """Yield what is wrong, the first bad record first; nothing where the log is whole.

        `checkpoints` ascend by size, and the last covers the whole log. `prior` are checkpoints kept elsewhere: they
        show a log that was rolled back or rewritten by somebody who holds its key."""
        own = (self._open(note, kept=False) for note in checkpoints)
        kept = sorted((self._open(note, kept=True) for note in prior), key=lambda s: s.state.size)
        signed = heapq.merge(own, kept, key=lambda s: s.state.size)
        try:
            yield from self._walk(entries, signed)
        except BadInput as error:
            yield Finding(self.size, "a checkpoint cannot be read", "a C2SP checkpoint", str(error))

    def _walk(self, entries: Iterable[Entry], signed: Iterator[_Signed]) -> Iterator[Finding]:
        coming = next(signed, None)
        if coming is None:
            yield Finding(0, "the log has no checkpoint", "a signed checkpoint", "none")
        for index, leaf, hash in entries:
            if index != self.size:
                yield Finding(self.size, "it is missing", f"record {self.size}", f"record {index}")
                return
            yield from self._entry(index, leaf, hash)
            while coming and coming.state.size <= self.size:
                yield from self._state(coming)
                coming = next(signed, None)
        if coming:
            size = max(s.state.size for s in (coming, *signed))
            yield Finding(self.size, "it is missing", f"{size} records as signed", f"{self.size} records")
        elif self._signed_size < self.size and not self._split:
            yield Finding(self._signed_size, "no checkpoint covers it", "a signed checkpoint", "none")
        yield from self._sources.gaps()

    def _entry(self, index: int, leaf: bytes, hash: bytes) -> Iterator[Finding]:
        computed = leaf_hash(leaf)
        if computed != hash:
            yield Finding(index, "its bytes were changed", f"leaf hash {hash.hex()}", computed.hex())
        if self._read_leaves:
            yield from self._content(index, leaf)
        self._frontier.append(hash)

    def _content(self, index: int, leaf: bytes) -> Iterator[Finding]:
        try:
            row = from_leaf(leaf)
            source = check_record(row)
        except BadInput as error:
            yield Finding(index, "it is malformed", "a version 1 audit record", str(error))
        else:
            yield from self._sources.see(index, row["id"], source)

    def _open(self, note: str, *, kept: bool) -> _Signed:
        state = Checkpoint.parse(split_note(note)[0])
        if state.origin != self._origin:
            return _Signed(state, f"it is of the log {state.origin}, the key of {self._origin}", kept)
        try:
            _, signers = open_note(note, self._vkeys)
        except IntegrityError as error:
            return _Signed(state, str(error), kept)
        if not any(v.name == self._origin for v in signers):
            return _Signed(state, "only witnesses signed it, not the log", kept)
        return _Signed(state, None, kept)

    def _state(self, signed: _Signed) -> Iterator[Finding]:
        """Compare one checkpoint, of at most the present size, with the tree; `entries` reach every size in turn."""
        state = signed.state
        last = max(state.size - 1, 0)
        if signed.problem:
            yield Finding(
                last, f"the checkpoint of size {state.size} is not valid", "a valid signature", signed.problem
            )
        elif state.size != self.size:
            yield Finding(last, "a checkpoint is out of order", f"size {self.size}", f"size {state.size}")
        elif state.root != self.root:
            if signed.kept or not self._split:
                yield self._differs(signed, last)
            self._split = True
        elif signed.kept:
            self._kept_size = state.size
        elif not self._split:
            self._signed_size = state.size

    def _differs(self, signed: _Signed, last: int) -> Finding:
        first = self._kept_size if signed.kept else self._signed_size
        others = f" (it, or one up to record {last})" if last > first else ""
        whose = "in a checkpoint kept elsewhere" if signed.kept else "signed"
        root = f"root {signed.state.root.hex()}"
        return Finding(first, f"it is not what was {whose}{others}", root, self.root.hex())
