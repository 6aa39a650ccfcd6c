"""Sessions: one running server of one person in one project."""

from dataclasses import dataclass
from datetime import datetime

from readingroom_hub.model.ids import PersonId, ProjectId, SessionId


@dataclass(frozen=True, slots=True)
class Session:
    """One running server. What it may read follows from its project's grants at the moment of each read."""

    id: SessionId
    person: PersonId
    project: ProjectId
    opened_at: datetime
    expires_at: datetime
    closed_at: datetime | None = None

    def is_open(self, now: datetime) -> bool:
        """Whether reads may happen in it at `now`."""
        return self.closed_at is None and self.opened_at <= now < self.expires_at
