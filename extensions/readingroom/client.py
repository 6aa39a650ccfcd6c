"""The hub's answers to a notebook: HTTP/JSON over one unix socket. The only module that opens a socket."""

import http.client
import json
import socket
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

from readingroom import settings
from readingroom.errors import NotInReadingRoom, ReadingRoomError

SESSION_FORMAT = "readingroom-session/1"
_SESSION_PATH = "/services/portal/api/v1/session"
_TIMEOUT_SECONDS = 10


@dataclass(frozen=True, slots=True)
class SessionDataset:
    """One dataset version that this session may read."""

    name: str
    version: str
    label: str
    until: datetime
    instances: int
    series: int


@dataclass(frozen=True, slots=True)
class Session:
    """One running server, as the hub sees it."""

    id: str
    project: str
    person_name: str
    expires_at: datetime
    datasets: tuple[SessionDataset, ...]

    @classmethod
    def from_json(cls, body: bytes) -> Self:
        """Parse the hub's answer. Raises ReadingRoomError where it is of another format."""
        try:
            data = json.loads(body)
            if data["format"] != SESSION_FORMAT:
                raise ReadingRoomError(
                    f"The hub answers in the format {data['format']!r}, this package reads {SESSION_FORMAT!r}: "
                    "stop and start your server, so that both are of one release."
                )
            return cls(
                id=data["session"],
                project=data["project"],
                person_name=data["person_name"],
                expires_at=datetime.fromisoformat(data["expires_at"]),
                datasets=tuple(_dataset(row) for row in data["datasets"]),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ReadingRoomError(
                f"The hub's answer could not be understood: {error!r}. Tell your operator."
            ) from error


def _dataset(row: dict[str, Any]) -> SessionDataset:
    return SessionDataset(
        name=row["name"],
        version=row["version"],
        label=row["label"],
        until=datetime.fromisoformat(row["until"]),
        instances=row["instances"],
        series=row["series"],
    )


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("hub", timeout=_TIMEOUT_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def session(door: Path | None = None) -> Session:
    """Ask the hub about this session: project, expiry, datasets.

    Raises NotInReadingRoom where no hub answers on `door` (default: the setting READINGROOM_HUB_SOCKET),
    ReadingRoomError where it answers with anything but a session."""
    return Session.from_json(_get(door or settings.hub_socket(), _SESSION_PATH))


def _get(door: Path, path: str) -> bytes:
    connection = _UnixConnection(door)
    try:
        connection.request("GET", path, headers={"Accept": "application/json"})
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise NotInReadingRoom(
            f"No hub answers on {door}. readingroom.session() works only in a Reading Room server; "
            "if you are in one, the hub may be restarting: try again in a minute, then tell your operator."
        ) from error
    finally:
        connection.close()
    if response.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        raise ReadingRoomError(
            "The hub knows no open session of this server: it may have ended. Start your server again."
        )
    if response.status != HTTPStatus.OK:
        raise ReadingRoomError(
            f"The hub answered {response.status} {response.reason}. Try again; then tell your operator."
        )
    return body
