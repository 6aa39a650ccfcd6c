"""What both feeds ask of a connection: whom to trust, who we are, how long to wait."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from readingroom_hub.errors import BadInput

SECONDS = 10.0
"""For each step of a connection; a receiver that hangs longer is down."""


@dataclass(frozen=True, slots=True)
class Trust:
    """PEM files: authorities (None: the machine's own), and our certificate with its key, where the receiver asks."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """TLS 1.2 or newer, the receiver's certificate and name checked. Read anew each time, so files may be renewed.

        Raises BadInput naming a file that cannot be used."""
        if (self.cert is None) != (self.key is None):
            raise BadInput("set both READINGROOM_AUDIT_FEED_CERT_FILE and READINGROOM_AUDIT_FEED_KEY_FILE, or neither")
        try:
            context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=self.ca)
        except OSError as error:  # SSLError is one too
            raise BadInput(f"the authorities' certificates {self.ca} cannot be used: {error}") from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.cert is not None:
            try:
                context.load_cert_chain(self.cert, self.key)
            except OSError as error:
                raise BadInput(f"the certificate {self.cert} with {self.key} cannot be used: {error}") from error
        return context
