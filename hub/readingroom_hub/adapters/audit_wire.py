"""The protocol between the audit record repository and its clients, version 1: frames of JSON over a Unix socket.

A frame is a 4-byte big-endian length and a JSON object {"v": 1, "n": request number, ...}. Replies carry the request's
`n`, in any order. Requests have an "op": append, identify, people, forget, purge, query, checkpoint,
status."""

import struct
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from readingroom_hub import errors
from readingroom_hub.errors import AuditUnavailable, BadInput, ReadingRoomError
from readingroom_hub.model.ids import UID, DatasetName, PersonId, ProjectId, SessionId
from readingroom_hub.ports.records import Filter, NodeState

VERSION = 1
MAX_FRAME = 8 << 20
_LENGTH = struct.Struct(">I")


def frame(body: bytes) -> bytes:
    """Put the length in front. Raises BadInput for more than 8 MiB."""
    if len(body) > MAX_FRAME:
        raise BadInput(f"a message of {len(body)} bytes is more than the {MAX_FRAME} that fit: ask for less at once")
    return _LENGTH.pack(len(body)) + body


def message(n: int, **fields: object) -> bytes:
    """A whole frame. Raises BadInput for what the other end could not read, such as text that is not Unicode."""
    try:
        return frame(orjson.dumps({"v": VERSION, "n": n, **fields}))
    except TypeError as error:
        raise BadInput(f"a message cannot be sent: {error}") from error


class Frames:
    """Cuts a byte stream into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """Yield the messages that are now complete. Raises BadInput for what is no frame of version 1."""
        self._buffer += data
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > MAX_FRAME:
                raise BadInput(f"a message announces {length} bytes, at most {MAX_FRAME} are taken")
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            yield _parse(body)


def _parse(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except ValueError as error:
        raise BadInput(f"a message is not JSON: {error}") from error
    if not isinstance(value, dict) or value.get("v") != VERSION or type(value.get("n")) is not int:
        raise BadInput("a message is not of version 1: run the same release on both sides")
    return value


def error_fields(error: ReadingRoomError) -> dict[str, Any]:
    """The error as a reply carries it. A path in it may be no Unicode."""
    text = str(error).encode("utf-8", "backslashreplace").decode()
    return {"error": {"kind": type(error).__name__, "message": text}}


def error_of(reply: Mapping[str, Any]) -> ReadingRoomError | None:
    """The error that a reply carries, as one of ours."""
    found = reply.get("error")
    if not found:
        return None
    kind = getattr(errors, found["kind"], AuditUnavailable)
    return kind(found["message"]) if issubclass(kind, ReadingRoomError) else AuditUnavailable(found["message"])


def filter_fields(wanted: Filter) -> dict[str, Any]:
    """A filter as JSON, empty fields left out. Also what the record of a search says about it."""
    row: dict[str, Any] = {
        "person": wanted.person,
        "project": wanted.project,
        "dataset": wanted.dataset,
        "session": wanted.session,
        "studies": list(wanted.studies),
        "events": list(wanted.events),
        "since": wanted.since and wanted.since.isoformat(),
        "until": wanted.until and wanted.until.isoformat(),
        "limit": wanted.limit,
    }
    return {k: v for k, v in row.items() if v}


def filter_of(row: Mapping[str, Any]) -> Filter:
    """Parse `filter_fields`. Raises BadInput."""
    try:
        return Filter(
            person=PersonId(row["person"]) if "person" in row else None,
            project=ProjectId(row["project"]) if "project" in row else None,
            dataset=DatasetName(row["dataset"]) if "dataset" in row else None,
            session=SessionId(row["session"]) if "session" in row else None,
            studies=tuple(UID(s) for s in row.get("studies", ())),
            events=tuple(str(e) for e in row.get("events", ())),
            since=datetime.fromisoformat(row["since"]) if "since" in row else None,
            until=datetime.fromisoformat(row["until"]) if "until" in row else None,
            limit=int(row.get("limit", 0)),
        )
    except (TypeError, ValueError) as error:
        raise BadInput(f"the search {dict(row)!r:.200} cannot be read: {error}") from error


def node_fields(state: NodeState) -> list[Any]:
    """A node's state as JSON."""
    return [state.node, state.awaited, state.silent_since and wire_moment(state.silent_since)]


def node_of(row: Sequence[Any]) -> NodeState:
    """Parse `node_fields`."""
    node, awaited, since = row
    return NodeState(str(node), int(awaited), datetime.fromisoformat(since) if since else None)


def wire_moment(at: datetime) -> str:
    """A time as records spell it."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
