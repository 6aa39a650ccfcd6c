"""One connection to the audit record repository: a thread that sends, a thread that reads, requests in between."""

import contextlib
import json
import queue
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from readingroom_hub.adapters.audit_waiting import Waiter
from readingroom_hub.adapters.audit_wire import MAX_FRAME, Frames, frame, message
from readingroom_hub.errors import AuditUnavailable, BadInput, ReadingRoomError
from readingroom_hub.ledger.seal import to_leaf
from readingroom_hub.model.audit import Receipt

_FRAME_RECORDS = 500
_FRAME_BYTES = 1 << 19
_GATHER_SECONDS = 0.025
"""How long posted records may wait for others. A frame costs both processes more than a record does: a thread to wake,
a write, a commit, a reply. A kill loses what waited, which a durable intent covers."""
_GATHER_GROUPS = 128
_RECEIVE = 1 << 18
_HEAD_ROOM = 256
LATE_ROOM = 32
"""Bytes that `late` and a comma add to a leaf."""


Answers = queue.SimpleQueue[dict[str, Any] | ReadingRoomError]
"""Where the caller of anything but an append waits for the reply."""


@dataclass(slots=True, eq=False)
class Group:
    """Records that are stored all or none; without any, a marker: its reply says that all before it is stored."""

    leaves: list[bytes]
    waiters: list[Waiter] = field(default_factory=list)
    late: bool = False
    """Whether a caller was told that they are not stored, which may turn out wrong."""
    receipts: list[Receipt] = field(default_factory=list)

    @property
    def wants_receipts(self) -> bool:
        """Whether places and hashes must come back."""
        return bool(self.waiters) or self.late

    def settle(self, error: ReadingRoomError | None) -> list[Waiter]:
        """Tell who waits; returns those that are to be woken. With the waiters' lock held."""
        waiters, self.waiters = self.waiters, []
        return [w for w in waiters if w.answer(error)]

    def mark_late(self) -> None:
        """Say in each record that its caller was told no."""
        rows = [json.loads(leaf) for leaf in self.leaves]
        self.leaves = [to_leaf(row | {"source": row["source"] | {"late": True}}) for row in rows]


class Link:
    """Lives until the first error; then `lost` is called once, from one of its threads."""

    def __init__(
        self,
        path: Path,
        seconds: float,
        acknowledged: Callable[[list[Group], dict[str, Any]], None],
        lost: Callable[["Link", ReadingRoomError], None],
    ) -> None:
        """Connect. Raises AuditUnavailable where nobody listens at `path`."""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(seconds)
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise AuditUnavailable(
                f"the audit record repository at {path} does not answer: {error}. Is it running?"
            ) from error
        self._socket.settimeout(None)
        self._acknowledged, self._on_lost = acknowledged, lost
        self._changed = threading.Condition()
        self._queue: deque[Group | bytes] = deque()
        self._sent: dict[int, list[Group]] = {}
        self._calls: dict[int, Answers] = {}
        self._n = 0
        self._due = 0.0
        """When the queue is to be sent (monotonic): at once where somebody waits for a reply."""
        self._busy = False
        """Whether some thread has a frame in its hands: frames must not mix."""
        self._ended = False
        for work in (self._send_all, self._read_all):
            threading.Thread(target=self._guard, args=(work,), name="audit-link", daemon=True).start()

    @staticmethod
    def check_size(leaves: Sequence[bytes]) -> None:
        """Raises BadInput for a group that fits in no frame."""
        size = sum(map(len, leaves)) + LATE_ROOM * len(leaves) + _HEAD_ROOM
        if size > MAX_FRAME:
            raise BadInput(f"{len(leaves)} audit records of {size} bytes are too much for one request: append fewer")

    def send(self, group: Group, *, wake: bool = True) -> None:
        """Queue records. `wake=False` is for a caller who goes on to `pump`; else the sending thread collects them.

        Without a waiter they stay for `_GATHER_SECONDS`, or until something more urgent is queued behind them. While
        a frame is under way, the queue grows; the thread that reads its reply sends all of it. A second frame would
        only wait for the first one's commit, and each commit costs as much as twenty records."""
        with self._changed:
            if group.waiters:
                self._due = 0.0
            elif not self._queue:
                self._due = time.monotonic() + _GATHER_SECONDS
            self._queue.append(group)
            if wake and len(self._queue) in {1, _GATHER_GROUPS}:
                self._changed.notify()

    def _may_send(self) -> bool:
        """Whether it is the next frame's turn. With the lock held."""
        if self._busy or not self._queue:
            return False
        if isinstance(self._queue[0], bytes):
            return True
        ripe = len(self._queue) >= _GATHER_GROUPS or time.monotonic() >= self._due
        return ripe and not self._sent

    def _patience(self) -> float | None:
        """Seconds until the sending thread looks again by itself. With the lock held."""
        if not self._queue:
            return None
        left = self._due - time.monotonic()
        return left if left > 0 else _GATHER_SECONDS  # due, and not its turn: a reply or a sender's end comes first

    def pump(self) -> None:
        """Send what may be sent in the caller's thread, without waiting and without a lock that others need.

        What the socket does not take at once is left to the sending thread."""
        while (data := self._claim()) is not None:
            try:
                left = data[self._socket.send(data, socket.MSG_DONTWAIT) :]
            except OSError:  # full, or broken: the sending thread finds out which
                left = data
            with self._changed:
                self._busy = False
                if left:
                    self._queue.appendleft(left)
                    self._changed.notify()
                    return

    def _claim(self) -> bytes | None:
        """The next frame, which is then in the caller's hands; None where it is nobody's or somebody else's turn."""
        with self._changed:
            if self._ended or not self._may_send():
                return None
            self._busy = True
            return self._next()

    def call(self, op: str, fields: dict[str, object], answers: Answers) -> None:
        """Queue another request; the reply, or the end of the link, goes to `answers`."""
        with self._changed:
            if self._ended:
                raise AuditUnavailable("the connection to the audit record repository just broke: try again")
            self._n += 1
            self._due = 0.0
            self._queue.append(message(self._n, op=op, **fields))
            self._calls[self._n] = answers
            self._changed.notify()

    def _next(self) -> bytes:
        """The next frame: as many groups as fit, or one call, or the rest of a frame."""
        first = self._queue.popleft()
        return first if isinstance(first, bytes) else self._frame(self._groups(first))

    def _take(self) -> bytes | None:
        """For the sending thread: the next frame, None at the end."""
        with self._changed:
            while not (self._ended or self._may_send()):
                self._changed.wait(self._patience())
            self._busy = True
            return None if self._ended else self._next()

    def _frame(self, groups: list[Group]) -> bytes:
        """With the lock held, since frames leave in the order of their numbers."""
        self._n += 1
        self._sent[self._n] = groups
        receipts = b"true" if any(g.wants_receipts for g in groups) else b"false"
        head = b'{"v":1,"n":%d,"op":"append","receipts":%s,"records":[' % (self._n, receipts)
        return frame(head + b",".join(leaf for g in groups for leaf in g.leaves) + b"]}")

    def _groups(self, first: Group) -> list[Group]:
        """`first` and what follows it, as far as one frame goes. With the lock held."""
        groups, records, size = [first], len(first.leaves), sum(map(len, first.leaves))
        while self._queue and isinstance(group := self._queue[0], Group):
            records, size = records + len(group.leaves), size + sum(map(len, group.leaves))
            if records > _FRAME_RECORDS or size > _FRAME_BYTES:
                break
            groups.append(group)
            self._queue.popleft()
        return groups

    def _send_all(self) -> None:
        while (data := self._take()) is not None:
            self._socket.sendall(data)
            with self._changed:
                self._busy = False

    def _read_all(self) -> None:
        frames = Frames()
        while data := self._socket.recv(_RECEIVE):
            for reply in frames.feed(data):
                self._reply(reply)
        raise AuditUnavailable("the audit record repository hung up")

    def _reply(self, reply: dict[str, Any]) -> None:
        with self._changed:
            groups = self._sent.pop(reply["n"], None)
            answers = self._calls.pop(reply["n"], None)
        self.pump()  # first: the repository then works while those who waited are woken
        if answers:
            answers.put(reply)
        elif groups is not None:
            self._acknowledged(groups, reply)

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except ReadingRoomError as error:
            self._end(error)
        except OSError as error:
            self._end(AuditUnavailable(f"the connection to the audit record repository broke: {error}"))

    def _end(self, error: ReadingRoomError) -> None:
        with self._changed:
            if self._ended:
                return
            self._ended = True
            calls, self._calls = self._calls, {}
            self._changed.notify_all()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._on_lost(self, error)
        for answers in calls.values():
            answers.put(error)
        self._socket.close()

    def close(self) -> None:
        """Hang up."""
        self._end(AuditUnavailable("the connection to the audit record repository was closed"))
