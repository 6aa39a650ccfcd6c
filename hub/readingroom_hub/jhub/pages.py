"""What the hub's own pages show: a card per project, from the groups of now and the catalogue."""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from readingroom_hub.config import Settings
from readingroom_hub.errors import NotFound, StoreUnavailable
from readingroom_hub.model.ids import ProjectId
from readingroom_hub.model.project import Role
from readingroom_hub.policy.rights import Rights, rights_of
from readingroom_hub.ports.catalogue import Grants, Projects

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DatasetLine:
    """One dataset version that a project reads now."""

    label: str
    until: datetime


@dataclass(frozen=True, slots=True)
class Card:
    """One project on “My projects”."""

    id: ProjectId
    title: str
    owner: str
    ends_at: datetime | None
    is_set_up: bool
    has_ended: bool
    datasets: tuple[DatasetLine, ...]


@dataclass(frozen=True, slots=True)
class View:
    """What a template sees as `readingroom`."""

    cards: tuple[Card, ...]
    roles: frozenset[Role]
    catalogue_answers: bool


class Pages:
    """Makes the view for one hub user."""

    def __init__(self, projects: Projects, grants: Grants, settings: Settings) -> None:
        self._projects = projects
        self._grants = grants
        self._settings = settings

    def for_template(self, user: Any) -> View:
        """Called by JupyterHub for every page that it renders, also where nobody is signed in."""
        if user is None:
            return View((), frozenset(), catalogue_answers=True)
        rights = self._rights([g.name for g in user.groups])
        try:
            cards = tuple(self._card(p) for p in sorted(rights.projects))
        except StoreUnavailable:
            _log.exception("the catalogue does not answer")
            return View((), rights.roles, catalogue_answers=False)
        return View(cards, rights.roles, catalogue_answers=True)

    def _rights(self, groups: list[str]) -> Rights:
        return rights_of(groups, self._settings.project_group_prefix, self._settings.role_group_prefix)

    def _card(self, id: ProjectId) -> Card:
        now = datetime.now(UTC)
        try:
            project = self._projects.get(id)
        except NotFound:
            return Card(id, id, "", None, is_set_up=False, has_ended=False, datasets=())
        current = [g for g in self._grants.all(id) if g.is_current(now)]
        lines = tuple(DatasetLine(f"{g.dataset}@{g.version.short}", g.ends_at) for g in current)
        ended = project.ends_at is not None and now >= project.ends_at
        return Card(id, project.title, project.owner, project.ends_at, is_set_up=True, has_ended=ended, datasets=lines)
