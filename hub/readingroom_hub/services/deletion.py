"""Deleting a dataset version: its objects go, but those that another version names stay."""

from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from readingroom_hub.errors import Conflict, ReadingRoomError
from readingroom_hub.model.audit import AuditEvent, AuditRecord, Outcome
from readingroom_hub.model.dataset import DatasetVersion
from readingroom_hub.model.ids import ApprovalId, PersonId
from readingroom_hub.model.keys import KeyState
from readingroom_hub.policy.approval import approved_as, two_people
from readingroom_hub.ports.catalogue import Grants, Versions
from readingroom_hub.ports.custody import KeyCustody
from readingroom_hub.ports.objects import ObjectStore
from readingroom_hub.ports.records import AuditRepository
from readingroom_hub.services.intake_locks import IntakeLocks
from readingroom_hub.services.leftovers import Leftovers


class DeleteService:
    """Deletes versions. `locks` is the folder for lock files, which it shares with the ingest."""

    def __init__(
        self,
        versions: Versions,
        grants: Grants,
        objects: ObjectStore,
        custody: KeyCustody,
        audit: AuditRepository,
        locks: Path,
    ) -> None:
        self._versions = versions
        self._grants = grants
        self._custody = custody
        self._audit = audit
        self._leftovers = Leftovers(versions, objects, custody)
        self._locks = IntakeLocks(locks)

    def delete(
        self,
        version: DatasetVersion,
        approved_by: Collection[PersonId],
        by: PersonId,
        approval: ApprovalId | None = None,
    ) -> list[DatasetVersion]:
        """Delete a version, on the record first; returns those that share its data key, which stay whole.

        Stopped after the record, the next ingest or deletion removes what is left. Where the data key was destroyed,
        nobody knows which objects the others name: then objects go with the last of them.
        `approval`: where the two gave it; None where `by` names them.
        Raises BadInput unless two people approved; Conflict where somebody may still read it, or its data key is in
        use by a running ingest; IntegrityError or NotFound where the manifest of one that stays cannot be read."""
        approvers = two_people(approved_by, "deleting a dataset version needs the approval of two different people")
        self._locks.tidy(self._leftovers)
        try:
            return self._delete(version, approved_as(approvers, approval), by)
        except BaseException:
            with suppress(ReadingRoomError):
                self._locks.tidy(self._leftovers)
            raise

    def _delete(self, version: DatasetVersion, approved: dict[str, object], by: PersonId) -> list[DatasetVersion]:
        with self._locks.hold(version.key):
            self.check_nobody_reads(version)
            others = [v for v in self._leftovers.versions(version.key) if v.digest != version.digest]
            erased = self._is_erased(version)
            if not erased:
                self._leftovers.instances(others)
            subject = approved | {
                "dataset": version.dataset,
                "version": version.digest,
                "instances": version.instances,
                "bytes": version.size,
            }
            record = AuditRecord(AuditEvent.VERSION_DELETED, person=by, project=version.project, subject=subject)
            self._audit.append([record])
            try:
                self._versions.remove(version.digest, datetime.now(UTC))
            except ReadingRoomError as error:
                failed = AuditRecord(
                    AuditEvent.VERSION_DELETED, Outcome.FAILURE, by, version.project,
                    reason=f"not-deleted: {error}", subject=subject,
                )  # fmt: skip
                with suppress(ReadingRoomError):
                    self._audit.append([failed])
                raise
            if not (erased and others):
                self._leftovers.remove(version.key)
        return others

    def _is_erased(self, version: DatasetVersion) -> bool:
        kek = self._versions.key(version.key).kek
        return any(k.name == kek and k.state is KeyState.DESTROYED for k in self._custody.keks())

    def check_nobody_reads(self, version: DatasetVersion) -> None:
        """Raises Conflict where a grant gives it to somebody now."""
        now = datetime.now(UTC)
        readers = {g.project for g in self._grants.all() if g.version == version.digest and g.is_current(now)}
        if readers:
            raise Conflict(
                f"{version.label} may still be read by {', '.join(sorted(readers))}: revoke the grants first"
            )
