"""Vaults: encrypted home and project folders, and their wrapped keys."""

from abc import ABC, abstractmethod

from readingroom_hub.model.dataset import WrappedKey
from readingroom_hub.model.ids import VaultId


class VaultKeys(ABC):
    """One wrapped key a vault. Raises StoreUnavailable where they cannot be read or written."""

    @abstractmethod
    def all(self) -> dict[VaultId, WrappedKey]:
        """Every vault's key, by vault. Raises IntegrityError where one is damaged."""

    @abstractmethod
    def get(self, vault: VaultId) -> WrappedKey | None:
        """The vault's key; None where the vault was never made. Raises IntegrityError where it is damaged."""

    @abstractmethod
    def put(self, vault: VaultId, key: WrappedKey) -> None:
        """Keep this one from now on, durably, in place of one that was there."""
