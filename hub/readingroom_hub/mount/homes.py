"""Home and project folders of running sessions: each in a vault that is open while an attached session uses it.

Where its gocryptfs ends meanwhile, the vault is opened again, and servers that run see the new view."""

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from time import monotonic

from readingroom_hub.adapters import mountinfo
from readingroom_hub.errors import AuditUnavailable, Conflict, IntegrityError, ReadingRoomError, StoreUnavailable
from readingroom_hub.model.audit import AuditEvent, AuditRecord, Outcome
from readingroom_hub.model.dataset import WrappedKey
from readingroom_hub.model.ids import SessionId, VaultId
from readingroom_hub.model.session import Session
from readingroom_hub.mount import mounting
from readingroom_hub.mount.losses import Losses
from readingroom_hub.mount.vaults import LEAVE_SECONDS, Vaults
from readingroom_hub.ports.mounts import CONTENT, HOME_IMAGE, HOME_NAME, Folders
from readingroom_hub.ports.records import AuditTrail

PAUSES = (0, 1, 2, 4, 8, 16, 32, 60)
"""Seconds before each attempt to open a lost vault again; then it is given up until somebody starts a server."""
STEADY = 300
"""Seconds after which an attempt no longer counts."""
_log = logging.getLogger(__name__)


class Homes:
    """Which session uses which vault. Thread-safe."""

    def __init__(self, folder: Path, vaults: Vaults, audit: AuditTrail, pauses: Sequence[float] = PAUSES) -> None:
        self._folder = folder
        self._vaults = vaults
        self._audit = audit
        self._pauses = pauses
        self._losses = Losses(audit)
        self._users: dict[VaultId, dict[SessionId, Session]] = {}
        self._left: set[VaultId] = set()
        self._unsure: set[VaultId] = set()
        """Opened by an earlier daemon, which may have been killed before all of it was done."""
        self._returning: dict[VaultId, threading.Thread] = {}
        self._attempts: dict[VaultId, deque[float]] = {}
        self._locks: dict[VaultId, threading.Lock] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    def start(self, attached: Iterable[Session]) -> None:
        """Go on with the views that an earlier daemon opened for these sessions, and close those of no session."""
        mounting.share(self._folder)
        for session in attached:
            self._unsure.update(self._use(session))
        with self._lock:
            self._left = set(self._vaults.open_ones())
        self.tidy()
        self.look()

    def open(self, session: Session) -> Folders:
        """Open the session's two vaults. A new key is on the record before it is kept, and so is every refusal.

        Raises as `Vaults.open`, and AuditUnavailable."""
        vaults = self._use(session)
        for vault in vaults:
            self._open(vault, session)
        return Folders(*(self._vaults.outer(vault) for vault in vaults))

    def show_home(self, session: Session) -> None:
        """See `Mounts`."""
        vault = VaultId.home(session.person, session.project)
        try:
            with self._guard(vault):
                self._show(vault)
        except OSError as error:  # its view was lost in this very moment
            raise StoreUnavailable(f"the vault {vault} cannot be read: {error.strerror}; try again") from error

    def close(self, session: SessionId) -> None:
        """Close what no other session uses; what is still in use is tried again by `tidy`."""
        with self._lock:
            for vault, users in self._users.items():
                if users.pop(session, None) is not None:
                    self._left.add(vault)
        self.tidy(LEAVE_SECONDS)

    def tidy(self, seconds: float = 0) -> None:
        """Close the vaults whose last session has ended, and wait so long for each that is still in use."""
        with self._lock:
            left = list(self._left)
        for vault in left:
            self._close(vault, seconds)

    def look(self) -> None:
        """Have each view come back whose gocryptfs has ended. Waits for no vault: one that hangs holds up no other."""
        with self._lock:
            used = [v for v, users in self._users.items() if users and v not in self._returning]
        for vault in used:
            guard = self._guard(vault)
            if not guard.acquire(blocking=False):
                continue
            try:
                away = self._doubtful(vault) or self._vaults.ended(vault)
            finally:
                guard.release()
            if away and (self._pause(vault) is not None or not self._losses.is_given_up(vault)):
                thread = threading.Thread(target=self._return, args=(vault,), name=f"return-{vault}", daemon=True)
                self._returning[vault] = thread
                thread.start()

    def news(self) -> list[tuple[SessionId, str]]:
        """Sentences for the users of sessions since the last call."""
        return self._losses.news()

    def _return(self, vault: VaultId) -> None:
        """Open a lost vault again, as often as `_pauses` allows."""
        why, damaged = "its gocryptfs ends again and again", False
        try:
            while self._missed(vault):
                pause = self._pause(vault)
                if damaged or pause is None:
                    self._losses.given_up(vault, why, damaged)
                    return
                if self._stopping.wait(pause):
                    return
                try:
                    self._again(vault)
                except AuditUnavailable:
                    raise
                except (ReadingRoomError, OSError) as error:
                    why, damaged = str(error), isinstance(error, IntegrityError)
                    _log.warning("the vault %s does not open again yet: %s", vault, why)
        except AuditUnavailable as error:  # nothing without a record: the next look tries again
            _log.warning("the vault %s waits for the audit record: %s", vault, error)
        finally:
            with self._lock:
                del self._returning[vault]

    def _missed(self, vault: VaultId) -> bool:
        """Whether it is not there, or not surely, while somebody uses it; a loss is told at first sight."""
        with self._guard(vault):
            users = self._of(vault)
            ended = bool(users) and self._vaults.ended(vault)
            if ended:
                self._losses.lost(vault, users, self._vaults.log(vault))
            return ended or (bool(users) and self._doubtful(vault))

    def _doubtful(self, vault: VaultId) -> bool:
        return vault in self._unsure or self._losses.waits(vault)

    def _again(self, vault: VaultId) -> None:
        with self._guard(vault):
            self._attempts.setdefault(vault, deque(maxlen=len(self._pauses))).append(monotonic())
            if self._of(vault) and (self._vaults.ended(vault) or self._vaults.runs(vault)):
                self._ready(vault, _never)
                self._back(vault)
            self._unsure.discard(vault)

    def _back(self, vault: VaultId) -> None:
        if self._losses.waits(vault):
            self._losses.back(vault, reaches=mountinfo.above(self._folder)[1])

    def _of(self, vault: VaultId) -> dict[SessionId, Session]:
        with self._lock:
            return dict(self._users.get(vault, {}))

    def _pause(self, vault: VaultId) -> float | None:
        """Seconds before the next attempt; None: no more."""
        recent = [at for at in self._attempts.get(vault, ()) if monotonic() - at < STEADY]
        return self._pauses[len(recent)] if len(recent) < len(self._pauses) else None

    def _use(self, session: Session) -> tuple[VaultId, VaultId]:
        vaults = VaultId.home(session.person, session.project), VaultId.shared(session.project)
        with self._lock:
            for vault in vaults:
                self._users.setdefault(vault, {})[session.id] = session
        return vaults

    def _guard(self, vault: VaultId) -> threading.Lock:
        with self._lock:
            return self._locks.setdefault(vault, threading.Lock())

    def _open(self, vault: VaultId, session: Session) -> None:
        def record(event: AuditEvent, outcome: Outcome, reason: str | None, **subject: str) -> None:
            self._audit.append(
                [AuditRecord(event, outcome, session.person, session.project, session.id, reason, subject)]
            )

        def made(key: WrappedKey) -> None:
            record(AuditEvent.KEY_CREATED, Outcome.SUCCESS, None, vault=vault, key=key.id, kek=key.kek)

        try:
            with self._guard(vault):
                if self._vaults.ended(vault):
                    losers = {id: s for id, s in self._of(vault).items() if id != session.id}
                    self._losses.lost(vault, losers, self._vaults.log(vault))
                self._ready(vault, made)
                self._attempts.pop(vault, None)
                self._back(vault)
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

    def _ready(self, vault: VaultId, made: Callable[[WrappedKey], None]) -> None:
        """Open the vault, and all that servers need in it."""
        # Each server as root has an account of its own, and the members of a project share its folder by group.
        others = not vault.is_home and os.geteuid() == 0
        self._vaults.open(vault, others, made)
        content = self._vaults.outer(vault) / CONTENT
        content.mkdir(mode=0o711 if others else 0o700, exist_ok=True)
        if content.is_symlink():  # an ordinary user's servers may change all of their vaults
            raise IntegrityError(f"{content} is a link where a folder was: remove it, or bring the folder back")
        if others:
            for folder in (content.parent, content):
                folder.chmod(0o711)
        if vault.is_home:
            self._show(vault)

    def _show(self, vault: VaultId) -> None:
        outer = self._vaults.outer(vault)
        point, image = outer / HOME_NAME, outer / CONTENT / HOME_IMAGE
        if os.geteuid() != 0:
            if not point.is_symlink():
                point.symlink_to(CONTENT / "home")
        elif image.exists() and not list(mounting.mount_points(point)):
            point.mkdir(mode=0o755, exist_ok=True)
            mounting.mount_image(image, point)

    def _close(self, vault: VaultId, seconds: float) -> None:
        guard = self._guard(vault)
        if not guard.acquire(timeout=seconds):
            return  # being opened; tried again
        try:
            if not self._of(vault):
                self._vaults.close(vault, seconds)
                self._losses.over(vault)
        except Conflict as error:
            _log.info("%s", error)
            return
        finally:
            guard.release()
        with self._lock:
            self._left.discard(vault)

    def stop(self) -> None:
        """Close what no session uses. Where servers still run, their views stay, and the next daemon finds them."""
        self._stopping.set()
        self.tidy()
        if not self._vaults.open_ones() and not mounting.followed(self._folder):
            mounting.unshare(self._folder)


def _never(key: WrappedKey) -> None:
    raise IntegrityError(f"nothing is left of a vault that was open; a new key, {key.id}, would open an empty one")
