"""All feeds of one deployment: their process, a thread each, and what others may ask of them.

The process ends on SIGTERM without waiting for a receiver: what is not settled is sent again at the next start."""

import contextlib
import os
import signal
import sys
import threading

from readingroom_hub.adapters.audit_feed import Feed, FeedStatus, run, status
from readingroom_hub.adapters.audit_feed_state import FeedState, Refused, ask_again, is_running, look
from readingroom_hub.config import Settings
from readingroom_hub.errors import BadInput
from readingroom_hub.ports.receivers import Receiver

_STOP_SECONDS = 1.0


class Feeds:
    """The feeds that these settings name: `syslog`, `fhir`, both or none."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._log, self._folder = settings, settings.paths.audit, settings.paths.feeds

    @property
    def names(self) -> tuple[str, ...]:
        """What is set."""
        addresses = {"syslog": self._settings.audit_feed_syslog, "fhir": self._settings.audit_feed_fhir}
        return tuple(name for name, address in addresses.items() if address)

    def are_running(self) -> bool:
        """Whether a process runs every one of them."""
        return all(is_running(self._folder, name) for name in self.names)

    def status(self) -> list[FeedStatus]:
        """How far each has come. Raises StoreUnavailable."""
        return [status(self._log, self._folder, name) for name in self.names]

    def refused(self, name: str) -> list[Refused]:
        """What this feed's receiver refused for ever. Raises StoreUnavailable."""
        known = look(self._folder, name)
        return known[1] if known else []

    def again(self, name: str) -> int:
        """Have what was refused sent once more; returns how many. Raises BadInput, StoreUnavailable."""
        return ask_again(self._folder, name)

    def serve(self) -> None:
        """Run them in this process until SIGTERM or SIGINT.

        Raises BadInput for a setting that cannot work, Conflict where another process runs one, SystemUnfit."""
        if not self.names:
            raise BadInput("no feed is set: set READINGROOM_AUDIT_FEED_SYSLOG or READINGROOM_AUDIT_FEED_FHIR")
        receivers = {name: self._receiver(name) for name in self.names}
        os.umask(0o077)
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        with contextlib.ExitStack() as stack:
            states = {n: stack.enter_context(contextlib.closing(FeedState(self._folder, n))) for n in receivers}
            if self._settings.audit_feed_metrics_port:
                from readingroom_hub.adapters.audit_feed_metrics import FeedMetrics
                from readingroom_hub.metrics import served

                stack.enter_context(served(FeedMetrics(self.status), self._settings.audit_feed_metrics_port))
            self._run(receivers, states, stop)

    def _run(self, receivers: dict[str, Receiver], states: dict[str, FeedState], stop: threading.Event) -> None:
        threads = []
        for name, receiver in receivers.items():
            feed = Feed(self._log, states[name], receiver)
            threads.append(threading.Thread(target=run, args=(name, feed, states[name], stop), daemon=True))
        for thread in threads:
            thread.start()
        sys.stderr.write(f"audit feeds run: {', '.join(receivers)}\n")
        sys.stderr.flush()
        stop.wait()
        for thread in threads:
            thread.join(_STOP_SECONDS)
        if any(thread.is_alive() for thread in threads):
            os._exit(0)  # one still waits for its receiver

    def _receiver(self, name: str) -> Receiver:
        from readingroom_hub.adapters.audit_feed_tls import Trust

        given = self._settings
        trust = Trust(given.audit_feed_ca_file, given.audit_feed_cert_file, given.audit_feed_key_file)
        if name == "syslog":
            from readingroom_hub.adapters.audit_feed_syslog import SyslogReceiver, address

            return SyslogReceiver(*address(given.audit_feed_syslog), trust, given.site)
        from readingroom_hub.adapters.audit_feed_fhir import FhirReceiver

        return FhirReceiver(given.audit_feed_fhir, trust, given.audit_feed_fhir_token_file, given.site)
