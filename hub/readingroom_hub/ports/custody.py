"""Key custody: wraps data keys under a key-encrypting key (KEK) that never leaves its custodian."""

from abc import ABC, abstractmethod

from readingroom_hub.model.dataset import WrappedKey
from readingroom_hub.model.ids import KeyId
from readingroom_hub.model.keys import Kek


class KeyCustody(ABC):
    """Raises KeyUnavailable where the KEK is missing, destroyed or its custodian does not answer."""

    @abstractmethod
    def current_kek(self) -> str:
        """The name of the KEK that wraps from now on."""

    @abstractmethod
    def keks(self) -> list[Kek]:
        """Every KEK that ever was, oldest first, destroyed ones too."""

    @abstractmethod
    def rotate(self) -> str:
        """Make a new KEK active and deactivate the one before; returns the new name. Nothing is rewrapped."""

    @abstractmethod
    def destroy(self, kek: str) -> None:
        """Make a deactivated KEK, and all that is wrapped under it, useless for ever: crypto-erasure (NIST SP 800-88).

        Raises Conflict where it is active; destroying a destroyed one changes nothing."""

    @abstractmethod
    def wrap(self, key_id: KeyId, data_key: bytes) -> WrappedKey:
        """Wrap 32 bytes under the current KEK."""

    @abstractmethod
    def unwrap(self, key: WrappedKey) -> bytes:
        """The 32 bytes. Raises IntegrityError where the wrapped form was changed."""

    @abstractmethod
    def derive(self, purpose: str) -> bytes:
        """32 bytes that only this custodian can make again, for keyed pseudonyms: the same for the same purpose."""
