"""What nodes have and the repository has not: what they announced, whether they are heard, what never came.

A node announces each record before its caller relies on it (see audit_head). What it announced is kept here in memory,
and goes on the log when the node's connection ends before all of it came. When a later process of that node has handed
its spool over, what is not there then was cut out of the spool: that is on record at once."""

import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from readingroom_hub.adapters.audit_connection import Connection
from readingroom_hub.adapters.audit_head import BEAT_SECONDS, Head, head_of
from readingroom_hub.errors import AuditUnavailable, BadInput, Denied
from readingroom_hub.ledger.owed import Owed, spelled
from readingroom_hub.ledger.record import Source
from readingroom_hub.model.audit import AuditEvent, AuditRecord, Outcome
from readingroom_hub.ports.records import Found, NodeState

EVENTS = (AuditEvent.NODE_CONNECTED.value, AuditEvent.NODE_DISCONNECTED.value)
_SILENT_SECONDS = 4 * BEAT_SECONDS
"""Not heard for so long, a connection is a dead one: nobody says so when a machine loses its power."""
_GRACE_SECONDS = 5.0
"""A node that owes nothing and is back by then leaves no record."""
_MOST_PROCESSES, _MOST_EPOCHS = 16, 1000
"""Of one node, and of one process: so many are told apart, so that a node that lies fills no memory."""
_MOST_RANGES = 100
"""Are named in one record. More than a few come from a node that lies."""


@dataclass(slots=True)
class _Process:
    """One mount daemon of one node, over its restarts."""

    node: str
    name: str
    connections: dict[Connection, str] = field(default_factory=dict)
    """With the epoch that each speaks for."""
    owed: dict[str, Owed] = field(default_factory=dict)
    """By epoch: of those that are connected, and of those that owe something."""
    lost: dict[str, str] = field(default_factory=dict)
    """Epochs whose records will not come any more, and why."""
    heard: datetime | None = None
    left_at: float = 0.0
    """When its last connection ended (monotonic)."""
    ended: bool = False
    """Whether that was planned."""
    on_record: str = ""
    """The newest of its events in the log."""
    promised: dict[str, int] = field(default_factory=dict)
    """By epoch, the end of what that event names."""

    @property
    def count(self) -> int:
        return sum(owed.count for owed in tuple(self.owed.values()))

    def is_news(self) -> bool:
        """Whether it owes more than the log says."""
        return any(o.count and o.end > self.promised.get(e, 0) for e, o in self.owed.items())


class NodeWatch:
    """For one event loop; `states` and `missing` may be asked from any thread."""

    def __init__(
        self,
        record: Callable[[AuditRecord], object],
        listed: Callable[[], Sequence[str]],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`record` stores at once, or raises AuditUnavailable. `listed`: the nodes that may come."""
        self._record, self._listed, self._now = record, listed, now
        self._processes: dict[str, _Process] = {}
        self._last: dict[Connection, float] = {}
        """When each that told a head was heard last."""
        self._stops = False
        self._began, self._began_at = datetime.now(UTC), now()
        self.missing: dict[str, int] = {}
        """By node, how many records were found to be missing since this process began."""

    def recall(
        self, search: Callable[[int | None], Sequence[Found]], stored: Callable[[int], Iterable[Source]]
    ) -> None:
        """Begin with what the log says. `search` finds EVENTS before a place, newest first, a few at a time; `stored`
        gives the sources of all records from a place on. Raises what these raise."""
        places: list[int] = []
        found: list[Found] = []
        while page := search(found[-1].index if found else None):
            found += page
        for one in found:
            subject = one.record.get("subject", {})
            name, node = str(subject.get("service", "")), str(subject.get("node", ""))
            if name in self._processes or "node" in one.record:  # what a node says of another is not believed
                continue
            process = self._processes[name] = _Process(node, name, left_at=self._now(), on_record=one.record["event"])
            if process.on_record == EVENTS[0]:
                continue
            process.ended = one.record["outcome"] == Outcome.SUCCESS
            process.heard = datetime.fromisoformat(one.record["time"])
            for epoch, ranges in subject["awaited"].items():
                process.owed[epoch] = owed = Owed([(first, last + 1) for first, last in ranges])
                process.promised[epoch] = owed.end
                places.append(one.index)
        if places:
            self.stored(stored(min(places)))

    def hear(self, connection: Connection, request: Mapping[str, Any]) -> None:
        """A node tells its spool's head. Raises BadInput, Denied where that cannot be."""
        head = head_of(request)
        process = self._process(connection, head)
        if head.epoch not in process.owed:
            if len(process.owed) >= _MOST_EPOCHS:
                raise BadInput(f"{head.process} was started {_MOST_EPOCHS} times without handing over what it owes")
            process.owed[head.epoch] = Owed(end=head.first)
        process.connections[connection] = head.epoch
        process.owed[head.epoch].announce(head.next)
        process.ended = head.ended
        process.heard, self._last[connection] = datetime.now(UTC), self._now()
        if not head.left:
            self._close(process, head)
        self._settle(process)

    def _process(self, connection: Connection, head: Head) -> _Process:
        node = connection.peer.node
        if head.process.rpartition("@")[2] != node:
            raise Denied(f"the head of a spool says that it is of {head.process!r:.80}, and not of {node}")
        known = [p for p in self._processes.values() if p.node == node]
        for other in known:
            spoke_for = other.connections.get(connection)
            if spoke_for is not None and (other.name, spoke_for) != (head.process, head.epoch):
                raise BadInput(f"one connection speaks for {other.name} {spoke_for} and {head.process} {head.epoch}")
        if head.process not in self._processes:
            if len(known) >= _MOST_PROCESSES:
                raise BadInput(f"{node} records with more than {_MOST_PROCESSES} kinds of process")
            self._processes[head.process] = _Process(node, head.process)
        return self._processes[head.process]

    def _close(self, process: _Process, head: Head) -> None:
        """Its spool holds nothing of earlier epochs any more."""
        live = set(process.connections.values())
        for epoch, owed in tuple(process.owed.items()):
            if epoch in live:
                continue
            if not owed.count:
                del process.owed[epoch]
            else:
                process.lost.setdefault(epoch, f"it is not in that spool any more, says epoch {head.epoch}")

    def heard(self, connection: Connection) -> None:
        """It handed records over."""
        if connection in self._last:
            self._last[connection] = self._now()

    def stored(self, sources: Iterable[Source]) -> None:
        """Records of these are in the log."""
        for source in sources:
            process = self._processes.get(source.process)
            owed = process.owed.get(source.epoch) if process else None
            if owed is not None:
                owed.came(source.seq)

    def left(self, connection: Connection) -> None:
        """A connection has ended."""
        self._last.pop(connection, None)
        for process in self._processes.values():
            if process.connections.pop(connection, None) is not None:
                process.left_at = self._now()
                self._settle(process)

    def watch(self) -> None:
        """Each second: end dead connections, and store what is due."""
        for connection, last in tuple(self._last.items()):
            if self._now() - last > _SILENT_SECONDS:
                sys.stderr.write(f"audit record repository: {connection.peer.node} is not heard any more\n")
                connection.cut()
        for process in self._processes.values():
            self._settle(process)

    def obey(self, listed: Iterable[str]) -> None:
        """The list of nodes has changed: what others owe will not come any more."""
        names = set(listed)
        for process in self._processes.values():
            if process.node not in names:
                why = f"{process.node} is not in the list of nodes any more"
                process.lost |= {epoch: why for epoch, owed in process.owed.items() if owed.count}

    def stop(self) -> None:
        """The repository ends as planned: what is known only here goes on the log."""
        self._stops = True
        for process in self._processes.values():
            process.connections.clear()
            if process.count:
                self._settle(process)
        self._last.clear()

    def _settle(self, process: _Process) -> None:
        """Bring the log up to what is known. What cannot be stored now is due again in a second."""
        try:
            self._store_missing(process)
            if process.connections:
                self._store_connected(process)
            elif process.is_news() or (process.on_record != EVENTS[1] and self._is_gone(process)):
                self._record(_disconnected(process, stops=self._stops))
                process.on_record = EVENTS[1]
                process.promised = {epoch: owed.end for epoch, owed in process.owed.items() if owed.count}
        except AuditUnavailable as error:
            sys.stderr.write(f"audit record repository: {error}\n")

    def _store_missing(self, process: _Process) -> None:
        while process.lost:
            epoch, why = next(iter(process.lost.items()))
            owed = process.owed.get(epoch, Owed())
            if count := owed.count:
                self._record(_missing(process, epoch, owed, why))
                sys.stderr.write(f"audit record repository: records of {process.name} are missing ({count}): {why}\n")
                self.missing[process.node] = self.missing.get(process.node, 0) + count
            del process.lost[epoch]
            process.owed.pop(epoch, None)

    def _store_connected(self, process: _Process) -> None:
        """Not before what the log says is awaited has come: until then, a restart has to know of it."""
        is_open = any(owed.any_before(process.promised.get(epoch, 0)) for epoch, owed in process.owed.items())
        if process.on_record != EVENTS[0] and not is_open:
            self._record(AuditRecord(AuditEvent.NODE_CONNECTED, subject=_subject(process)))
            process.on_record, process.promised = EVENTS[0], {}

    def _is_gone(self, process: _Process) -> bool:
        return process.ended or self._now() - max(process.left_at, self._began_at) >= _GRACE_SECONDS

    def states(self) -> tuple[NodeState, ...]:
        """Every node that is listed or owes something, by name."""
        found = {name: [p for p in tuple(self._processes.values()) if p.node == name] for name in self._listed()}
        for process in tuple(self._processes.values()):
            if process.count and process.node not in found:
                found[process.node] = [process]
        return tuple(
            NodeState(node, sum(p.count for p in processes), self._silent_since(processes))
            for node, processes in sorted(found.items())
        )

    def _silent_since(self, processes: Sequence[_Process]) -> datetime | None:
        """A node that nobody has heard yet may have been at work while the repository was away."""
        silent = [p for p in processes if not p.connections and not p.ended]
        heard = [p.heard or self._began for p in silent]
        return min(heard) if heard else None if processes else self._began


def _subject(process: _Process) -> dict[str, Any]:
    return {"service": process.name, "node": process.node}


def _ranges(owed: Owed) -> list[list[int]]:
    return [[first, end - 1] for first, end in owed.ranges[:_MOST_RANGES]]


def _missing(process: _Process, epoch: str, owed: Owed, why: str) -> AuditRecord:
    numbers = spelled(owed.ranges[:_MOST_RANGES])
    reason = (
        f"records-missing: what {process.name} recorded as {numbers} of its epoch {epoch} was durable in its spool, "
        f"and images may have been read on its strength; {why}"
    )
    subject = _subject(process) | {"missing": {epoch: _ranges(owed)}, "count": owed.count}
    return AuditRecord(AuditEvent.INTEGRITY_FAILURE, Outcome.FAILURE, reason=reason[:4000], subject=subject)


def _disconnected(process: _Process, *, stops: bool) -> AuditRecord:
    awaited = {epoch: _ranges(owed) for epoch, owed in process.owed.items() if owed.count}
    subject = _subject(process) | {"awaited": awaited, "count": process.count}
    if process.ended:
        return AuditRecord(AuditEvent.NODE_DISCONNECTED, subject=subject)
    reason = "repository-stops: the repository hangs up" if stops else "node-silent: the node is gone without a word"
    return AuditRecord(AuditEvent.NODE_DISCONNECTED, Outcome.FAILURE, reason=reason, subject=subject)
