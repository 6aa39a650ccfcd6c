"""Hands a node's records over, in their order, from a thread of its own; and tells the repository the spool's head.

The head is what the repository will have to see. It goes out when the disk has the records and before a caller hears
of it, so that what somebody takes out of the spool afterwards is missed. Nobody waits for an answer to it: a node
without a network goes on, as far as it may. It has a connection of its own, on which nothing ever comes back: where a
process is killed with something unread, the kernel throws away what it had still to send on that connection."""

import sys
import threading
import time
from collections import deque
from collections.abc import Callable

from readingroom_hub.adapters.audit_head import BEAT_SECONDS, Head
from readingroom_hub.adapters.audit_held import Held
from readingroom_hub.adapters.audit_node_wire import Repository, Wire
from readingroom_hub.errors import ReadingRoomError

_FRAME_RECORDS, _FRAME_BYTES = 500, 1 << 19
_GATHER_SECONDS = 0.05
"""How long records wait for others on their way: nobody waits for the repository's word."""
_PAUSE = 0.1


class Sender:
    """For one process of one node."""

    def __init__(
        self,
        to: Repository,
        source: tuple[str, str],
        changed: threading.Condition,
        confirmed: Callable[[list[Held]], None],
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        """`source`: process and epoch. `changed`: the lock over `out`, told of every change to it. `confirmed` hears of
        what the repository has, which is not in `out` any more."""
        self._to, self._source, self._changed, self._confirmed, self._clock = to, source, changed, confirmed, clock
        self.out: deque[Held] = deque()
        """To be sent, in this order."""
        self.trouble = ""
        """Why the repository cannot be reached."""
        self.urgent = False
        """Whether somebody waits until the repository has it."""
        self._wire: Wire | None = None
        self._heads: Wire | None = None
        self._beat = 0.0
        """When the connection for heads is to be heard again (monotonic)."""
        self._first = self._next = self._left = 0
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="audit-sender", daemon=True)

    def start(self) -> None:
        """Begin, with `out` as it is: what earlier processes left."""
        self._left = sum(len(h.leaves) for h in self.out)
        self._thread.start()

    def tell(self, end: int) -> None:
        """Every number before `end` is durable in the spool."""
        if end <= self._next:
            return
        self._next, heads = end, self._heads
        if heads:
            heads.say(self._head())

    def _head(self, *, ended: bool = False) -> Head:
        first = self._first  # before `next`, which only grows
        return Head(*self._source, first, max(first, self._next), self._left, ended)

    def _run(self) -> None:
        pause = _PAUSE
        while True:
            with self._changed:
                self._wait()
                if self._stopped:
                    return
                batch = self._batch() if self._wire else []
            try:
                self._turn(batch)
            except (OSError, ReadingRoomError) as error:
                self._hang_up()
                trouble = f"{self._to.host}:{self._to.port}: {error}"
                with self._changed:
                    if trouble != self.trouble:
                        sys.stderr.write(f"audit records wait in the spool: {trouble}\n")
                    self.trouble = trouble
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: self._stopped, pause)
                pause = min(pause * 2, self._to.longest_pause)
            else:
                pause = _PAUSE

    def _wait(self) -> None:
        """Until there is something to do. With the lock held."""
        if not self._wire:
            return
        self._changed.wait_for(lambda: self.out or self._stopped, BEAT_SECONDS)
        if self.out and not self._stopped and len(self.out) < _FRAME_RECORDS and not self.urgent:
            self._changed.wait_for(lambda: self._stopped or len(self.out) >= _FRAME_RECORDS, _GATHER_SECONDS)

    def _turn(self, batch: list[Held]) -> None:
        if not self._wire or not self._heads:
            self._wire = Wire(self._to)
            self._wire.ask(self._head())
            self._heads = Wire(self._to)
            self._beat = 0.0
            with self._changed:
                self.trouble = ""
        elif self._heads.broken:
            raise ConnectionError(self._heads.broken)
        elif batch:
            self._wire.hand_over([leaf for h in batch for leaf in h.to_send()], self._clock() // 1_000_000)
            self._settle(batch)
        else:
            self._wire.ask(self._head())
        if time.monotonic() >= self._beat:  # also while records come that nobody waits for
            self._heads.say(self._head())
            self._beat = time.monotonic() + BEAT_SECONDS

    def _batch(self) -> list[Held]:
        """What goes into one frame. With the lock held."""
        batch: list[Held] = []
        records = size = 0
        for held in self.out:
            records, size = records + len(held.leaves), size + sum(map(len, held.leaves))
            if batch and (records > _FRAME_RECORDS or size > _FRAME_BYTES):
                break
            batch.append(held)
        return batch

    def _settle(self, batch: list[Held]) -> None:
        left = self._left
        with self._changed:
            for held in batch:
                self.out.popleft()
                self._first = max(self._first, held.end)
                self._left -= 0 if held.end else len(held.leaves)
        self._confirmed(batch)
        if left and not self._left and self._wire:  # what is not stored by now will not come any more
            self._wire.ask(self._head())

    def _hang_up(self) -> None:
        wires, self._wire, self._heads = (self._wire, self._heads), None, None
        for wire in wires:
            if wire:
                wire.close()

    def stop(self) -> None:
        """With the lock held."""
        self._stopped = True
        self._changed.notify_all()

    def end(self) -> None:
        """After `stop`, and when nothing calls `tell` any more: the repository hears that this is a planned end."""
        self._thread.join()
        if self._heads:
            self._heads.say(self._head(ended=True))
        self._hang_up()
