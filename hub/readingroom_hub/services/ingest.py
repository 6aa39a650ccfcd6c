"""Taking DICOM in: de-identify, encrypt, store, publish. Identified originals never enter the object store."""

import json
import os
import secrets
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from readingroom_hub.crypto.envelope import MANIFEST_PART, seal
from readingroom_hub.deid import policy_file
from readingroom_hub.deid.policy import Policy
from readingroom_hub.errors import BadInput, Conflict, NotFound, ReadingRoomError
from readingroom_hub.model.audit import AuditEvent, AuditRecord, Outcome
from readingroom_hub.model.dataset import DatasetVersion, Instance, Manifest, manifest_of
from readingroom_hub.model.ids import DatasetName, KeyId, PersonId, ProjectId
from readingroom_hub.ports.catalogue import Projects, Versions
from readingroom_hub.ports.custody import KeyCustody
from readingroom_hub.ports.objects import ObjectStore
from readingroom_hub.ports.records import AuditRepository
from readingroom_hub.services import intake_files, intake_pool, manifests
from readingroom_hub.services.crosswalk import Crosswalks, Original
from readingroom_hub.services.deid_report import Report, Tally
from readingroom_hub.services.intake_base import Base, Changed
from readingroom_hub.services.intake_files import LeftOut
from readingroom_hub.services.intake_locks import IntakeLocks
from readingroom_hub.services.intake_pool import Sealed
from readingroom_hub.services.leftovers import Leftovers

CARD_FORMAT = "readingroom-card/1"
_WRITERS = 4  # a durable write waits for the disk most of the time
Progress = Callable[[int, int], None]
"""Called with files done and files in all."""


def _silent(_done: int, _total: int) -> None:
    """Report to nobody."""


class NothingTakenIn(BadInput):
    """No file could be taken in, so no version was published."""

    def __init__(self, left_out: tuple[LeftOut, ...]) -> None:
        reasons = Counter(o.reason for o in left_out).most_common(3)
        text = "; ".join(f"{reason} ({n})" for reason, n in reasons) or "the folder holds no file"
        super().__init__(f"nothing was taken in: {text}")
        self.left_out = left_out


@dataclass(frozen=True, slots=True)
class Ingested:
    """What an ingest came to."""

    version: DatasetVersion
    unchanged: bool
    """The very same version was there already."""
    report: Report
    """What was done to the files, as for `readingroom deid`."""
    reused: int = 0
    """Instances whose objects an earlier version had stored."""

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """Files that are not in the version."""
        return self.report.left_out


@dataclass(slots=True)
class _Batch:
    """What was stored so far."""

    base: Base | None = None
    instances: dict[str, Instance] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)
    originals: set[Original] = field(default_factory=set)

    def accept(self, result: Sealed | LeftOut) -> Sealed | None:
        """Note a result; returns what is to be stored."""
        if isinstance(result, LeftOut):
            self.tally.left_out.append(result)
            return None
        known = self.instances.get(result.instance.instance)
        if known is not None:
            same = known.sha256 == result.instance.sha256
            why = "the same instance again" if same else "another object with a SOP Instance UID that came before"
            self.tally.left_out.append(LeftOut(result.path, why))
            return None
        self.instances[result.instance.instance] = result.instance
        self.tally.add(result)
        if result.original:
            self.originals.add(Original(result.instance.patient, *result.original))
        return result


class IngestService:
    """Makes dataset versions. `locks` is the folder for lock files of running ingests."""

    def __init__(
        self,
        projects: Projects,
        versions: Versions,
        objects: ObjectStore,
        custody: KeyCustody,
        audit: AuditRepository,
        locks: Path,
        crosswalks: Crosswalks,
    ) -> None:
        self._projects = projects
        self._versions = versions
        self._objects = objects
        self._custody = custody
        self._audit = audit
        self._locks = IntakeLocks(locks)
        self._crosswalks = crosswalks
        self._leftovers = Leftovers(versions, objects, custody)

    def ingest(
        self,
        source: Path,
        project: ProjectId,
        dataset: DatasetName,
        by: PersonId,
        *,
        policy: Policy | None = None,
        validator: str = "",
        progress: Progress = _silent,
        workers: int | None = None,
        reuse: bool = False,
        rare: int = 5,
    ) -> Ingested:
        """De-identify every file below `source` and publish them as one version. Same input, same version.

        `reuse`: share the data key of the dataset's newest version, and its objects where they are the same; with a key
        of its own where an instance of it has changed, since below one key each has one content.
        The report lists values that fewer than `rare` patients share.
        `validator` is where dciodvfy is; then objects that it finds less valid than before are left out.

        Raises NotFound for an unknown project, NothingTakenIn, and what the ports raise; then nothing is published and
        what was stored is removed."""
        started = time.monotonic()
        policy = policy or Policy()
        self._projects.get(project)
        files, not_files = intake_files.find(source)
        self._locks.tidy(self._leftovers)
        about: dict[str, str] = {"dataset": dataset}
        self._audit.append(
            [AuditRecord(AuditEvent.INGEST, person=by, project=project, subject=about | {"count": len(files)})]
        )
        try:
            secret = self._custody.derive(f"deid/{project}")
            folder, workers = intake_files.folder_of(source), workers or len(os.sched_getaffinity(0))
            job = intake_pool.Job(folder, policy, secret, secrets.token_bytes(32), KeyId.new(), validator)
            job = replace(intake_pool.survey(job, files, workers), crosswalk=self._crosswalks.kept(project))
            newest = partial(Base.newest, self._versions, self._custody, self._leftovers)
            batch = _Batch(newest(project, dataset) if reuse else None, tally=Tally(list(not_files)))
            try:
                version, unchanged = self._run(job, files, project, dataset, by, batch, progress, workers)
            except Changed:
                self._locks.tidy(self._leftovers)
                batch = _Batch(tally=Tally(list(not_files)))
                version, unchanged = self._run(job, files, project, dataset, by, batch, progress, workers)
        except BaseException as error:
            self._clean_up(error, by, project, about)
            raise
        reused = batch.base.reused if batch.base else 0
        report = batch.tally.report(policy, len(files), time.monotonic() - started, rare)
        return Ingested(version, unchanged, report, reused)

    def _run(
        self,
        job: intake_pool.Job,
        files: list[str],
        project: ProjectId,
        dataset: DatasetName,
        by: PersonId,
        batch: _Batch,
        progress: Progress,
        workers: int,
    ) -> tuple[DatasetVersion, bool]:
        """Store and publish; the version, and whether it was there already. Raises Changed."""
        base = batch.base
        with self._locks.hold(base.key.id if base else None) as key_id:
            job = replace(job, key_id=key_id, key=base.key.secret if base else job.key)
            before = {v.digest for v in self._leftovers.versions(key_id)}
            self._store(job, files, batch, progress, workers)
            if job.crosswalk:
                self._crosswalks.add(project, batch.originals)
            version = self._publish(job, project, dataset, by, batch)
            unchanged = version.key != key_id or version.digest in before
            if unchanged:
                self._leftovers.remove(key_id)
        return version, unchanged

    def _clean_up(self, error: BaseException, by: PersonId, project: ProjectId, about: dict[str, str]) -> None:
        """Remove what was stored, unless the version is out after all; errors on the way do not hide the first."""
        with suppress(ReadingRoomError):
            self._locks.tidy(self._leftovers)
        reason = f"{type(error).__name__}: no version was published"
        with suppress(ReadingRoomError):
            self._audit.append(
                [AuditRecord(AuditEvent.INGEST, Outcome.FAILURE, by, project, reason=reason, subject=about)]
            )

    def _store(self, job: intake_pool.Job, files: list[str], batch: _Batch, progress: Progress, workers: int) -> None:
        """Store each object durably, a few at a time."""
        writing: deque[Future[None]] = deque()
        with ThreadPoolExecutor(_WRITERS) as writers:
            for done, result in enumerate(intake_pool.run(job, files, workers), start=1):
                sealed = batch.accept(result)
                if sealed and not (batch.base and batch.base.holds(sealed.instance, self._objects)):
                    name = f"{job.key_id}/{sealed.instance.object_name}"
                    writing.append(writers.submit(self._objects.put, name, sealed.sealed))
                while len(writing) > 2 * _WRITERS:
                    writing.popleft().result()
                progress(done, len(files))
            for write in writing:
                write.result()

    def _publish(
        self, job: intake_pool.Job, project: ProjectId, dataset: DatasetName, by: PersonId, batch: _Batch
    ) -> DatasetVersion:
        """Manifest, then the durable record, then the catalogue: a crash between leaves too much on the record only.

        The version that is there already, where it is the same."""
        if not batch.instances:
            raise NothingTakenIn(tuple(batch.tally.left_out))
        manifest = manifest_of(project, dataset, job.policy.profile, batch.instances.values())
        with suppress(NotFound):
            return self._versions.get(manifest.digest())
        part = manifests.part_of(manifest.digest()) if batch.base else MANIFEST_PART
        self._objects.put(f"{job.key_id}/{part}", seal(job.key, job.key_id, part, manifest.to_bytes()))
        moment = self._versions.next_moment(manifest.dataset, datetime.now(UTC))
        version = _version(manifest, job.key_id, _card(job.policy, batch), moment)
        subject = {
            "dataset": dataset,
            "version": version.digest,
            "instances": version.instances,
            "bytes": version.size,
        }
        self._audit.append([AuditRecord(AuditEvent.VERSION_PUBLISHED, person=by, project=project, subject=subject)])
        try:
            self._versions.publish(version, None if batch.base else self._custody.wrap(job.key_id, job.key))
        except Conflict:  # another ingest of the same input was quicker
            return self._versions.get(version.digest)
        return version


def _version(manifest: Manifest, key_id: KeyId, card: str, published_at: datetime) -> DatasetVersion:
    return DatasetVersion(
        digest=manifest.digest(),
        project=manifest.project,
        dataset=manifest.dataset,
        key=key_id,
        instances=len(manifest.instances),
        series=len({i.series for i in manifest.instances}),
        studies=len({i.study for i in manifest.instances}),
        size=sum(i.size for i in manifest.instances),
        published_at=published_at,
        card=card,
    )


def _card(policy: Policy, batch: _Batch) -> str:
    actions: dict[str, dict[str, int]] = {}
    for (keyword, action), count in sorted(batch.tally.actions.items()):
        actions.setdefault(keyword, {})[action.value] = count
    content = {
        "format": CARD_FORMAT,
        "profile": policy.profile,
        "method": policy.method,
        "options": sorted(o.value for o in policy.options),
        "policy": policy_file.content(policy),
        "modalities": _counted(i.modality for i in batch.instances.values()),
        "left_out": _counted(o.reason for o in batch.tally.left_out),
        "actions": actions,
        "defaced_series": len(batch.tally.heads),
    }
    return json.dumps(content, sort_keys=True)


def _counted(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))
