"""Who looks at a page. How that is found out is given to the portal from outside, so it knows no JupyterHub."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fastapi import Request, Response

from readingroom_hub.model.ids import PersonId, ProjectId
from readingroom_hub.model.project import Role


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who is signed in, by the groups of now."""

    person: PersonId
    name: str
    roles: frozenset[Role]
    projects: frozenset[ProjectId]
    seal: str
    """A secret of this sign-in that its pages never show; form tokens are made from it."""


class SignInNeededError(Exception):
    """Nobody is signed in; `answer` sends the browser to where that is done."""

    def __init__(self, answer: Response) -> None:
        super().__init__("sign in first")
        self.answer = answer


Authenticate = Callable[[Request], Awaitable[Visitor]]
"""Raises SignInNeededError."""
