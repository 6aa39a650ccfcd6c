"""Rights from group claims: which projects a person works in and which roles the person holds."""

from collections.abc import Iterable
from dataclasses import dataclass

from readingroom_hub.errors import BadInput
from readingroom_hub.model.ids import ProjectId
from readingroom_hub.model.project import Role

STRENGTH = (Role.STEWARD, Role.OWNER, Role.OUTPUT_CHECKER, Role.REVIEWER, Role.RESEARCHER)
"""Which role a membership carries where a person holds several: the first of these."""


@dataclass(frozen=True, slots=True)
class Rights:
    """What the identity provider's groups give."""

    projects: frozenset[ProjectId] = frozenset()
    roles: frozenset[Role] = frozenset()

    def __bool__(self) -> bool:
        """Whether there is anything at all to do here for this person."""
        return bool(self.projects or self.roles)

    @property
    def project_role(self) -> Role:
        """The role that this person's memberships carry."""
        return next((role for role in STRENGTH if role in self.roles), Role.RESEARCHER)


def rights_of(groups: Iterable[str], project_prefix: str, role_prefix: str) -> Rights:
    """Rights from group names. A group of another form, or of no possible project or role, gives nothing."""
    projects, roles = set(), set()
    known = {role_prefix + role: role for role in Role}
    for group in groups:
        if group.startswith(project_prefix):
            try:
                projects.add(ProjectId(group.removeprefix(project_prefix)))
            except BadInput:
                continue
        elif group in known:
            roles.add(known[group])
    return Rights(frozenset(projects), frozenset(roles))
