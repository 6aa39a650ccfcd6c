"""What the hub's own pages show: a card per project, from the groups of now and the catalogue."""

import logging
from dataclasses import dataclass
from typing import Any

from readingroom_hub.config import Settings
from readingroom_hub.errors import StoreUnavailable
from readingroom_hub.model.project import Role
from readingroom_hub.policy.rights import rights_of
from readingroom_hub.ports.catalogue import Grants, Projects
from readingroom_hub.services.overview import ProjectCard, project_cards

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class View:
    """What a template sees as `readingroom`."""

    cards: tuple[ProjectCard, ...]
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
        s = self._settings
        rights = rights_of([g.name for g in user.groups], s.project_group_prefix, s.role_group_prefix)
        try:
            cards = project_cards(rights.projects, self._projects, self._grants)
        except StoreUnavailable:
            _log.exception("the catalogue does not answer")
            return View((), rights.roles, catalogue_answers=False)
        return View(cards, rights.roles, catalogue_answers=True)
