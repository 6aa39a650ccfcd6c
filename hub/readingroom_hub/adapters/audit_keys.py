"""The log's name and signing key: made at the first start, never replaced silently afterwards."""

import os
import secrets
import socket
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from readingroom_hub.adapters.audit_place import VKEY_FILE, log_place
from readingroom_hub.durable import sync
from readingroom_hub.errors import IntegrityError, KeyUnavailable
from readingroom_hub.ledger.note import Signer

KEY_FILE = "audit-log.key"
TAG_FILE = "audit-tags.key"
MLDSA_KEY_FILE = "audit-log-mldsa.key"
MLDSA_VKEY_FILE = "vkey-mldsa"
ORIGIN_FILE = "origin"
_SEED_LENGTH = 32


def write_new(path: Path, data: bytes) -> None:
    """Whole or not at all, mode 0600, durable."""
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
        sync(path.parent)
    finally:
        part.unlink(missing_ok=True)


def read_key(path: Path) -> Ed25519PrivateKey:
    """A signing key that nobody else may read. Raises KeyUnavailable."""
    return Ed25519PrivateKey.from_private_bytes(_read_seed(path))


def _read_seed(path: Path) -> bytes:
    return read_secret(path, "the log's signing key")


def read_secret(path: Path, what: str) -> bytes:
    """32 bytes that nobody else may read. Raises KeyUnavailable naming `what` they are."""
    if path.stat().st_mode & 0o077:
        raise KeyUnavailable(f"others may read {what} {path}: chmod 600 it, and think of a new one")
    seed = path.read_bytes()
    if len(seed) != _SEED_LENGTH:
        raise KeyUnavailable(f"{what} {path} has {len(seed)} bytes instead of {_SEED_LENGTH}: restore it")
    return seed


def open_signer(audit: Path, keys: Path) -> Signer:
    """The signer of the log in folder `audit`, with its key in folder `keys`; both are made at the first start.

    Raises KeyUnavailable where the key is lost, IntegrityError where key, name or log do not belong together."""
    key_path, origin_path = keys / KEY_FILE, audit / ORIGIN_FILE
    used = [p for p in (audit / VKEY_FILE, log_place(audit)) if p and p.exists()]
    if not used and not key_path.exists():
        write_new(key_path, secrets.token_bytes(_SEED_LENGTH))
    if not used and not origin_path.exists():
        host = "".join(c for c in socket.gethostname() if c.isalnum() or c in ".-") or "localhost"
        write_new(origin_path, f"{host}/readingroom-audit/{secrets.token_hex(8)}\n".encode())
    for path in (key_path, origin_path):
        if not path.exists():
            raise KeyUnavailable(f"{path} is missing, but {used[0]} exists: restore it from backup")
    return Signer(origin_path.read_text().strip(), read_key(key_path))


def open_mldsa_signer(audit: Path, keys: Path, name: str) -> Signer:
    """The log's ML-DSA-44 key (C2SP tlog-cosignature), for a signature that outlives Ed25519; made at the first start.

    Raises KeyUnavailable where it is lost, IntegrityError where it is not the published one."""
    path, published = keys / MLDSA_KEY_FILE, audit / MLDSA_VKEY_FILE
    if not path.exists():
        if published.exists():
            raise KeyUnavailable(f"{path} is missing, but {published} exists: restore it from backup")
        write_new(path, secrets.token_bytes(_SEED_LENGTH))
    signer = Signer(name, MLDSA44PrivateKey.from_seed_bytes(_read_seed(path)))
    publish_vkey(audit, signer, MLDSA_VKEY_FILE)
    return signer


def read_tag_secret(keys: Path) -> bytes:
    """The secret under which records are tagged. Raises KeyUnavailable."""
    path = keys / TAG_FILE
    try:
        secret = path.read_bytes()
    except OSError as error:
        raise KeyUnavailable(f"the log's tag secret {path} cannot be read: {error.strerror}. Restore it") from error
    if len(secret) != _SEED_LENGTH:
        raise KeyUnavailable(f"the log's tag secret {path} has {len(secret)} bytes, not {_SEED_LENGTH}: restore it")
    return secret


def open_tag_secret(audit: Path, keys: Path) -> bytes:
    """As `read_tag_secret`; made at the first start."""
    if not (audit / VKEY_FILE).exists() and not (keys / TAG_FILE).exists():
        write_new(keys / TAG_FILE, secrets.token_bytes(_SEED_LENGTH))
    return read_tag_secret(keys)


def publish_vkey(audit: Path, signer: Signer, name: str = VKEY_FILE) -> None:
    """Write the public key for verifiers, once. Raises IntegrityError where another one is there."""
    path = audit / name
    if not path.exists():
        write_new(path, f"{signer.vkey}\n".encode())
    elif path.read_text().strip() != str(signer.vkey):
        raise IntegrityError(f"{path} is not the public key of the log's signing key: one of them was swapped")
