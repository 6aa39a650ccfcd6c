"""What the audit record repository does with requests: group commit, idempotency, search, identities. No sockets.

One thread owns it. All appends that came in while the last commit ran share the next one; there is no timer."""

import contextlib
import secrets
import sys
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from readingroom_hub.adapters.audit_clock import ClockSteps, read_clocks
from readingroom_hub.adapters.audit_index import AuditIndex, IndexReader, Lag, forget_purged
from readingroom_hub.adapters.audit_keys import open_mldsa_signer, open_signer, open_tag_secret, publish_vkey
from readingroom_hub.adapters.audit_place import check_log_is_there, read_log, write_log
from readingroom_hub.adapters.audit_witnessing import Round, Witnessing
from readingroom_hub.adapters.identities import Identities
from readingroom_hub.errors import AuditUnavailable, BadInput, ReadingRoomError
from readingroom_hub.ledger.canonical import from_leaf
from readingroom_hub.ledger.clock import Clocks
from readingroom_hub.ledger.leaf import ACCESS
from readingroom_hub.ledger.note import split_note
from readingroom_hub.ledger.record import Source, check_record, source_of
from readingroom_hub.ledger.repeats import repeats
from readingroom_hub.ledger.running import configuration
from readingroom_hub.ledger.seal import Sealed, Sealer
from readingroom_hub.model.audit import AuditEvent, AuditRecord, Outcome, Receipt
from readingroom_hub.model.ids import ApprovalId, PersonId
from readingroom_hub.policy.approval import approved_as, two_people
from readingroom_hub.ports.records import Filter, Found

PROCESS = "audit-repository"
_COMMIT_RECORDS = 1000
_COMMIT_BYTES = 1 << 20
_START_WAIT_SECONDS = 600.0
_STOP_WAIT_SECONDS = 5.0
_HOLD_UP_SECONDS = 0.5
"""Of one commit, for an index that is too far behind; a caller's patience is longer."""

Done = Callable[[list[Receipt] | ReadingRoomError], None]


@dataclass(frozen=True, slots=True)
class _Job:
    """The records of one request: all or none."""

    leaves: list[tuple[str, Sealed]]
    done: Done

    @property
    def bytes(self) -> int:
        return sum(len(s.leaf) + len(s.record) for _, s in self.leaves)


class AuditService:
    """The repository behind the socket."""

    def __init__(
        self,
        folder: Path,
        keys: Path,
        witnessing: Witnessing | None = None,
        settings: Mapping[str, str] | None = None,
        log_url: str = "",
        clock: Callable[[], Clocks] = read_clocks,
    ) -> None:
        """Open everything in `folder`. Raises Conflict, KeyUnavailable, IntegrityError, SystemUnfit, AuditUnavailable.

        A damaged log opens too: see `damage`."""
        check_log_is_there(folder)
        signer = open_signer(folder, keys)
        self._sealer = Sealer(open_tag_secret(folder, keys))
        self._folder = folder
        self._log = write_log(folder, signer, log_url)
        self._mldsa = open_mldsa_signer(folder, keys, signer.vkey.name)
        self._witnessing = witnessing
        if witnessing is not None:
            with contextlib.closing(read_log(folder)) as reader:
                witnessing.resume(reader.cosigned())
        self._alarmed = False
        self._clock = ClockSteps(clock)
        self._waiting: deque[_Job] = deque()
        self._recent: OrderedDict[str, Receipt] = OrderedDict()
        self._epoch, self._seq = secrets.token_hex(8), 0
        publish_vkey(folder, signer)
        self._identities = Identities(folder)
        self._index = AuditIndex(folder)
        self._reader = IndexReader(folder)
        self._known = self._index.size
        """Every record before this place can be looked up by id, in the index or in `_recent`."""
        self._index.advance(self._log.size)
        if not self._log.damage:
            self._index.wait(self._log.size, _START_WAIT_SECONDS)
            self._start(settings)

    def _start(self, settings: Mapping[str, str] | None) -> None:
        with contextlib.closing(read_log(self._folder)) as log:
            self._clock.compare(log, self._log.size, PROCESS)
        self.watch_clock()
        rebuilt = self._index.rebuilt
        if rebuilt:
            reason = f"index-rebuilt: {rebuilt}"
            self.record(AuditRecord(AuditEvent.INTEGRITY_FAILURE, Outcome.FAILURE, reason=reason))
        self.record(AuditRecord(AuditEvent.SERVICE_STARTED, subject={"service": PROCESS}))
        if settings is not None:
            self.record(configuration(settings))

    @property
    def damage(self) -> str | None:
        """Why no record is taken: the first bad record. None in a log that verifies."""
        return str(self._log.damage) if self._log.damage else None

    @property
    def vkey(self) -> str:
        """The public key that verifies the log."""
        return str(self._log.vkey)

    def submit(self, rows: Sequence[Mapping[str, Any]], done: Done) -> None:
        """Queue records for the next commit; `done` hears of it. Raises BadInput for a record that cannot be stored."""
        for row in rows:
            if not isinstance(row, dict):
                raise BadInput(f"{row!r:.80} is no audit record")
            check_record(row)
        ids = [row["id"] for row in rows]
        self._waiting.append(_Job(list(zip(ids, self._sealer.seal_all(rows), strict=True)), done))

    def commit_waiting(self) -> bool:
        """Commit what is queued, up to 1000 records or 1 MiB (a larger request goes alone). True if more waits."""
        jobs: list[_Job] = []
        records = size = 0
        if self._waiting:
            self._index.hold_up(_HOLD_UP_SECONDS)
        while self._waiting:
            job = self._waiting[0]
            records, size = records + len(job.leaves), size + job.bytes
            if jobs and (records > _COMMIT_RECORDS or size > _COMMIT_BYTES):
                break
            jobs.append(self._waiting.popleft())
        if jobs:
            self._commit(jobs)
        return bool(self._waiting)

    def _commit(self, jobs: list[_Job]) -> None:
        try:
            self.watch_clock()
            stored = self._store([leaf for job in jobs for leaf in job.leaves])
        except ReadingRoomError as error:
            sys.stderr.write(f"audit record repository: {error}\n")
            for job in jobs:
                job.done(error)
            return
        for job in jobs:
            job.done([stored[id] for id, _ in job.leaves])

    def _store(self, leaves: list[tuple[str, Sealed]]) -> dict[str, Receipt]:
        """Receipts by id. An id that is stored already, or comes twice, is stored once."""
        self._log.reopen()
        self._remember()
        wanted = dict(reversed(leaves))  # the first of equals wins
        known = self._receipts(list(wanted))
        fresh = leaves
        if known or len(wanted) < len(leaves):
            repeated = self._repeated(leaves, wanted, known)
            fresh = [(id, wanted.pop(id)) for id, _ in leaves if id in wanted and id not in known] + repeated
        if fresh:
            receipts = self._log.append([leaf for _, leaf in fresh])
            self._known = self._log.size
            made = dict(zip((id for id, _ in fresh), receipts, strict=True))
            self._recent.update(made)
            known |= made
            self._index.advance(self._log.size)
        return known

    def _receipts(self, ids: list[str]) -> dict[str, Receipt]:
        """Of those that are stored."""
        known = {id: receipt for id in ids if (receipt := self._recent.get(id))}
        places = self._reader.places([id for id in ids if id not in known] if known else ids)
        return known | {id: Receipt(*place) for id, place in places.items()}

    def _repeated(
        self, leaves: list[tuple[str, Sealed]], wanted: Mapping[str, Sealed], known: Mapping[str, Receipt]
    ) -> list[tuple[str, Sealed]]:
        with contextlib.closing(read_log(self._folder)) as log:
            stored = [entry.leaf for entry in log.at([r.index for r in known.values()])]
        made = repeats(leaves, [*(s.leaf for s in wanted.values()), *stored], self._sealer)
        there = self._receipts(list(made))
        return [(id, sealed) for id, sealed in made.items() if id not in there]

    def _remember(self) -> None:
        """Forget ids that the index now has; learn those that a failed commit stored all the same."""
        indexed = self._index.size
        while self._recent and next(iter(self._recent.values())).index < indexed:
            self._recent.popitem(last=False)
        if self._known < self._log.size:
            reader = read_log(self._folder)
            try:
                for entry in reader.leaves(self._known):
                    self._recent[from_leaf(entry.leaf)["id"]] = Receipt(entry.idx, entry.hash)
            finally:
                reader.close()
            self._known = self._log.size
            self._index.advance(self._known)

    def record(self, record: AuditRecord) -> Receipt:
        """Store a record of the repository's own, at once. Raises AuditUnavailable."""
        source = {"process": PROCESS, "epoch": self._epoch, "seq": self._seq}
        sealed = self._sealer.seal(record.to_wire() | {"source": source})
        receipt = self._store([(record.id, sealed)])[record.id]
        self._seq += 1  # only now: a number that was not stored would look like a lost record
        return receipt

    def watch_clock(self) -> None:
        """Put on record that the clock was set. Raises AuditUnavailable: it is kept, and nothing is stored before it.

        Called again and again, so that a step is noticed while nobody reads, too."""
        self._clock.look()
        while self._clock.waiting:
            self.record(self._clock.waiting[0])
            step = self._clock.waiting.popleft()
            sys.stderr.write(f"audit record repository: {step.reason}\n")

    def finish(self) -> None:
        """Commit what is queued. Called before a search, so that it finds what was handed over before."""
        while self.commit_waiting():
            pass

    def search(self, wanted: Filter, before: int | None, size: int, seconds: float) -> list[Found]:
        """What matches among the first `size` records. From any thread; the caller records the search."""
        self._index.wait(size, seconds)
        reader = IndexReader(self._folder)
        try:
            rows = reader.search(wanted, before)
        finally:
            reader.close()
        names = self._identities.names(r["person"] for _, r in rows if "person" in r)
        return [Found(i, r, names.get(r.get("person", ""))) for i, r in rows]

    def sources(self, first: int) -> Iterator[Source]:
        """Of each record from this place on."""
        with contextlib.closing(read_log(self._folder)) as log:
            yield from (source_of(from_leaf(entry.leaf)) for entry in log.leaves(first))

    def identify(self, issuer: str, subject: str, name: str) -> PersonId:
        """From any thread."""
        return self._identities.identify(issuer, subject, name)

    def people(self, text: str) -> list[dict[str, str]]:
        """From any thread."""
        found = self._identities.people(text)
        return [{"person": p.person, "issuer": p.issuer, "subject": p.subject, "name": p.name} for p in found]

    def _check(self, refusal: str, reason: str, people: set[PersonId], approvers: Sequence[PersonId]) -> None:
        unknown = people - {p.person for p in self._identities.all()}
        if unknown or not reason.strip():
            raise BadInput(refusal)
        two_people(approvers, refusal)

    def forget(
        self, person: PersonId, reason: str, by: PersonId, approvers: Sequence[PersonId], approval: ApprovalId | None
    ) -> None:
        """Put on record who erases whom and why, then erase. Raises BadInput unless two other people approved it."""
        refusal = "to erase a person takes a reason and two other people who approved it, whom the identity table knows"
        self._check(refusal, reason, {person, by, *approvers}, approvers)
        if person in {by, *approvers}:
            raise BadInput(refusal)
        subject = {"erased": person} | approved_as(approvers, approval)
        self.record(AuditRecord(AuditEvent.PERSON_FORGOTTEN, person=by, reason=reason, subject=subject))
        self._identities.erase(person)

    def announce_purge(
        self, before: str, reason: str, by: PersonId, approvers: Sequence[PersonId], approval: ApprovalId | None
    ) -> None:
        """Put on record what `purge` will remove. Raises BadInput where nobody approved it, or nothing is that old."""
        refusal = "to purge takes a reason and two people who approved it, whom the identity table knows"
        self._check(refusal, reason, {by, *approvers}, approvers)
        count = self._log.expired(before)
        if not count:
            self.purge(before)  # what a purge that was cut short left in the files
            raise BadInput(f"no access record from before {before} has contents any more")
        subject = {"class": ACCESS, "before": before, "from": 0, "to": self._log.size, "count": count}
        subject |= approved_as(approvers, approval)
        self.record(AuditRecord(AuditEvent.RECORD_PURGED, person=by, reason=reason, subject=subject))

    def purge(self, before: str) -> None:
        """Remove what was announced, in log and index. Raises AuditUnavailable: announce and run it again."""
        self._index.wait(self._log.size, _STOP_WAIT_SECONDS)
        self._log.purge(before)
        forget_purged(self._folder)

    def checkpoint(self) -> str:
        """The newest checkpoint. Raises AuditUnavailable where there is none."""
        if self._log.checkpoint is None:
            raise AuditUnavailable("the audit log has no checkpoint: it is empty")
        return self._log.checkpoint

    @property
    def size(self) -> int:
        """Records in the log."""
        return int(self._log.size)

    def lag(self) -> Lag:
        """How far the search index is behind the log. From any thread."""
        return self._index.lag()

    def status(self) -> dict[str, Any]:
        """Size, root (hexadecimal), how far the index is behind (records, seconds), damage, why witnesses are late."""
        lag = self.lag()
        late = self._witnessing.late() if self._witnessing else None
        root = self._log.root.hex()
        size = {"size": self._log.size, "root": root, "index_lag": lag.records, "index_lag_seconds": lag.seconds}
        return size | {"damage": self.damage, "witnesses_late": late}

    def ask_witnesses(self) -> Round | None:
        """One round, from any thread; its result goes to `witnessed`."""
        if self._witnessing is None or self.damage:
            return None
        with contextlib.closing(read_log(self._folder)) as reader:
            return self._witnessing.round(reader)

    def witnessed(self, round: Round) -> None:
        """Keep a quorum's cosignatures; put on record that it was missed, once until it is there again.

        Raises AuditUnavailable."""
        if round.met:
            body = split_note(round.note)[0]
            self._log.keep_cosigned(round.size, round.note + self._mldsa.sign(body, int(time.time())))
        elif not self._alarmed:
            reason = f"witnesses-late: no quorum cosigned the record. {'; '.join(round.troubles)}"[:2000]
            sys.stderr.write(f"audit record repository: {reason}\n")
            self.record(
                AuditRecord(AuditEvent.INTEGRITY_FAILURE, Outcome.FAILURE, reason=reason, subject={"service": PROCESS})
            )
        self._alarmed = not round.met

    def close(self) -> None:
        """Store what is queued and the end of the service, then close the files."""
        self.finish()
        try:
            self.record(AuditRecord(AuditEvent.SERVICE_STOPPED, subject={"service": PROCESS}))
        except AuditUnavailable as error:
            sys.stderr.write(f"audit record repository: the end of the service is not on record: {error}\n")
        with contextlib.suppress(AuditUnavailable):  # the next start fills what is left
            self._index.wait(self._log.size, _STOP_WAIT_SECONDS)
        self._reader.close()
        self._index.close()
        self._identities.close()
        self._log.close()
