"""What a person's projects look like now: for “My projects”, on the hub's pages and on the portal's."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from readingroom_hub.errors import NotFound
from readingroom_hub.model.ids import ProjectId
from readingroom_hub.ports.catalogue import Grants, Projects


@dataclass(frozen=True, slots=True)
class DatasetLine:
    """One dataset version that a project reads now."""

    label: str
    until: datetime


@dataclass(frozen=True, slots=True)
class ProjectCard:
    """One project. `is_set_up` is false where only the identity provider knows it yet."""

    id: ProjectId
    title: str
    owner: str
    ends_at: datetime | None
    is_set_up: bool
    has_ended: bool
    datasets: tuple[DatasetLine, ...]


def project_cards(ids: Iterable[ProjectId], projects: Projects, grants: Grants) -> tuple[ProjectCard, ...]:
    """A card for each, by id. Raises StoreUnavailable."""
    return tuple(_card(id, projects, grants) for id in sorted(ids))


def _card(id: ProjectId, projects: Projects, grants: Grants) -> ProjectCard:
    now = datetime.now(UTC)
    try:
        project = projects.get(id)
    except NotFound:
        return ProjectCard(id, id, "", None, is_set_up=False, has_ended=False, datasets=())
    current = [g for g in grants.all(id) if g.is_current(now)]
    lines = tuple(DatasetLine(f"{g.dataset}@{g.version.short}", g.ends_at) for g in current)
    ended = project.ends_at is not None and now >= project.ends_at
    return ProjectCard(id, project.title, project.owner, project.ends_at, True, ended, lines)
