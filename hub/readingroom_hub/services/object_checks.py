"""Whether stored objects are what a manifest names: decrypted whole and compared, many at a time."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from readingroom_hub.crypto.envelope import ObjectReader, open_whole
from readingroom_hub.errors import IntegrityError
from readingroom_hub.model.dataset import Instance
from readingroom_hub.model.ids import KeyId
from readingroom_hub.services import processes

_WHOLE = 64 << 20
"""Bytes of an object up to which it is decrypted in one call, which is twice as quick; beyond, memory counts."""
_STEP = 1 << 20
_BATCH_BYTES, _BATCH = 16 << 20, 64
_WORTH, _WORTH_OBJECTS = 1 << 30, 4000
"""Bytes, or objects, that are worth another process: starting some takes about as long as checking so much."""

Fetch = Callable[[int, int], bytes]


@dataclass(frozen=True, slots=True)
class Key:
    """A data key with its id. It goes to worker processes through a pipe and is never stored."""

    id: KeyId
    secret: bytes


def check(key: Key, instance: Instance, fetch: Fetch, sealed_size: int) -> None:
    """Decrypt one object and compare it with its line in the manifest; `fetch(offset, size)` gives sealed bytes.

    Raises IntegrityError, and what `fetch` raises."""
    digest = hashlib.sha256()
    if sealed_size <= _WHOLE:
        data = open_whole(key.secret, key.id, instance.instance, fetch(0, sealed_size))
        digest.update(data)
        size = len(data)
    else:
        reader = ObjectReader(key.secret, key.id, instance.instance, fetch, sealed_size)
        for offset in range(0, reader.size, _STEP):
            digest.update(reader.read(offset, _STEP))
        size = reader.size
    if digest.hexdigest() != instance.sha256 or size != instance.size:
        raise IntegrityError(f"instance {instance.instance} decrypts, but its manifest names other content")


def check_bytes(key: Key, instance: Instance, sealed: bytes) -> None:
    """As `check`, of an object that is in memory."""
    check(key, instance, lambda offset, size: sealed[offset : offset + size], len(sealed))


class _Sized(Protocol):
    @property
    def size(self) -> int: ...


Z = TypeVar("Z", bound=_Sized)


def batches(items: Iterable[Z]) -> Iterator[tuple[Z, ...]]:
    """In order, a batch small enough that progress shows and large enough that handing it over costs nothing."""
    batch: list[Z] = []
    size = 0
    for item in items:
        batch.append(item)
        size += item.size
        if size >= _BATCH_BYTES or len(batch) >= _BATCH:
            yield tuple(batch)
            batch, size = [], 0
    if batch:
        yield tuple(batch)


def workers_for(size: int, objects: int) -> int:
    """How many processes so many bytes in so many objects are worth."""
    return min(processes.cores(), 1 + size // _WORTH + objects // _WORTH_OBJECTS)
