"""Verification of a log from its bytes and public keys alone (RFC 6962, C2SP tlog-checkpoint).

Needs no database: give it records and checkpoints in order, it reads each once and keeps the tree's frontier."""

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from readingroom_hub.errors import BadInput, IntegrityError
from readingroom_hub.ledger.canonical import from_leaf
from readingroom_hub.ledger.leaf import KINDS, Envelope, check_envelope, payload_hash, scope_key, scope_values, tag
from readingroom_hub.ledger.merkle import Frontier, leaf_hash
from readingroom_hub.ledger.note import Checkpoint, VKey, open_note, split_note
from readingroom_hub.ledger.policy import Policy
from readingroom_hub.ledger.purges import Purges
from readingroom_hub.ledger.record import Finding, SourceTracker, check_record


class Entry(NamedTuple):
    """One record as stored. `salt` and `record` are None where its contents were purged or are not shown."""

    idx: int
    leaf: bytes
    hash: bytes
    salt: bytes | None = None
    record: bytes | None = None
    parsed: tuple[dict[str, Any], dict[str, Any] | None] | None = None
    """Leaf and record, where the caller has parsed just these bytes already."""


class Subtree(NamedTuple):
    """Stands for 2^level leaves that are not shown, behind the last entry."""

    level: int
    hash: bytes


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose records must be shown: those with the tag of one of `keys` (value and key), or all without a `kind`.

    `secret`: the log's tag secret, where the reader may check all tags."""

    kind: str = ""
    keys: tuple[tuple[str, bytes], ...] = ()
    secret: bytes | None = None

    def belongs(self, envelope: Envelope) -> bool:
        """Whether the record is within the scope."""
        if not self.kind:
            return True
        found = envelope.tags[KINDS.index(self.kind)]
        return any(tag(key, envelope.id) == found for _, key in self.keys)

    def check_tags(self, envelope: Envelope, row: dict[str, Any]) -> None:
        """Raises BadInput where the tags do not say what the contents say, as far as the keys at hand can tell."""
        given = dict(self.keys)
        for kind, value, found in zip(KINDS, scope_values(row), envelope.tags, strict=True):
            key = scope_key(self.secret, kind, value) if self.secret and value else None
            if kind == self.kind and value in given:
                key = given[value]
            if key is not None and tag(key, envelope.id) != found:
                raise BadInput(f"its {kind} tag does not belong to {value}")


@dataclass(frozen=True, slots=True)
class _Signed:
    state: Checkpoint
    problem: str | None
    kept: bool


class LogVerifier:
    """One pass over one log. After `findings` is exhausted, `size` and `root` tell what was read."""

    def __init__(
        self,
        policy: Policy,
        *,
        read_leaves: bool = True,
        start: Frontier | None = None,
        scope: Scope | None = None,
    ) -> None:
        """`read_leaves=False` leaves out the contents and checks hashes, tree and signatures only.

        `start`: the tree before the first entry, for a part of a log."""
        self._policy = policy
        self._read_leaves = read_leaves
        self._frontier = start.copy() if start else Frontier()
        self._scope = scope or Scope()
        self._sources = SourceTracker(whole=not self._frontier.size)
        self._purges = Purges()
        self._signed_size = self._kept_size = self._start = self._frontier.size
        self._split = self._is_signed = False
        self.belonging = 0
        """Records within the scope."""
        self.anchored: set[str] = set()
        """Values of the scope that the contents of a record with their tag confirm."""
        self.cosigned: dict[VKey, int | None] = {}
        """Which witnesses cosigned the last checkpoint that any did, with their POSIX times."""
        self.cosigned_size = 0

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
        self, entries: Iterable[Entry | Subtree | str], checkpoints: Iterable[str], prior: Iterable[str] = ()
    ) -> Iterator[Finding]:
        """Yield what is wrong, the first bad record first; nothing where the log is whole.

        `checkpoints` ascend by size, and the last covers the whole log; a checkpoint may also stand among the entries,
        behind the records that it covers. `prior` are checkpoints kept elsewhere: they
        show a log that was rolled back or rewritten by somebody who holds its key."""
        own = (self._open(note, kept=False) for note in checkpoints)
        kept = sorted((self._open(note, kept=True) for note in prior), key=lambda s: s.state.size)
        signed = heapq.merge(own, kept, key=lambda s: s.state.size)
        try:
            yield from self._walk(entries, signed)
        except BadInput as error:
            yield Finding(self.size, "a checkpoint cannot be read", "a C2SP checkpoint", str(error))

    def _walk(self, entries: Iterable[Entry | Subtree | str], signed: Iterator[_Signed]) -> Iterator[Finding]:
        coming = next(signed, None)
        for entry in entries:
            if isinstance(entry, str):
                yield from self._state(self._open(entry, kept=False))
                continue
            if isinstance(entry, Subtree):
                self._frontier.append_subtree(entry.level, entry.hash)
            elif entry.idx != self.size:
                yield Finding(self.size, "it is missing", f"record {self.size}", f"record {entry.idx}")
                return
            else:
                yield from self._entry(entry)
            while coming and coming.state.size <= self.size:
                yield from self._state(coming)
                coming = next(signed, None)
        if coming:
            size = max(s.state.size for s in (coming, *signed))
            yield Finding(self.size, "it is missing", f"{size} records as signed", f"{self.size} records")
        elif not self._is_signed:
            yield Finding(self._start, "the log has no checkpoint", "a signed checkpoint", "none")
        elif self._signed_size < self.size and not self._split:
            yield Finding(self._signed_size, "no checkpoint covers it", "a signed checkpoint", "none")
        yield from self._purges.uncovered()
        yield from self._sources.gaps()

    def _entry(self, entry: Entry) -> Iterator[Finding]:
        computed = leaf_hash(entry.leaf)
        if computed != entry.hash:
            yield Finding(entry.idx, "its bytes were changed", f"leaf hash {entry.hash.hex()}", computed.hex())
        if self._read_leaves:
            yield from self._content(entry)
        self._frontier.append(entry.hash)

    def _content(self, entry: Entry) -> Iterator[Finding]:
        try:
            leaf, row = entry.parsed or (from_leaf(entry.leaf), None)
            envelope = check_envelope(leaf)
            yield from self._sources.see(entry.idx, envelope.id, envelope.source)
            belongs = self._scope.belongs(envelope)
            self.belonging += belongs
            if entry.record is None or entry.salt is None:
                if belongs:
                    self._purges.missing(entry.idx, envelope)
            elif (computed := payload_hash(entry.salt, entry.record)) != envelope.payload:
                yield Finding(entry.idx, "its contents were changed", f"contents {envelope.payload}", computed)
            else:
                self._record(entry.idx, envelope, row or from_leaf(entry.record))
        except BadInput as error:
            yield Finding(entry.idx, "it is malformed", "a version 1 audit record", str(error))

    def _record(self, index: int, envelope: Envelope, row: dict[str, Any]) -> None:
        """Raises BadInput."""
        source = check_record(row)
        if (row["id"], row["time"], source) != (envelope.id, envelope.time, envelope.source):
            raise BadInput("its leaf has another id, time or source than its contents")
        self._scope.check_tags(envelope, row)
        if self._scope.kind:
            value = scope_values(row)[KINDS.index(self._scope.kind)]
            self.anchored.update(v for v, _ in self._scope.keys if v == value)
        self._purges.see(index, row)

    def _open(self, note: str, *, kept: bool) -> _Signed:
        state = Checkpoint.parse(split_note(note)[0])
        try:
            found = cosigners(note, state, self._policy)
        except (BadInput, IntegrityError) as error:
            return _Signed(state, str(error), kept)
        if not kept and found:
            self.cosigned, self.cosigned_size = found, state.size
        return _Signed(state, None, kept)

    def _state(self, signed: _Signed) -> Iterator[Finding]:
        """Compare one checkpoint, of at most the present size, with the tree; `entries` reach every size in turn."""
        state = signed.state
        last = max(state.size - 1, 0)
        self._is_signed = self._is_signed or not signed.kept
        if signed.problem:
            yield Finding(
                last, f"the checkpoint of size {state.size} is not valid", "a valid signature", signed.problem
            )
        elif state.size < self._start:
            yield Finding(
                last, "a checkpoint is older than this part of the log", f"size {self._start} or more", f"{state.size}"
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


def cosigners(note: str, state: Checkpoint, policy: Policy) -> dict[VKey, int | None]:
    """Which of the policy's witnesses cosigned this checkpoint, with their POSIX times.

    Raises IntegrityError or BadInput where no log key that is valid for its size signed it, or a signature is wrong."""
    logs = [v for v in policy.logs if v.name == state.origin]
    if not logs:
        names = ", ".join(sorted({v.name for v in policy.logs}))
        raise IntegrityError(f"it is of the log {state.origin}, the key of {names}")
    _, signers = open_note(note, [*logs, *policy.witnesses.values()])
    signing = [v for v in signers if v in logs]
    for vkey in signing:
        policy.check_log_key(vkey, state.size)
    if not signing:
        raise IntegrityError("only witnesses signed it, not the log")
    return {v: t for v, t in signers.items() if v not in logs}


def quorum_findings(policy: Policy, verifier: LogVerifier, now: int, size: int) -> Iterator[Finding]:
    """Yield what the policy asks of the last cosigned checkpoint, which must be of at least `size` records, and does
    not find: witnesses, and how fresh they are."""
    cosigned = verifier.cosigned if verifier.cosigned_size >= size else {}
    yield from cosigned_findings(policy, cosigned, now, max(verifier.size - 1, 0))


def cosigned_findings(policy: Policy, cosigned: Mapping[VKey, int | None], now: int, last: int) -> Iterator[Finding]:
    """As `quorum_findings`, of one checkpoint's cosignatures; `last` is the last record that it covers."""
    times = {v: t for v, t in cosigned.items() if t is not None}
    names = ", ".join(sorted(v.name for v in times)) or "nobody"
    if not policy.is_met(times):
        yield Finding(last, "too few witnesses cosigned the last checkpoint", f"quorum {policy.quorum}", names)
    elif policy.freshness is not None:
        fresh = [v for v, t in times.items() if now - t <= policy.freshness]
        if not policy.is_met(fresh):
            newest = max(times.values(), default=0)
            limit = f"at most {policy.freshness} s old"
            yield Finding(last, "the last checkpoint was cosigned too long ago", limit, f"{now - newest} s old")


def keys(vkeys: Sequence[str]) -> Policy:
    """A policy of verifier keys alone. Raises BadInput."""
    return Policy.of_keys([VKey.parse(v) for v in vkeys])
