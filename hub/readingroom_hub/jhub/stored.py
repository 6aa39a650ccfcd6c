"""Secrets that are drawn once and kept in files of the owner's alone."""

import os
import secrets
from pathlib import Path

from readingroom_hub.config import Settings


def write_private(path: Path, data: bytes) -> None:
    """Write whole or not at all, mode 0600."""
    new = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as f:
        f.write(data)
        os.fsync(f.fileno())
    new.replace(path)


def stored_secret(path: Path) -> bytes:
    """32 random bytes, drawn at first use; in the file in hexadecimal."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(path, secrets.token_hex(32).encode())
    return bytes.fromhex(path.read_text().strip())


def door_key(settings: Settings) -> bytes:
    """The key with which doors vouch for their session (`crypto.vouch`): the spawner signs, the portal checks."""
    return stored_secret(settings.paths.hub / "door.key")
