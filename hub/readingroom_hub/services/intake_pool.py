"""De-identification on all cores. A process that dies takes one file with it, not the batch."""

import multiprocessing
import os
import threading
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

from readingroom_hub.crypto.envelope import seal
from readingroom_hub.deid.actions import Action
from readingroom_hub.deid.engine import Deidentifier
from readingroom_hub.deid.part10 import CannotDeidentify
from readingroom_hub.deid.policy import Policy
from readingroom_hub.model.dataset import Instance
from readingroom_hub.model.ids import KeyId
from readingroom_hub.services.intake_describe import describe
from readingroom_hub.services.intake_files import LeftOut, read


@dataclass(frozen=True, slots=True)
class Sealed:
    """One de-identified instance, encrypted."""

    path: str
    instance: Instance
    sealed: bytes
    actions: Counter[tuple[str, Action]]


@dataclass(frozen=True, slots=True)
class Job:
    """What every worker process needs. Holds secrets: it goes to workers through a pipe and is never stored."""

    source: Path
    policy: Policy
    secret: bytes
    key: bytes
    key_id: KeyId


def run(job: Job, paths: Iterable[str], workers: int) -> Iterator[Sealed | LeftOut]:
    """De-identify and seal each file; results come in the order of `paths`, a few files ahead at most."""
    todo = deque(paths)
    while todo:
        under_way: deque[tuple[str, Future[Sealed | LeftOut]]] = deque()
        with _pool(job, min(workers, len(todo))) as pool:
            try:
                while todo or under_way:
                    while todo and len(under_way) < 2 * workers:
                        under_way.append((todo[0], pool.submit(_work, todo[0])))
                        todo.popleft()
                    yield under_way[0][1].result()
                    under_way.popleft()
            except BrokenProcessPool:
                suspects = [path for path, _ in under_way]
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
            else:
                return
        for path in suspects:
            yield _alone(job, path)


def _alone(job: Job, path: str) -> Sealed | LeftOut:
    """One file in a process of its own, to tell which of several under way ended their process."""
    try:
        with _pool(job, 1) as pool:
            return pool.submit(_work, path).result()
    except BrokenProcessPool:
        return LeftOut(path, "its de-identification process died (out of memory, or a fault in a decoder)")


def _pool(job: Job, workers: int) -> ProcessPoolExecutor:
    # Not forked from here: the caller may run threads, whose locks a fork would copy as they are.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", __name__])
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(job,))


_worker: tuple[Job, Deidentifier] | None = None


def _start(job: Job) -> None:
    global _worker  # noqa: PLW0603  # how a pool's processes keep their state
    _worker = job, Deidentifier(job.policy, job.secret)
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
    except CannotDeidentify as error:
        return LeftOut(path, str(error))
    except OSError as error:
        return LeftOut(path, f"it cannot be read: {error.strerror}")
    instance = describe(done)
    return Sealed(path, instance, seal(job.key, job.key_id, instance.instance, done.data), done.actions)
