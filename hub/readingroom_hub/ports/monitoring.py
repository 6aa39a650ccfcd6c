"""What the monitor needs from the world: records as they come, a memory over restarts, somebody to tell."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

from readingroom_hub.model.alert import Alert


class RecordTail(ABC):
    """The audit record in the order of its tree. Reading it so is not itself recorded: no person looks."""

    @abstractmethod
    def first(self, since: datetime) -> int:
        """The index of the first record that is not older; the one behind the last where there is none.

        Raises IntegrityError."""

    @abstractmethod
    def read(self, start: int, most: int) -> tuple[list[tuple[int, dict[str, Any]]], int]:
        """At most `most` signed records from index `start` on, without purged ones, and the index to go on from.

        Raises IntegrityError."""


@dataclass(slots=True)
class MonitorState:
    """What outlives a restart, and what the pages show. `delivered`: by channel, the index to go on from."""

    judged: date | None = None
    """Days before it have been judged."""
    delivered: dict[str, int] = field(default_factory=dict)
    looked_at: datetime | None = None
    trouble: str = ""
    outlook: list[dict[str, Any]] = field(default_factory=list)
    """Forecasts: person, feature, now, limit, reaches."""


class MonitorMemory(ABC):
    """Where the state is kept."""

    @abstractmethod
    def load(self) -> MonitorState:
        """The last one saved; an empty one at first, or where it cannot be read."""

    @abstractmethod
    def save(self, state: MonitorState) -> None:
        """Durably, whole or not at all. Raises StoreUnavailable."""


class AlertChannel(ABC):
    """One way to tell stewards."""

    name: str
    """Stable: delivery goes on by it after a restart."""

    @abstractmethod
    def send(self, alert: Alert, link: str) -> None:
        """Return once the receiver has taken it. Names nobody. Raises StoreUnavailable: it is tried again later."""


def message(alert: Alert, link: str) -> Mapping[str, Any]:
    """What is told: the person's id, which means nothing outside, what was seen, and where to look."""
    return {
        "alert": alert.id,
        "person": alert.person,
        "day": alert.day.isoformat(),
        "rules": list(alert.rules),
        "projects": list(alert.projects),
        "because": [s.words for s in alert.signs],
        "opinion": alert.opinion,
        "link": link,
    }
