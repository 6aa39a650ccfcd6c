"""Signed notes and checkpoints (C2SP signed-note, tlog-checkpoint, tlog-cosignature).

Signature types: 0x01 Ed25519, 0x04 Ed25519 cosignature, 0x06 ML-DSA-44 cosignature."""

import base64
import binascii
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey

from readingroom_hub.errors import BadInput, IntegrityError

ED25519 = 0x01
ED25519_COSIGNATURE = 0x04
MLDSA44_COSIGNATURE = 0x06
_PUBLIC_LENGTH = {ED25519: 32, ED25519_COSIGNATURE: 32, MLDSA44_COSIGNATURE: 1312}
_KEY_ID_LENGTH = 4
_DASH = "\N{EM DASH} "
_ROOT_LENGTH = 32
_TIMESTAMP = struct.Struct(">Q")


def _base64(text: str, what: str) -> bytes:
    """Strict: what does not encode back to the same text is refused, so one value has one spelling."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadInput(f"{what} is not base64: {text[:60]!r}") from error
    if base64.b64encode(data).decode() != text:
        raise BadInput(f"{what} is not base64 in its one form: {text[:60]!r}")
    return data


def hash_of_base64(text: str) -> bytes:
    """32 bytes as a line of a proof has them. Raises BadInput."""
    value = _base64(text, "a hash")
    if len(value) != _ROOT_LENGTH:
        raise BadInput(f"a hash has {len(value)} bytes instead of {_ROOT_LENGTH}")
    return value


def _key_id(name: str, type: int, public: bytes) -> bytes:
    return sha256(name.encode() + b"\n" + bytes([type]) + public).digest()[:_KEY_ID_LENGTH]


def check_name(name: str) -> None:
    """Raises BadInput for a key name or origin that a signed note cannot carry."""
    if not name or "+" in name or any(c.isspace() or not c.isprintable() for c in name):
        raise BadInput(f"{name[:80]!r} cannot name a log or its key: no spaces, plus signs or control characters")


def printable(text: str) -> str:
    """Control and direction characters shown as escapes: a record must not steer its reader's terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a log: `size` records with this root. No extension lines, which cosignatures do not cover."""

    origin: str
    size: int
    root: bytes

    def body(self) -> str:
        """The note's text."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, body: str) -> Self:
        """Raises BadInput naming the line that is not as C2SP tlog-checkpoint has it."""
        lines = body.split("\n")
        if len(lines) != 4 or lines[3]:
            raise BadInput(f"a checkpoint has three lines (origin, size, root), this one {len(lines) - 1}")
        origin, size, root = lines[:3]
        check_name(origin)
        if not (size.isascii() and size.isdigit()) or (size != "0" and size.startswith("0")):
            raise BadInput(f"the checkpoint's size is {size[:40]!r}, which is no plain decimal number")
        digest = _base64(root, "the checkpoint's root")
        if len(digest) != _ROOT_LENGTH:
            raise BadInput(f"the checkpoint's root has {len(digest)} bytes instead of {_ROOT_LENGTH}")
        return cls(origin, int(size), digest)


def _cosigned(name: str, time: int, body: str, type: int) -> bytes:
    """What a cosignature covers (C2SP tlog-cosignature, formats `cosignature/v1` and `subtree/v1`)."""
    if type == ED25519_COSIGNATURE:
        return f"cosignature/v1\ntime {time}\n{body}".encode()
    state = Checkpoint.parse(body)
    cosigner, origin = name.encode(), state.origin.encode()
    return b"".join(
        (
            b"subtree/v1\n\0",
            bytes([len(cosigner)]),
            cosigner,
            _TIMESTAMP.pack(time),
            bytes([len(origin)]),
            origin,
            struct.pack(">QQ", 0, state.size),
            state.root,
        )
    )


@dataclass(frozen=True, slots=True)
class VKey:
    """A verifier key: `name+keyid+base64(type || public key)`."""

    name: str
    type: int
    public: bytes

    @property
    def id(self) -> bytes:
        """The 4 bytes that select the key in a note."""
        return _key_id(self.name, self.type, self.public)

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(bytes([self.type]) + self.public).decode()}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises BadInput for a key of unknown type, wrong length or wrong id."""
        parts = text.strip().split("+", 2)
        if len(parts) != 3:
            raise BadInput(f"{text[:80]!r} is no verifier key: it should read name+id+key")
        name, id, encoded = parts
        check_name(name)
        key = _base64(encoded, "the verifier key")
        if not key or len(key) - 1 != _PUBLIC_LENGTH.get(key[0]):
            raise BadInput(f"the verifier key of {name} is of an unknown type or length")
        found = cls(name, key[0], key[1:])
        if found.id.hex() != id:
            raise BadInput(f"the verifier key of {name} has the id {id}, its bytes give {found.id.hex()}: mistyped?")
        return found

    def verify(self, body: str, signature: bytes) -> int | None:
        """The cosignature's POSIX time, None for a plain signature. Raises IntegrityError where it does not verify."""
        try:
            if self.type == ED25519:
                Ed25519PublicKey.from_public_bytes(self.public).verify(signature, body.encode())
                return None
            (time,) = _TIMESTAMP.unpack(signature[:8])
            message = _cosigned(self.name, time, body, self.type)
            if self.type == ED25519_COSIGNATURE:
                Ed25519PublicKey.from_public_bytes(self.public).verify(signature[8:], message)
            else:
                MLDSA44PublicKey.from_public_bytes(self.public).verify(signature[8:], message)
        except (InvalidSignature, struct.error) as error:
            raise IntegrityError(f"the signature by {self.name} does not fit the note") from error
        return int(time)


class Signer:
    """Signs notes under one name with one private key."""

    def __init__(self, name: str, key: Ed25519PrivateKey | MLDSA44PrivateKey, *, cosigner: bool = False) -> None:
        check_name(name)
        if isinstance(key, MLDSA44PrivateKey):
            type = MLDSA44_COSIGNATURE
        else:
            type = ED25519_COSIGNATURE if cosigner else ED25519
        self._key = key
        self.vkey = VKey(name, type, key.public_key().public_bytes_raw())
        self._id = self.vkey.id

    def sign(self, body: str, time: int = 0) -> str:
        """The signature line over a note's text; `time` (POSIX seconds) goes into a cosignature."""
        if self.vkey.type == ED25519:
            signature = self._key.sign(body.encode())
        else:
            message = _cosigned(self.vkey.name, time, body, self.vkey.type)
            signature = _TIMESTAMP.pack(time) + self._key.sign(message)
        return f"{_DASH}{self.vkey.name} {base64.b64encode(self._id + signature).decode()}\n"


def split_note(note: str) -> tuple[str, list[tuple[str, bytes, bytes]]]:
    """Text and signatures (name, key id, signature). Raises BadInput for what is no signed note."""
    if any(ord(c) < 0x20 and c != "\n" for c in note):
        raise BadInput("the signed note has control characters")
    body, gap, block = note.rpartition("\n\n")
    if not gap or not block.endswith("\n"):
        raise BadInput("the signed note has no signatures")
    return body + "\n", [_signature(line) for line in block[:-1].split("\n")]


def _signature(line: str) -> tuple[str, bytes, bytes]:
    name, _, encoded = line.removeprefix(_DASH).rpartition(" ")
    data = _base64(encoded, "a signature")
    if not line.startswith(_DASH) or not name or len(data) <= _KEY_ID_LENGTH:
        raise BadInput(f"{line[:60]!r} is no signature line")
    check_name(name)
    return name, data[:_KEY_ID_LENGTH], data[_KEY_ID_LENGTH:]


def open_note(note: str, vkeys: Sequence[VKey]) -> tuple[str, dict[VKey, int | None]]:
    """The text, and which of these keys signed it (with the time of a cosignature). Unknown keys are passed over.

    Raises IntegrityError where a known key's signature is wrong, or where no known key signed."""
    body, signatures = split_note(note)
    known = {(v.name, v.id): v for v in vkeys}
    good = {known[n, i]: known[n, i].verify(body, s) for n, i, s in signatures if (n, i) in known}
    if not good:
        raise IntegrityError(
            f"the note is signed by {', '.join(n for n, _, _ in signatures)}, by no key that is trusted"
        )
    return body, good
