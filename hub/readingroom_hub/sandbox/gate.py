"""What a server may ask the hub: a short list of requests; everything else is refused and reported.

Requests are not passed on but read completely, checked, and made anew (HTTP/1.1, RFC 9112), so two readings of one
request, which request smuggling needs, cannot exist."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

HEAD_BYTES = 16 << 10
BODY_BYTES = 64 << 10
PASSED_ON = ("accept", "authorization", "content-type", "user-agent")
"""Request headers that reach the hub. Cookies do not: a server has no business with them."""

_REQUEST_LINE = re.compile(rb"([A-Z]{1,16}) (\S{1,2048}) HTTP/1\.1")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}):[ \t]*([\x20-\x7e\t]*?)[ \t]*")
_PATH = re.compile(r"(?:/[A-Za-z0-9_-][A-Za-z0-9._-]*)+/?")
_QUERY = re.compile(r"[A-Za-z0-9._~=&%+,:-]*")


class Service(StrEnum):
    """Who answers."""

    HUB = "hub"
    PORTAL = "portal"


class Refused(Exception):
    """A request that goes nowhere. `sentence` is for its sender, `code` and `request` are for the record."""

    def __init__(self, status: int, code: str, sentence: str, request: str = "") -> None:
        super().__init__(sentence)
        self.status, self.code, self.sentence, self.request = status, code, sentence, request


@dataclass(frozen=True, slots=True)
class Request:
    """One complete request of the one form that is understood."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def line(self) -> str:
        """For the record: what was asked, without the query, which may hold codes."""
        return f"{self.method} {self.path}"[:200]


@dataclass(frozen=True, slots=True)
class Rules:
    """The list. `base` is JupyterHub's base URL, `user` the one whose server this is."""

    base: str
    user: str

    def service(self, request: Request) -> Service:
        """Who may get this request. Raises Refused."""
        hub, portal = f"{self.base}hub/api", f"{self.base}services/portal/api/v1/"
        allowed = {
            ("GET", hub),  # is the hub there, and of which version
            ("GET", f"{hub}/"),
            ("GET", f"{hub}/user"),  # whose browser is this
            ("POST", f"{hub}/oauth2/token"),  # signing a browser in to the server
            ("POST", f"{hub}/users/{self.user}/activity"),
        }
        if (request.method, request.path) in allowed:
            return Service.HUB
        if request.method == "GET" and request.path.startswith(portal):
            return Service.PORTAL
        raise Refused(
            403,
            "not-on-the-list",
            "A server may ask the hub only about its own session. For everything else use the web pages.",
            request.line,
        )


def body_size(headers: Mapping[str, str]) -> int:
    """How many bytes follow the head. Raises Refused."""
    if "transfer-encoding" in headers:
        raise Refused(400, "transfer-encoding", "Send the body with a Content-Length, not in chunks.")
    text = headers.get("content-length", "0")
    if not re.fullmatch(r"[0-9]{1,6}", text):
        raise Refused(400, "content-length", "Content-Length must be a plain number.")
    if int(text) > BODY_BYTES:
        raise Refused(413, "too-large", f"A request to the hub may have at most {BODY_BYTES} bytes.")
    return int(text)


def parse_head(head: bytes) -> tuple[str, str, str, dict[str, str]]:
    """Method, path, query and headers (names in lower case) of a request's head, without its empty line.

    Raises Refused for anything that two readers could read in two ways: bare line ends, folded lines, a header twice,
    percent-encoded or dotted paths, absolute addresses, fragments."""
    first, *lines = head.split(b"\r\n")
    match = _REQUEST_LINE.fullmatch(first)
    if not match:
        raise Refused(400, "request-line", "This is not a request that the door understands.")
    method, target = match[1].decode(), match[2].decode("latin-1")
    path, _, query = target.partition("?")
    if not _PATH.fullmatch(path) or not _QUERY.fullmatch(query):
        raise Refused(403, "path", "The door takes plain paths only.", f"{method} {ascii(path)[1:180]}")
    headers: dict[str, str] = {}
    for line in lines:
        field = _HEADER.fullmatch(line)
        if not field:
            raise Refused(400, "header", "A header of this request cannot be read.", f"{method} {path}"[:200])
        name = field[1].decode().lower()
        if name in headers:
            raise Refused(400, "header-twice", f"The header {name} came twice.", f"{method} {path}"[:200])
        headers[name] = field[2].decode()
    return method, path, query, headers
