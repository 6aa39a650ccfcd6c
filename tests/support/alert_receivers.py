"""A webhook and a mail relay on loopback, which keep what they get. `refuse` has them refuse it."""

import contextlib
import socketserver
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer


@dataclass
class Received:
    """`items`: (headers, body) of posts, or (envelope lines, message) of mails."""

    port: int = 0
    refuse: bool = False
    items: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@contextlib.contextmanager
def webhook() -> Iterator[Received]:
    got = Received()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # the base class's name
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if not got.refuse:
                got.items.append((dict(self.headers) | {"path": self.path}, body))
            self.send_response(503 if got.refuse else 204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with _serving(HTTPServer(("127.0.0.1", 0), Handler), got):
        yield got


@contextlib.contextmanager
def mail_relay() -> Iterator[Received]:
    """As much of RFC 5321 as a client that sends one message needs."""
    got = Received()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            envelope: dict[str, str] = {}
            self._say("220 relay.test ESMTP")
            while line := self.rfile.readline().decode().strip():
                verb = line.split()[0].upper()
                match verb:
                    case "EHLO" | "HELO":
                        self._say("250 relay.test")
                    case "MAIL" if got.refuse:
                        self._say("451 try again later")
                    case "MAIL" | "RCPT":
                        envelope[verb] = envelope.get(verb, "") + line
                        self._say("250 OK")
                    case "DATA":
                        self._say("354 go on")
                        got.items.append((envelope, self._message()))
                        self._say("250 queued")
                    case "QUIT":
                        return self._say("221 bye")
                    case _:
                        self._say("250 OK")
            return None

        def _message(self) -> bytes:
            lines = []
            while (line := self.rfile.readline()) not in {b".\r\n", b""}:
                lines.append(line)
            return b"".join(lines)

        def _say(self, text: str) -> None:
            self.wfile.write(text.encode() + b"\r\n")

    with _serving(socketserver.TCPServer(("127.0.0.1", 0), Handler), got):
        yield got


@contextlib.contextmanager
def _serving(server: socketserver.TCPServer, got: Received) -> Iterator[None]:
    got.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
