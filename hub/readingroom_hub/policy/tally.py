"""What the records under one read intent say together, in any order, and from any release."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from readingroom_hub.model.audit import AuditEvent, closes_of

PARTS = frozenset({AuditEvent.INSTANCE_OPENED, AuditEvent.INSTANCE_CLOSED, AuditEvent.READ_COMPLETED})
"""Records that name the intent that they belong to."""


@dataclass(slots=True)
class Tally:
    """Of one intent. Bytes."""

    instances: int | None = None
    """How many the intent covers; None as long as the intent itself was not added."""
    covered: int = 0
    """Of everything that the intent covers."""
    opened: int = 0
    """How often an instance was opened."""
    ended: int = 0
    least: int = 0
    """Left the daemon."""
    most: int = 0
    """More than `least` where the kernel kept a file in memory and may have served it again."""
    _concluded: int | None = None
    """How many ends all records under it have together, by the last of them."""
    _is_earlier: bool = False
    """Whether a release recorded it that concluded nothing: there, as many ends as opens had to do."""

    def add(self, event: str, subject: Mapping[str, Any]) -> None:
        """Count one record, once."""
        if event == AuditEvent.READ_INTENT:
            self.instances, self.covered = subject.get("instances", 0), subject.get("bytes", 0)
        self.opened += event == AuditEvent.INSTANCE_OPENED
        self._is_earlier |= event == AuditEvent.INSTANCE_CLOSED
        if "concluded" in subject:
            self._concluded = subject["concluded"]
        for close in closes_of(event, subject):
            self.ended += 1
            self.least += close.bytes
            self.most += max(close.bytes, close.size) if close.cached else close.bytes

    @property
    def is_exact(self) -> bool:
        """Whether no more than what was added was read: the intent is concluded, and no end of it is missing."""
        if self._is_earlier:
            return 0 < self.opened <= self.ended
        return self._concluded is not None and self._concluded <= self.ended

    @property
    def upper(self) -> int:
        """May have been read, at most."""
        return self.most if self.is_exact else max(self.most, self.covered)
