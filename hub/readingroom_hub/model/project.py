"""Projects and who is in them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from readingroom_hub.model.ids import PersonId, ProjectId


class Role(StrEnum):
    """What a person may do. Stored values, never renamed; SATRE's names, except `researcher` (data analyst)."""

    RESEARCHER = "researcher"
    STEWARD = "steward"
    REVIEWER = "reviewer"
    OWNER = "owner"
    OUTPUT_CHECKER = "output-checker"
    AUDITOR = "auditor"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Project:
    """The unit of approval: who works together, on what, until when."""

    id: ProjectId
    title: str
    owner: str
    """The information asset owner, by name."""
    created_at: datetime
    ends_at: datetime | None = None
    """After this moment no session opens and no grant is current."""
    pictures: bool = True
    """Whether notebooks that are saved may keep pictures. What a researcher's server does by itself, not a barrier."""


@dataclass(frozen=True, slots=True)
class Member:
    """One person in one project. `role` is the strongest right that the identity provider's groups gave."""

    project: ProjectId
    person: PersonId
    role: Role
    since: datetime
