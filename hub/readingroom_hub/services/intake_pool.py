"""De-identification on all cores. A process that dies takes one file with it, not the batch."""

import gc
import secrets
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TypeVar

from readingroom_hub.crypto.envelope import seal
from readingroom_hub.deid.actions import Action
from readingroom_hub.deid.cleaner import NOBODY, Others
from readingroom_hub.deid.engine import Deidentifier, find_face
from readingroom_hub.deid.engine import survey as survey_file
from readingroom_hub.deid.faces import plan
from readingroom_hub.deid.faces.geometry import Plane
from readingroom_hub.deid.faces.plan import NO_FACES, Faces, Series
from readingroom_hub.deid.identifiers import Identifiers
from readingroom_hub.deid.part10 import CannotDeidentify
from readingroom_hub.deid.pixels.clean import Cleaned
from readingroom_hub.deid.policy import Policy
from readingroom_hub.deid.table import Option
from readingroom_hub.errors import BadInput
from readingroom_hub.model.dataset import Instance
from readingroom_hub.model.ids import KeyId
from readingroom_hub.services import processes, rare_values, validity
from readingroom_hub.services.intake_describe import describe
from readingroom_hub.services.intake_files import LeftOut, Source, opened, read

T = TypeVar("T")
R = TypeVar("R")
Paths = tuple[str, ...]
_CHUNK = 32
_BATCH = 8
_SAMPLES = 50
# Elements come and go by the thousand, hardly any in circles: looking for those takes a twentieth of the time.
_GARBAGE = 50_000
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
    """What it tells of its patient (`rare_values.known`)."""
    samples: dict[tuple[str, Action], str]
    """What attributes say now, as far as this worker has not told it a few times."""
    original: tuple[str, str] | None
    """Who it is, for a job that keeps a crosswalk (`Deidentified.original`)."""
    pixels: Cleaned | None
    """What was done to its pixels; None where no text was looked for."""


@dataclass(frozen=True, slots=True)
class Job:
    """What every worker process needs. Holds secrets: it goes to workers through a pipe and is never stored."""

    source: Path | Source
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
    faces: Faces = NO_FACES
    """Where faces are cut from its heads."""
    crosswalk: bool = False
    """Whether results tell who they are."""


def survey(job: Job, paths: Iterable[str], workers: int) -> Job:
    """First pass: the job, knowing what identifies the people of all files, and where to cut faces. Raises BadInput."""
    found = _surveyed(job, paths, workers)
    return replace(job, others=Others(found.people), faces=_look_at(job, found.heads, workers))


def people(job: Job, paths: Iterable[str], workers: int) -> Identifiers:
    """What identifies the people of all files. Raises BadInput where they are too many to be kept in memory."""
    return _surveyed(job, paths, workers).people


def faces(job: Job, paths: Iterable[str], workers: int) -> Faces:
    """Where to cut the faces of all files, of whole series; none where the policy does not ask for that."""
    if Option.CLEAN_FACES not in job.policy.options:
        return NO_FACES
    return _look_at(job, _surveyed(job, paths, workers).heads, workers)


@dataclass(slots=True)
class _Survey:
    """What headers say."""

    people: Identifiers
    heads: dict[Series, list[str]]
    """Files of series from which faces have to be cut."""


def _surveyed(job: Job, paths: Iterable[str], workers: int) -> _Survey:
    names: set[str] = set()
    ids: set[str] = set()
    phrases: set[str] = set()
    heads: dict[Series, list[str]] = {}
    # A file that ended its process ends it again when its turn comes: it is left out then.
    for _, found in _each(job, _survey, list(paths), _CHUNK, workers):
        if found:
            names |= found.people.names
            ids |= found.people.ids
            phrases |= found.people.phrases
            for series, members in found.heads.items():
                heads.setdefault(series, []).extend(members)
        if len(names) + len(ids) + len(phrases) > _MOST_VALUES:
            raise BadInput(f"more than {_MOST_VALUES} names and numbers in one batch: take it in in parts")
    return _Survey(Identifiers(frozenset(names), frozenset(ids), frozenset(phrases)), heads)


def _look_at(job: Job, heads: dict[Series, list[str]], workers: int) -> Faces:
    found: dict[Series, Plane | CannotDeidentify] = {}
    for series, planes in _each(job, _find_faces, sorted(heads.items()), 1, workers):
        found[series[0][0]] = planes[0] if planes else CannotDeidentify("the process that looked at it died")
    return plan.resolve(found)


def run(job: Job, paths: Iterable[str], workers: int) -> Iterator[Sealed | LeftOut]:
    """De-identify and seal each file; results come in the order of `paths`, a few files ahead at most."""
    todo = list(paths)
    # Where results go through the pipe, one at a time is enough of them in memory.
    size = max(1, min(_BATCH, len(todo) // (4 * workers))) if job.spool else 1
    for batch, results in _each(job, _work, todo, size, workers):
        if results is None:
            yield LeftOut(batch[0], "its de-identification process died (out of memory, or a fault in a decoder)")
        else:
            yield from results


def _each(
    job: Job, work: Callable[[tuple[T, ...]], R], items: list[T], size: int, workers: int
) -> Iterator[tuple[tuple[T, ...], R | None]]:
    """`work` done by a pool to `size` items at a time, in order; None for one item that ends the process it is done in.

    Of several that were under way when a process ended, each has its turn alone, to tell which it was."""
    todo = deque(tuple(items[i : i + size]) for i in range(0, len(items), size))
    while todo:
        under_way: deque[tuple[tuple[T, ...], Future[R]]] = deque()
        with _pool(job, min(workers, len(todo))) as pool:
            try:
                while todo or under_way:
                    while todo and len(under_way) < 2 * workers:
                        under_way.append((todo[0], pool.submit(work, todo[0])))
                        todo.popleft()
                    yield under_way[0][0], under_way[0][1].result()
                    under_way.popleft()
            except BrokenProcessPool:
                suspects = [some for some, _ in under_way]
            except BaseException:
                pool.shutdown(wait=True, cancel_futures=True)
                raise
            else:
                return
        for item in chain.from_iterable(suspects):
            yield (item,), _alone(job, work, item)


def _alone(job: Job, work: Callable[[tuple[T, ...]], R], item: T) -> R | None:
    """One item in a process of its own."""
    try:
        with _pool(job, 1) as pool:
            return pool.submit(work, (item,)).result()
    except BrokenProcessPool:
        return None


def _pool(job: Job, workers: int) -> ProcessPoolExecutor:
    return processes.pool(workers, _start, job, __name__)


_worker: tuple[Job, Deidentifier] | None = None


def _start(job: Job) -> None:
    gc.set_threshold(_GARBAGE)
    global _worker  # noqa: PLW0603  # how a pool's processes keep their state
    _worker = job, Deidentifier(job.policy, job.secret, job.others, job.faces)


def _work(paths: Paths) -> list[Sealed | LeftOut]:
    assert _worker is not None  # noqa: S101  # the pool's initializer ran
    return [_one(path, *_worker) for path in paths]


def _one(path: str, job: Job, deidentify: Deidentifier) -> Sealed | LeftOut:
    try:
        data = read(job.source, path)
        done = deidentify(data)
        if job.validator and (more := validity.more_errors(job.validator, data, done.data)):
            return LeftOut(path, f"less valid than before: dciodvfy finds {more} more errors")
    except CannotDeidentify as error:
        return LeftOut(path, str(error))
    except OSError as error:
        return LeftOut(path, f"it cannot be read: {error.strerror}")
    instance = describe(done, digest=bool(job.key))  # of what goes into a manifest
    data = seal(job.key, job.key_id, instance.instance, done.data) if job.key else done.data
    told = rare_values.known(done.header), _news(done.samples), done.original if job.crosswalk else None
    if job.spool is None:
        return Sealed(path, instance, data, done.actions, None, *told, done.pixels)
    spooled = job.spool / secrets.token_hex(16)
    spooled.write_bytes(data)
    return Sealed(path, instance, b"", done.actions, spooled, *told, done.pixels)


_told: Counter[tuple[str, Action]] = Counter()


def _news(samples: dict[tuple[str, Action], str]) -> dict[tuple[str, Action], str]:
    """Without those of which this process has told enough: they would only fill the pipe."""
    new = {key: value for key, value in samples.items() if _told[key] < _SAMPLES}
    _told.update(new.keys())
    return new


def _survey(paths: Paths) -> _Survey:
    assert _worker is not None  # noqa: S101  # the pool's initializer ran
    job, _ = _worker
    survey = _Survey(Identifiers(), {})
    for path in paths:
        with suppress(OSError), opened(job.source, path) as file:
            found = survey_file(file, job.policy.options)
            survey.people |= found.people
            if found.head:
                survey.heads.setdefault(found.head, []).append(path)
    return survey


def _find_faces(series: tuple[tuple[Series, list[str]], ...]) -> list[Plane | CannotDeidentify]:
    assert _worker is not None  # noqa: S101  # the pool's initializer ran
    job, _ = _worker
    return [find_face(_readable(job, paths)) for _, paths in series]


def _readable(job: Job, paths: list[str]) -> Iterator[bytes]:
    for path in paths:
        with suppress(OSError):
            yield read(job.source, path)
