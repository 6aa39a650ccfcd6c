"""The audit record repository through its socket: thread-safe, pipelined, reconnecting.

Every record goes through one outbox, in order, with a gap-free number, and stays there until it is acknowledged. What
a broken connection left open is sent again on the next call; the repository stores no id twice. So a record whose
`append` failed may still be stored later: it then carries `source.late`, since its caller was told no."""

import queue
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from readingroom_hub.adapters.audit_link import LATE_ROOM, Answers, Group, Link
from readingroom_hub.adapters.audit_waiting import Waiter
from readingroom_hub.adapters.audit_wire import error_of, filter_fields, node_of, wire_moment
from readingroom_hub.errors import AuditUnavailable, BadInput, ReadingRoomError
from readingroom_hub.ledger.canonical import MAX_LEAF
from readingroom_hub.ledger.seal import to_leaf
from readingroom_hub.model.audit import AuditRecord, Receipt
from readingroom_hub.model.ids import ApprovalId, PersonId
from readingroom_hub.ports.records import Answer, AuditRepository, Filter, Found, Identity, NodeState

_IN_FLIGHT = 20_000
_REMEMBERED = 5000
_SEARCH_SECONDS = 35.0
_PURGE_SECONDS = 3600.0
"""The log is gone through, and written anew."""


class SocketAuditRepository(AuditRepository):
    """A client of the audit record repository for one process. Connects at the first call."""

    def __init__(self, socket: Path, process: str, timeout_ms: int) -> None:
        self._socket = socket
        self._process = process
        self._seconds = timeout_ms / 1000
        self._epoch = secrets.token_hex(8)
        self._seq = 0
        self._lock = threading.Lock()
        self._link: Link | None = None
        self._outbox: OrderedDict[int, Group] = OrderedDict()
        """By identity, in the order of their numbers: all that is not acknowledged."""
        self._in_flight = 0
        self._replies = 0
        self._remembered: OrderedDict[str, tuple[Group, int]] = OrderedDict()
        """By id, the newest appended records: their group and place in it."""
        self._next_attempt = 0.0

    def append(self, records: Sequence[AuditRecord]) -> list[Receipt]:
        """See the port."""
        rows = {r.id: r.to_wire() for r in records}
        waiter = Waiter()
        with self._lock:
            link = self._connected() if rows else None
            known = {id: self._remembered[id] for id in rows if id in self._remembered}
            fresh = [row for id, row in rows.items() if id not in known]
            if link and fresh:
                known |= self._remember(self._enqueue(link, fresh, waiter), fresh)
            waiting = {id(group): group for group, _ in known.values() if not group.receipts}
            for group in waiting.values():
                waiter.expect()
                if waiter not in group.waiters:
                    group.waiters.append(waiter)
        if link:
            link.pump()
        if waiting:
            self._wait(waiter, list(waiting.values()))
        return [known[r.id][0].receipts[known[r.id][1]] for r in records]

    def _remember(self, group: Group, rows: list[dict[str, Any]]) -> dict[str, tuple[Group, int]]:
        """So that a caller who tries again with the same records takes no new numbers, which would never be stored."""
        while self._remembered and len(self._remembered) + len(rows) > _REMEMBERED:
            self._remembered.popitem(last=False)
        places = {row["id"]: (group, place) for place, row in enumerate(rows)}
        self._remembered.update(places)
        return places

    def _wait(self, waiter: Waiter, groups: list[Group]) -> None:
        """Raises what became of them. However it ends, those behind it in the line are woken."""
        woken = False
        try:
            woken = waiter.wait(self._seconds)
        finally:
            if not woken:
                with self._lock:
                    woken = waiter.leave()
                    for group in groups:
                        group.late = not group.receipts
        if not woken:
            text = f"the audit record repository did not confirm within {self._seconds:g} s: nothing is released"
            raise AuditUnavailable(text)
        if waiter.error:
            raise waiter.error

    def post(self, record: AuditRecord) -> None:
        """See the port."""
        row = record.to_wire()
        with self._lock:
            self._enqueue(self._link or self._reconnected(), [row])

    def check(self) -> None:
        """See the port."""
        with self._lock:
            self._fits(1)
            if self._link is None:
                self._reconnected()

    def _fits(self, more: int) -> None:
        if self._in_flight + more > _IN_FLIGHT:
            raise AuditUnavailable(f"{self._in_flight} audit records wait for the repository: try again in a moment")

    def _enqueue(self, link: Link, rows: list[dict[str, Any]], waiter: Waiter | None = None) -> Group:
        """Number the records and hand them to the link. With the lock held. Raises BadInput, AuditUnavailable."""
        self._fits(len(rows))
        leaves = []
        for seq, row in enumerate(rows, self._seq):
            row["source"] = {"process": self._process, "epoch": self._epoch, "seq": seq}
            leaf = to_leaf(row)
            if len(leaf) > MAX_LEAF - LATE_ROOM:
                raise BadInput(f"the audit record is {len(leaf)} bytes long: name fewer objects in it")
            leaves.append(leaf)
        link.check_size(leaves)
        group = Group(leaves, [waiter] if waiter else [])
        self._seq += len(rows)
        self._in_flight += len(rows)
        self._outbox[id(group)] = group
        link.send(group, wake=waiter is None)
        return group

    def _reconnected(self) -> Link:
        """For `post`, which must stay cheap: one attempt in a time limit."""
        now = time.monotonic()
        if now < self._next_attempt:
            raise AuditUnavailable("the audit record repository cannot be reached: the record was not taken")
        self._next_attempt = now + self._seconds
        return self._connected()

    def _connected(self) -> Link:
        """The link; a new one first sends all that is not acknowledged. With the lock held. Raises AuditUnavailable."""
        if self._link is None:
            self._link = Link(self._socket, self._seconds, self._acknowledged, self._lost)
            for group in self._outbox.values():
                if group.late:
                    group.mark_late()
                self._link.send(group)
        return self._link

    def _acknowledged(self, groups: list[Group], reply: dict[str, Any]) -> None:
        """The link's reader: one reply stands for several groups."""
        error = error_of(reply)
        if error and not isinstance(error, BadInput):
            raise error  # ends the link; the records stay in the outbox
        receipts = [Receipt(index, bytes.fromhex(hash)) for index, hash in reply.get("receipts", ())]
        with self._lock:
            self._replies += 1
            for group in groups:
                self._in_flight -= len(group.leaves) if self._outbox.pop(id(group), None) else 0
                if error:
                    self._forget(group)
                group.receipts = receipts[: len(group.leaves)]
                receipts = receipts[len(group.leaves) :]
                group.leaves = []
            woken = [w for group in groups for w in group.settle(error)]
            Waiter.line_up(woken)
        if woken:
            woken[0].wake()

    def _forget(self, group: Group) -> None:
        for id in [i for i, (g, _) in self._remembered.items() if g is group]:
            del self._remembered[id]

    def _lost(self, link: Link, error: ReadingRoomError) -> None:
        """The link ended: whoever waits hears of it now."""
        with self._lock:
            if self._link is link:
                self._link = None
            waiting = [g for g in self._outbox.values() if g.waiters]
            for group in waiting:
                group.late = True
            woken = [w for group in waiting for w in group.settle(error)]
            Waiter.line_up(woken)
        if woken:
            woken[0].wake()

    def flush(self) -> None:
        """See the port. The limit is on waiting without progress."""
        waiter = Waiter()
        with self._lock:
            if not self._outbox:
                return
            link = self._connected()
            waiter.expect()
            self._enqueue(link, [], waiter)
        link.pump()
        while True:
            replies = self._replies
            if waiter.wait(self._seconds):
                break
            with self._lock:
                if self._replies == replies:
                    if waiter.leave():
                        break
                    raise AuditUnavailable(f"the audit log stored nothing for {self._seconds:g} s: try again")
        if waiter.error:
            raise waiter.error

    def identify(self, issuer: str, subject: str, name: str) -> PersonId:
        """See the port."""
        return PersonId(self._call("identify", self._seconds, issuer=issuer, subject=subject, name=name)["person"])

    def people(self, text: str) -> list[Identity]:
        """See the port."""
        rows = self._call("people", self._seconds, text=text)["people"]
        return [Identity(PersonId(r["person"]), r["issuer"], r["subject"], r["name"]) for r in rows]

    def forget(
        self, person: PersonId, reason: str, by: PersonId, approvers: Sequence[PersonId], approval: ApprovalId | None
    ) -> None:
        """Erase the identity behind a person id, after putting it on record. Raises BadInput, AuditUnavailable."""
        fields = {"reason": reason, "by": by, "approved_by": list(approvers), "approval": approval}
        self._call("forget", self._seconds, person=person, **fields)

    def purge(
        self, before: datetime, reason: str, by: PersonId, approvers: Sequence[PersonId], approval: ApprovalId | None
    ) -> None:
        """Remove contents of access records from before this time, after putting it on record.

        Raises BadInput, AuditUnavailable."""
        fields = {"reason": reason, "by": by, "approved_by": list(approvers), "approval": approval}
        self._call("purge", _PURGE_SECONDS, before=wire_moment(before), **fields)

    def search(self, wanted: Filter, asked_by: PersonId | None) -> Answer:
        """See the port. Large results come in several searches, of what was stored at the first."""
        found: list[Found] = []
        before: int | None = None
        size, began = 0, time.monotonic()
        nodes: tuple[NodeState, ...] = ()
        while True:
            fields = filter_fields(wanted) | {"limit": min(wanted.limit - len(found), 10_000)}
            reply = self._call("query", _SEARCH_SECONDS, filter=fields, asked_by=asked_by, before=before)
            rows = reply["found"]
            if not size:
                size, nodes = reply["size"], tuple(map(node_of, reply["nodes"]))
            found += [Found(r["index"], r["record"], r["name"]) for r in rows]
            if len(found) >= wanted.limit or not (reply["more"] or len(rows) == fields["limit"]):
                return Answer(found, size, reply["stored"] - size, time.monotonic() - began, nodes)
            before = found[-1].index

    def checkpoint(self) -> str:
        """See the port."""
        return str(self._call("checkpoint", self._seconds)["note"])

    def status(self) -> dict[str, Any]:
        """Size, root (hexadecimal), index_lag (records), index_lag_seconds, damage, witnesses_late (texts or None),
        nodes (a NodeState for each)."""
        reply = self._call("status", self._seconds)
        names = ("size", "root", "index_lag", "index_lag_seconds", "damage", "witnesses_late")
        return {k: reply[k] for k in names} | {"nodes": tuple(map(node_of, reply["nodes"]))}

    def witnesses_late(self) -> str | None:
        """See the port."""
        late = self.status()["witnesses_late"]
        return None if late is None else str(late)

    def _call(self, op: str, seconds: float, **fields: object) -> dict[str, Any]:
        answers: Answers = queue.SimpleQueue()
        with self._lock:
            self._connected().call(op, fields, answers)
        try:
            answer = answers.get(timeout=seconds)
        except queue.Empty:
            raise AuditUnavailable(f"the audit record repository did not answer within {seconds:g} s") from None
        if isinstance(answer, ReadingRoomError):
            raise answer
        error = error_of(answer)
        if error:
            raise error
        return answer

    def close(self) -> None:
        """Hang up. What is not acknowledged by now may be lost: `flush` first."""
        with self._lock:
            link = self._link
        if link:
            link.close()
