"""Numbers of a source that are known to have been given, and whose records are not stored yet."""

from bisect import bisect_right
from collections.abc import Iterable

Range = tuple[int, int]
"""First number, and the one after the last."""


class Owed:
    """Of one epoch of one process. It costs what the gaps cost, not what the numbers do."""

    def __init__(self, ranges: Iterable[Range] = (), end: int = 0) -> None:
        """`ranges`: disjoint, the lowest first. `end`: the number after the last that is known to have been given."""
        self._ranges = [r for r in ranges if r[0] < r[1]]
        self.end = max([end, *(r[1] for r in self._ranges)])

    def announce(self, end: int) -> None:
        """All numbers before `end` have been given."""
        if end <= self.end:
            return
        first = self.end
        if self._ranges and self._ranges[-1][1] == first:
            first, _ = self._ranges.pop()
        self._ranges.append((first, end))
        self.end = end

    def came(self, number: int) -> None:
        """The record with this number is stored. Those before it have been given, then, too."""
        self.announce(number + 1)
        at = bisect_right(self._ranges, number, key=lambda r: r[0]) - 1
        if at < 0 or number >= self._ranges[at][1]:
            return  # a second time
        first, end = self._ranges[at]
        self._ranges[at : at + 1] = [r for r in ((first, number), (number + 1, end)) if r[0] < r[1]]

    @property
    def ranges(self) -> tuple[Range, ...]:
        """What is owed, the lowest first."""
        return tuple(self._ranges)

    def any_before(self, end: int) -> bool:
        """Whether a number before `end` is owed."""
        return any(first < end for first, _ in self._ranges[:1])

    @property
    def count(self) -> int:
        """How many."""
        return sum(end - first for first, end in self.ranges)


def spelled(ranges: Iterable[Range]) -> str:
    """For people: `3, 7 to 12`."""
    return ", ".join(str(first) if end == first + 1 else f"{first} to {end - 1}" for first, end in ranges)
