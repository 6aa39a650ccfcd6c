"""What readers of the audit log need from its store, whichever database that is."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from readingroom_hub.ledger.verify import Entry


class LogView(ABC):
    """The log at one moment, read-only, while its writer goes on.

    Every method raises IntegrityError where the store is damaged below the level of records, AuditUnavailable where it
    does not answer."""

    @abstractmethod
    def entries(self, start: int = 0) -> Iterator[Entry]:
        """What is stored from index `start` on."""

    @abstractmethod
    def leaves(self, start: int = 0) -> Iterator[Entry]:
        """As `entries`, without the contents, which the tree does not need."""

    @abstractmethod
    def hashes(self, start: int, end: int) -> list[bytes]:
        """The leaf hashes from index `start` to before `end`."""

    @abstractmethod
    def checkpoints(self) -> Iterator[str]:
        """Every checkpoint, smallest size first; with its cosignatures, where it has them."""

    @abstractmethod
    def newest(self) -> str | None:
        """The newest checkpoint, None in a log without one."""

    @abstractmethod
    def cosigned(self) -> str | None:
        """The newest checkpoint with cosignatures of witnesses, None where there is none."""

    @abstractmethod
    def places(self, since: str, until: str) -> tuple[int, int]:
        """First index and the one behind the last, of records with a time from `since` to before `until`; (0, 0): none.

        Both are RFC 3339 in UTC, with microseconds."""

    @abstractmethod
    def close(self) -> None:
        """End the view."""


class IndexedLog(LogView):
    """And what the search index needs. Texts of many records come in one piece: the index takes them apart in SQL."""

    @abstractmethod
    def texts(self, start: int, most: int) -> bytes:
        """A JSON array of [index, contents] of up to `most` records from `start` on; the leaf where contents are gone.

        b"[]" behind the last record."""

    @abstractmethod
    def at(self, indices: Sequence[int]) -> list[Entry]:
        """The entries at these places, smallest first; places without one are left out."""

    @abstractmethod
    def purged(self) -> Iterator[int]:
        """The places of records that have no contents any more."""
