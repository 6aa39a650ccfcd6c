"""Sharing: a dataset version leaves for another institution, sealed for its key, when two people approved it."""

import base64
import hashlib
import os
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO

from readingroom_hub.crypto import hpke
from readingroom_hub.crypto.envelope import open_whole, seal
from readingroom_hub.durable import whole_file
from readingroom_hub.errors import BadInput, Conflict, IntegrityError, NotFound, ReadingRoomError
from readingroom_hub.model.audit import AuditEvent, AuditRecord, Outcome
from readingroom_hub.model.dataset import DatasetVersion, Manifest
from readingroom_hub.model.ids import ApprovalId, PersonId
from readingroom_hub.policy.approval import approved_as, two_people
from readingroom_hub.ports.catalogue import Versions
from readingroom_hub.ports.custody import KeyCustody
from readingroom_hub.ports.objects import ObjectStore
from readingroom_hub.ports.records import AuditRepository
from readingroom_hub.services import institution, manifests, object_checks, processes
from readingroom_hub.services.institution import Institution
from readingroom_hub.services.object_checks import Key
from readingroom_hub.services.package import CARD_PART, SUFFIX, Head, Placed, placed, total

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Shared:
    """A package that was made."""

    path: Path
    head: Head


@dataclass(frozen=True, slots=True)
class _Copy:
    """What each worker needs to copy objects into the package."""

    store: ObjectStore
    key: Key
    target: Path


class ShareService:
    """Makes packages."""

    def __init__(self, versions: Versions, objects: ObjectStore, custody: KeyCustody, audit: AuditRepository) -> None:
        self._versions = versions
        self._objects = objects
        self._custody = custody
        self._audit = audit

    def institution(self) -> Institution:
        """Our own public keys. Raises KeyUnavailable."""
        return institution.own(self._custody)

    def share(
        self,
        version: DatasetVersion,
        to: Institution,
        out: Path,
        approved_by: Collection[PersonId],
        by: PersonId,
        progress: Progress,
        approval: ApprovalId | None = None,
    ) -> Shared:
        """Seal a version for institution `to`, in the file `out` or a new file in the folder `out`.

        Every object is decrypted and compared with the manifest on its way. It is recorded before the file is begun; a
        file appears whole or not at all. `approval`: where the two gave it; None where `by` names them.
        Raises BadInput unless two people approved, and where `to` is ourselves;
        Conflict where the file exists; IntegrityError naming a damaged object; what the ports raise."""
        approvers = two_people(approved_by, "sharing a dataset version needs the approval of two different people")
        signer, mine = institution.signer(self._custody), self.institution()
        if to == mine:
            raise BadInput("these are this institution's own keys: ask the other one for its file")
        out = package_at(out, version)
        key = Key(version.key, self._custody.unwrap(self._versions.key(version.key)))
        part, sealed_manifest = manifests.sealed(self._objects, version)
        manifest = Manifest.from_bytes(open_whole(key.secret, key.id, part, sealed_manifest), version.digest)
        card = seal(key.secret, key.id, CARD_PART, version.card.encode())
        head = Head(
            version=version.digest,
            data_key=key.id,
            sender=mine.fingerprint,
            recipient=to.fingerprint,
            made_at=datetime.now(UTC).isoformat(timespec="seconds"),
            card=len(card),
            card_sha256=hashlib.sha256(card).hexdigest(),
            manifest_part=part,
            manifest=len(sealed_manifest),
            objects=len(card) + len(sealed_manifest) + total(manifest.instances),
        )
        sealed_key = base64.b64encode(hpke.seal(to.sealing, key.secret, head.info())).decode()
        head = replace(head, sealed_key=sealed_key)
        record = _record(version, head, approved_as(approvers, approval), by)
        self._audit.append([record])
        try:
            self._write(out, head.note(signer) + card + sealed_manifest, manifest, key, progress)
        except BaseException as error:
            failed = AuditRecord(
                AuditEvent.DATASET_SHARED, Outcome.FAILURE, by, version.project,
                reason=f"not-shared: {_reason(error)}", subject=record.subject,
            )  # fmt: skip
            with suppress(ReadingRoomError):
                self._audit.append([failed])
            raise
        return Shared(out, head)

    def _write(self, out: Path, first: bytes, manifest: Manifest, key: Key, progress: Progress) -> None:
        count, end = len(manifest.instances), len(first) + total(manifest.instances)
        with whole_file(out) as file:
            file.write(first)
            file.flush()
            os.ftruncate(file.fileno(), end)
            work, done = _Copy(self._objects, key, Path(file.name)), 0
            todo = object_checks.batches(placed(manifest.instances, len(first)))
            for copied in processes.spread(_copy, work, todo, object_checks.workers_for(end, count)):
                done += copied
                progress(done, count)


def _copy(work: _Copy, batch: tuple[Placed, ...]) -> int:
    """Check objects and write each at its place; returns how many."""
    with work.target.open("r+b") as file:
        for place in batch:
            name, uid = f"{work.key.id}/{place.instance.object_name}", place.instance.instance
            try:
                size = work.store.size(name)
                if size != place.size:
                    raise IntegrityError(
                        f"object {uid} is {size} bytes long, its manifest says {place.size}: restore it from a backup"
                    )
                object_checks.check(work.key, place.instance, partial(_through, work.store, name, file, place), size)
            except NotFound as error:
                raise IntegrityError(f"object {uid} is missing: restore it from a backup") from error
    return len(batch)


def _through(store: ObjectStore, name: str, file: BinaryIO, place: Placed, offset: int, size: int) -> bytes:
    """Read for a check, which reads everything, and write the very same bytes."""
    data = store.read(name, offset, size)
    file.seek(place.offset + offset)
    file.write(data)
    return data


def package_at(out: Path, version: DatasetVersion) -> Path:
    """The file of a package: `out`, or a new one in the folder `out`. Raises Conflict where it exists."""
    if out.is_dir():
        out = out / f"{version.dataset}-{version.digest.short}{SUFFIX}"
    if out.exists():
        raise Conflict(f"{out} exists: remove it, or name another file")
    return out


def _record(version: DatasetVersion, head: Head, approved: dict[str, object], by: PersonId) -> AuditRecord:
    subject = approved | {
        "dataset": version.dataset,
        "version": version.digest,
        "package": head.digest,
        "recipient": head.recipient,
        "instances": version.instances,
        "bytes": version.size,
    }
    return AuditRecord(AuditEvent.DATASET_SHARED, person=by, project=version.project, subject=subject)


def _reason(error: BaseException) -> str:
    return str(error) if isinstance(error, ReadingRoomError) else type(error).__name__
