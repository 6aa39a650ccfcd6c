"""A feed of AuditEvent resources to a FHIR server (IHE ITI-20, RESTful ATNA): one POST and one answer a record."""

import contextlib
import http.client
import json
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from readingroom_hub.adapters.audit_feed_tls import SECONDS, Trust
from readingroom_hub.errors import BadInput, StoreUnavailable
from readingroom_hub.ledger.fhir import audit_event
from readingroom_hub.ledger.note import printable
from readingroom_hub.ports.receivers import Receiver

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_ANSWER = 64 << 10
_SHOWN = 200
_REFUSED = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.CONFLICT,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    }
)
"""What is said of the one record. Every other refusal is of us or of the server (a token, an address, a load), and
would be of each record: those wait."""


class FhirReceiver(Receiver):
    """One server. `base`: its address, for example https://fhir.example/r4; `token`: a file with a bearer token."""

    def __init__(self, base: str, trust: Trust, token: Path | None, site: str) -> None:
        """Raises BadInput where the address, a certificate or the token cannot be used."""
        parts = urlsplit(base)
        self._base, self._trust, self._token, self._site = base, trust, token, site
        self._host, self._path = parts.hostname or "", parts.path.rstrip("/") + "/AuditEvent"
        self._is_plain = parts.scheme == "http" and self._host in _LOOPBACK
        try:
            self._port = parts.port
        except ValueError as error:
            raise BadInput(f"READINGROOM_AUDIT_FEED_FHIR={base!r}: {error}") from error
        if not self._host or parts.query or not (self._is_plain or parts.scheme == "https"):
            raise BadInput(f"READINGROOM_AUDIT_FEED_FHIR={base!r}: write https://host/path (http to loopback only)")
        trust.context()
        self._headers()

    def message(self, row: Mapping[str, Any]) -> bytes:
        """The resource as JSON."""
        try:
            return json.dumps(audit_event(row, self._site), ensure_ascii=False).encode()
        except KeyError as error:
            raise BadInput(f"the record has no AuditEvent: {error} is not known") from error

    def deliver(self, messages: Sequence[bytes]) -> Iterator[str | None]:
        """One after the other on one connection; the server's answer to each is the verdict."""
        if not messages:
            return
        headers, connection = self._headers(), self._connection()
        with contextlib.closing(connection):
            for message in messages:
                yield self._post(connection, message, headers)

    def _connection(self) -> http.client.HTTPConnection:
        if self._is_plain:
            return http.client.HTTPConnection(self._host, self._port, timeout=SECONDS)
        return http.client.HTTPSConnection(self._host, self._port, timeout=SECONDS, context=self._trust.context())

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/fhir+json", "Accept": "application/fhir+json"}
        headers["Prefer"] = "return=minimal"
        if self._token is not None:
            try:
                headers["Authorization"] = f"Bearer {self._token.read_text().strip()}"
            except (OSError, UnicodeDecodeError) as error:
                raise BadInput(f"the token {self._token} cannot be read: {error}") from error
        return headers

    def _post(self, connection: http.client.HTTPConnection, message: bytes, headers: dict[str, str]) -> str | None:
        try:
            connection.request("POST", self._path, message, headers)
            answer = connection.getresponse()
            text = answer.read(_ANSWER)
            if not answer.isclosed():
                connection.close()  # a longer answer is of no use; the next request opens another connection
        except (OSError, http.client.HTTPException) as error:
            raise StoreUnavailable(f"the FHIR server {self._base} does not answer: {error}") from error
        if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
            return None
        said = f"{answer.status} {printable(text[:_SHOWN].decode(errors='replace'))}".strip()
        if answer.status in _REFUSED:
            return said
        raise StoreUnavailable(f"the FHIR server {self._base} does not take records: {said}")
