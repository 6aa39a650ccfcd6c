"""One session's reads: decide, record durably, then allow. No audit, no bytes.

The first open in a series appends a durable `read-intent` for the whole series; what follows is posted a little later.
A crash can only leave more on the record than was read, never less (45 CFR 164.312(b))."""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from readingroom_hub.errors import AuditUnavailable, Denied, StoreUnavailable
from readingroom_hub.model.audit import AuditEvent, AuditRecord, Close, Outcome
from readingroom_hub.model.dataset import DatasetVersion, Instance
from readingroom_hub.model.ids import UID, VersionDigest
from readingroom_hub.policy.access import Allow, Deny, Standing, decide
from readingroom_hub.ports.records import AuditTrail
from readingroom_hub.services.intents import LIFETIME, Intent, Intents, Opening, Place
from readingroom_hub.services.refusals import Refusals

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Series:
    """What an intent covers: one series of one dataset version."""

    version: DatasetVersion
    study: UID
    series: UID
    instances: int
    bytes: int


def _subject(series: Series, allow: Allow) -> dict[str, object]:
    return {
        "dataset": series.version.dataset,
        "version": series.version.digest,
        "study": series.study,
        "series": series.series,
        "grant": allow.grant.id,
    }


@dataclass(frozen=True, slots=True)
class _Allowed:
    """What was decided from `standing` at `since`. The same is decided until it ends, so nobody has to ask again:
    neither standing nor time makes a current grant less so. A clock that was set back asks again."""

    standing: Standing
    since: datetime
    allow: Allow

    def holds(self, standing: Standing, now: datetime) -> bool:
        """Whether `decide` would allow it now."""
        return self.standing is standing and self.since <= now < self.allow.until


@dataclass(slots=True)
class OpenInstance:
    """One open of one instance. `served` is counted by who serves the bytes."""

    series: Series
    instance: Instance
    allowed: _Allowed
    opening: Opening
    served: int = 0
    """Under this opening's intent."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def end(self, cached: bool) -> Close:
        """How it ended, if it did now."""
        return Close(self.instance.instance, self.served, self.instance.size, cached)


class Reading:
    """The reads of one session. Thread-safe. `clock` returns the time in UTC; `before_waiting` is called before a
    thread waits for the audit record repository."""

    def __init__(
        self,
        standing: Standing,
        audit: AuditTrail,
        clock: Callable[[], datetime],
        before_waiting: Callable[[], None] = lambda: None,
    ) -> None:
        self.standing = standing
        self._audit = audit
        self._clock = clock
        self._before_waiting = before_waiting
        self._decided: dict[VersionDigest, _Allowed] = {}
        self._lock = threading.Lock()
        self.refusals = Refusals(standing.session, audit, clock, before_waiting)
        self._intents = Intents(lambda *what: self.refusals.post(self._record(*what)))

    def open(self, series: Series, instance: Instance) -> OpenInstance:
        """Allow one open: after return a durable record covers it.

        Raises Denied after recording it; AuditUnavailable, and then not a byte may leave."""
        allowed = self._allowed(series.version, instance.study, instance.series, instance.instance)
        return OpenInstance(series, instance, allowed, self._enter(series, instance, allowed.allow))

    def open_index(self, version: DatasetVersion, table: str, size: int) -> None:
        """Allow a look at `table`, a file of `size` bytes that tells about single instances.

        After return a durable record covers it.

        Raises Denied, recorded; AuditUnavailable."""
        allow = self._allowed(version, table).allow
        subject = {"dataset": version.dataset, "version": version.digest, "grant": allow.grant.id, "path": table}
        place = (version.digest, table)
        if self._intents.at(place, allow.grant.id, self._clock()) is None:
            self._durable(place, allow, subject, {"bytes": size})

    def enter(self, version: DatasetVersion) -> None:
        """Allow a look into the version's folders, which releases names but no instance. Raises Denied, recorded."""
        self._allowed(version)

    def check(self, opened: OpenInstance) -> None:
        """Allow one more read through an open instance. Raises Denied, AuditUnavailable."""
        if opened.allowed.holds(self.standing, self._clock()):
            return
        i = opened.instance
        allowed = self._allowed(opened.series.version, i.study, i.series, i.instance)
        if allowed.allow.grant.id != opened.opening.intent.grant:
            self._go_on(opened, self._enter(opened.series, i, allowed.allow))
        opened.allowed = allowed

    def _go_on(self, opened: OpenInstance, opening: Opening) -> None:
        """Read on under another grant: what was read so far belongs to the one before."""
        with opened.lock:
            before, close = opened.opening, opened.end(cached=opened.served > 0)
            if before.intent.grant == opening.intent.grant:  # another thread came first
                before, close = opening, Close(opened.instance.instance, 0, opened.instance.size, cached=False)
            else:
                opened.opening, opened.served = opening, 0
        self._intents.leave(before, self._clock(), close)

    def close(self, opened: OpenInstance, cached: bool) -> None:
        """Note the end of one open. `cached`: the kernel may have served up to `size` bytes by itself. It is recorded
        with `settle`, or as the hundredth.

        Never raises: the intent already covers what was read."""
        self._intents.leave(opened.opening, self._clock(), opened.end(cached))

    def settle(self, last: bool = False) -> None:
        """Hand over what was noted of opens and their ends, and what `Refusals.settle` does. Never raises."""
        self._intents.settle(self._clock(), last)
        self.refusals.settle(last)

    def _allowed(self, version: DatasetVersion, *path: str) -> _Allowed:
        standing, now = self.standing, self._clock()
        held = self._decided.get(version.digest)
        if held is not None and held.holds(standing, now):
            return held
        decision = decide(standing, version.digest, now)
        if isinstance(decision, Deny):
            subject = {"dataset": version.dataset, "version": version.digest}
            self.refusals.deny(decision, "/".join((version.dataset, *path)), subject)
            raise Denied(decision.sentence)
        held = self._decided[version.digest] = _Allowed(standing, now, decision)
        return held

    def _enter(self, series: Series, instance: Instance, allow: Allow) -> Opening:
        """An open under an intent that is durable, younger than a minute and of this grant."""
        place, grant = (series.version.digest, series.series), allow.grant.id
        self._audit.check()
        while (opening := self._intents.enter(place, grant, instance.instance, self._clock())) is None:
            covered = {"instances": series.instances, "bytes": series.bytes}
            self._durable(place, allow, _subject(series, allow), covered)
        return opening

    def _durable(self, place: Place, allow: Allow, subject: Mapping[str, object], covered: Mapping[str, int]) -> None:
        """There is an intent at `place`, of ours or of another thread."""
        self._before_waiting()
        with self._lock:
            now = self._clock()
            if self._intents.at(place, allow.grant.id, now) is None:
                record = self._record(AuditEvent.READ_INTENT, {**subject, **covered}, now)
                self._audit.append([record])
                self._intents.hold(place, Intent(allow.grant.id, now + LIFETIME, {**subject, "intent": record.id}))

    def _record(self, event: AuditEvent, subject: Mapping[str, object], time: datetime) -> AuditRecord:
        session = self.standing.session
        return AuditRecord(
            event,
            person=session.person,
            project=session.project,
            session=session.id,
            subject=subject,
            time=time,
        )

    def damaged(self, version: DatasetVersion, path: str, why: str) -> None:
        """Record a security event once per object, durably where the repository answers."""
        self.refusals.report(
            AuditEvent.INTEGRITY_FAILURE,
            Outcome.FAILURE,
            "damaged",
            f"{version.dataset}/{path} is damaged and was not given out. Tell a data steward. ({why})",
            f"{version.dataset}/{path}",
            {"dataset": version.dataset, "version": version.digest},
        )

    def store_failed(self, version: DatasetVersion, error: StoreUnavailable) -> None:
        """Record that bytes of a version could not be had: at first sight, then counted once a minute.

        Where the store is, and what it said, is for the operator: it goes to the daemon's log."""
        _log.warning("session %s reads nothing of %s: %s", self.standing.session.id, version.label, error)
        self.refusals.report(
            AuditEvent.READ_DENIED,
            Outcome.FAILURE,
            "store-unavailable",
            f"Images of {version.dataset} cannot be read now, since their store does not answer. "
            "Try again in a minute; tell the operator if it stays so.",
            version.dataset,
            {"dataset": version.dataset, "version": version.digest},
        )

    def unavailable(self, path: str, error: AuditUnavailable) -> None:
        """Note for the session's own notice that a read had to wait for the audit record repository."""
        self.refusals.note(
            f"{path} was not opened, since the audit record repository did not answer ({error}). "
            "Nothing is read without a record. Try again in a minute; tell the operator if it stays so."
        )
