"""What lies in the edge's spool: sealed under its key, and called by keyed digests."""

import hashlib
import hmac
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

from readingroom_hub.crypto.envelope import open_whole, seal
from readingroom_hub.durable import sync
from readingroom_hub.errors import BadInput, IntegrityError, NotFound, StoreUnavailable
from readingroom_hub.model.ids import KeyId

FORMAT = b"readingroom-edge-spool/1"
TEMPORARY = ".new-"


@dataclass(frozen=True, slots=True, order=True)
class Spooled:
    """One object in the spool, by its digests. Objects of a study sort as they came."""

    study: str
    arrival: int
    instance: str
    content: str

    @property
    def name(self) -> str:
        """Its file in `incoming`."""
        return f"{self.study}-{self.arrival:012}-{self.instance}-{self.content}"

    @property
    def token(self) -> str:
        """What it is called in quarantine and in reports."""
        return f"{self.study}-{self.instance}-{self.content}"

    @classmethod
    def parse(cls, name: str) -> Self:
        """The inverse of `name`. Raises ValueError."""
        study, arrival, instance, content = name.split("-")
        return cls(study, int(arrival), instance, content)


@dataclass(frozen=True, slots=True)
class Vault:
    """Opens and seals what lies in a spool. Holds its key: it goes to workers through a pipe, never to disk."""

    folder: Path
    key: bytes
    key_id: KeyId

    @classmethod
    def of(cls, folder: Path, secret: bytes) -> Self:
        """The vault of a spool's secret."""
        return cls(folder, hmac.digest(secret, b"seal", "sha256"), KeyId("k-" + digest(secret, b"key id", 24)))

    @contextmanager
    def opened(self, name: str) -> Iterator[BinaryIO]:
        """One incoming object, in memory. Raises OSError, also where it is damaged: a job leaves it out then."""
        sealed = (self.folder / "incoming" / name).read_bytes()
        try:
            data = self.unseal(Spooled.parse(name).token, sealed)
        except IntegrityError as error:
            raise OSError(None, "its sealed copy in the spool is damaged") from error
        del sealed
        yield io.BytesIO(data)

    def seal(self, part: str, data: bytes) -> bytes:
        """`data`, sealed for this part of the spool."""
        return seal(self.key, self.key_id, part, data)

    def unseal(self, part: str, sealed: bytes) -> bytes:
        """What was sealed. Raises IntegrityError."""
        return open_whole(self.key, self.key_id, part, sealed)

    def check(self) -> bool:
        """Whether there is a spool. Raises BadInput where it was sealed with another key, or by a newer release."""
        try:
            found = self.unseal("format", (self.folder / "format").read_bytes())
        except FileNotFoundError:
            return False
        except IntegrityError as error:
            raise BadInput(f"the spool {self.folder} was sealed with another key: give that one") from error
        if found != FORMAT:
            raise BadInput(f"the spool {self.folder} is of a newer release: use that one")
        return True

    def quarantined(self) -> dict[str, str]:
        """Why each object in quarantine was left out, by its token."""
        found = sorted((self.folder / "quarantine").glob("*.reason"))
        return {p.stem: p.read_text().strip() for p in found if p.with_suffix("").exists()}

    def original(self, token: str) -> bytes:
        """An object in quarantine, as a file. It identifies its patient. Raises NotFound, IntegrityError."""
        try:
            sealed = (self.folder / "quarantine" / token).read_bytes()
        except OSError as error:
            raise NotFound(f"there is no {token} in quarantine") from error
        return self.unseal(token, sealed)


def keep(path: Path, data: bytes) -> None:
    """Write a whole file, durable when this returns, or none at all. Raises StoreUnavailable."""
    temporary = path.with_name(TEMPORARY + path.name)
    written = temporary
    try:
        try:
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with open(fd, "wb") as file:  # noqa: PTH123  # takes over the descriptor
                file.write(data)
                file.flush()
                os.fsync(fd)
            written = temporary.rename(path)
            sync(path.parent)
        except BaseException:
            with suppress(OSError):
                written.unlink()
            raise
    except OSError as error:
        raise StoreUnavailable(f"{path.parent} cannot be written: {error.strerror}; make room there") from error


def digest(key: bytes, text: bytes, digits: int, more: bytes = b"") -> str:
    """The first hexadecimal digits of HMAC-SHA-256 of `text` and `more`."""
    made = hmac.new(key, text, hashlib.sha256)
    made.update(more)
    return made.hexdigest()[:digits]
