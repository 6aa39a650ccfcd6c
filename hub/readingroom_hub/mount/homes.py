"""Home and project folders of running sessions: each in a vault that is open while an attached session uses it."""

import logging
import os
import threading
from collections.abc import Iterable
from pathlib import Path

from readingroom_hub.errors import AuditUnavailable, Conflict, IntegrityError, ReadingRoomError, StoreUnavailable
from readingroom_hub.model.audit import AuditEvent, AuditRecord, Outcome
from readingroom_hub.model.dataset import WrappedKey
from readingroom_hub.model.ids import SessionId, VaultId
from readingroom_hub.model.session import Session
from readingroom_hub.mount import mounting
from readingroom_hub.mount.vaults import LEAVE_SECONDS, Vaults
from readingroom_hub.ports.mounts import Folders
from readingroom_hub.ports.records import AuditTrail

CONTENT = "content"
"""The one folder at the top of a view. Who looks for it where no vault is open finds nothing to write into."""
_log = logging.getLogger(__name__)


class Homes:
    """Which session uses which vault. Thread-safe."""

    def __init__(self, folder: Path, vaults: Vaults, audit: AuditTrail) -> None:
        self._folder = folder
        self._vaults = vaults
        self._audit = audit
        self._users: dict[VaultId, set[SessionId]] = {}
        self._left: set[VaultId] = set()
        self._told: set[VaultId] = set()
        self._locks: dict[VaultId, threading.Lock] = {}
        self._lock = threading.Lock()

    def start(self, attached: Iterable[Session]) -> None:
        """Go on with the views that an earlier daemon opened for these sessions, and close those of no session."""
        mounting.share(self._folder)
        for session in attached:
            self._use(session)
        with self._lock:
            self._left = set(self._vaults.open_ones())
        self.tidy()

    def open(self, session: Session) -> Folders:
        """Open the session's two vaults. A new key is on the record before it is kept, and so is every refusal.

        Raises as `Vaults.open`, and AuditUnavailable."""
        home, project = self._use(session)
        # Each server as root has an account of its own, and the members of a project share its folder by group.
        return Folders(self._open(home, session, False), self._open(project, session, os.geteuid() == 0))

    def close(self, session: SessionId) -> None:
        """Close what no other session uses; what is still in use is tried again by `tidy`."""
        with self._lock:
            for vault, users in self._users.items():
                if session in users:
                    users.remove(session)
                    self._left.add(vault)
        self.tidy(LEAVE_SECONDS)

    def tidy(self, seconds: float = 0) -> None:
        """Close the vaults whose last session has ended, and wait so long for each that is still in use."""
        with self._lock:
            left = list(self._left)
        for vault in left:
            self._close(vault, seconds)

    def tell_ended(self) -> None:
        """Say in the log, once for each view whose gocryptfs has ended, which sessions' servers lost it."""
        for vault in self._vaults.open_ones():
            with self._guard(vault):
                self._tell_ended(vault)

    def _tell_ended(self, vault: VaultId, opening: SessionId | None = None) -> None:
        with self._lock:
            losers = self._users.get(vault, set()) - {opening}
        if losers and vault not in self._told and self._vaults.ended(vault):
            self._told.add(vault)
            _log.error(
                "gocryptfs of the vault %s has ended: stop the servers of the sessions %s and start them again; %s may "
                "say why it ended", vault, ", ".join(sorted(losers)), self._vaults.log(vault),
            )  # fmt: skip

    def _use(self, session: Session) -> tuple[VaultId, VaultId]:
        vaults = VaultId.home(session.person, session.project), VaultId.shared(session.project)
        with self._lock:
            for vault in vaults:
                self._users.setdefault(vault, set()).add(session.id)
        return vaults

    def _guard(self, vault: VaultId) -> threading.Lock:
        with self._lock:
            return self._locks.setdefault(vault, threading.Lock())

    def _open(self, vault: VaultId, session: Session, others: bool) -> Path:
        def record(event: AuditEvent, outcome: Outcome, reason: str | None, **subject: str) -> None:
            self._audit.append(
                [AuditRecord(event, outcome, session.person, session.project, session.id, reason, subject)]
            )

        def made(key: WrappedKey) -> None:
            record(AuditEvent.KEY_CREATED, Outcome.SUCCESS, None, vault=vault, key=key.id, kek=key.kek)

        try:
            with self._guard(vault):
                self._tell_ended(vault, session.id)  # a new view does not reach the servers that lost the old one
                self._told.discard(vault)
                folder = self._vaults.open(vault, others, made) / CONTENT
                folder.mkdir(mode=0o700, exist_ok=True)
        except AuditUnavailable:
            raise
        except ReadingRoomError as error:
            damaged = isinstance(error, IntegrityError)
            code = "damaged" if damaged else "vault-closed"
            event = AuditEvent.INTEGRITY_FAILURE if damaged else AuditEvent.REQUEST_REFUSED
            record(event, Outcome.FAILURE, f"{code}: {error}", vault=vault)
            raise
        except OSError as error:
            raise StoreUnavailable(f"the vault {vault} cannot be written: {error.strerror}") from error
        return folder

    def _close(self, vault: VaultId, seconds: float) -> None:
        with self._guard(vault):
            with self._lock:
                wanted = bool(self._users.get(vault))
            try:
                if not wanted:
                    self._vaults.close(vault, seconds)
            except Conflict as error:
                _log.info("%s", error)
                return
        with self._lock:
            self._left.discard(vault)

    def stop(self) -> None:
        """Close what no session uses. Where servers still run, their views stay, and the next daemon finds them."""
        self.tidy()
        if not self._vaults.open_ones():
            mounting.unshare(self._folder)
