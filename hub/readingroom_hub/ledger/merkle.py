"""The Merkle tree of the log: hashes, frontier, inclusion and consistency proofs (RFC 6962 2.1, RFC 9162 2.1.3)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

EMPTY_ROOT = sha256(b"").digest()


def leaf_hash(leaf: bytes) -> bytes:
    """MTH({d}) = SHA-256(0x00 || d)."""
    return sha256(b"\0" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return sha256(b"\1" + left + right).digest()


@dataclass(slots=True)
class Frontier:
    """The roots of the complete subtrees at the right edge, largest first: all that appending needs."""

    size: int = 0
    hashes: list[bytes] = field(default_factory=list)

    def copy(self) -> "Frontier":
        """One that can be extended and thrown away."""
        return Frontier(self.size, self.hashes.copy())

    def append(self, hash: bytes) -> None:
        """Add one leaf hash. Every trailing 1 bit of `size` is a subtree that becomes complete."""
        n = self.size
        while n & 1:
            hash = node_hash(self.hashes.pop(), hash)
            n >>= 1
        self.hashes.append(hash)
        self.size += 1

    def append_subtree(self, level: int, hash: bytes) -> None:
        """Add the root of a complete subtree of 2^level leaves. Raises IndexError where it does not fit there."""
        if not 0 <= level < 64 or self.size % (1 << level):
            raise IndexError(f"a subtree of 2^{level} leaves cannot follow {self.size} leaves")
        n = self.size >> level
        while n & 1:
            hash = node_hash(self.hashes.pop(), hash)
            n >>= 1
        self.hashes.append(hash)
        self.size += 1 << level

    def root(self) -> bytes:
        """The tree's root."""
        if not self.hashes:
            return EMPTY_ROOT
        root = self.hashes[-1]
        for hash in reversed(self.hashes[:-1]):
            root = node_hash(hash, root)
        return root


class Subtrees:
    """The complete subtrees that lead from a tree of `start` leaves on: what stands for leaves that are not shown."""

    def __init__(self, start: int) -> None:
        self._start = self.size = start
        self._nodes: list[tuple[int, bytes]] = []

    def append(self, hash: bytes) -> None:
        """Add one leaf hash; two neighbours that share a parent in the tree become it."""
        level, self.size = 0, self.size + 1
        while self._nodes and self._nodes[-1][0] == level and not (self.size - (2 << level)) % (2 << level):
            hash = node_hash(self._nodes.pop()[1], hash)
            level += 1
        self._nodes.append((level, hash))

    @property
    def nodes(self) -> list[tuple[int, bytes]]:
        """Level and hash, left to right: what `Frontier.append_subtree` takes."""
        return list(self._nodes)


def _split(n: int) -> int:
    """The largest power of two smaller than `n` (RFC 6962 section 2.1)."""
    return 1 << ((n - 1).bit_length() - 1)


def root_of(hashes: Sequence[bytes]) -> bytes:
    """The root over these leaf hashes."""
    frontier = Frontier()
    for hash in hashes:
        frontier.append(hash)
    return frontier.root()


class Nodes:
    """The complete subtrees of a growing tree, from 256 leaves on (64 bytes for each 256): what makes proofs quick."""

    LEAVES = 1 << 8

    def __init__(self) -> None:
        self._levels: list[list[bytes]] = [[]]

    @property
    def size(self) -> int:
        """How many leaves they cover."""
        return len(self._levels[0]) * self.LEAVES

    def append(self, hashes: Sequence[bytes]) -> None:
        """Add the next 256 leaf hashes. Raises IndexError for another number of them."""
        if len(hashes) != self.LEAVES:
            raise IndexError(f"{len(hashes)} leaves are no complete subtree of {self.LEAVES}")
        node, level = root_of(hashes), 0
        self._levels[0].append(node)
        while not len(self._levels[level]) % 2:
            node = node_hash(self._levels[level][-2], node)
            level += 1
            if level == len(self._levels):
                self._levels.append([])
            self._levels[level].append(node)

    def root(self, start: int, end: int, hashes: Callable[[int, int], Sequence[bytes]]) -> bytes:
        """The root over the leaves from `start` to before `end`, a subtree of RFC 6962.

        `hashes(start, end)` gives the leaf hashes of what is not covered: fewer than 256 at a time."""
        frontier, place = Frontier(), start
        while place < end:
            aligned = (place & -place).bit_length() - 1 if place else 63
            level = min(aligned, max(0, min(end, self.size) - place).bit_length() - 1)
            if level >= 8:
                step = 1 << level
                frontier.append_subtree(level, self._levels[level - 8][place >> level])
            else:
                step = min(end, place // self.LEAVES * self.LEAVES + self.LEAVES) - place
                for hash in hashes(place, place + step):
                    frontier.append(hash)
            place += step
        return frontier.root()


def inclusion_proof(hashes: Sequence[bytes], index: int) -> list[bytes]:
    """PATH(index, D[n]) over all leaf hashes of the tree. Raises IndexError outside of it."""
    return inclusion_path(lambda start, end: root_of(hashes[start:end]), index, len(hashes))


def inclusion_path(root: Callable[[int, int], bytes], index: int, size: int) -> list[bytes]:
    """As `inclusion_proof`; `root(start, end)` is the root over these leaves."""
    if not 0 <= index < size:
        raise IndexError(f"record {index} is not in a tree of {size}")
    proof: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            proof.append(root(middle, end))
            end = middle
        else:
            proof.append(root(start, middle))
            start = middle
    return proof[::-1]


def consistency_proof(hashes: Sequence[bytes], old: int) -> list[bytes]:
    """PROOF(old, D[n]): that the first `old` leaves are still what they were. Raises IndexError for 0 > old > n."""
    return consistency_path(lambda start, end: root_of(hashes[start:end]), old, len(hashes))


def consistency_path(root: Callable[[int, int], bytes], old: int, size: int) -> list[bytes]:
    """As `consistency_proof`; `root(start, end)` is the root over these leaves."""
    if not 0 <= old <= size:
        raise IndexError(f"a tree of {size} has no state of {old}")
    if old in {0, size}:
        return []
    proof: list[bytes] = []
    start, end, known = 0, size, True
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            proof.append(root(middle, end))
            end = middle
        else:
            proof.append(root(start, middle))
            start, known = middle, False
    if not known:
        proof.append(root(start, end))
    return proof[::-1]


def is_included(hash: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """RFC 9162 section 2.1.3.2. Take `size` from a signed checkpoint: the proof does not bind it."""
    if not 0 <= index < size:
        return False
    place, last = index, size - 1
    for step in proof:
        if last == 0:
            return False
        if place & 1 or place == last:
            hash = node_hash(step, hash)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            hash = node_hash(hash, step)
        place, last = place >> 1, last >> 1
    return last == 0 and hash == root


def is_consistent(old: int, size: int, old_root: bytes, root: bytes, proof: Sequence[bytes]) -> bool:
    """RFC 9162 section 2.1.4.2."""
    if not 0 <= old <= size:
        return False
    if old in {0, size}:
        return not proof and old_root == (EMPTY_ROOT if old == 0 else root)
    steps = list(proof)
    if old & (old - 1) == 0:
        steps.insert(0, old_root)
    place, last = old - 1, size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    if not steps:
        return False
    before = after = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if place & 1 or place == last:
            before, after = node_hash(step, before), node_hash(step, after)
            while not place & 1 and place:
                place, last = place >> 1, last >> 1
        else:
            after = node_hash(after, step)
        place, last = place >> 1, last >> 1
    return last == 0 and before == old_root and after == root
