"""Reading published versions: their manifests, and whether every stored object is still what was stored."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from readingroom_hub.crypto.envelope import MANIFEST_PART
from readingroom_hub.errors import IntegrityError, NotFound
from readingroom_hub.model.audit import AuditEvent, AuditRecord, Outcome
from readingroom_hub.model.dataset import DatasetVersion, Instance, Manifest
from readingroom_hub.model.ids import UID, PersonId, ProjectId
from readingroom_hub.ports.catalogue import Versions
from readingroom_hub.ports.custody import KeyCustody
from readingroom_hub.ports.objects import ObjectStore
from readingroom_hub.ports.records import AuditRepository
from readingroom_hub.services import manifests, object_checks, processes
from readingroom_hub.services.object_checks import Key


def _silent(_done: int, _total: int) -> None:
    """Report to nobody."""


@dataclass(frozen=True, slots=True)
class Damage:
    """One object that is not what was stored."""

    object: str
    """A SOP Instance UID, or `manifest`."""
    reason: str


class DatasetService:
    """Manifests and verification. Decrypts, so it belongs to the trusted wing's own processes only."""

    def __init__(self, versions: Versions, objects: ObjectStore, custody: KeyCustody, audit: AuditRepository) -> None:
        self._versions = versions
        self._objects = objects
        self._custody = custody
        self._audit = audit

    def manifest(self, version: DatasetVersion) -> Manifest:
        """The version's manifest. Raises IntegrityError, NotFound, KeyUnavailable."""
        return manifests.load(self._objects, version, self._key(version).secret)

    def studies_of(self, patient: str, project: ProjectId) -> tuple[UID, ...]:
        """Studies of this pseudonym in any version of the project's datasets. Raises NotFound where there are none."""
        found = {
            instance.study
            for version in self._versions.all(project)
            for instance in self.manifest(version).instances
            if instance.patient == patient
        }
        if not found:
            raise NotFound(f"no dataset of project {project} has a patient {patient!r:.80}: give the pseudonym")
        return tuple(sorted(found))

    def verify(
        self, version: DatasetVersion, by: PersonId, progress: Callable[[int, int], None] = _silent
    ) -> list[Damage]:
        """Read and decrypt every object, on all cores, and compare it with the manifest; damage goes on the record.

        Raises KeyUnavailable, StoreUnavailable."""
        key = self._key(version)
        damaged = []
        for damage in self._damages(version, key, progress):
            subject = {"dataset": version.dataset, "version": version.digest, "instance": damage.object}
            self._audit.append(
                [
                    AuditRecord(
                        AuditEvent.INTEGRITY_FAILURE,
                        Outcome.FAILURE,
                        by,
                        version.project,
                        reason=damage.reason,
                        subject=subject,
                    )
                ]
            )
            damaged.append(damage)
        return damaged

    def _damages(self, version: DatasetVersion, key: Key, progress: Callable[[int, int], None]) -> Iterator[Damage]:
        try:
            manifest = manifests.load(self._objects, version, key.secret)
        except (IntegrityError, NotFound) as error:
            yield Damage(MANIFEST_PART, str(error))
            return
        done, workers = 0, object_checks.workers_for(version.size, version.instances)
        todo = object_checks.batches(manifest.instances)
        for checked, damages in processes.spread(_check, _Check(self._objects, key), todo, workers):
            yield from damages
            done += checked
            progress(done, len(manifest.instances))

    def _key(self, version: DatasetVersion) -> Key:
        return Key(version.key, self._custody.unwrap(self._versions.key(version.key)))


@dataclass(frozen=True, slots=True)
class _Check:
    """What each worker needs to check objects."""

    store: ObjectStore
    key: Key


def _check(work: _Check, batch: tuple[Instance, ...]) -> tuple[int, list[Damage]]:
    """How many were checked, and what was wrong with some.."""
    damages = []
    for instance in batch:
        name = f"{work.key.id}/{instance.object_name}"
        try:
            object_checks.check(work.key, instance, partial(work.store.read, name), work.store.size(name))
        except (IntegrityError, NotFound) as error:
            damages.append(Damage(instance.instance, str(error)))
    return len(batch), damages
