"""Key custody in a file beside the data: for development and demonstration. It warns when it is constructed."""

import base64
import fcntl
import json
import os
import secrets
import tempfile
import warnings
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from readingroom_hub.crypto import keywrap
from readingroom_hub.errors import KeyUnavailable
from readingroom_hub.model.dataset import WrappedKey
from readingroom_hub.model.ids import KeyId
from readingroom_hub.ports.custody import KeyCustody

_FORMAT = "readingroom-keys/1"


class DevelopmentCustodyWarning(UserWarning):
    """Key-encrypting keys lie in a plain file: whoever reads the disk reads the data."""


class FileKeyCustody(KeyCustody):
    """KEKs and the root secret in `folder`/custody.json, mode 0600, made at first use."""

    def __init__(self, folder: Path) -> None:
        warnings.warn(
            f"key-encrypting keys are kept in the plain file {folder / 'custody.json'}: good for development only, "
            "use a hardware security module or a key management service for real data",
            DevelopmentCustodyWarning,
            stacklevel=2,
        )
        self._folder = folder

    def current_kek(self) -> str:
        """The name in the file's `current`."""
        return str(self._load()["current"])

    def wrap(self, key_id: KeyId, data_key: bytes) -> WrappedKey:
        """AES-KWP under the current KEK."""
        content = self._load()
        kek = str(content["current"])
        return WrappedKey(key_id, kek, keywrap.wrap(self._kek(content, kek), data_key))

    def unwrap(self, key: WrappedKey) -> bytes:
        """AES-KWP under the KEK that the wrapped key names."""
        return keywrap.unwrap(self._kek(self._load(), key.kek), key.wrapped)

    def derive(self, purpose: str) -> bytes:
        """HKDF-SHA256 over a root secret that is no KEK."""
        root = base64.b64decode(self._load()["root"])
        return HKDF(hashes.SHA256(), 32, salt=None, info=b"readingroom/derive/1\0" + purpose.encode()).derive(root)

    def _kek(self, content: dict[str, Any], name: str) -> bytes:
        try:
            return base64.b64decode(content["keks"][name])
        except KeyError as error:
            raise KeyUnavailable(f"the key-encrypting key {name} is not in {self._folder}; restore the file") from error

    def _load(self) -> dict[str, Any]:
        path = self._folder / "custody.json"
        try:
            if not path.exists():
                self._make(path)
            content = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise KeyUnavailable(f"{path} cannot be used ({error}); restore it from its backup") from error
        if not isinstance(content, dict) or content.get("format") != _FORMAT:
            raise KeyUnavailable(f"{path} is not of format {_FORMAT}; restore it from its backup")
        return content

    def _make(self, path: Path) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = f"file-{secrets.token_hex(4)}"
        content = {
            "format": _FORMAT,
            "current": name,
            "keks": {name: base64.b64encode(secrets.token_bytes(32)).decode()},
            "root": base64.b64encode(secrets.token_bytes(32)).decode(),
        }
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            if path.exists():  # another process was first, and its keys are the ones in use
                return
            fd, temporary = tempfile.mkstemp(dir=self._folder)  # mode 0600
            with open(fd, "w", encoding="utf-8") as file:  # noqa: PTH123  # takes over the descriptor
                json.dump(content, file, indent=1)
                file.flush()
                os.fsync(fd)
            Path(temporary).rename(path)
            os.fsync(folder)
        finally:
            os.close(folder)
