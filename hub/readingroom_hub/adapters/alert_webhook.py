"""Alerts by webhook: one POST of JSON each, signed with a shared secret, over TLS (plain to loopback only)."""

import hmac
import http.client
import json
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from readingroom_hub.errors import BadInput, StoreUnavailable
from readingroom_hub.model.alert import Alert
from readingroom_hub.ports.monitoring import AlertChannel, message

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
SECONDS = 10.0
SIGNATURE = "X-Readingroom-Signature"
"""`sha256=` and the HMAC-SHA-256 of the body, hexadecimal."""


class Webhook(AlertChannel):
    """One address."""

    name = "webhook"

    def __init__(self, address: str, secret: Path | None, ca: Path | None) -> None:
        """Raises BadInput where it cannot be used."""
        parts = urlsplit(address)
        self._address, self._secret, self._ca = address, secret, ca
        self._host, self._path = parts.hostname or "", (parts.path or "/") + ("?" + parts.query if parts.query else "")
        self._plain = parts.scheme == "http" and self._host in LOOPBACK
        try:
            self._port = parts.port
        except ValueError as error:
            raise BadInput(f"READINGROOM_MONITOR_WEBHOOK={address!r}: {error}") from error
        if not self._host or not (self._plain or parts.scheme == "https"):
            raise BadInput(f"READINGROOM_MONITOR_WEBHOOK={address!r}: write https://host/path (http to loopback only)")
        self._key()

    def _key(self) -> bytes:
        """Read anew each time, so that it may be changed. Raises BadInput."""
        if self._secret is None:
            return b""
        try:
            key = self._secret.read_bytes().strip()
        except OSError as error:
            raise BadInput(f"the webhook's secret {self._secret} cannot be read: {error.strerror}") from error
        if not key:
            raise BadInput(f"the webhook's secret {self._secret} is empty")
        return key

    def send(self, alert: Alert, link: str) -> None:
        """See the port. Any answer but 2xx is a refusal."""
        body = json.dumps(message(alert, link), ensure_ascii=False).encode()
        headers = {"Content-Type": "application/json"}
        key = self._key()
        if key:
            headers[SIGNATURE] = "sha256=" + hmac.digest(key, body, "sha256").hex()
        connection = self._connect()
        try:
            connection.request("POST", self._path, body, headers)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            raise StoreUnavailable(f"the webhook at {self._host} did not take the alert: {error}") from error
        finally:
            connection.close()
        if status // 100 != 2:
            raise StoreUnavailable(f"the webhook at {self._host} answered {status}")

    def _connect(self) -> http.client.HTTPConnection:
        if self._plain:
            return http.client.HTTPConnection(self._host, self._port, timeout=SECONDS)
        try:
            context = ssl.create_default_context(cafile=self._ca)
        except OSError as error:
            raise BadInput(f"the authorities' certificates {self._ca} cannot be used: {error}") from error
        return http.client.HTTPSConnection(self._host, self._port, timeout=SECONDS, context=context)
