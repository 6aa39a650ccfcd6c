"""Work on all cores, in processes: decryption and de-identification keep other threads of their own process waiting."""

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import Any, TypeVar

from readingroom_hub.errors import SystemUnfit

S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0))


def pool(workers: int, start: Callable[[S], None], state: S, preload: str) -> ProcessPoolExecutor:
    """Processes that begin with `start(state)`, and end when this one does. `state` goes through a pipe.

    `preload`: the module that they need, imported once for all of them."""
    # Not forked from here: the caller may run threads, whose locks a fork would copy as they are.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", preload])
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(start, state))


def spread(work: Callable[[S, T], R], state: S, items: Iterable[T], workers: int) -> Iterator[R]:
    """`work(state, item)` for each item, in order, a few items ahead at most; what it raises is raised here.

    With one worker it is done in this process. Raises SystemUnfit where a worker process dies."""
    if workers <= 1:
        yield from (work(state, item) for item in items)
        return
    under_way: deque[Future[R]] = deque()
    with pool(workers, _keep, (work, state), work.__module__) as executor:
        try:
            for item in items:
                under_way.append(executor.submit(_work, item))
                if len(under_way) >= 2 * workers:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        except BrokenProcessPool as error:
            raise SystemUnfit("a worker process died: most likely there is too little memory") from error
        except BaseException:
            executor.shutdown(wait=True, cancel_futures=True)
            raise


_kept: tuple[Callable[[Any, Any], Any], Any] | None = None


def _keep(state: tuple[Callable[[Any, Any], Any], Any]) -> None:
    global _kept  # noqa: PLW0603  # how a pool's processes keep their state
    _kept = state


def _work(item: Any) -> Any:
    assert _kept is not None  # noqa: S101  # the pool's initializer ran
    work, state = _kept
    return work(state, item)


def _begin(start: Callable[[S], None], state: S) -> None:
    start(state)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Leave no process behind when this one is killed: its workers would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
