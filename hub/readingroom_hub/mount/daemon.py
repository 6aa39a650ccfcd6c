"""The mount daemon: one mount per session, the only process that holds data keys. Implements the `Mounts` port."""

import logging
import threading
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from time import monotonic

from readingroom_hub.errors import (
    AuditUnavailable,
    Denied,
    NotFound,
    ReadingRoomError,
    StoreUnavailable,
    SystemUnfit,
)
from readingroom_hub.model.alert import Hold
from readingroom_hub.model.audit import AuditEvent, AuditRecord, Outcome
from readingroom_hub.model.grant import Grant
from readingroom_hub.model.ids import GrantId, PersonId, ProjectId, SessionId
from readingroom_hub.model.project import Project
from readingroom_hub.model.session import Session
from readingroom_hub.mount import mounting
from readingroom_hub.mount.clock import SteadyClock
from readingroom_hub.mount.homes import Homes
from readingroom_hub.mount.library import Library
from readingroom_hub.mount.limits import Limits
from readingroom_hub.mount.session import AttachedSession, remove_folder
from readingroom_hub.policy.access import Standing, session_refusal
from readingroom_hub.ports.catalogue import Grants, Holds, Projects, Sessions
from readingroom_hub.ports.mounts import Folders, Mounts
from readingroom_hub.ports.records import AuditTrail

POLL = 0.4
"""Seconds between two looks at the catalogue; an end in between wakes the poll on time."""
OBEY = 0.5
"""Seconds that a refresh waits for the kernel to forget pages."""
_LIMITS = Limits()
_log = logging.getLogger(__name__)


class MountDaemon(Mounts):
    """Keeps the mounts in step with the catalogue. Thread-safe."""

    def __init__(
        self,
        folder: Path,
        projects: Projects,
        grants: Grants,
        sessions: Sessions,
        holds: Holds,
        library: Library,
        audit: AuditTrail,
        clock: Callable[[], datetime] | None = None,
        limits: Limits = _LIMITS,
        homes: Homes | None = None,
    ) -> None:
        """Without `homes` it opens no folders: `open_folders` says so."""
        self._folder = folder
        self._projects = projects
        self._grants = grants
        self._sessions = sessions
        self._holds = holds
        self._library = library
        self._audit = audit
        self._clock = clock or SteadyClock()
        self._limits = limits
        self._homes = homes
        self._attached: dict[SessionId, AttachedSession] = {}
        self._expired: set[GrantId] = set()
        self._lock = threading.RLock()
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=work, name=work.__name__, daemon=True)
            for work in (self._keep_up, self._keep_record)
        ]

    def start(self) -> None:
        """Take away what a killed daemon left, and serve every open session again.

        Raises AuditUnavailable where the start cannot be recorded, SystemUnfit."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for point, _ in list(mounting.mount_points(self._folder, mounting.FSTYPE)):
            mounting.unmount(point)
        mounting.share(self._folder)
        self._audit.append([AuditRecord(AuditEvent.SERVICE_STARTED, subject={"service": "mount-daemon"})])
        for session in self._sessions.open_ones():
            try:
                self.attach(session.id)
            except ReadingRoomError as error:
                _log.warning("session %s is not served: %s", session.id, error)
        for left in self._folder.iterdir():
            if left.name not in self._attached:
                remove_folder(left)
        if self._homes is not None:
            self._homes.start([a.standing.session for a in self._attached.values()])
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Unmount everything, record it. Leaves no data mounted, whatever else fails.

        Where servers still run, the empty folders that they are bound to stay, so that the next daemon's mounts reach
        them; where none runs, nothing stays."""
        self._stopping.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(timeout=2)
        with self._lock:
            followed = mounting.followed(self._folder)
            for id in list(self._attached):
                self._attached.pop(id).end(keep_folder=followed)
            self._library.keep(())
            if not followed:
                mounting.unshare(self._folder)
        if self._homes is not None:
            self._homes.stop()
        try:
            self._audit.append([AuditRecord(AuditEvent.SERVICE_STOPPED, subject={"service": "mount-daemon"})])
            self._audit.flush()
        except AuditUnavailable as error:
            _log.warning("the stop is not on the record: %s", error)

    def attach(self, session: SessionId) -> Path:
        """See `Mounts`. A refusal is recorded as `request-refused`."""
        with self._lock:
            held = self._attached.get(session)
            if held is not None:
                return held.folder
            standing = self._standing(self._sessions.get(session), {}, self._holds.current())
            refusal = session_refusal(standing, self._clock())
            if refusal is not None:
                self._audit.append([self._refused(standing.session, f"{refusal.code}: {refusal.sentence}")])
                raise Denied(refusal.sentence)
            attached = AttachedSession(
                self._folder / session, standing, self._library, self._audit, self._clock, self._limits
            )
            self._attached[session] = attached
            self._keep_keys()
            return attached.folder

    def open_folders(self, session: SessionId) -> Folders:
        """See `Mounts`. Not under the lock: key custody may be slow, and a withdrawal must not wait for it."""
        homes, held = self._served(session)
        return homes.open(held)

    def show_home(self, session: SessionId) -> None:
        """See `Mounts`."""
        homes, held = self._served(session)
        homes.show_home(held)

    def _served(self, session: SessionId) -> tuple[Homes, Session]:
        if self._homes is None:
            raise SystemUnfit("this mount daemon opens no home and project folders")
        with self._lock:
            held = self._attached.get(session)
        if held is None:
            raise NotFound(f"the session {session} is not attached")
        return self._homes, held.standing.session

    @staticmethod
    def _refused(session: Session, reason: str) -> AuditRecord:
        return AuditRecord(
            AuditEvent.REQUEST_REFUSED, Outcome.DENIED, session.person, session.project, session.id, reason,
            {"path": "attach"},
        )  # fmt: skip

    def detach(self, session: SessionId) -> None:
        """See `Mounts`."""
        with self._lock:
            held = self._attached.pop(session, None)
            self._keep_keys()
            if held is not None:
                held.end()
        if self._homes is not None:
            self._homes.close(session)

    def refresh(self) -> None:
        """See `Mounts`."""
        with self._lock:
            running = {s.id: s for s in self._sessions.open_ones()}
            holds = self._holds.current()
            found: dict[ProjectId, tuple[Project, tuple[Grant, ...]]] = {}
            waiting = [a.obey(self._reread(a, running, found, holds)) for a in self._attached.values()]
            self._keep_keys()
            deadline = monotonic() + OBEY
            for thread in waiting:
                if thread is not None:
                    thread.join(timeout=max(0.0, deadline - monotonic()))

    def status(self) -> dict[str, int]:
        """See `Mounts`; `keys` too."""
        with self._lock:
            totals = {"sessions": len(self._attached), "keys": self._library.keys}
            totals |= {"open_files": 0, "opens": 0, "bytes_served": 0, "reads_denied": 0}
            for attached in self._attached.values():
                for name, value in attached.counts().items():
                    totals[name] += value
            return totals

    def counts(self) -> dict[tuple[str, str], dict[str, int]]:
        """The counts of each session, by (session, project)."""
        with self._lock:
            return {(a.id, a.standing.project.id): a.counts() for a in self._attached.values()}

    def _standing(
        self,
        session: Session,
        found: dict[ProjectId, tuple[Project, tuple[Grant, ...]]],
        holds: Mapping[PersonId, Hold],
    ) -> Standing:
        if session.project not in found:
            project = self._projects.get(session.project)
            found[session.project] = project, tuple(self._grants.all(session.project))
        return Standing(session, *found[session.project], holds.get(session.person))

    def _reread(
        self,
        attached: AttachedSession,
        running: dict[SessionId, Session],
        found: dict[ProjectId, tuple[Project, tuple[Grant, ...]]],
        holds: Mapping[PersonId, Hold],
    ) -> Standing:
        try:
            session = running.get(attached.id) or self._sessions.get(attached.id)
            return self._standing(session, found, holds)
        except NotFound:  # a session or project that is gone reads nothing
            return Standing(attached.standing.session, attached.standing.project, ())

    def _keep_keys(self) -> None:
        self._library.keep({v for a in self._attached.values() for v in a.versions})

    def _keep_up(self) -> None:
        while not self._stopping.wait(self._pause()):
            try:
                self.refresh()
            except StoreUnavailable as error:
                _log.warning("the catalogue does not answer: %s", error)
            except Exception:  # noqa: BLE001  # the next look must happen, whatever this one met
                _log.exception("a look at the catalogue failed")

    def _keep_record(self) -> None:
        """On a thread of its own: a repository that hangs must not hold up a revocation."""
        while not self._stopping.wait(POLL):
            with self._lock:
                held = list(self._attached.values())
            for attached in held:
                attached.settle()
            self._record_expired(held)
            if self._homes is not None:
                self._homes.look()
                self._homes.tidy()
                news = self._homes.news()
                for attached in held:
                    attached.tell(sentence for session, sentence in news if session == attached.id)

    def _pause(self) -> float:
        """Up to the next end of a session or grant, at most POLL."""
        now = self._clock()
        with self._lock:
            ends = [
                end
                for a in self._attached.values()
                for end in (a.standing.session.expires_at, *(g.ends_at for g in a.standing.grants))
                if end > now
            ]
        return min([POLL, *((end - now).total_seconds() + 0.001 for end in ends)])

    def _record_expired(self, held: list[AttachedSession]) -> None:
        """One `grant-expired` per grant that ended while a session could use it: its id is a function of the grant's,
        so that a restarted daemon does not record it twice."""
        now = self._clock()
        for attached in held:
            session = attached.standing.session
            for grant in attached.standing.grants:
                used = grant.revoked_at is None and session.opened_at < grant.ends_at <= now
                if used and grant.id not in self._expired:
                    try:
                        self._audit.append([_expiry(grant)])
                    except AuditUnavailable:
                        return  # tried again next time
                    self._expired.add(grant.id)


def _expiry(grant: Grant) -> AuditRecord:
    return AuditRecord(
        AuditEvent.GRANT_EXPIRED,
        project=grant.project,
        subject={"grant": grant.id, "dataset": grant.dataset, "version": grant.version},
        id=str(uuid.uuid5(uuid.NAMESPACE_OID, f"grant-expired {grant.id}")),
    )
