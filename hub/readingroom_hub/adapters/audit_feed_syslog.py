"""A feed to a syslog receiver over TLS (RFC 5425), for example an IHE ATNA audit record repository.

Syslog has no acknowledgement. The next best: one connection a batch, closed as section 4.4 says, and a batch counts
only when the receiver's side has taken every byte and then closed in order. A receiver that dies with bytes unread
resets the connection instead (RFC 9293 section 3.6.1), and the batch is sent again."""

import array
import fcntl
import socket
import ssl
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from readingroom_hub.adapters.audit_feed_tls import SECONDS, Trust
from readingroom_hub.errors import BadInput, StoreUnavailable
from readingroom_hub.ledger.atna import framed, syslog_message
from readingroom_hub.ports.receivers import Receiver

DEFAULT_PORT = 6514
_CLOSE_WAIT = 8
"""`tcpi_state` (linux/tcp.h): the other side has closed, and nothing was reset."""
_CHUNK = 1 << 16


def address(text: str) -> tuple[str, int]:
    """Host and port of `host`, `host:port` or `[address]:port`. Raises BadInput."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        host, port = text, str(DEFAULT_PORT)
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise BadInput(f"READINGROOM_AUDIT_FEED_SYSLOG={text!r}: write host:port, for example arr.example:6514")
    return host, int(port)


class SyslogReceiver(Receiver):
    """One receiver. `site`: this installation's name in the messages."""

    def __init__(self, host: str, port: int, trust: Trust, site: str) -> None:
        """Raises BadInput where the certificates cannot be used."""
        self._address, self._trust, self._site = (host, port), trust, site
        trust.context()

    def message(self, row: Mapping[str, Any]) -> bytes:
        """Framed, RFC 5425 section 4.3."""
        try:
            return framed(syslog_message(row, self._site))
        except KeyError as error:
            raise BadInput(f"the record has no audit message: {error} is not known") from error

    def deliver(self, messages: Sequence[bytes]) -> Iterator[str | None]:
        """All of them on one connection; nothing is yielded before it has ended in order. Nothing is ever refused."""
        if messages:
            self._send(b"".join(messages))
        yield from (None for _ in messages)

    def _send(self, data: bytes) -> None:
        host, port = self._address
        context = self._trust.context()
        try:
            with (
                socket.create_connection(self._address, SECONDS) as plain,
                context.wrap_socket(plain, server_hostname=host) as connection,
            ):
                for start in range(0, len(data), _CHUNK):
                    connection.sendall(data[start : start + _CHUNK])
                _end(connection)
        except OSError as error:  # SSLError is one too
            raise StoreUnavailable(f"the syslog receiver {host}:{port} does not take records: {error}") from error


def _end(connection: ssl.SSLSocket) -> None:
    """Say that this was all, and wait until the other side has read it and says so too. Raises OSError."""
    try:
        ended = connection.unwrap()
    except ssl.SSLEOFError:  # it closed without a close_notify of its own, as rsyslog does
        _wait_until_taken(connection)
    else:
        with ended:
            if ended.recv(1):
                raise ConnectionError("it goes on talking after the end")
            _wait_until_taken(ended)


def _wait_until_taken(plain: socket.socket) -> None:
    """The other side has closed. If it did so before it had all, our last bytes are answered by a reset."""
    deadline = time.monotonic() + SECONDS
    unacknowledged = array.array("i", [0])
    while plain.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _CLOSE_WAIT:
        fcntl.ioctl(plain.fileno(), termios.TIOCOUTQ, unacknowledged)
        if not unacknowledged[0]:
            return
        if time.monotonic() > deadline:
            raise TimeoutError("it does not acknowledge what was sent")
        time.sleep(0.005)
    raise ConnectionResetError("it closed the connection with records unread")
