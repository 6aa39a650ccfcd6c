"""Reading published versions: their manifests, and whether every stored object is still what was stored."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from readingroom_hub.crypto.envelope import MANIFEST_PART, ObjectReader, open_whole
from readingroom_hub.errors import IntegrityError, NotFound
from readingroom_hub.model.audit import AuditEvent, AuditRecord, Outcome
from readingroom_hub.model.dataset import DatasetVersion, Instance, Manifest
from readingroom_hub.model.ids import KeyId, PersonId
from readingroom_hub.ports.catalogue import Versions
from readingroom_hub.ports.custody import KeyCustody
from readingroom_hub.ports.objects import ObjectStore
from readingroom_hub.ports.records import AuditRepository

_STEP = 1 << 20


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
        return self._manifest(version, self._key(version))

    def verify(
        self, version: DatasetVersion, by: PersonId, progress: Callable[[int, int], None] = _silent
    ) -> list[Damage]:
        """Read and decrypt every object and compare it with the manifest; each damage goes on the record.

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

    def _damages(self, version: DatasetVersion, key: bytes, progress: Callable[[int, int], None]) -> Iterator[Damage]:
        try:
            manifest = self._manifest(version, key)
        except (IntegrityError, NotFound) as error:
            yield Damage(MANIFEST_PART, str(error))
            return
        for done, instance in enumerate(manifest.instances, start=1):
            try:
                self._check(version.key, key, instance)
            except (IntegrityError, NotFound) as error:
                yield Damage(instance.instance, str(error))
            progress(done, len(manifest.instances))

    def _check(self, key_id: KeyId, key: bytes, instance: Instance) -> None:
        name = f"{key_id}/{instance.object_name}"
        reader = ObjectReader(
            key,
            key_id,
            instance.instance,
            lambda offset, size: self._objects.read(name, offset, size),
            self._objects.size(name),
        )
        digest = hashlib.sha256()
        for offset in range(0, reader.size, _STEP):
            digest.update(reader.read(offset, _STEP))
        if digest.hexdigest() != instance.sha256 or reader.size != instance.size:
            raise IntegrityError(f"instance {instance.instance} decrypts, but its manifest names other content")

    def _manifest(self, version: DatasetVersion, key: bytes) -> Manifest:
        sealed = self._objects.read(f"{version.key}/{MANIFEST_PART}")
        return Manifest.from_bytes(open_whole(key, version.key, MANIFEST_PART, sealed), version.digest)

    def _key(self, version: DatasetVersion) -> bytes:
        return self._custody.unwrap(self._versions.key(version.key))
