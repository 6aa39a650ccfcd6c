"""Nodes: other machines whose mount daemons hand records over through mutual TLS. Who they are, and what that adds.

A node is known by one certificate, which the operator lists by its fingerprint; the authority that signed it is checked
too, but is no proof of a name: it may sign for more machines than these."""

import asyncio
import os
import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography import x509

from readingroom_hub.errors import BadInput, Denied
from readingroom_hub.ledger.record import source_of
from readingroom_hub.ports.reception import TlsFiles

_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}")
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_FAR_MS = 2**52
_EPOCH = datetime.fromtimestamp(0, UTC)


class UnknownNode(Denied):
    """A certificate of the right authority that the operator has not listed. `fingerprint`: SHA-256, hexadecimal."""

    def __init__(self, fingerprint: str, text: str) -> None:
        super().__init__(text)
        self.fingerprint = fingerprint


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """TLS 1.3 only, for who listens; only clients with a certificate of the authority get through. Raises BadInput."""
    context = _filled(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), files)
    context.num_tickets = 0  # each connection shows its certificate anew
    return context


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """TLS 1.3 only, for a node: the repository's name is checked, against this authority alone. Raises BadInput."""
    return _filled(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), files)


def _filled(context: ssl.SSLContext, files: TlsFiles) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    named = ", ".join(str(p) for p in (files.cert, files.key, files.ca))
    try:
        context.load_cert_chain(files.cert, files.key)
        context.load_verify_locations(files.ca)
    except (OSError, TypeError) as error:  # SSLError is an OSError
        raise BadInput(f"{named} cannot be used for mutual TLS: {error}") from error
    return context


def names_of(certificate: x509.Certificate) -> list[str]:
    """Its DNS names (subjectAltName)."""
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
            x509.DNSName
        )
    except (x509.ExtensionNotFound, ValueError):
        return []


def check_name(name: str) -> str:
    """Raises BadInput for what is no name of a node."""
    if not _NAME.fullmatch(name):
        raise BadInput(f"{name!r} is no name of a node: lower case letters, digits, dots and hyphens, at most 63")
    return name


class Nodes:
    """The operator's list, a file of lines `NAME FINGERPRINT`. It is read again when it changes, and while it cannot be
    read nobody is let in."""

    def __init__(self, path: Path) -> None:
        """Raises BadInput where the list cannot be used."""
        self._path = path
        self._pins: dict[str, str] = {}
        self._text: bytes | None = None
        self.trouble: str | None = None
        """Why the list cannot be read now: it counts as empty."""
        self.reload()
        if self.trouble:
            raise BadInput(self.trouble)

    def reload(self) -> bool:
        """Read the list again, and say whether it has changed, or can no longer be read."""
        before = self._text, self.trouble
        try:
            self._text = self._path.read_bytes()
            if before == (self._text, None):
                return False
            self._pins, self.trouble = _parse(self._text.decode()), None
        except (OSError, ValueError, BadInput) as error:
            self._pins = {}
            self.trouble = f"the list of nodes {self._path} cannot be used, so no node is let in: {error}"
        return before != (self._text, self.trouble)

    @property
    def names(self) -> list[str]:
        """Who is let in."""
        return sorted(set(self._pins.values()))

    def knows(self, name: str, fingerprint: str) -> bool:
        """Whether this certificate is still this node's."""
        return self._pins.get(fingerprint) == name

    def admit(self, der: bytes) -> tuple[str, str]:
        """Name and fingerprint of the node with this certificate, which the TLS layer checked. Raises UnknownNode."""
        fingerprint = sha256(der).hexdigest()
        try:
            names = names_of(x509.load_der_x509_certificate(der))
        except ValueError as error:
            raise UnknownNode(fingerprint, f"the certificate {fingerprint} cannot be read: {error}") from error
        name = self._pins.get(fingerprint)
        if name is None:
            called = ", ".join(names) or "no name"
            text = f"the certificate {fingerprint} ({called:.200}) is not in the repository's list of nodes"
            raise UnknownNode(fingerprint, f"{text}: ask its operator to add it")
        if name not in names:
            text = f"the certificate {fingerprint} is listed for {name}, and its names are {', '.join(names)!r:.200}"
            raise UnknownNode(fingerprint, f"{text}: ask the repository's operator to list the right one")
        return name, fingerprint


def _parse(text: str) -> dict[str, str]:
    pins: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 2:
            raise BadInput(f"line {number} is not NAME FINGERPRINT")
        fingerprint = words[1].lower().removeprefix("sha256:").replace(":", "")
        if not _FINGERPRINT.fullmatch(fingerprint):
            raise BadInput(f"line {number} has no SHA-256 fingerprint: `openssl x509 -noout -fingerprint -sha256`")
        if pins.setdefault(fingerprint, check_name(words[0])) != words[0]:
            raise BadInput(f"line {number} gives the certificate of {pins[fingerprint]} to {words[0]}")
    return pins


class NodeDoor:
    """Where nodes come in, and who they are."""

    def __init__(self, host: str, port: int, nodes: Nodes, files: TlsFiles) -> None:
        """Raises BadInput where the certificates cannot be used."""
        self.host, self.port, self.nodes = host, port, nodes
        self.tls = server_context(files)
        self._files, self._seen = files, _stamps(files)

    def renew(self) -> None:
        """Show an exchanged certificate to connections from now on. Raises BadInput, once, for one that is no good."""
        seen = _stamps(self._files)
        if seen != self._seen:
            self._seen = seen
            server_context(self._files)  # half exchanged files would spoil the context in use
            self.tls.load_cert_chain(self._files.cert, self._files.key)


def _stamps(files: TlsFiles) -> list[tuple[int, int] | None]:
    return [(s.st_mtime_ns, s.st_ino) if (s := _stat(p)) else None for p in (files.cert, files.key)]


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a connection; a `node` of "" is a process of this machine."""

    node: str = ""
    fingerprint: str = ""

    def check(self, rows: object, sent_ms: object) -> list[dict[str, Any]]:
        """The records as they are stored: a node's carry its name, and how late they came.

        Raises BadInput, Denied where they are not this peer's own."""
        found: list[dict[str, Any]] = rows if isinstance(rows, list) else []
        if not self.node:
            if any(map(_is_foreign, found)):
                raise BadInput("a record of this machine says that it comes from a node")
            return found
        for row in found:
            if not isinstance(row, dict):
                raise BadInput(f"{row!r:.80} is no audit record")
            process = source_of(row).process
            if process.rpartition("@")[2] != self.node:
                raise Denied(f"a record says that it comes from {process!r:.80}, and not from {self.node}")
        return [{**row, "node": self._arrival(row, sent_ms)} for row in found]

    def _arrival(self, row: Mapping[str, Any], sent_ms: object) -> dict[str, str | int]:
        """`received`, by the repository's clock; `waited_ms` in the node's spool, by the node's; `skew_ms` by which the
        node's clock is behind, with the way of the message in it."""
        now = time.time_ns() // 1_000_000
        received = _EPOCH + timedelta(milliseconds=now)
        arrival: dict[str, str | int] = {
            "name": self.node,
            "received": received.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        }
        try:
            recorded = (datetime.fromisoformat(str(row.get("time"))) - _EPOCH) // timedelta(milliseconds=1)
        except (TypeError, ValueError):
            return arrival  # the check of the record says what is wrong
        if type(sent_ms) is int and abs(sent_ms) < _FAR_MS:
            arrival |= {"waited_ms": sent_ms - recorded, "skew_ms": now - sent_ms}
        return arrival


def _is_foreign(row: Any) -> bool:  # what a client sent
    try:
        return "node" in row or "@" in row["source"]["process"]
    except (KeyError, TypeError):  # no record at all: who checks records says so
        return False


def admitted(nodes: Nodes, transport: asyncio.Transport) -> Peer:
    """The node at the other end of a TLS connection. Raises UnknownNode."""
    tls: ssl.SSLObject = transport.get_extra_info("ssl_object")
    return Peer(*nodes.admit(tls.getpeercert(binary_form=True) or b""))
