"""A proof that one record is in the log, as one file that other people's tools read too (C2SP tlog-proof).

Its `extra` line holds what the tree hashes, so that the file is enough: a canonical JSON object with the leaf and,
where they are shown, contents and salt. Another tool hashes the leaf (RFC 6962) and needs no more of it."""

import base64
import binascii
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from readingroom_hub.errors import BadInput, IntegrityError
from readingroom_hub.ledger.bundle import Verified, verify_bundle
from readingroom_hub.ledger.canonical import canonical, decode, from_leaf
from readingroom_hub.ledger.leaf import Envelope, check_envelope, payload_hash
from readingroom_hub.ledger.merkle import is_included, leaf_hash
from readingroom_hub.ledger.note import Checkpoint, split_note
from readingroom_hub.ledger.policy import Policy
from readingroom_hub.ledger.record import Finding, check_record
from readingroom_hub.ledger.verify import Entry, cosigned_findings, cosigners

HEADER = "c2sp.org/tlog-proof@v1"
_MAX_BYTES = 1 << 20
_MAX_HASHES = 63
_HASH = 32


@dataclass(frozen=True, slots=True)
class Proof:
    """One record (without contents where they are withheld or purged), its place, and the path to a signed root."""

    entry: Entry
    hashes: tuple[bytes, ...]
    note: str

    def __str__(self) -> str:
        leaf = {"leaf": self.entry.leaf.decode()}
        if self.entry.record is not None and self.entry.salt is not None:
            leaf |= {"record": self.entry.record.decode(), "salt": self.entry.salt.hex()}
        lines = [f"extra {_encoded(canonical(leaf, _MAX_BYTES))}", f"index {self.entry.idx}"]
        return "\n".join([HEADER, *lines, *map(_encoded, self.hashes), "", self.note])

    @classmethod
    def parse(cls, text: str) -> "Proof":
        """Raises BadInput for what is no proof with a record of ours."""
        head, gap, note = text.partition("\n\n")
        header, *lines = head.split("\n")
        if header != HEADER or not gap or len(lines) < 2 or not lines[0].startswith("extra "):
            raise BadInput(f"it is no {HEADER} with the record in it")
        index = lines[1].removeprefix("index ")
        if lines[1] == index or not (index.isascii() and index.isdigit()) or str(int(index[:20])) != index:
            raise BadInput(f"the proof's line {lines[1]!r:.60} is no index")
        hashes = tuple(_decoded(line) for line in lines[2:])
        if len(hashes) > _MAX_HASHES or any(len(h) != _HASH for h in hashes):
            raise BadInput("the proof's path is no list of SHA-256 hashes")
        return cls(_entry(int(index), decode(_decoded(lines[0].removeprefix("extra ")))), hashes, note)


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadInput(f"the proof's line {text[:40]!r} is not base64") from error


def _entry(index: int, extra: object) -> Entry:
    if not isinstance(extra, dict) or not all(isinstance(v, str) for v in extra.values()):
        raise BadInput("the proof has no record")
    if set(extra) not in ({"leaf"}, {"leaf", "record", "salt"}):
        raise BadInput("the proof has no record")
    leaf = extra["leaf"].encode()
    if "record" not in extra:
        return Entry(index, leaf, leaf_hash(leaf))
    try:
        salt = bytes.fromhex(extra["salt"])
    except ValueError as error:
        raise BadInput("the proof's salt is not hexadecimal") from error
    return Entry(index, leaf, leaf_hash(leaf), salt, extra["record"].encode())


def verify_proof(text: str, policy: Policy, now: int) -> Verified:
    """Check a proof against keys and quorum of `policy` at the POSIX time `now`. Raises BadInput for what is none."""
    proof = Proof.parse(text)
    state = Checkpoint.parse(split_note(proof.note)[0])
    index, findings = proof.entry.idx, list(_contents(proof.entry))
    if not is_included(proof.entry.hash, index, state.size, proof.hashes, state.root):
        findings.append(Finding(index, "it is not in the signed tree", f"root {state.root.hex()}", "another root"))
    try:
        found = cosigners(proof.note, state, policy)
    except (BadInput, IntegrityError) as error:
        findings.append(Finding(index, f"the checkpoint of size {state.size} is not valid", "a signature", str(error)))
        found = {}
    else:
        findings.extend(cosigned_findings(policy, found, now, state.size - 1))
    return Verified(index, index + 1, state.size, state.root, findings, cosigned=found, cosigned_size=state.size)


def _contents(entry: Entry) -> Iterator[Finding]:
    try:
        envelope = check_envelope(from_leaf(entry.leaf))
        if entry.record is None or entry.salt is None:
            return
        if (computed := payload_hash(entry.salt, entry.record)) == envelope.payload:
            _check_contents(envelope, from_leaf(entry.record))
        else:
            yield Finding(entry.idx, "its contents were changed", f"contents {envelope.payload}", computed)
    except BadInput as error:
        yield Finding(entry.idx, "it is malformed", "a version 1 audit record", str(error))


def _check_contents(envelope: Envelope, row: dict[str, Any]) -> None:
    """Raises BadInput."""
    source = check_record(row)
    if (row["id"], row["time"], source) != (envelope.id, envelope.time, envelope.source):
        raise BadInput("its leaf has another id, time or source than its contents")


def verify_file(file: BinaryIO, policy: Policy, now: int, kept: Sequence[str] = ()) -> Verified:
    """Check a bundle or a proof, whichever `file` holds. Raises BadInput for a file that is neither."""
    is_proof = file.read(len(HEADER)) == HEADER.encode()
    file.seek(0)
    if not is_proof:
        return verify_bundle(file, policy, now, kept)
    if kept:
        raise BadInput("a proof of one record cannot be compared with a kept checkpoint: ask for a bundle")
    data = file.read(_MAX_BYTES + 1)
    try:
        if len(data) > _MAX_BYTES:
            raise BadInput(f"a proof has at most {_MAX_BYTES} bytes")
        return verify_proof(data.decode(), policy, now)
    except UnicodeDecodeError as error:
        raise BadInput("the proof is not text") from error
