"""Access grants: who may read which dataset version, in which project, until when, approved by whom."""

from dataclasses import dataclass
from datetime import datetime

from readingroom_hub.model.ids import DatasetName, GrantId, PersonId, ProjectId, VersionDigest


@dataclass(frozen=True, slots=True)
class Grant:
    """One access grant. It is never edited: it ends, or is revoked."""

    id: GrantId
    project: ProjectId
    dataset: DatasetName
    version: VersionDigest
    ends_at: datetime
    approved_by: PersonId
    created_at: datetime
    revoked_at: datetime | None = None
    revoked_by: PersonId | None = None

    def is_current(self, now: datetime) -> bool:
        """Whether it gives access at `now`. The end is exclusive."""
        return self.revoked_at is None and self.created_at <= now < self.ends_at
