"""A node's connection to the repository: where that is, TLS on both sides, one frame of records at a time."""

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from readingroom_hub.adapters.audit_head import Head
from readingroom_hub.adapters.audit_nodes import check_name, client_context, names_of
from readingroom_hub.adapters.audit_wire import Frames, error_of, frame, message
from readingroom_hub.errors import BadInput
from readingroom_hub.ports.reception import TlsFiles


@dataclass(frozen=True, slots=True)
class Repository:
    """Where it listens, and this node's certificate for it."""

    host: str
    port: int
    tls: TlsFiles
    seconds: float = 10.0
    """For each step of a connection."""
    longest_pause: float = 2.0
    """Between two attempts (seconds)."""


class Wire:
    """One connection: one request at a time, or words that need no answer, from any thread.

    A word must not wait for a peer that takes nothing. `ssl` lets one thread at a time use a connection, so that this
    is done in memory, under a lock that nobody holds while they wait."""

    def __init__(self, to: Repository) -> None:
        """Raises OSError, BadInput. The files are read anew each time: certificates are renewed."""
        self._seconds = to.seconds
        self.broken = ""
        """Why words do not get through."""
        self._lock = threading.Lock()
        self._in, self._out, self._unsent = ssl.MemoryBIO(), ssl.MemoryBIO(), bytearray()
        self._frames, self._n = Frames(), 0
        self._socket = socket.create_connection((to.host, to.port), to.seconds)
        try:
            for option, value in ((socket.TCP_NODELAY, 1), (socket.TCP_USER_TIMEOUT, int(to.seconds * 1000))):
                self._socket.setsockopt(socket.IPPROTO_TCP, option, value)  # a word goes out at once, or is missed soon
            self._socket.setblocking(False)
            self._tls = client_context(to.tls).wrap_bio(self._in, self._out, server_hostname=to.host)
            self._shake_hands()
        except BaseException:
            self.close()
            raise

    def _shake_hands(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._push()
                self._take()
            except ssl.SSLError:
                with contextlib.suppress(OSError):  # the other side hears why
                    self._push()
                raise
            else:
                return self._push()

    def say(self, head: Head) -> None:
        """Tell it without waiting. When this returns, the kernel has it, unless the network takes nothing more.

        What goes wrong is in `broken`."""
        with self._lock:
            try:
                self._seal(message(0, op="head", **head.to_wire()))
                self._flush()
            except OSError as error:
                self.broken = self.broken or str(error)

    def ask(self, head: Head) -> None:
        """Tell it, and return when the repository has heard it. Raises OSError, or what it answers."""
        self._n += 1
        self._request(message(self._n, op="head", **head.to_wire()))

    def hand_over(self, leaves: Sequence[bytes], sent_ms: int) -> None:
        """Return when the repository has stored them. Raises OSError, or what it answers."""
        self._n += 1
        head = b'{"v":1,"n":%d,"op":"append","receipts":false,"sent":%d,"records":[' % (self._n, sent_ms)
        self._request(frame(head + b",".join(leaves) + b"]}"))

    def _request(self, data: bytes) -> None:
        try:
            with self._lock:
                self._seal(data)
            self._push()
        except OSError:
            with contextlib.suppress(OSError):  # it may have said why before it hung up
                self._wait()
            raise
        self._wait()

    def _wait(self) -> None:
        while True:
            for reply in self._frames.feed(self._read()):
                error = error_of(reply)
                if error:
                    raise error
                if reply["n"] == self._n:
                    return

    def _read(self) -> bytes:
        while True:
            with self._lock, contextlib.suppress(ssl.SSLWantReadError):
                data = self._tls.read(1 << 16)
                if not data:
                    raise ConnectionError("the repository hung up")
                return data
            self._push()
            self._take()

    def _take(self) -> None:
        """What the network brings next."""
        self._ready(select.POLLIN)
        data = self._socket.recv(1 << 16)
        if not data:
            raise ConnectionError("the repository hung up")
        with self._lock:
            self._in.write(data)

    def _push(self) -> None:
        """Send all that waits to be sent."""
        while True:
            with self._lock:
                if self._flush():
                    return
            self._ready(select.POLLOUT)

    def _seal(self, data: bytes) -> None:
        """With the lock held."""
        left = memoryview(data)
        while left:
            left = left[self._tls.write(left) :]  # it takes a record of 16 KiB at a time

    def _flush(self) -> bool:
        """Send what the network takes now; whether that was all. With the lock held."""
        self._unsent += self._out.read()
        with contextlib.suppress(BlockingIOError):
            while self._unsent:
                del self._unsent[: self._socket.send(self._unsent)]
        return not self._unsent

    def _ready(self, event: int) -> None:
        poll = select.poll()
        poll.register(self._socket, event)
        if not poll.poll(self._seconds * 1000):
            raise TimeoutError(f"no answer within {self._seconds:g} s")

    def close(self) -> None:
        """Hang up."""
        with self._lock:  # its number must not become another file's while somebody writes to it
            self._socket.close()


def check_certificate(cert: Path, node: str) -> None:
    """Raises BadInput where this is not the certificate of a node of this name."""
    try:
        names = names_of(x509.load_pem_x509_certificate(cert.read_bytes()))
    except (OSError, ValueError) as error:
        raise BadInput(f"the certificate {cert} cannot be read: {error}") from error
    if check_name(node) not in names:
        raise BadInput(f"the certificate {cert} is for {', '.join(names) or 'no name'}, and this node is {node}")
