"""Key custody in a file beside the data: for development and demonstration. It warns when it is constructed."""

import base64
import fcntl
import json
import os
import secrets
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from readingroom_hub.crypto import keywrap
from readingroom_hub.errors import Conflict, KeyUnavailable
from readingroom_hub.model.dataset import WrappedKey
from readingroom_hub.model.ids import KeyId
from readingroom_hub.model.keys import Kek, KeyState
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

    def keks(self) -> list[Kek]:
        """In the order of the file's `history`; a file from before there was one has one active KEK."""
        content = self._load()
        return [
            Kek(name, KeyState(state), datetime.fromisoformat(since) if since else None)
            for name, (state, since) in _history(content).items()
        ]

    def rotate(self) -> str:
        """A new random KEK."""
        with self._changing() as content:
            history, old, new = _history(content), str(content["current"]), f"file-{secrets.token_hex(4)}"
            history[old] = KeyState.DEACTIVATED, _now()
            history[new] = KeyState.ACTIVE, _now()
            content["keks"][new] = base64.b64encode(secrets.token_bytes(32)).decode()
            content |= {"current": new, "history": history}
        return new

    def destroy(self, kek: str) -> None:
        """Take it out of the file, and overwrite the file that held it. Backups of the file are the operator's."""
        with self._changing(erase=True) as content:
            history = _history(content)
            if kek not in history:
                raise KeyUnavailable(f"there is no key-encrypting key {kek}; see `readingroom key list`")
            if kek == content["current"]:
                raise Conflict(f"the key-encrypting key {kek} is active: rotate first, and rewrap what is to be kept")
            if content["keks"].pop(kek, None) is not None:
                history[kek] = KeyState.DESTROYED, _now()
                content["history"] = history

    def _kek(self, content: dict[str, Any], name: str) -> bytes:
        try:
            return base64.b64decode(content["keks"][name])
        except KeyError as error:
            state, since = _history(content).get(name, ("", ""))
            if state == KeyState.DESTROYED:
                raise KeyUnavailable(f"the key-encrypting key {name} was destroyed on {since[:10]}") from error
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
            "history": {name: (KeyState.ACTIVE, _now())},
            "keks": {name: base64.b64encode(secrets.token_bytes(32)).decode()},
            "root": base64.b64encode(secrets.token_bytes(32)).decode(),
        }
        with self._locked() as folder:
            if not path.exists():  # else another process was first, and its keys are the ones in use
                self._write(path, content, folder)

    @contextmanager
    def _changing(self, erase: bool = False) -> Iterator[dict[str, Any]]:
        """The file's content, to be changed by one process at a time; written whole, or not at all where that fails.

        `erase`: overwrite the file that it was in, whose blocks would otherwise keep the key (best effort: not on
        copy-on-write file systems, and flash keeps what it likes)."""
        self._load()
        path = self._folder / "custody.json"
        try:
            with self._locked() as folder:
                content = self._load()
                yield content
                with path.open("r+b") as old:
                    self._write(path, content, folder)
                    if erase:
                        _overwrite(old)
        except OSError as error:
            raise KeyUnavailable(f"{path} cannot be changed ({error}); free or repair the disk") from error

    @contextmanager
    def _locked(self) -> Iterator[int]:
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield folder
        finally:
            os.close(folder)

    def _write(self, path: Path, content: dict[str, Any], folder: int) -> None:
        fd, temporary = tempfile.mkstemp(dir=self._folder)  # mode 0600
        with open(fd, "w", encoding="utf-8") as file:  # noqa: PTH123  # takes over the descriptor
            json.dump(content, file, indent=1)
            file.flush()
            os.fsync(fd)
        Path(temporary).rename(path)
        os.fsync(folder)


def _overwrite(file: BinaryIO) -> None:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    file.write(secrets.token_bytes(size))
    file.flush()
    os.fsync(file.fileno())


def _history(content: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """State and its time by name of KEK, oldest first."""
    noted = content.get("history") or {content["current"]: (KeyState.ACTIVE, "")}
    return {name: (state, since) for name, (state, since) in noted.items()}


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
