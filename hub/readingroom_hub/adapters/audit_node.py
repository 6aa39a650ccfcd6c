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

from readingroom_hub.adapters.audit_held import Held
from readingroom_hub.adapters.audit_node_wire import Repository
from readingroom_hub.adapters.audit_sender import Sender
from readingroom_hub.adapters.audit_spool import Parcel, Spool
from readingroom_hub.adapters.audit_wire import MAX_FRAME
from readingroom_hub.errors import AuditUnavailable, BadInput, ReadingRoomError
from readingroom_hub.ledger.canonical import MAX_LEAF
from readingroom_hub.ledger.seal import to_leaf
from readingroom_hub.model.audit import AuditEvent, AuditRecord, Outcome, Receipt
from readingroom_hub.ports.records import AuditTrail

_ROOM = 512
"""Bytes of a leaf that the marks of a late record and of its arrival take."""
_REMEMBERED = 5000


@dataclass(frozen=True, slots=True)
class Ahead:
    """How far a node may run ahead of the repository."""

    records: int
    bytes: int
    seconds: int


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
        self._spool, self._process, self._ahead, self._seconds = spool, process, ahead, timeout_ms / 1000
        self._epoch, self._seq = secrets.token_hex(8), 0
        self._changed, self._disk = threading.Condition(), threading.Lock()
        self._new: deque[Held] = deque()
        """Not in the spool yet."""
        self._sender = Sender(to, (process, self._epoch), self._changed, self._confirmed, clock)
        """Has what is in the spool, or kept out of it by its disk."""
        self._unsure: list[Held] = []
        """Written, but not made durable yet: a failing disk may lose them."""
        self._remembered: OrderedDict[str, Held] = OrderedDict()
        self._records = 0
        self._disk_trouble = ""
        self._stopped = False
        now = _boot()
        for left in spool.left:
            age = max(0.0, clock() / 1e9 - _recorded(left.leaves[0]))
            held = Held(left.leaves, left.file, since=now - age, durable=True, queued=True)
            spool.adopt(left, held)
            self._sender.out.append(held)
            self._records += len(left.leaves)
        self._debt = self._told(spool.damage) if spool.damage else None
        self._sender.urgent = self._debt is not None
        self._writer = threading.Thread(target=self._write_all, name="audit-spool-writer", daemon=True)
        self._sender.start()
        self._writer.start()

    def _told(self, damage: list[str]) -> Held:
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
                self._changed.wait_for(lambda: self._sender.trouble or not self._too_far(len(fresh)), self._seconds)
                self._fits(len(fresh))
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

    def _remember(self, held: Held, rows: list[dict[str, object]]) -> None:
        """So that a caller who tries again with the same records takes no new numbers, which would never be stored."""
        while self._remembered and len(self._remembered) + len(rows) > _REMEMBERED:
            self._remembered.popitem(last=False)
        self._remembered.update((str(row["id"]), held) for row in rows)

    def post(self, record: AuditRecord) -> None:
        """See the port."""
        row = record.to_wire()
        with self._changed:
            self._fits(1)
            self._take([row])
            self._changed.notify_all()

    def check(self) -> None:
        """See the port."""
        with self._changed:
            self._fits(1)

    def _take(self, rows: list[dict[str, object]]) -> Held:
        """Number the records and queue them. With the lock held. Raises BadInput."""
        leaves = []
        for seq, row in enumerate(rows, self._seq):
            leaf = to_leaf(row | {"source": {"process": self._process, "epoch": self._epoch, "seq": seq}})
            if len(leaf) > MAX_LEAF - _ROOM:
                raise BadInput(f"the audit record is {len(leaf)} bytes long: name fewer objects in it")
            leaves.append(leaf)
        if sum(map(len, leaves)) + _ROOM * (len(leaves) + 1) > MAX_FRAME:
            raise BadInput(f"{len(leaves)} audit records are too much for one request: append fewer")
        self._seq += len(rows)
        held = Held(leaves, end=self._seq, since=_boot())
        self._records += len(rows)
        self._new.append(held)
        return held

    def behind(self) -> tuple[int, float]:
        """See the port."""
        with self._changed:
            return self._records, self._age()

    def _age(self) -> float:
        oldest = next(iter(self._sender.out or self._new), None)
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

    def _fits(self, more: int) -> None:
        """Raises AuditUnavailable where the node may run no further ahead. With the lock held."""
        why = self._too_far(more)
        if why:
            trouble = f" ({self._sender.trouble})" if self._sender.trouble else ""
            raise AuditUnavailable(f"this machine may go no further ahead: {why}{trouble}. Tell the operator")

    def flush(self) -> None:
        """See the port. Then waits, no longer than the limit, for the repository to have all of it."""
        with self._changed:
            marker = Held([], since=_boot(), wanted=True)
            self._new.append(marker)
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: marker.durable, self._seconds):
                why = self._disk_trouble or f"no answer within {self._seconds:g} s"
                raise AuditUnavailable(f"this machine's audit spool did not confirm: {why}")
            self._changed.wait_for(lambda: not self._sender.out, self._seconds)

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
            if durable and not trouble:
                self._sender.tell(max((h.end for h in (*self._unsure, *batch)), default=0))
            with self._changed:
                if durable and not trouble:
                    for held in (*self._unsure, *batch):
                        held.durable = True
                self._unsure = [h for h in {id(h): h for h in (*self._unsure, *parcels)}.values() if not h.durable]
                for held in batch:
                    if held.leaves and not held.queued:
                        held.queued = True
                        self._sender.out.append(held)
                gone = [h for h in parcels if h.confirmed]
                self._changed.notify_all()
            if gone:  # confirmed while they were written a second time
                self._forget(gone)

    def _write(self, parcels: list[Held], durable: bool) -> str:
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

    def _confirmed(self, batch: list[Held]) -> None:
        settled = self._debt in batch
        with self._changed:
            for held in batch:
                self._records -= len(held.leaves)
                held.durable, held.confirmed, held.leaves = True, True, []
            if settled:
                self._debt, self._sender.urgent = None, False
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
            self._sender.stop()
        self._writer.join()
        self._sender.end()
        self._spool.close()


def _boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _recorded(leaf: bytes) -> float:
    return datetime.fromisoformat(json.loads(leaf)["time"]).timestamp()
