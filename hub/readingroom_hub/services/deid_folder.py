"""De-identification from folder to folder, outside the hub: the ingest's own engine, without a store."""

import os
import secrets
import shutil
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from itertools import chain
from pathlib import Path

from readingroom_hub.deid.policy import Policy
from readingroom_hub.errors import BadInput
from readingroom_hub.model.dataset import Instance
from readingroom_hub.model.ids import KeyId
from readingroom_hub.services import intake_files, intake_pool
from readingroom_hub.services.deid_journal import Journal, about
from readingroom_hub.services.deid_report import Report, Tally
from readingroom_hub.services.intake_files import LeftOut
from readingroom_hub.services.intake_pool import Sealed

SECRET_BYTES = 32
_SPOOL = ".spool"
Progress = Callable[[int, int], None]


def secret(path: Path, *, make: bool = True) -> bytes:
    """The key of pseudonyms, dates and UIDs in file `path`, made where there is none. Raises BadInput.

    Who has it can redo the replacements; without it nothing leads back."""
    if not make:
        return _kept(path)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return _kept(path)
    except OSError as error:
        raise BadInput(f"the key {path} cannot be made: {error.strerror}") from error
    made = secrets.token_bytes(SECRET_BYTES)
    with os.fdopen(fd, "w") as file:
        file.write(made.hex() + "\n")
        file.flush()
        os.fsync(file.fileno())
    return made


def _kept(path: Path) -> bytes:
    try:
        if path.stat().st_mode & 0o077:
            raise BadInput(f"others may read the key {path}: chmod 600 it")
        found = bytes.fromhex(path.read_text("ascii").strip())
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} holds no key: it should be {2 * SECRET_BYTES} hexadecimal digits") from error
    if len(found) != SECRET_BYTES:
        raise BadInput(f"{path} holds {len(found)} bytes, a key has {SECRET_BYTES}")
    return found


def run(
    source: Path,
    target: Path,
    policy: Policy,
    key: bytes,
    progress: Progress,
    workers: int | None = None,
    validator: str = "",
    rare: int = 5,
) -> Report:
    """De-identify every file of `source` into `target`/STUDY/SERIES/INSTANCE.dcm. Same input, policy, key: same bytes.

    Where `validator` says where dciodvfy is, objects that it finds less valid than before are left out.
    The report lists values that fewer than `rare` patients share.
    `target` must not exist, and appears only when the run is whole; an interrupted run is kept beside it, and goes on
    when it is asked for again. Raises BadInput, and Conflict where such a run is at work already."""
    started = time.monotonic()
    if target.exists():
        raise BadInput(f"{target} exists: give a folder that does not exist yet")
    if source.is_dir() and target.resolve().is_relative_to(source.resolve()):
        raise BadInput(f"{target} lies in {source}: the next run would take its own results in")
    files, left_out = intake_files.find(source)
    workers = workers or len(os.sched_getaffinity(0))
    job = intake_pool.Job(intake_files.folder_of(source), policy, key, b"", KeyId.new(), validator)
    unfinished = target.with_name(f"{target.name}.unfinished")
    try:
        with closing(Journal(unfinished, about(source, files, policy, key, validator))) as journal:
            job = replace(intake_pool.survey(job, files, workers), spool=unfinished / _SPOOL)
            tally = _write(job, files, Tally(left_out), journal, unfinished, progress, workers)
            journal.finish()
            unfinished.rename(target)
    except OSError as error:
        why = f"{target} cannot be written: {error.strerror}"
        raise BadInput(f"{why}. What is done lies in {unfinished}: the same command goes on from there") from error
    return tally.report(policy, len(files), time.monotonic() - started, rare)


def _write(
    job: intake_pool.Job,
    files: list[str],
    tally: Tally,
    journal: Journal,
    folder: Path,
    progress: Progress,
    workers: int,
) -> Tally:
    spool = folder / _SPOOL
    shutil.rmtree(spool, ignore_errors=True)
    spool.mkdir()
    seen: set[str] = set()
    todo = files[len(journal.done) :]
    for done, result in enumerate(chain(journal.done, intake_pool.run(job, todo, workers)), start=1):
        progress(done, len(files))
        entry = result
        if isinstance(result, Sealed):
            if result.instance.instance in seen:
                entry = LeftOut(result.path, "an instance of the same SOP Instance UID came before")
            elif result.file:
                _place(result.file, folder, result.instance)
            seen.add(result.instance.instance)
        if done > len(journal.done):
            journal.add(entry)
        if isinstance(entry, LeftOut):
            tally.left_out.append(entry)
        else:
            tally.add(entry)
    shutil.rmtree(spool)
    return tally


def _place(file: Path, folder: Path, one: Instance) -> None:
    path = folder / one.study / one.series / f"{one.instance}.dcm"
    path.parent.mkdir(parents=True, exist_ok=True)
    file.replace(path)  # a killed run may have left it there, and no line about it
