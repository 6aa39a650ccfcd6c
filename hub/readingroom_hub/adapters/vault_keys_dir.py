"""The wrapped keys of vaults, each in a file beside what it opens: a copy of the folder and the KEK are a backup."""

import base64
import json
from pathlib import Path

from readingroom_hub import durable
from readingroom_hub.errors import BadInput, IntegrityError, StoreUnavailable
from readingroom_hub.model.dataset import WrappedKey
from readingroom_hub.model.ids import KeyId, VaultId
from readingroom_hub.ports.vaults import VaultKeys

FORMAT = "readingroom-vault-key/1"


class DirectoryVaultKeys(VaultKeys):
    """`folder`/<vault>/key.json, mode 0600."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def all(self) -> dict[VaultId, WrappedKey]:
        """In the order of their names; a folder without a key is no vault."""
        if not self._folder.is_dir():
            return {}
        vaults = [VaultId(path.parent.name) for path in sorted(self._folder.glob("*/key.json"))]
        return {vault: key for vault in vaults if (key := self.get(vault)) is not None}

    def get(self, vault: VaultId) -> WrappedKey | None:
        """See `VaultKeys`."""
        path = self._path(vault)
        try:
            said = json.loads(path.read_bytes())
            if said["format"] != FORMAT:
                raise IntegrityError(f"{path} is not of format {FORMAT}; restore it from its backup")
            wrapped = base64.b64decode(said["wrapped"], validate=True)
            return WrappedKey(KeyId(said["key"]), str(said["kek"]), wrapped)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreUnavailable(f"{path} cannot be read: {error.strerror}") from error
        except (BadInput, LookupError, TypeError, ValueError) as error:
            raise IntegrityError(f"{path} is damaged; restore it from its backup") from error

    def put(self, vault: VaultId, key: WrappedKey) -> None:
        """See `VaultKeys`."""
        path = self._path(vault)
        wrapped = base64.b64encode(key.wrapped).decode()
        try:
            durable.make(path.parent, 0o700)
        except OSError as error:
            raise StoreUnavailable(f"the vault {path.parent} cannot be made: {error.strerror}") from error
        with durable.whole_file(path) as file:
            file.write(json.dumps({"format": FORMAT, "key": key.id, "kek": key.kek, "wrapped": wrapped}).encode())

    def _path(self, vault: VaultId) -> Path:
        return self._folder / vault / "key.json"
