"""The monitor of unusual access."""

import signal
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from readingroom_hub.compose import audit, holds
from readingroom_hub.config import Settings
from readingroom_hub.errors import BadInput
from readingroom_hub.ports.monitoring import AlertChannel

if TYPE_CHECKING:
    from readingroom_hub.adapters.monitor_state import FileMemory
    from readingroom_hub.services.monitoring import Monitor


def memory(settings: Settings) -> "FileMemory":
    """What the monitor knows over restarts."""
    from readingroom_hub.adapters.monitor_state import FileMemory

    return FileMemory(settings.paths.monitor)


def monitor(settings: Settings) -> "Monitor":
    """The monitor of these settings. Raises BadInput for a setting that cannot work."""
    from readingroom_hub.adapters.monitor_tail import LogTail
    from readingroom_hub.policy.alerts import RULES
    from readingroom_hub.services.monitoring import Monitor

    for rule in settings.monitor_suspend:
        if rule not in RULES:
            raise BadInput(f"READINGROOM_MONITOR_SUSPEND: {rule!r} is no rule; rules are {', '.join(RULES)}")
    record = audit(settings, "monitor")
    return Monitor(
        LogTail(settings.paths.audit),
        memory(settings),
        record,
        holds(settings, record),
        _channels(settings),
        frozenset(settings.monitor_suspend),
        f"{settings.public_url}/services/portal/alerts",
        lambda: datetime.now(UTC),
    )


def _channels(settings: Settings) -> list[AlertChannel]:
    from readingroom_hub.adapters.alert_mail import Mail
    from readingroom_hub.adapters.alert_webhook import Webhook

    s, channels = settings, list[AlertChannel]()
    if s.monitor_webhook:
        channels.append(Webhook(s.monitor_webhook, s.monitor_webhook_secret_file, s.monitor_ca_file))
    if s.monitor_smtp:
        to, login = s.monitor_mail_to, s.monitor_smtp_login_file
        channels.append(Mail(s.monitor_smtp, s.monitor_mail_from, to, login, s.monitor_ca_file))
    return channels


def serve(settings: Settings) -> None:
    """Run the monitor in this process until SIGTERM or SIGINT. Raises BadInput, Conflict where another one runs."""
    from readingroom_hub.services.monitoring import run

    made, known, stop = monitor(settings), memory(settings), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with known.alone():
        run(made, known, max(1, settings.monitor_minutes) * 60.0, stop)
