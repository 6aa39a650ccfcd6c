"""The portal over an in-memory audit repository, and a client that speaks ASGI to it."""

import asyncio
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from fastapi import Request
from fastapi.responses import RedirectResponse
from tests.support.room import PROJECT, Room, make_room

from readingroom_hub.ledger.note import VKey
from readingroom_hub.model.ids import PersonId
from readingroom_hub.model.project import Role
from readingroom_hub.ports.monitoring import MonitorState
from readingroom_hub.services.alerts import AlertBook
from readingroom_hub.services.approvals import Approvals
from readingroom_hub.services.holds import HoldService
from readingroom_hub.web.app import create_app
from readingroom_hub.web.desk import Desk
from readingroom_hub.web.visitor import SignInNeededError, Visitor

ORIGIN = "https://localhost:8443"
DOOR_KEY = b"d" * 32


@dataclass
class PortalWorld:
    """`visitor` is who looks; None is nobody."""

    room: Room
    visitor: Visitor | None = None
    log_key: VKey | None = None
    monitor: MonitorState = field(default_factory=MonitorState)
    app: Any = field(init=False)

    def __post_init__(self) -> None:
        c = self.room.catalogue
        room = self.room
        desk = Desk(
            room.audit, c.projects, c.versions, c.grants, room.grants, room.sessions, ORIGIN, DOOR_KEY,
            lambda: self.log_key,
            AlertBook(room.audit), Approvals(room.audit),
            HoldService(c.holds, c.sessions, room.audit, room.mounts), lambda: self.monitor,
        )  # fmt: skip
        self.app = create_app(desk, self._authenticate)

    async def _authenticate(self, _: Request) -> Visitor:
        if self.visitor is None:
            raise SignInNeededError(RedirectResponse("/hub/api/oauth2/authorize", 302))
        return self.visitor

    def become(self, *roles: Role, person: PersonId | None = None, seal: str = "seal") -> None:
        person = person or self.room.steward
        self.visitor = Visitor(person, "Sam Steward", frozenset(roles), frozenset({PROJECT}), seal)

    def request(self, method: str, path: str, **more: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url=ORIGIN, trust_env=False) as client:
                return await client.request(method, "/services/portal" + path, **more)

        return asyncio.run(send())

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.request("GET", path, **more)

    def post(self, path: str, data: dict[str, str], **more: Any) -> httpx.Response:
        return self.request("POST", path, data=data, **more)

    def token(self) -> str:
        return re.search(r'name="token" value="([0-9a-f]{64})"', self.get("/grants").text)[1]


def make_world(folder: Path) -> PortalWorld:
    return PortalWorld(make_room(folder))


def now() -> datetime:
    return datetime.now(UTC)
