"""A sealed chain: entries appended to one file, so that a changed, moved, swapped or added one is seen.

AES-256-GCM under a key of its own for each file: HKDF-SHA-256 (RFC 5869) of the secret, a random salt and the file's
name. The nonce is the entry's place; the associated data is SHA-256 over the file before it (SP 800-38D: no nonce comes
twice under a key). What is not seen: entries cut off the end."""

import os
import struct
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_MAGIC = b"readingroom-chain/1\n"
_SALT, _TAG, _NONCE = 32, 16, 12
HEADER = len(_MAGIC) + _SALT
"""Bytes before the first entry."""
_LENGTH = struct.Struct(">I")
MAX_ENTRY = 16 << 20
"""Bytes of data. A longer one is no entry that a crash cut short."""


class Chain:
    """Seals the entries of one file, in their order. Never for a file that has entries already: nonces would repeat."""

    def __init__(self, secret: bytes, name: str, salt: bytes | None = None) -> None:
        """`secret`: 32 random bytes. `name`: what the file is; only under the same name it opens again."""
        self.header = _MAGIC + (os.urandom(_SALT) if salt is None else salt)
        info = b"readingroom-chain/1\0" + name.encode()
        self._aead = AESGCM(HKDF(SHA256(), 32, self.header[len(_MAGIC) :], info).derive(secret))
        self._hash = sha256(self.header)
        self._place = 0

    def seal(self, data: bytes) -> bytes:
        """The next entry as it is written."""
        sealed = self._aead.encrypt(self._nonce(), data, self._hash.digest())
        return self._advanced(_LENGTH.pack(len(sealed)) + sealed)

    def open(self, entry: bytes) -> bytes:
        """The data of the next entry. Raises InvalidTag where it is not what was sealed here."""
        data = self._aead.decrypt(self._nonce(), entry[_LENGTH.size :], self._hash.digest())
        self._advanced(entry)
        return data

    def _nonce(self) -> bytes:
        return self._place.to_bytes(_NONCE)

    def _advanced(self, entry: bytes) -> bytes:
        self._hash.update(entry)
        self._place += 1
        return entry


@dataclass(frozen=True, slots=True)
class Opened:
    """What a file holds: its entries up to the first that is damaged, and what is wrong with that one."""

    entries: list[bytes]
    damage: str | None


def open_chain(secret: bytes, name: str, file: bytes) -> Opened:
    """All entries of a file. A last one that is not whole is left out: a crash leaves such, unconfirmed.

    So are zeros up to the end, which a power cut leaves in some file systems; no sealed entry ends in 16 of them."""
    entries: list[bytes] = []
    written = file.rstrip(b"\0")
    if len(written) < HEADER and _MAGIC.startswith(written[: len(_MAGIC)]):
        return Opened(entries, None)
    if not file.startswith(_MAGIC):
        return Opened(entries, "it does not begin as a sealed chain")
    chain, at = Chain(secret, name, file[len(_MAGIC) : HEADER]), HEADER
    was_cut = len(file) - len(written) >= _TAG
    while at + _LENGTH.size <= len(file) and at < len(written):
        (length,) = _LENGTH.unpack_from(file, at)
        if length > MAX_ENTRY + _TAG:
            return Opened(entries, f"entry {len(entries)} cannot be {length} bytes long")
        end = at + _LENGTH.size + length
        if end > len(file):
            break
        try:
            entries.append(chain.open(file[at:end]))
        except InvalidTag:
            if was_cut:
                break
            return Opened(entries, f"entry {len(entries)} was changed, moved, or sealed under another key or name")
        at = end
    return Opened(entries, None)
