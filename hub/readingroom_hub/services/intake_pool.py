"""De-identification on all cores. A process that dies takes one file with it, not the batch."""

import multiprocessing
import os
import secrets
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from pathlib import Path
from typing import TypeVar

from readingroom_hub.crypto.envelope import seal
from readingroom_hub.deid.actions import Action
from readingroom_hub.deid.cleaner import NOBODY, Others
from readingroom_hub.deid.engine import Deidentifier
from readingroom_hub.deid.engine import survey as survey_file
from readingroom_hub.deid.identifiers import Identifiers
from readingroom_hub.deid.part10 import CannotDeidentify
from readingroom_hub.deid.pixels.clean import Cleaned
from readingroom_hub.deid.policy import Policy
from readingroom_hub.errors import BadInput
from readingroom_hub.model.dataset import Instance
from readingroom_hub.model.ids import KeyId
from readingroom_hub.services import rare_values, validity
from readingroom_hub.services.intake_describe import describe
from readingroom_hub.services.intake_files import LeftOut, opened, read

T = TypeVar("T")
R = TypeVar("R")
_CHUNK = 32
_MOST_VALUES = 2_000_000


@dataclass(frozen=True, slots=True)
class Sealed:
    """One de-identified instance, encrypted (as it is, where the job has no data key)."""

    path: str
    instance: Instance
    sealed: bytes
    actions: Counter[tuple[str, Action]]
    file: Path | None
    """Where it lies instead, with a job that has a spool folder; `sealed` is empty then."""
    told: dict[str, str]
    """With a spool folder: what it tells of its patient (`rare_values.known`)."""
    pixels: Cleaned | None
    """What was done to its pixels; None where no text was looked for."""


@dataclass(frozen=True, slots=True)
class Job:
    """What every worker process needs. Holds secrets: it goes to workers through a pipe and is never stored."""

    source: Path
    policy: Policy
    secret: bytes
    key: bytes
    """The data key; empty where results are not encrypted."""
    key_id: KeyId
    validator: str = ""
    """Where dciodvfy is; empty where nothing is checked by it."""
    spool: Path | None = None
    """A folder for results: what goes through it need not go through a pipe."""
    others: Others = NOBODY
    """What identifies the people of the batch."""


def survey(job: Job, paths: Iterable[str], workers: int) -> Job:
    """First pass, over headers only: the job, knowing what identifies the people of all files.

    Raises BadInput where they are too many to be kept in memory."""
    names: set[str] = set()
    ids: set[str] = set()
    phrases: set[str] = set()
    todo = list(paths)
    chunks = [tuple(todo[i : i + _CHUNK]) for i in range(0, len(todo), _CHUNK)]
    for chunk, found in _each(job, _survey, chunks, workers):
        # A file that ended its process ends it again when its turn comes, alone: it is left out then.
        for part in [found] if found else [f for _, f in _each(job, _survey, [(c,) for c in chunk], 1) if f]:
            names |= part.names
            ids |= part.ids
            phrases |= part.phrases
        if len(names) + len(ids) + len(phrases) > _MOST_VALUES:
            raise BadInput(f"more than {_MOST_VALUES} names and numbers in one batch: take it in in parts")
    people = Identifiers(frozenset(names), frozenset(ids), frozenset(phrases))
    return replace(job, others=Others(people))


def run(job: Job, paths: Iterable[str], workers: int) -> Iterator[Sealed | LeftOut]:
    """De-identify and seal each file; results come in the order of `paths`, a few files ahead at most."""
    for path, result in _each(job, _work, list(paths), workers):
        yield result or LeftOut(path, "its de-identification process died (out of memory, or a fault in a decoder)")


def _each(job: Job, work: Callable[[T], R], items: list[T], workers: int) -> Iterator[tuple[T, R | None]]:
    """`work` done to each item by a pool, in order; None for an item that ends the process it is done in."""
    todo = deque(items)
    while todo:
        under_way: deque[tuple[T, Future[R]]] = deque()
        with _pool(job, min(workers, len(todo))) as pool:
            try:
                while todo or under_way:
                    while todo and len(under_way) < 2 * workers:
                        under_way.append((todo[0], pool.submit(work, todo[0])))
                        todo.popleft()
                    yield under_way[0][0], under_way[0][1].result()
                    under_way.popleft()
            except BrokenProcessPool:
                suspects = [item for item, _ in under_way]
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
            else:
                return
        for item in suspects:
            yield item, _alone(job, work, item)


def _alone(job: Job, work: Callable[[T], R], item: T) -> R | None:
    """One item in a process of its own, to tell which of several under way ended their process."""
    try:
        with _pool(job, 1) as pool:
            return pool.submit(work, item).result()
    except BrokenProcessPool:
        return None


def _pool(job: Job, workers: int) -> ProcessPoolExecutor:
    # Not forked from here: the caller may run threads, whose locks a fork would copy as they are.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", __name__])
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(job,))


_worker: tuple[Job, Deidentifier] | None = None


def _start(job: Job) -> None:
    global _worker  # noqa: PLW0603  # how a pool's processes keep their state
    _worker = job, Deidentifier(job.policy, job.secret, job.others)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Leave no process behind when the ingest is killed: its workers would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _work(path: str) -> Sealed | LeftOut:
    assert _worker is not None  # noqa: S101  # the pool's initializer ran
    job, deidentify = _worker
    try:
        data = read(job.source, path)
        done = deidentify(data)
        if job.validator and (more := validity.more_errors(job.validator, data, done.data)):
            return LeftOut(path, f"less valid than before: dciodvfy finds {more} more errors")
    except CannotDeidentify as error:
        return LeftOut(path, str(error))
    except OSError as error:
        return LeftOut(path, f"it cannot be read: {error.strerror}")
    instance = describe(done)
    data = seal(job.key, job.key_id, instance.instance, done.data) if job.key else done.data
    if job.spool is None:
        return Sealed(path, instance, data, done.actions, None, {}, done.pixels)
    spooled = job.spool / secrets.token_hex(16)
    spooled.write_bytes(data)
    return Sealed(path, instance, b"", done.actions, spooled, rare_values.known(done.data), done.pixels)


def _survey(paths: tuple[str, ...]) -> Identifiers:
    assert _worker is not None  # noqa: S101  # the pool's initializer ran
    job, _ = _worker
    found = Identifiers()
    for path in paths:
        with suppress(OSError), opened(job.source, path) as file:
            found |= survey_file(file, job.policy.options)
    return found
