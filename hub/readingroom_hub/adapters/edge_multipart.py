"""A multipart body (RFC 2046 5.1.1) taken apart as it comes, whatever the pieces: nothing waits for the whole of it."""

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from email.message import Message
from enum import Enum, auto

from readingroom_hub.errors import BadInput

_MOST_HEAD = 16 << 10
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")
_PADDING = re.compile(rb"[ \t]*\r\n")


@dataclass(frozen=True, slots=True)
class Head:
    """A part begins."""

    media_type: str
    """In lower case, without parameters; empty where the part does not say."""


@dataclass(frozen=True, slots=True)
class Content:
    """More of the part's content."""

    data: bytes


@dataclass(frozen=True, slots=True)
class End:
    """The part is whole."""


class _State(Enum):
    BEFORE, HEAD, CONTENT, AFTER = auto(), auto(), auto(), auto()


def media_type(value: str) -> tuple[str, dict[str, str]]:
    """Type and parameters of a Content-Type header, names in lower case."""
    message = Message()
    message["Content-Type"] = value
    named = message.get_params() or []
    return (message.get_content_type() if value else ""), {k.lower(): v for k, v in named[1:]}


class Multipart:
    """`feed` gives what the next bytes bring, `close` comes at the end. Both raise BadInput for what is none."""

    def __init__(self, boundary: str) -> None:
        if not _BOUNDARY.fullmatch(boundary):
            raise BadInput("its Content-Type names no boundary that RFC 2046 allows")
        self._delimiter = b"\r\n--" + boundary.encode("ascii")
        self._rest = bytearray(b"\r\n")  # the first delimiter may stand at the very beginning
        self._state = _State.BEFORE

    def feed(self, data: bytes) -> Iterator[Head | Content | End]:
        """What `data` brings."""
        self._rest += data
        going = True
        while going:
            if self._state is _State.AFTER:
                self._rest.clear()
                return
            if self._state is _State.HEAD:
                head = self._head()
                going = head is not None
                if head:
                    yield head
            else:
                going = yield from self._content()

    def close(self) -> None:
        """The body ends here."""
        if self._state is not _State.AFTER:
            raise BadInput("the body ends before its last boundary: send it again")

    def _head(self) -> Head | None:
        end = self._rest.find(b"\r\n\r\n", 0, _MOST_HEAD)
        if end < 0:
            if len(self._rest) >= _MOST_HEAD:
                raise BadInput(f"the header of a part is longer than {_MOST_HEAD} bytes")
            return None
        lines = bytes(self._rest[:end]).decode("latin1").split("\r\n")
        del self._rest[: end + 4]
        self._state = _State.CONTENT
        named = (line.partition(":") for line in lines)
        return Head(next((media_type(v.strip())[0] for k, _, v in named if k.strip().lower() == "content-type"), ""))

    def _content(self) -> Generator[Content | End, None, bool]:
        """Content up to a delimiter; returns whether there is more. What precedes the first one is nobody's."""
        at = self._rest.find(self._delimiter)
        if at < 0:
            yield from self._give(max(0, len(self._rest) - len(self._delimiter) + 1))
            return False
        behind = at + len(self._delimiter)
        line = self._rest.find(b"\n", behind)
        last = self._rest.startswith(b"--", behind)
        if not last and line < 0 and len(self._rest) < behind + 80:
            yield from self._give(at)
            return False  # whether this is a delimiter is not known yet
        padding = _PADDING.match(self._rest, behind)
        if not last and not padding:
            yield from self._give(behind)
            return True
        yield from self._give(at)
        if self._state is _State.CONTENT:
            yield End()
        self._state = _State.AFTER if last else _State.HEAD
        # The delimiter's line end stays: a part without a header has nothing but it before its content.
        del self._rest[: len(self._delimiter) + (0 if padding is None else padding.end() - behind - 2)]
        return True

    def _give(self, size: int) -> Iterator[Content]:
        data = bytes(self._rest[:size])
        del self._rest[:size]
        if data and self._state is _State.CONTENT:
            yield Content(data)
