"""What befalls the views of running sessions: on the record, in the log, and in a sentence for the sessions' users."""

import logging
from collections.abc import Mapping
from threading import Lock

from readingroom_hub.model.audit import AuditEvent, AuditRecord, Outcome
from readingroom_hub.model.ids import SessionId, VaultId
from readingroom_hub.model.session import Session
from readingroom_hub.ports.records import AuditTrail

_log = logging.getLogger(__name__)


class Losses:
    """Of all vaults. Each loss is told once, and so is its end. Thread-safe for different vaults."""

    def __init__(self, audit: AuditTrail) -> None:
        self._audit = audit
        self._lost: dict[VaultId, Mapping[SessionId, Session]] = {}
        self._given_up: set[VaultId] = set()
        self._news: list[tuple[SessionId, str]] = []
        self._lock = Lock()

    def lost(self, vault: VaultId, sessions: Mapping[SessionId, Session], log: object) -> None:
        """Their view is gone. Durable on the record before anything of it is given out again; raises AuditUnavailable.
        `log`: where gocryptfs said what it had to say."""
        if vault in self._lost or not sessions:
            return
        reason = f"view-lost: gocryptfs of the vault {vault} has ended; what it had not written yet is lost"
        self._record(AuditEvent.SERVICE_STOPPED, Outcome.FAILURE, vault, sessions, reason)
        self._lost[vault] = dict(sessions)
        _log.error(
            "gocryptfs of the vault %s has ended, and the sessions %s lost their folder: it is opened again; "
            "%s may say why it ended", vault, ", ".join(sorted(sessions)), log,
        )  # fmt: skip
        self._tell(vault, sessions, "is away for a moment: reading and writing there fails until it is back.")

    def back(self, vault: VaultId, *, reaches: bool) -> None:
        """What was lost is open again. `reaches`: servers that run see it; where not, they have to be started again."""
        sessions = self._lost[vault]
        self._record(AuditEvent.SERVICE_STARTED, Outcome.SUCCESS, vault, sessions, None)
        self.over(vault)
        but = "" if reaches else ", but servers that run do not see it: stop theirs and start them again"
        _log.warning("the vault %s is open again%s", vault, but)
        if reaches:
            sentence = (
                "was away for a moment and is back. Files that were open must be opened again: restart kernels that "
                "used it. What was not yet written is lost."
            )
        else:
            sentence = "was lost and cannot come back to a running server: stop your server and start it again."
        self._tell(vault, sessions, sentence)

    def given_up(self, vault: VaultId, why: str, damaged: bool) -> None:
        """It does not open again soon."""
        if vault in self._given_up:
            return
        sessions = self._lost.get(vault, {})
        event = AuditEvent.INTEGRITY_FAILURE if damaged else AuditEvent.SERVICE_STARTED
        self._record(event, Outcome.FAILURE, vault, sessions, f"{'damaged' if damaged else 'vault-closed'}: {why}")
        self._given_up.add(vault)
        _log.error("the vault %s does not open again: %s", vault, why)
        self._tell(vault, sessions, f"does not come back ({why}): ask the operator, or start your server again.")

    def is_given_up(self, vault: VaultId) -> bool:
        """Whether `given_up` was told of it."""
        return vault in self._given_up

    def waits(self, vault: VaultId) -> bool:
        """Whether its loss was told, and its end not yet."""
        return vault in self._lost

    def over(self, vault: VaultId) -> None:
        """Nobody waits for it any more."""
        self._given_up.discard(vault)
        self._lost.pop(vault, None)

    def news(self) -> list[tuple[SessionId, str]]:
        """Sentences for the users of sessions since the last call."""
        with self._lock:
            news, self._news = self._news, []
        return news

    def _record(
        self, event: AuditEvent, outcome: Outcome, vault: VaultId, of: Mapping[SessionId, Session], why: str | None
    ) -> None:
        about = {"service": "gocryptfs", "vault": vault}
        self._audit.append([AuditRecord(event, outcome, s.person, s.project, s.id, why, about) for s in of.values()])

    def _tell(self, vault: VaultId, sessions: Mapping[SessionId, Session], sentence: str) -> None:
        folder = "Your home folder" if vault.is_home else "The project's folder /project"
        with self._lock:
            self._news += [(session, f"{folder} {sentence}") for session in sessions]
