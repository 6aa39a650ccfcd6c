"""Studies that are complete: de-identified by the ingest's engine, put where results go, and their originals removed.

Every step may be the last one before the power fails. An original is removed only when its result and the note of it
are durable, and whatever was done and not noted is done again, to the same bytes, over what is there."""

import os
import shutil
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from readingroom_hub.deid.cleaner import Others
from readingroom_hub.deid.faces.plan import Faces
from readingroom_hub.deid.policy import Policy
from readingroom_hub.durable import make, sync
from readingroom_hub.errors import StoreUnavailable
from readingroom_hub.model.ids import KeyId
from readingroom_hub.services import intake_pool
from readingroom_hub.services.deid_report import Report, Tally
from readingroom_hub.services.edge_faces import KnownFaces
from readingroom_hub.services.edge_people import People
from readingroom_hub.services.edge_spool import Spool
from readingroom_hub.services.edge_vault import Spooled, keep
from readingroom_hub.services.intake_files import LeftOut
from readingroom_hub.services.intake_pool import Sealed

ANOTHER = "another object with a SOP Instance UID that came before"
_STAGE, _RESULTS = ".unfinished", "results"
Deliver = Callable[[Spooled, list[Path]], None]
"""Called with the last object of a study and its results' paths before the study is done; must be durable."""


def stay(_last: Spooled, _results: list[Path]) -> None:
    """Results stay in their folder."""


@dataclass(frozen=True, slots=True)
class StudyDone:
    """What became of what the spool held of one study."""

    study: str
    results: int
    left_out: int
    again: int
    """Objects that had been done before, and were only removed."""


class StudyService:
    """Works studies off, one batch at a time, in one thread. Results lie at `target`/STUDY/SERIES/INSTANCE.dcm."""

    def __init__(
        self,
        spool: Spool,
        target: Path,
        policy: Policy,
        secret: bytes,
        *,
        workers: int | None = None,
        validator: str = "",
        deliver: Deliver = stay,
    ) -> None:
        """Remove what a killed process left half done. Raises StoreUnavailable, IntegrityError, BadInput."""
        self._spool, self._target, self._deliver = spool, target, deliver
        self._job = intake_pool.Job(spool.vault, policy, secret, b"", KeyId.new(), validator)
        self._workers = workers or len(os.sched_getaffinity(0))
        self._stage = target / _STAGE
        self._reports = spool.folder / "reports"
        self._people = People(spool.vault)
        self._surveyed: set[Spooled] = set()
        try:
            make(target)
            make(self._reports, 0o700)
            self._faces = KnownFaces(spool.vault, spool.names)
            shutil.rmtree(self._stage, ignore_errors=True)
        except OSError as error:
            raise StoreUnavailable(f"{target} cannot be written: {error.strerror}") from error

    def work_off(
        self, studies: Sequence[str], progress: Callable[[int, int], None]
    ) -> Generator[StudyDone, None, None]:
        """De-identify these studies; each is done when it is told. Closing the iterator leaves the others as they were.

        Raises StoreUnavailable; what was told is done, the rest is not begun."""
        try:
            shutil.rmtree(self._stage, ignore_errors=True)
            (self._stage / _RESULTS).mkdir(parents=True)
            yield from self._work_off(studies, progress)
        except OSError as error:
            raise StoreUnavailable(f"results cannot be written to {self._target}: {error.strerror}") from error
        finally:
            shutil.rmtree(self._stage, ignore_errors=True)

    def _work_off(self, studies: Sequence[str], progress: Callable[[int, int], None]) -> Iterator[StudyDone]:
        todo: list[Spooled] = []
        for study in studies:
            waiting = self._spool.objects(study)
            before = self._spool.done(study)
            again = [one for one in waiting if before.get(one.instance) == one.content]
            self._spool.finish(study, [], again)
            others = [one for one in waiting if before.get(one.instance, one.content) != one.content]
            for one in others:
                self._spool.quarantine(one, ANOTHER)
            new = [one for one in waiting if one.instance not in before]
            todo += new
            if not new:
                yield StudyDone(study, 0, len(others), len(again))
        names = [one.name for one in todo]
        faces = self._faces.recall(intake_pool.faces(self._job, names, self._workers))
        job = replace(self._job, others=self._everybody(), faces=faces, spool=self._stage / _RESULTS)
        with closing(_generator(job, names, self._workers)) as results:
            counted = _counted(results, progress, len(todo))
            for study, group in groupby(counted, key=lambda r: Spooled.parse(r.path).study):
                yield self._study(study, group, faces)

    def _everybody(self) -> Others:
        """Who was ever seen, everybody in the spool included, also those whose studies are not complete yet."""
        waiting = self._spool.objects()
        new = [one for one in waiting if one not in self._surveyed]
        self._people.add(intake_pool.people(self._job, [one.name for one in new], self._workers))
        self._surveyed = set(waiting)
        return Others(self._people.all)

    def _study(self, study: str, results: Iterator[Sealed | LeftOut], faces: Faces) -> StudyDone:
        started = time.monotonic()
        staged = self._stage / study
        staged.mkdir()
        tally = Tally()
        done: dict[str, Spooled] = {}
        left: list[tuple[Spooled, str]] = []
        last = Spooled(study, 0, "", "")
        for result in results:
            one = Spooled.parse(result.path)
            last = max(last, one)
            if isinstance(result, LeftOut):
                left.append((one, result.reason))
            elif one.instance in done:
                left.append((one, ANOTHER))
            else:
                done[one.instance] = one
                _stage(result, staged)
                tally.add(result)
        tally.left_out += [LeftOut(one.token, reason) for one, reason in left]
        self._faces.remember(faces, of=lambda series: self._spool.study(series.study) == study)
        placed = self._place(staged)
        report = tally.report(self._job.policy, len(done) + len(left), time.monotonic() - started, rare=0)
        self._write(report, last)
        if placed:
            self._deliver(last, placed)
        self._spool.finish(study, list(done.values()), [])
        for one, reason in left:
            self._spool.quarantine(one, reason)
        return StudyDone(study, len(done), len(left), 0)

    def _place(self, staged: Path) -> list[Path]:
        """A new study appears as a whole; what comes late is added file by file. Durable when this returns."""
        placed: list[Path] = []
        for study in sorted(staged.iterdir()):
            final = self._target / study.name
            files = sorted(p.relative_to(study) for p in study.rglob("*.dcm"))
            if not final.exists():
                for folder in {study, *(study / f.parent for f in files)}:
                    sync(folder)
                study.rename(final)
            else:
                for file in files:
                    (final / file).parent.mkdir(exist_ok=True)
                    (study / file).rename(final / file)
                for folder in {final, *(final / f.parent for f in files)}:
                    sync(folder)
            placed += [final / f for f in files]
        sync(self._target)
        return placed

    def _write(self, report: Report, last: Spooled) -> None:
        name = f"{last.study}-{last.arrival:012}"
        keep(self._reports / f"{name}.json", report.json().encode())
        keep(self._reports / f"{name}.html", report.page().encode())


def _generator(job: intake_pool.Job, names: list[str], workers: int) -> Generator[Sealed | LeftOut, None, None]:
    """`run`, as something that can be closed."""
    yield from intake_pool.run(job, names, workers)


def _counted(
    results: Iterator[Sealed | LeftOut], progress: Callable[[int, int], None], total: int
) -> Iterator[Sealed | LeftOut]:
    for done, result in enumerate(results, start=1):
        progress(done, total)
        yield result


def _stage(result: Sealed, staged: Path) -> None:
    """Move a result to its place in `staged`, its bytes durable."""
    one = result.instance
    path = staged / one.study / one.series / f"{one.instance}.dcm"
    path.parent.mkdir(parents=True, exist_ok=True)
    assert result.file is not None  # noqa: S101  # the job has a spool folder
    with result.file.open("rb+") as file:
        os.fsync(file.fileno())
    result.file.rename(path)
