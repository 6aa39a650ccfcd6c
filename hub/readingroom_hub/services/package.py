"""A shared dataset version in one file: a signed note (C2SP signed-note) of two lines, then sealed objects.

The note's first line is the format, its second the head as canonical JSON (RFC 8785). The objects follow without gaps:
card, manifest, then instances in the manifest's order, each exactly as the sender's store has it, encrypted under the
data key. Where each begins follows from the sizes that the manifest names: a package holds no name and no path."""

import base64
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import rfc8785

from readingroom_hub.crypto.envelope import MANIFEST_PART, sealed_size
from readingroom_hub.errors import BadInput, IntegrityError
from readingroom_hub.ledger.note import Signer, VKey, open_note
from readingroom_hub.model.dataset import Instance
from readingroom_hub.model.ids import KeyId, VersionDigest
from readingroom_hub.services import manifests

FORMAT = "readingroom-share/1"
CARD_PART = "card"
SUFFIX = ".rrshare"
_NOTE_LINES, _LONGEST_LINE = 4, 16_384


@dataclass(frozen=True, slots=True)
class Head:
    """What a sender signs. All of it but `sealed_key` is bound to the sealed data key too (HPKE's `info`)."""

    version: VersionDigest
    """Digest of the manifest, and so of everything in the version."""
    data_key: KeyId
    sender: str
    """Fingerprint of the sending institution."""
    recipient: str
    """Fingerprint of the institution that the data key is sealed for."""
    made_at: str
    card: int
    """Bytes of the sealed card."""
    card_sha256: str
    """Of the sealed card, hexadecimal."""
    manifest_part: str
    """Its name below the data key, see `services.manifests`."""
    manifest: int
    """Bytes of the sealed manifest."""
    objects: int
    """Bytes of all objects, card and manifest among them."""
    sealed_key: str = ""
    """Base64."""

    def info(self) -> bytes:
        """What the sealed data key is bound to."""
        return rfc8785.dumps({k: v for k, v in self._fields().items() if k != "sealed_key"})

    def note(self, signer: Signer) -> bytes:
        """The signed note."""
        body = f"{FORMAT}\n{rfc8785.dumps(self._fields()).decode()}\n"
        return f"{body}\n{signer.sign(body)}".encode()

    @property
    def digest(self) -> str:
        """SHA-256 of the head: by this, both institutions' records speak of one package."""
        return hashlib.sha256(rfc8785.dumps(self._fields())).hexdigest()

    def _fields(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}

    @classmethod
    def parse(cls, body: str) -> Self:
        """From a note's text. Raises BadInput for another format, or a head that is not of its one form."""
        try:
            format, line, end = body.split("\n")
            row = json.loads(line)
            if format != FORMAT or end:
                raise BadInput(f"it is of format {format[:40]!r}, not {FORMAT}")
            row["version"], row["data_key"] = VersionDigest(row["version"]), KeyId(row["data_key"])
            head = cls(**row)
            sizes, texts = (head.card, head.manifest, head.objects), (head.sender, head.recipient, head.made_at)
            right = head.manifest_part in {MANIFEST_PART, manifests.part_of(head.version)}
            right = right and all(type(n) is int and n >= 0 for n in sizes) and all(type(t) is str for t in texts)
            if not right or head.card + head.manifest > head.objects or rfc8785.dumps(row).decode() != line:
                raise BadInput("its head is not of its one form")
        except (LookupError, TypeError, ValueError) as error:
            raise BadInput(f"its head cannot be read: {error}") from error
        return head

    def key_bytes(self) -> bytes:
        """The sealed data key. Raises IntegrityError."""
        try:
            return base64.b64decode(self.sealed_key, validate=True)
        except (TypeError, ValueError) as error:
            raise IntegrityError("the sealed data key is not base64") from error


@dataclass(frozen=True, slots=True)
class Placed:
    """Where an instance's object lies in a package: bytes from the file's start, and how many."""

    instance: Instance
    offset: int
    size: int


def placed(instances: Iterable[Instance], start: int) -> Iterator[Placed]:
    """The objects one after another, the first at `start`."""
    for instance in instances:
        size = sealed_size(instance.size)
        yield Placed(instance, start, size)
        start += size


def total(instances: Iterable[Instance]) -> int:
    """Bytes of their objects."""
    return sum(sealed_size(i.size) for i in instances)


@dataclass(frozen=True, slots=True)
class Package:
    """A package whose signature was checked."""

    path: Path
    head: Head
    start: int
    """Where the objects begin."""

    @classmethod
    def open(cls, path: Path, vkey: VKey) -> Self:
        """Check signature and length. Raises BadInput for what is no package, IntegrityError for a changed one."""
        try:
            with path.open("rb") as file:
                note = b"".join(file.readline(_LONGEST_LINE) for _ in range(_NOTE_LINES))
                length = os.fstat(file.fileno()).st_size
        except OSError as error:
            raise BadInput(f"{path} cannot be read: {error.strerror}") from error
        if not note.startswith(FORMAT.encode() + b"\n"):
            raise BadInput(f"{path} is no package of format {FORMAT}: `readingroom dataset share` makes one")
        try:
            body, _ = open_note(note.decode(), [vkey])
            head = Head.parse(body)
        except (BadInput, IntegrityError, ValueError) as error:
            raise IntegrityError(
                f"{path} is not what the institution of --from signed ({error}): it was changed, or somebody else "
                "made it. Compare fingerprints by telephone, and ask for the package again"
            ) from error
        expected = len(note) + head.objects
        if length != expected:
            what = "cut short" if length < expected else "longer than what was signed"
            raise IntegrityError(f"{path} is {what}: {length} bytes instead of {expected}. Ask for it again")
        return cls(path, head, len(note))

    def read(self, offset: int, size: int) -> bytes:
        """Bytes from the objects' start on. Raises BadInput where the file cannot be read."""
        return read_at(self.path, self.start + offset, size)


def read_at(path: Path, offset: int, size: int) -> bytes:
    """`size` bytes at `offset`, fewer at the end. Raises BadInput where the file cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(size)
    except OSError as error:
        raise BadInput(f"{path} cannot be read at byte {offset}: {error.strerror}") from error
