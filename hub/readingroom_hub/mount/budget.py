"""How much plaintext the daemon keeps, of one session and of all. What falls out is read again when asked for."""

import threading
from collections import OrderedDict
from typing import Protocol

SESSION_BYTES = 64 << 20
"""Of one session, at most, where it holds more than one image."""
ALL_BYTES = 512 << 20
"""Of all sessions together: so that many that each open images and read a little of them leave room for the others."""


class Holder(Protocol):
    """An open instance with plaintext in memory."""

    @property
    def held(self) -> int:
        """Bytes of plaintext in memory."""

    def shed(self) -> None:
        """Forget the plaintext, where that needs no waiting."""


class Memory:
    """Of all sessions. Where it is full, the session that holds most gives up what it read least recently."""

    def __init__(self, all_bytes: int = ALL_BYTES, session_bytes: int = SESSION_BYTES) -> None:
        self._all_bytes = all_bytes
        self._session_bytes = session_bytes
        self._lock = threading.Lock()
        self._budgets: set[Budget] = set()
        """Of those that hold something."""
        self._total = 0

    def note(self, budget: "Budget", holder: Holder) -> list[Holder]:
        """What `holder` of this budget holds now. Returns who is to shed, which the caller has them do."""
        with self._lock:
            held = holder.held
            self._count(budget, holder, held)
            shed: list[Holder] = []
            while budget.total > self._session_bytes and len(budget.held) > 1:
                shed.append(self._oldest(budget))
            while self._total > self._all_bytes:
                most = max(self._budgets, key=lambda b: b.total)
                if next(iter(most.held)) is holder:
                    break
                shed.append(self._oldest(most))
            return shed

    def leave(self, budget: "Budget") -> None:
        """A session ended."""
        with self._lock:
            for holder in list(budget.held):
                self._count(budget, holder, 0)

    @property
    def total(self) -> int:
        """Bytes of plaintext of all sessions."""
        return self._total

    def _oldest(self, budget: "Budget") -> Holder:
        oldest = next(iter(budget.held))
        self._count(budget, oldest, 0)
        return oldest

    def _count(self, budget: "Budget", holder: Holder, held: int) -> None:
        change = held - budget.held.pop(holder, 0)
        budget.total += change
        self._total += change
        if held:
            budget.held[holder] = held
        if budget.held:
            self._budgets.add(budget)
        else:
            self._budgets.discard(budget)


class Budget:
    """What one session's open instances hold, the least recently read first. Its fields are the memory's to change."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self.held: OrderedDict[Holder, int] = OrderedDict()
        self.total = 0

    def note(self, holder: Holder) -> None:
        """Call after each read of `holder`, and after its plaintext was dropped."""
        for one in self._memory.note(self, holder):
            one.shed()

    def end(self) -> None:
        """The session ended."""
        self._memory.leave(self)
