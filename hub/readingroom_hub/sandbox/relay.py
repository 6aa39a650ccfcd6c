"""The door's inner side: reads requests from the sandbox's one socket and asks the hub or the portal in its place."""

import encodings.idna  # noqa: F401  # used by connect(); too late to read once the door is unprivileged
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from readingroom_hub.sandbox.gate import (
    BODY_BYTES,
    HEAD_BYTES,
    PASSED_ON,
    Refused,
    Request,
    Rules,
    Service,
    body_size,
    parse_head,
)

CONNECTIONS = 32
TIMEOUT_SECONDS = 30
ANSWER_BYTES = 16 << 20
REPORTS_A_MINUTE = 30
RETURNED = ("content-type", "etag", "x-jupyterhub-version")


@dataclass(frozen=True, slots=True)
class Upstream:
    """One service on a loopback port, and headers that tell it which door asks."""

    host: str
    port: int
    headers: Mapping[str, str]


class Reporter:
    """Hands refusals on, at most so many a minute; what is left out is counted in the next one."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._lock = threading.Lock()
        self._minute, self._sent, self._left_out = 0, 0, 0

    def report(self, refused: Refused) -> None:
        """One JSON line. Never raises: a refusal stands whether or not it could be told."""
        with self._lock:
            minute = int(time.monotonic() // 60)
            if minute != self._minute:
                self._minute, self._sent = minute, 0
            if self._sent >= REPORTS_A_MINUTE:
                self._left_out += 1
                return
            self._sent += 1
            row = {"at": time.time(), "code": refused.code, "request": refused.request, "left_out": self._left_out}
            self._left_out = 0
            with suppress(OSError):
                self._write(json.dumps(row) + "\n")


class Relay:
    """Serves the socket that the sandbox sees as `hub.sock`."""

    def __init__(self, rules: Rules, services: Mapping[Service, Upstream], reporter: Reporter) -> None:
        self._rules = rules
        self._services = services
        self._reporter = reporter

    def serve(self, listener: socket.socket) -> None:
        """Accept for ever. One request a connection; slow clients lose only their own door's slots."""
        slots = threading.BoundedSemaphore(CONNECTIONS)
        while True:
            slots.acquire()
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(client, slots), daemon=True).start()

    def _answer(self, client: socket.socket, slots: threading.BoundedSemaphore) -> None:
        try:
            with client:
                client.settimeout(TIMEOUT_SECONDS)
                client.sendall(self._exchange(client))
                _hang_up(client)
        except OSError:
            pass  # the client went away
        finally:
            slots.release()

    def _exchange(self, client: socket.socket) -> bytes:
        try:
            request = _read(client)
            return self._forward(self._rules.service(request), request)
        except Refused as refused:
            self._reporter.report(refused)
            return _response(refused.status, {"content-type": "text/plain"}, refused.sentence.encode() + b"\n")
        except (OSError, http.client.HTTPException):
            sentence = b"The hub does not answer: it may be restarting. Try again in a minute.\n"
            return _response(502, {"content-type": "text/plain"}, sentence)

    def _forward(self, service: Service, request: Request) -> bytes:
        upstream = self._services.get(service)
        if upstream is None:
            raise Refused(403, "no-service", f"There is no {service} here.", request.line)
        headers = {name: value for name in PASSED_ON if (value := request.headers.get(name))}
        connection = http.client.HTTPConnection(upstream.host, upstream.port, timeout=TIMEOUT_SECONDS)
        try:
            target = f"{request.path}?{request.query}" if request.query else request.path
            connection.request(request.method, target, request.body or None, headers | dict(upstream.headers))
            answer = connection.getresponse()
            body = answer.read(ANSWER_BYTES + 1)
            if len(body) > ANSWER_BYTES:
                raise http.client.HTTPException(f"the answer to {request.line} is larger than {ANSWER_BYTES} bytes")
            kept = {name: value for name in RETURNED if (value := answer.getheader(name))}
            return _response(answer.status, kept, body)
        finally:
            connection.close()


def _read(client: socket.socket) -> Request:
    data = b""
    while b"\r\n\r\n" not in data:
        if len(data) > HEAD_BYTES:
            raise Refused(431, "head-too-large", f"The head of a request may have at most {HEAD_BYTES} bytes.")
        piece = client.recv(HEAD_BYTES)
        if not piece:
            raise ConnectionResetError
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    method, path, query, headers = parse_head(head)
    size = body_size(headers)
    while len(body) < size:
        piece = client.recv(size - len(body))
        if not piece:
            raise ConnectionResetError
        body += piece
    if len(body) > size:
        raise Refused(400, "pipelining", "Send one request on each connection.", f"{method} {path}"[:200])
    return Request(method, path, query, headers, body)


def _hang_up(client: socket.socket) -> None:
    """Let the client read the answer: closing on what it still sends would take the answer from it."""
    client.shutdown(socket.SHUT_WR)
    client.settimeout(1)
    for _ in range(BODY_BYTES >> 10):
        if not client.recv(1 << 14):
            break


def _response(status: int, headers: Mapping[str, str], body: bytes) -> bytes:
    reason = http.client.responses.get(status, "Unknown")
    lines = [f"HTTP/1.1 {status} {reason}", *(f"{n}: {v}" for n, v in headers.items())]
    lines += [f"content-length: {len(body)}", "connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1", "replace") + body
