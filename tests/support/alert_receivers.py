"""A webhook and a mail relay on loopback, which keep what they get. `refuse` has them refuse it.

With `tls`, certificate and key files, they take nothing in the clear."""

import base64
import contextlib
import socketserver
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path


@dataclass
class Received:
    """`items`: (headers, body) of posts, or (envelope lines, message) of mails."""

    port: int = 0
    refuse: bool = False
    items: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    """USER:PASSWORD, whether they were right or not."""


def _context(tls: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*tls)
    return context


@contextlib.contextmanager
def webhook(tls: tuple[Path, Path] | None = None) -> Iterator[Received]:
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

    server = HTTPServer(("127.0.0.1", 0), Handler)
    if tls:
        server.socket = _context(tls).wrap_socket(server.socket, server_side=True)
    with _serving(server, got):
        yield got


@contextlib.contextmanager
def mail_relay(tls: tuple[Path, Path] | None = None, login: str = "") -> Iterator[Received]:
    """As much of RFC 5321, RFC 3207 and RFC 4954 (PLAIN) as a client that sends one message needs."""
    got = Received()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            envelope: dict[str, str] = {}
            private, known = not tls, not login
            self._say("220 relay.test ESMTP")
            while line := self.rfile.readline().decode().strip():
                verb = line.split()[0].upper()
                match verb:
                    case "EHLO" | "HELO":
                        offers = ["STARTTLS"] * (not private) + ["AUTH PLAIN"] * (private and bool(login))
                        self._say("\r\n".join(["250-relay.test", *(f"250-{o}" for o in offers), "250 8BITMIME"]))
                    case "STARTTLS" if tls and not private:
                        self._say("220 go ahead")
                        try:
                            self.request = _context(tls).wrap_socket(self.request, server_side=True)
                        except OSError:  # the client does not trust us
                            return None
                        self.rfile, self.wfile = self.request.makefile("rb"), self.request.makefile("wb", 0)
                        private = True
                    case "AUTH":
                        got.logins.append(":".join(base64.b64decode(line.split()[2]).decode().split("\0")[1:]))
                        known = got.logins[-1] == login
                        self._say("235 welcome" if known else "535 who are you")
                    case "MAIL" if not (private and known):
                        self._say("530 not like this")
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

        def finish(self) -> None:
            super().finish()
            self.request.close()  # of TLS: the server knows the plain one only

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
