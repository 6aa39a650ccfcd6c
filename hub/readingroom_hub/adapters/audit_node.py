"""A node's way to the audit record repository: what it records is durable in its own spool, and goes on from there.

So a read need not wait for the network, and a short outage stops nobody; but a node runs ahead only so far: beyond a
number of records, of bytes, or an age of the oldest that the repository has not confirmed, nothing is taken, and so
nothing is read. Records go in order and stay until confirmed; the repository stores no id twice."""

import json
import secrets
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from readingroom_hub.adapters.audit_node_wire import Repository, Wire
from readingroom_hub.adapters.audit_spool import Parcel, Spool
from readingroom_hub.adapters.audit_wire import MAX_FRAME
from readingroom_hub.errors import AuditUnavailable, BadInput, ReadingRoomError
from readingroom_hub.ledger.canonical import MAX_LEAF
from readingroom_hub.ledger.seal import to_leaf
from readingroom_hub.model.audit import AuditEvent, AuditRecord, Outcome, Receipt
from readingroom_hub.ports.records import AuditTrail

_ROOM = 512
"""Bytes of a leaf that the marks of a late record and of its arrival take."""
_FRAME_RECORDS, _FRAME_BYTES = 500, 1 << 19
_GATHER_SECONDS = 0.05
"""How long records wait for others on their way: nobody waits for the repository's word."""
_PAUSE = 0.1
_REMEMBERED = 5000


@dataclass(frozen=True, slots=True)
class Ahead:
    """How far a node may run ahead of the repository."""

    records: int
    bytes: int
    seconds: int


@dataclass(slots=True, eq=False)
class _Held(Parcel):
    """A parcel under way."""

    since: float = 0.0
    """When it was recorded, by the clock that nobody can set (seconds)."""
    wanted: bool = False
    """Whether somebody waits for it to be durable."""
    durable: bool = False
    queued: bool = False
    """Whether it is on its way to the repository already."""
    confirmed: bool = False
    late: bool = False
    """Whether a caller was told no, which may turn out wrong."""

    def to_send(self) -> list[bytes]:
        """Its leaves, which say so where their caller was told no."""
        if not self.late:
            return self.leaves
        rows = [json.loads(leaf) for leaf in self.leaves]
        return [to_leaf(row | {"source": row["source"] | {"late": True}}) for row in rows]


class NodeAuditTrail(AuditTrail):
    """For one process of one node. Thread-safe."""

    def __init__(
        self,
        spool: Spool,
        to: Repository,
        process: str,
        ahead: Ahead,
        timeout_ms: int,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """Begin with what an earlier process left in the spool. `process` ends in @ and the node's name."""
        self._spool, self._to, self._process, self._ahead = spool, to, process, ahead
        self._seconds, self._clock = timeout_ms / 1000, clock
        self._epoch, self._seq = secrets.token_hex(8), 0
        self._changed, self._disk = threading.Condition(), threading.Lock()
        self._new: deque[_Held] = deque()
        """Not in the spool yet."""
        self._out: deque[_Held] = deque()
        """In the spool, or kept out of it by its disk: to be sent, in this order."""
        self._unsure: list[_Held] = []
        """Written, but not made durable yet: a failing disk may lose them."""
        self._remembered: OrderedDict[str, _Held] = OrderedDict()
        self._records = 0
        self._trouble = self._disk_trouble = ""
        self._stopped = False
        now = _boot()
        for left in spool.left:
            age = max(0.0, clock() / 1e9 - _recorded(left.leaves[0]))
            held = _Held(left.leaves, left.file, now - age, durable=True, queued=True)
            spool.adopt(left, held)
            self._out.append(held)
            self._records += len(left.leaves)
        self._debt = self._told(spool.damage) if spool.damage else None
        work = (self._write_all, self._send_all)
        self._threads = [threading.Thread(target=w, name=f"audit{w.__name__}", daemon=True) for w in work]
        for thread in self._threads:
            thread.start()

    def _told(self, damage: list[str]) -> _Held:
        """What has to reach the repository before anything is recorded: else who destroys a spool gains time."""
        sys.stderr.write(f"audit spool: {'; '.join(damage)}\n")
        reason = f"spool-damaged: {'; '.join(damage)}"[:4000]
        subject = {"service": self._process, "path": str(self._spool.folder)}
        record = AuditRecord(AuditEvent.INTEGRITY_FAILURE, Outcome.FAILURE, reason=reason, subject=subject)
        return self._take([record.to_wire()])

    def append(self, records: Sequence[AuditRecord]) -> list[Receipt]:
        """See the port: no receipts, since places come later. Durable in the spool, or with the repository."""
        rows = {r.id: r.to_wire() for r in records}
        deadline = time.monotonic() + self._seconds
        with self._changed:
            known = {id(h): h for i in rows if (h := self._remembered.get(i))}
            fresh = [row for i, row in rows.items() if i not in self._remembered]
            if fresh:
                # While the repository takes what is left of an outage, that is worth a moment; in one it is not.
                self._changed.wait_for(lambda: self._trouble or not self._too_far(len(fresh)), self._seconds)
                self._check(len(fresh))
                held = self._take(fresh)
                known[id(held)] = held
                self._remember(held, fresh)
            for held in known.values():
                held.wanted = True
                if not held.durable and held not in self._new:
                    self._new.append(held)  # the disk did not take it before
            self._changed.notify_all()
            left = deadline - time.monotonic()
            if not self._changed.wait_for(lambda: all(h.durable for h in known.values()), max(0.0, left)):
                for held in known.values():
                    held.late = held.late or not held.durable
                raise AuditUnavailable(
                    f"this machine's audit spool did not confirm within {self._seconds:g} s"
                    f"{f' ({self._disk_trouble})' if self._disk_trouble else ''}: nothing is released"
                )
        return []

    def _remember(self, held: _Held, rows: list[dict[str, object]]) -> None:
        """So that a caller who tries again with the same records takes no new numbers, which would never be stored."""
        while self._remembered and len(self._remembered) + len(rows) > _REMEMBERED:
            self._remembered.popitem(last=False)
        self._remembered.update((str(row["id"]), held) for row in rows)

    def post(self, record: AuditRecord) -> None:
        """See the port."""
        row = record.to_wire()
        with self._changed:
            self._check(1)
            self._take([row])
            self._changed.notify_all()

    def _take(self, rows: list[dict[str, object]]) -> _Held:
        """Number the records and queue them. With the lock held. Raises BadInput."""
        leaves = []
        for seq, row in enumerate(rows, self._seq):
            leaf = to_leaf(row | {"source": {"process": self._process, "epoch": self._epoch, "seq": seq}})
            if len(leaf) > MAX_LEAF - _ROOM:
                raise BadInput(f"the audit record is {len(leaf)} bytes long: name fewer objects in it")
            leaves.append(leaf)
        if sum(map(len, leaves)) + _ROOM * (len(leaves) + 1) > MAX_FRAME:
            raise BadInput(f"{len(leaves)} audit records are too much for one request: append fewer")
        held = _Held(leaves, since=_boot())
        self._seq += len(rows)
        self._records += len(rows)
        self._new.append(held)
        return held

    def behind(self) -> tuple[int, float]:
        """See the port."""
        with self._changed:
            return self._records, self._age()

    def _age(self) -> float:
        oldest = next(iter(self._out or self._new), None)
        return _boot() - oldest.since if oldest else 0.0

    def _too_far(self, more: int) -> str:
        """Why the node may not run ahead by so many records more; "" where it may. With the lock held."""
        age = self._age()
        if self._debt:
            return "its audit spool was damaged, and the repository does not know yet"
        if self._records + more > self._ahead.records:
            return f"{self._records} audit records wait for the repository"
        if self._spool.size > self._ahead.bytes:
            return f"{self._spool.size} bytes of audit records wait for the repository"
        return f"audit records wait for the repository for {age:.0f} s" if age > self._ahead.seconds else ""

    def _check(self, more: int) -> None:
        """Raises AuditUnavailable where the node may run no further ahead. With the lock held."""
        why = self._too_far(more)
        if why:
            trouble = f" ({self._trouble})" if self._trouble else ""
            raise AuditUnavailable(f"this machine may go no further ahead: {why}{trouble}. Tell the operator")

    def flush(self) -> None:
        """See the port. Then waits, no longer than the limit, for the repository to have all of it."""
        with self._changed:
            marker = _Held([], since=_boot(), wanted=True)
            self._new.append(marker)
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: marker.durable, self._seconds):
                why = self._disk_trouble or f"no answer within {self._seconds:g} s"
                raise AuditUnavailable(f"this machine's audit spool did not confirm: {why}")
            self._changed.wait_for(lambda: not self._out, self._seconds)

    def _write_all(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._new or self._stopped)
                if not self._new:
                    return
                batch = list(self._new)
                self._new.clear()
                parcels = [h for h in (*self._unsure, *batch) if h.leaves and not h.durable]
            durable = any(h.wanted for h in batch)
            trouble = self._write(parcels, durable)
            with self._changed:
                if durable and not trouble:
                    for held in (*self._unsure, *batch):
                        held.durable = True
                self._unsure = [h for h in {id(h): h for h in (*self._unsure, *parcels)}.values() if not h.durable]
                for held in batch:
                    if held.leaves and not held.queued:
                        held.queued = True
                        self._out.append(held)
                gone = [h for h in parcels if h.confirmed]
                self._changed.notify_all()
            if gone:  # confirmed while they were written a second time
                self._forget(gone)

    def _write(self, parcels: list[_Held], durable: bool) -> str:
        fresh = [p for p in parcels if p.file is None or self._disk_trouble]
        try:
            with self._disk:
                self._spool.write(fresh, durable=durable)
        except (OSError, ReadingRoomError) as error:
            trouble = f"its disk: {error}"
            if self._disk_trouble != trouble:
                sys.stderr.write(f"audit spool: {trouble}\n")
            self._disk_trouble = trouble
        else:
            self._disk_trouble = ""
        return self._disk_trouble

    def _send_all(self) -> None:
        wire: Wire | None = None
        pause = _PAUSE
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._out or self._stopped)
                if not self._stopped and len(self._out) < _FRAME_RECORDS and not self._debt:
                    self._changed.wait_for(lambda: self._stopped or len(self._out) >= _FRAME_RECORDS, _GATHER_SECONDS)
                if self._stopped:
                    break
                batch = self._batch()
            try:
                wire = wire or Wire(self._to)
                wire.hand_over([leaf for h in batch for leaf in h.to_send()], self._clock() // 1_000_000)
            except (OSError, ReadingRoomError) as error:
                if wire:
                    wire.close()
                wire, trouble = None, f"{self._to.host}:{self._to.port}: {error}"
                with self._changed:
                    if trouble != self._trouble:
                        sys.stderr.write(f"audit records wait in the spool: {trouble}\n")
                    self._trouble = trouble
                    self._changed.wait_for(lambda: self._stopped, pause)
                pause = min(pause * 2, self._to.longest_pause)
            else:
                pause = _PAUSE
                self._confirmed(batch)
        if wire:
            wire.close()

    def _batch(self) -> list[_Held]:
        """What goes into one frame. With the lock held."""
        batch: list[_Held] = []
        records = size = 0
        for held in self._out:
            records, size = records + len(held.leaves), size + sum(map(len, held.leaves))
            if batch and (records > _FRAME_RECORDS or size > _FRAME_BYTES):
                break
            batch.append(held)
        return batch

    def _confirmed(self, batch: list[_Held]) -> None:
        settled = self._debt in batch
        with self._changed:
            for held in batch:
                self._out.popleft()
                self._records -= len(held.leaves)
                held.durable, held.confirmed, held.leaves = True, True, []
            self._debt = None if settled else self._debt
            self._trouble = ""
            self._changed.notify_all()
        self._forget(batch, settled=settled)

    def _forget(self, batch: Sequence[Parcel], *, settled: bool = False) -> None:
        try:
            with self._disk:
                if settled:
                    self._spool.settle()
                self._spool.forget(batch)
        except (OSError, ReadingRoomError) as error:  # handed over twice at the next start, and stored once
            sys.stderr.write(f"audit spool: {error}\n")

    def close(self) -> None:
        """Stop. What is in the spool is sent by the next process."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        self._spool.close()


def _boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _recorded(leaf: bytes) -> float:
    return datetime.fromisoformat(json.loads(leaf)["time"]).timestamp()
