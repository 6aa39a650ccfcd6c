"""Alerts by mail: one plain text message each, with STARTTLS (RFC 3207) to everything but loopback."""

import smtplib
import ssl
from collections.abc import Sequence
from email.message import EmailMessage
from email.utils import format_datetime, localtime
from pathlib import Path

from readingroom_hub.adapters.alert_webhook import LOOPBACK, SECONDS
from readingroom_hub.errors import BadInput, StoreUnavailable
from readingroom_hub.model.alert import Alert
from readingroom_hub.ports.monitoring import AlertChannel


class Mail(AlertChannel):
    """One relay. `login`: a file with USER:PASSWORD."""

    name = "mail"

    def __init__(self, relay: str, sender: str, to: Sequence[str], login: Path | None, ca: Path | None) -> None:
        """Raises BadInput where it cannot be used."""
        self._host, _, port = relay.rpartition(":")
        if not self._host or not port.isdigit():
            raise BadInput(f"READINGROOM_MONITOR_SMTP={relay!r}: write host:port, for example mail.example:587")
        if not sender or not to:
            raise BadInput(
                "READINGROOM_MONITOR_SMTP needs READINGROOM_MONITOR_MAIL_FROM and READINGROOM_MONITOR_MAIL_TO"
            )
        self._port, self._sender, self._to, self._login, self._ca = int(port), sender, tuple(to), login, ca

    def send(self, alert: Alert, link: str) -> None:
        """See the port."""
        try:
            with smtplib.SMTP(self._host, self._port, timeout=SECONDS) as relay:
                if self._host not in LOOPBACK:
                    relay.starttls(context=ssl.create_default_context(cafile=self._ca))
                if self._login is not None:
                    user, _, password = self._login.read_text().strip().partition(":")
                    relay.login(user, password)
                relay.send_message(self.text(alert, link))
        except (OSError, smtplib.SMTPException) as error:
            raise StoreUnavailable(f"the mail relay {self._host} did not take the alert: {error}") from error

    def text(self, alert: Alert, link: str) -> EmailMessage:
        """The message. Nobody is named in it."""
        made = EmailMessage()
        made["Subject"] = f"Reading Room: unusual access on {alert.day.isoformat()} ({', '.join(alert.rules)})"
        made["From"], made["To"] = self._sender, ", ".join(self._to)
        made["Date"] = format_datetime(localtime())
        made["Message-ID"] = f"<{alert.id}@readingroom>"
        lines = [
            f"Somebody in {', '.join(alert.projects) or 'no project'}:",
            *(f"- {s.words} (z = {s.z:.1f})" for s in alert.signs),
            alert.opinion,
            "",
            "This is no proof of misuse. Who it is, and what to do:",
            link,
        ]
        made.set_content("\n".join(lines) + "\n")
        return made
