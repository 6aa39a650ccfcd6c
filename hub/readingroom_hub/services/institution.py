"""The public keys by which institutions share datasets: one to check what they sign, one to seal data keys for them.

Both private keys are derived in key custody: there is no file to lose or to copy."""

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from readingroom_hub.crypto import hpke
from readingroom_hub.errors import BadInput
from readingroom_hub.ledger.note import ED25519, Signer, VKey
from readingroom_hub.ports.custody import KeyCustody

FORMAT = "readingroom-institution/1"
SIGNER_NAME = "readingroom-share"
_SIGNS, _OPENS = "sharing/signs/1", "sharing/opens/1"
_LARGEST = 4096


@dataclass(frozen=True, slots=True)
class Institution:
    """What one institution hands to another: a file of three lines, of which there is one form only."""

    vkey: VKey
    """Ed25519; signs packages (C2SP signed-note)."""
    sealing: bytes
    """Public key for sealed data keys, see `crypto.hpke`."""

    def to_text(self) -> str:
        """The file."""
        return f"{FORMAT}\nsigns {self.vkey}\nopens {base64.b64encode(self.sealing).decode()}\n"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the file in hexadecimal, as `sha256sum` prints it."""
        return hashlib.sha256(self.to_text().encode()).hexdigest()

    @property
    def spoken(self) -> str:
        """The fingerprint in groups of four, to be read out over the telephone."""
        text = self.fingerprint
        return " ".join(text[i : i + 4] for i in range(0, len(text), 4))

    @classmethod
    def read(cls, path: Path) -> "Institution":
        """From a file. Raises BadInput naming it."""
        try:
            with path.open("rb") as file:
                text = file.read(_LARGEST).decode("ascii")
            head, signs, opens = text.splitlines()
            found = cls(VKey.parse(signs.removeprefix("signs ")), base64.b64decode(opens.removeprefix("opens ")))
            hpke.check_public(found.sealing)
        except OSError as error:
            raise BadInput(f"{path} cannot be read: {error.strerror}") from error
        except (BadInput, ValueError) as error:
            raise BadInput(f"{path} holds no institution's keys: ask for a new one ({error})") from error
        if head != FORMAT or found.vkey.type != ED25519 or found.to_text() != text:
            raise BadInput(f"{path} holds no institution's keys of format {FORMAT}: ask for a new one")
        return found


def signer(custody: KeyCustody) -> Signer:
    """Signs this institution's packages."""
    return Signer(SIGNER_NAME, Ed25519PrivateKey.from_private_bytes(custody.derive(_SIGNS)))


def opening_seed(custody: KeyCustody) -> bytes:
    """The private key for what is sealed for this institution."""
    return custody.derive(_OPENS)


def own(custody: KeyCustody) -> Institution:
    """The institution that we are, for the key custody of these settings."""
    return Institution(signer(custody).vkey, hpke.public_of(opening_seed(custody)))
