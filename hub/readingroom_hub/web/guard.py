"""Who may see which page: checked on the server at every request, by the groups of now. Refusals are recorded."""

import asyncio
from collections.abc import Awaitable, Callable

from fastapi import Request

from readingroom_hub.errors import Denied
from readingroom_hub.model.audit import AuditEvent, AuditRecord, Outcome
from readingroom_hub.model.project import Role
from readingroom_hub.web.desk import Desk
from readingroom_hub.web.security import check_form, check_navigation, read_form
from readingroom_hub.web.visitor import Authenticate, Visitor

ANYBODY: frozenset[Role] = frozenset()
RECORD = frozenset({Role.STEWARD, Role.AUDITOR, Role.OWNER})
STEWARDS = frozenset({Role.STEWARD})


class Guard:
    """Makes the dependencies that pages declare. They raise SignInNeededError, Denied, AuditUnavailable."""

    def __init__(self, desk: Desk, authenticate: Authenticate) -> None:
        self._desk = desk
        self._authenticate = authenticate

    def page(self, roles: frozenset[Role]) -> Callable[[Request], Awaitable[Visitor]]:
        """A page for people with one of `roles`; for everybody who is signed in where there are none."""

        async def visitor(request: Request) -> Visitor:
            found = await self._visitor(request)
            try:
                check_navigation(request)
                self._check_role(found, roles)
            except Denied as error:
                await self._record(found, request, error)
                raise
            return found

        return visitor

    def form(self, roles: frozenset[Role]) -> Callable[[Request], Awaitable[tuple[Visitor, dict[str, str]]]]:
        """A form posted by somebody with one of `roles`, filled in on one of our pages."""

        async def posted(request: Request) -> tuple[Visitor, dict[str, str]]:
            found = await self._visitor(request)
            form = await read_form(request)
            try:
                check_form(request, found, form, self._desk.origin)
                self._check_role(found, roles)
            except Denied as error:
                await self._record(found, request, error)
                raise
            return found, form

        return posted

    async def _visitor(self, request: Request) -> Visitor:
        visitor = await self._authenticate(request)
        request.state.visitor = visitor
        return visitor

    @staticmethod
    def _check_role(visitor: Visitor, roles: frozenset[Role]) -> None:
        if roles and not visitor.roles & roles:
            raise Denied(
                f"This page is for {' or '.join(sorted(roles))}s. If you should see it, ask for the group "
                f"rr-role-{min(roles)} at your institution, then sign out and in again. This request is on the record."
            )

    async def _record(self, visitor: Visitor, request: Request, error: Denied) -> None:
        record = AuditRecord(
            AuditEvent.REQUEST_REFUSED,
            Outcome.DENIED,
            person=visitor.person,
            reason=f"page-refused: {error}",
            subject={"path": f"{request.method} {request.url.path}"[:200]},
        )
        await asyncio.to_thread(self._desk.audit.append, [record])
