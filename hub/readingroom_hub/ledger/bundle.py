"""The auditor's single file: a part of a log, the contents that its reader may see, and proof that none is left out.

JSON lines, each in canonical form (RFC 8785): a header, then records and checkpoints in the order of the tree.
Not compressed, so no bomb: lines and numbers of hashes have a limit, and one line is held at a time.

    {"bundle": "readingroom-bundle/1", "first": 0, "end": 3, "frontier": [], "scope": {...}}
    {"leaf": {...}}                                            contents withheld, or purged
    {"leaf": {...}, "record": {...}, "salt": "..."}
    {"checkpoint": "..."}
    {"after": [[level, hash], ...], "checkpoint": "..."}      the last line: the rest of the tree, the newest checkpoint
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from types import NoneType
from typing import Any, BinaryIO

from readingroom_hub.errors import BadInput, IntegrityError
from readingroom_hub.ledger.canonical import MAX_LEAF, canonical, decode
from readingroom_hub.ledger.leaf import KINDS, SALT_LENGTH, scope_key
from readingroom_hub.ledger.merkle import Frontier, leaf_hash
from readingroom_hub.ledger.note import VKey
from readingroom_hub.ledger.policy import Policy
from readingroom_hub.ledger.record import Finding
from readingroom_hub.ledger.verify import Entry, LogVerifier, Scope, Subtree, quorum_findings

FORMAT = "readingroom-bundle/1"
MAX_LINE = 4 * MAX_LEAF
_MAX_HASHES = 64
_MAX_KEYS = 10_000
_KEY_LENGTH = 32
_FINDINGS_KEPT = 100


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose records are shown (`kind` is person, project or study; "" means everybody's), and from which time."""

    kind: str = ""
    values: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None

    def scope(self, secret: bytes) -> Scope:
        """With the keys that its reader gets."""
        if not self.kind:
            return Scope(secret=secret)
        return Scope(self.kind, tuple((v, scope_key(secret, self.kind, v)) for v in self.values))


@dataclass(frozen=True, slots=True)
class Verified:
    """What a verification saw: records [first, end) of a log of `size` with this root, and the first findings."""

    first: int
    end: int
    size: int
    root: bytes
    findings: list[Finding]
    scope: str = ""
    belonging: int = 0
    """Records within the scope; all of them are shown, or their purge is."""
    cosigned: Mapping[VKey, int | None] | None = None
    """Which witnesses cosigned the newest checkpoint that any did, with their POSIX times."""
    cosigned_size: int = 0

    def summary(self) -> str:
        """One sentence for people, where there are no findings."""
        part = (
            f"{self.size} records" if self.end - self.first == self.size else f"records {self.first} to {self.end - 1}"
        )
        whose = f" {self.belonging} of them belong to {self.scope}, and no other." if self.scope else ""
        times = [t for t in (self.cosigned or {}).values() if t is not None]
        saw = f"saw it up to size {self.cosigned_size}, the last at POSIX time"
        seen = f" {len(times)} witness(es) {saw} {max(times)}." if times else ""
        return f"The log is whole: {part}, root {self.root.hex()}, tree size {self.size}.{whose}{seen}"


@dataclass(frozen=True, slots=True)
class Header:
    """The first line. `keys`: of each value of the scope its tag key; `secret`: of a bundle that shows everything."""

    first: int
    end: int
    frontier: Sequence[bytes] = ()
    scope: Scope = field(default_factory=Scope)

    def line(self) -> bytes:
        """As it is written."""
        keys = [[value, key.hex()] for value, key in self.scope.keys]
        scope = {"kind": self.scope.kind, "keys": keys} if self.scope.kind else {}
        if self.scope.secret:
            scope = {"secret": self.scope.secret.hex()}
        row = {"bundle": FORMAT, "first": self.first, "end": self.end, "scope": scope}
        return _line(row | {"frontier": [h.hex() for h in self.frontier]})

    @classmethod
    def parse(cls, row: Mapping[str, Any]) -> "Header":
        """Raises BadInput."""
        if row.get("bundle") != FORMAT:
            raise BadInput(f"the file is no bundle of the form {FORMAT}")
        first, end, scope, hashes = (row.get(k) for k in ("first", "end", "scope", "frontier"))
        if type(first) is not int or type(end) is not int or not 0 <= first <= end:
            raise BadInput(f"the bundle says that it holds records {first!r:.20} to {end!r:.20}")
        if type(scope) is not dict or type(hashes) is not list or len(hashes) != first.bit_count():
            raise BadInput(f"the bundle's scope or the {first.bit_count()} hashes of its frontier are not there")
        return cls(first, end, [_hash(h) for h in hashes], cls._scope(scope))

    @staticmethod
    def _scope(row: Mapping[str, Any]) -> Scope:
        if "secret" in row:
            return Scope(secret=_hash(row["secret"]))
        kind, keys = row.get("kind"), row.get("keys")
        if kind not in KINDS or type(keys) is not list or not 0 < len(keys) <= _MAX_KEYS:
            raise BadInput("the bundle does not say whose records it holds")
        if not all(type(pair) is list and len(pair) == 2 and type(pair[0]) is str for pair in keys):
            raise BadInput("the bundle's scope is not made of values and keys")
        return Scope(kind, tuple((value, _hash(key)) for value, key in keys))


def _line(row: Mapping[str, Any]) -> bytes:
    return canonical(row, MAX_LINE) + b"\n"


def _hash(text: object, length: int = _KEY_LENGTH) -> bytes:
    """Bytes from their one hexadecimal spelling. Raises BadInput."""
    try:
        value = bytes.fromhex(text) if type(text) is str else b""
    except ValueError:
        value = b""
    if len(value) != length or value.hex() != text:
        raise BadInput(f"{text!r:.80} is not {length} bytes in hexadecimal")
    return value


def entry_line(entry: Entry, *, shown: bool) -> bytes:
    """A record as it is written."""
    if not shown or entry.record is None or entry.salt is None:
        return b'{"leaf":' + entry.leaf + b"}\n"
    return b'{"leaf":%b,"record":%b,"salt":"%b"}\n' % (entry.leaf, entry.record, entry.salt.hex().encode())


def checkpoint_line(note: str) -> bytes:
    """A checkpoint of the log's history as it is written."""
    return _line({"checkpoint": note})


def last_line(after: Iterable[tuple[int, bytes]], note: str) -> bytes:
    """The end of a bundle as it is written."""
    return _line({"after": [[level, hash.hex()] for level, hash in after], "checkpoint": note})


class _Reader:
    """Reads a bundle once. The checkpoints come in between, so they are taken out of the stream of records."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._place = 0
        try:
            row = self._row()
        except IntegrityError as error:
            raise BadInput(f"the file is no bundle: {error}") from error
        self.header = Header.parse(row if isinstance(row, dict) else {})
        self.ended = False

    def _row(self, index: int = 0) -> Entry | dict[str, Any] | None:
        """One line; one with a leaf as the record at `index`. One parse serves all: parsing is most of the cost."""
        line = self._file.readline(MAX_LINE + 1)
        if not line:
            return None
        self._place += 1
        if len(line) > MAX_LINE or not line.endswith(b"\n"):
            raise IntegrityError(f"line {self._place} of the bundle is cut off, or longer than {MAX_LINE} bytes")
        try:
            row = decode(line)
            if "leaf" in row:
                return self._entry(index, row, line)
            expected = canonical(row, MAX_LINE) + b"\n"
        except (BadInput, KeyError, TypeError) as error:
            raise IntegrityError(f"line {self._place} of the bundle cannot be read: {error}") from error
        if line != expected:
            raise IntegrityError(f"line {self._place} of the bundle is not in canonical form")
        return row

    def items(self) -> Iterator[Entry | Subtree | str]:
        """Yield records, subtrees and checkpoints. Raises IntegrityError for what is no bundle."""
        index = self.header.first
        while (row := self._row(index)) is not None:
            if self.ended:
                raise IntegrityError(f"line {self._place} stands behind the end of the bundle")
            if isinstance(row, Entry):
                yield row
                index += 1
            elif "checkpoint" in row:
                yield from self._states(index, row)
            else:
                raise IntegrityError(f"line {self._place} of the bundle is neither a record nor a checkpoint")
        if not self.ended:
            raise IntegrityError(f"the bundle is cut off behind line {self._place}")

    @staticmethod
    def _entry(index: int, row: dict[str, Any], line: bytes) -> Entry:
        """Raises BadInput, KeyError, TypeError for a line that is not just as this record is written."""
        leaf, record = row["leaf"], row.get("record")
        data = canonical(leaf)
        entry = Entry(index, data, leaf_hash(data), parsed=(leaf, record))
        if record is not None:
            entry = entry._replace(salt=_hash(row["salt"], SALT_LENGTH), record=canonical(record))
        if type(leaf) is not dict or type(record) not in {dict, NoneType} or entry_line(entry, shown=True) != line:
            raise BadInput("it is not in canonical form")
        return entry

    def _states(self, index: int, row: dict[str, Any]) -> Iterator[Subtree | str]:
        after, note = row.get("after"), row["checkpoint"]
        if type(note) is not str or (after is not None and (type(after) is not list or len(after) > 2 * _MAX_HASHES)):
            raise IntegrityError(f"line {self._place} of the bundle is not a checkpoint")
        if after is None:
            yield note
            return
        if index != self.header.end:
            raise IntegrityError(f"the bundle ends at record {index}, it was to hold those before {self.header.end}")
        self.ended = True
        for pair in after:
            if type(pair) is not list or len(pair) != 2 or type(pair[0]) is not int:
                raise IntegrityError(f"line {self._place} of the bundle holds something else than subtrees")
            yield Subtree(pair[0], _hash(pair[1]))
        yield note


def verify_bundle(file: BinaryIO, policy: Policy, now: int, kept: Sequence[str] = ()) -> Verified:
    """Check a bundle against the keys and the quorum of `policy` at the POSIX time `now`, and checkpoints kept from
    earlier. Raises BadInput for a file that is no bundle; what is wrong with a bundle is among the findings."""
    reader = _Reader(file)
    header = reader.header
    verifier = LogVerifier(policy, start=Frontier(header.first, list(header.frontier)), scope=header.scope)
    findings: list[Finding] = []
    try:
        findings.extend(islice(verifier.findings(reader.items(), (), kept), _FINDINGS_KEPT))
        if not findings:
            findings.extend(quorum_findings(policy, verifier, now, verifier.size))
            findings.extend(_unanchored(header, verifier))
    except (IntegrityError, IndexError, BadInput) as error:
        findings.append(Finding(verifier.size, "it cannot be read", "a whole bundle", str(error)))
    scope = header.scope
    named = f"{scope.kind} {', '.join(value for value, _ in scope.keys)}" if scope.kind else ""
    return Verified(
        header.first,
        header.end,
        verifier.size,
        verifier.root,
        findings,
        named,
        verifier.belonging,
        verifier.cosigned,
        verifier.cosigned_size,
    )


def _unanchored(header: Header, verifier: LogVerifier) -> Iterator[Finding]:
    """A wrong tag key matches nothing, which would look like an empty, complete list."""
    for value in sorted({v for v, _ in header.scope.keys} - verifier.anchored):
        what = f"no record shows that the tag key of {header.scope.kind} {value} is the right one"
        yield Finding(header.first, what, "a record of it", "none: ask for a bundle of the whole log")
