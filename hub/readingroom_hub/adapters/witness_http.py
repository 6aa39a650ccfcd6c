"""A witness's HTTP door (C2SP tlog-witness) and a log's way through it. Plain HTTP: put TLS in front."""

import http.client
import sys
from base64 import b64encode
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from readingroom_hub.adapters.witness import MAX_REQUEST, Refused, Witness
from readingroom_hub.errors import StoreUnavailable

_SECONDS = 5.0
_MAX_ANSWER = 64 << 10


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    timeout = _SECONDS
    server: "WitnessServer"

    def do_POST(self) -> None:
        """`add-checkpoint` and nothing else."""
        length = self.headers.get("Content-Length", "")
        if self.path != "/add-checkpoint" or not length.isascii() or not length.isdigit():
            self.close_connection = True
            self._answer(404, "POST a checkpoint to /add-checkpoint\n", "text/plain")
        elif int(length) > MAX_REQUEST:
            self.close_connection = True
            self._answer(413, f"a request has at most {MAX_REQUEST} bytes\n", "text/plain")
        else:
            try:
                self._answer(200, self.server.witness.add_checkpoint(self.rfile.read(int(length))), "text/plain")
            except Refused as refused:
                self._answer(refused.status, refused.text, refused.content_type)

    def _answer(self, status: int, text: str, content_type: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """One line a request."""
        sys.stderr.write(f"witness: {format % args}\n")


class WitnessServer(ThreadingHTTPServer):
    """Serves one witness on a loopback port."""

    daemon_threads = True

    def __init__(self, port: int, witness: Witness) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.witness = witness


class Conflict409(Exception):  # an answer of the protocol
    """The witness last cosigned another size."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the witness last cosigned size {size}")
        self.size = size


def ask(url: str, old: int, proof: Sequence[bytes], note: str) -> str:
    """The signature lines of the witness at the submission prefix `url`, not yet verified.

    Raises Conflict409, StoreUnavailable where it cannot be reached or refuses."""
    lines = [f"old {old}", *(b64encode(h).decode() for h in proof)]
    body = ("\n".join(lines) + "\n\n" + note).encode()
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=_SECONDS)
    try:
        connection.request("POST", parts.path.rstrip("/") + "/add-checkpoint", body)
        answer = connection.getresponse()
        text = answer.read(_MAX_ANSWER).decode()
    except (OSError, http.client.HTTPException, UnicodeDecodeError) as error:
        raise StoreUnavailable(f"the witness at {url} does not answer: {error}") from error
    finally:
        connection.close()
    size = text.strip()
    if answer.status == http.client.CONFLICT and size.isascii() and size.isdigit() and len(size) < 20:
        raise Conflict409(int(size))
    if answer.status != http.client.OK:
        raise StoreUnavailable(f"the witness at {url} refuses with {answer.status}: {text[:200]}")
    return text
