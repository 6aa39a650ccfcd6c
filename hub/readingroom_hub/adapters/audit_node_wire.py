"""A node's connection to the repository: where that is, TLS on both sides, one frame of records at a time."""

import contextlib
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from readingroom_hub.adapters.audit_nodes import check_name, client_context, names_of
from readingroom_hub.adapters.audit_wire import Frames, error_of, frame
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
    """One connection: one request at a time."""

    def __init__(self, to: Repository) -> None:
        """Raises OSError, BadInput. The files are read anew each time: certificates are renewed."""
        plain = socket.create_connection((to.host, to.port), to.seconds)
        try:
            self._socket = client_context(to.tls).wrap_socket(plain, server_hostname=to.host)
        except BaseException:
            plain.close()
            raise
        self._frames, self._n = Frames(), 0

    def hand_over(self, leaves: Sequence[bytes], sent_ms: int) -> None:
        """Return when the repository has stored them. Raises OSError, or what it answers."""
        self._n += 1
        head = b'{"v":1,"n":%d,"op":"append","receipts":false,"sent":%d,"records":[' % (self._n, sent_ms)
        try:
            self._socket.sendall(frame(head + b",".join(leaves) + b"]}"))
        except OSError:
            with contextlib.suppress(OSError):  # it may have said why before it hung up
                self._wait()
            raise
        self._wait()

    def _wait(self) -> None:
        while True:
            data = self._socket.recv(1 << 16)
            if not data:
                raise ConnectionError("the repository hung up")
            for reply in self._frames.feed(data):
                error = error_of(reply)
                if error:
                    raise error
                if reply["n"] == self._n:
                    return

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def check_certificate(cert: Path, node: str) -> None:
    """Raises BadInput where this is not the certificate of a node of this name."""
    try:
        names = names_of(x509.load_pem_x509_certificate(cert.read_bytes()))
    except (OSError, ValueError) as error:
        raise BadInput(f"the certificate {cert} cannot be read: {error}") from error
    if check_name(node) not in names:
        raise BadInput(f"the certificate {cert} is for {', '.join(names) or 'no name'}, and this node is {node}")
