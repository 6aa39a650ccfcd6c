"""The audit record repository, as everybody else sees it. There is no method that changes or removes a record."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from readingroom_hub.model.audit import AuditRecord, Receipt
from readingroom_hub.model.ids import UID, DatasetName, PersonId, ProjectId, SessionId


@dataclass(frozen=True, slots=True)
class Filter:
    """Which records to find; every given field must match. `limit` newest first."""

    person: PersonId | None = None
    project: ProjectId | None = None
    dataset: DatasetName | None = None
    session: SessionId | None = None
    studies: tuple[UID, ...] = ()
    """Any of these; empty: all. One patient's records are those of the patient's studies."""
    events: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 1000


@dataclass(frozen=True, slots=True)
class Found:
    """One stored record with its place in the tree, and the name behind `person` where it still exists."""

    index: int
    record: dict[str, Any]
    person_name: str | None


@dataclass(frozen=True, slots=True)
class NodeState:
    """What the repository knows that it does not have of a node's records."""

    node: str
    awaited: int
    """Records that this node has in its spool, or had."""
    silent_since: datetime | None
    """Since then it may have recorded more, of which nothing is known here; None: it would be known."""

    @property
    def is_behind(self) -> bool:
        """Whether records of it may be missing here."""
        return bool(self.awaited or self.silent_since)

    def __str__(self) -> str:
        records = f"{self.awaited} record{'s' if self.awaited != 1 else ''}"
        if self.silent_since is None:
            return f"{records} of {self.node} {'are' if self.awaited != 1 else 'is'} still on the way"
        said = f"{self.node} has not been heard since {self.silent_since.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        if not self.awaited:
            return f"{said}: what was read there since then is not in here yet"
        return f"{said}: {records} that it announced by then, and what was read there since, are not in here yet"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a search found, newest first. It is complete for the first `size` records of the log."""

    found: list[Found]
    size: int
    newer: int
    """Records that were stored while it was answered, after those."""
    seconds: float
    """How long that took, at most: how old the answer is."""
    nodes: tuple[NodeState, ...] = ()
    """Whose records may be missing among those."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a commitment stands for. Kept apart from the log; erasing it leaves the tree whole."""

    person: PersonId
    issuer: str
    subject: str
    name: str


class AuditTrail(ABC):
    """Where a process records. Every method raises AuditUnavailable where that is not confirmed within its limit."""

    @abstractmethod
    def append(self, records: Sequence[AuditRecord]) -> list[Receipt]:
        """Store durably, in this order, all or none; returns once they survive power loss.

        A record whose `id` is already stored is not stored again: its receipt is returned. On a node, where records get
        their places later, there are no receipts."""

    @abstractmethod
    def post(self, record: AuditRecord) -> None:
        """Hand over without waiting. Allowed only for what a durable read-intent already covers.

        Raises AuditUnavailable where the connection is known to be broken or too much is under way."""

    @abstractmethod
    def check(self) -> None:
        """Raise what `post` would raise now. For what a durable read-intent covers and is recorded a little later."""

    @abstractmethod
    def flush(self) -> None:
        """Return once everything posted before is durable."""

    def behind(self) -> tuple[int, float] | None:
        """On a node: records that the repository has not confirmed, and the age of the oldest (seconds)."""
        return None


class AuditRepository(AuditTrail):
    """The repository itself, for processes of its machine."""

    @abstractmethod
    def identify(self, issuer: str, subject: str, name: str) -> PersonId:
        """The commitment for this identity, made and stored at first sight; `name` is updated."""

    @abstractmethod
    def people(self, text: str) -> list[Identity]:
        """Who has this person id, subject or name (exact, case-insensitive). All where `text` is empty."""

    @abstractmethod
    def search(self, wanted: Filter, asked_by: PersonId | None) -> Answer:
        """What matches among all records stored until now; never less than complete. The search itself is recorded.

        Raises AuditUnavailable where the searchable copy does not get there in time."""

    def query(self, wanted: Filter, asked_by: PersonId | None) -> list[Found]:
        """What `search` finds."""
        return self.search(wanted, asked_by).found

    def witnesses_late(self) -> str | None:
        """Why no new access may be given now, since the quorum of witnesses is too old; None where it may."""
        return None

    @abstractmethod
    def checkpoint(self) -> str:
        """The newest C2SP checkpoint, a signed note."""
