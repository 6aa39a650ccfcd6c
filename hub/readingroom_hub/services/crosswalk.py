"""The way back from a pseudonym to the patient: only where a project's owner wants it, sealed, each look-up on record.

One file a patient, named by the pseudonym, sealed under a key of the project's crosswalk alone. That key is made from
the key custody's secret and a random salt, and stored nowhere: without the salt nobody can make it again, and no change
of key-encrypting keys touches it."""

import json
import re
import secrets
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from readingroom_hub.crypto.envelope import open_whole, seal
from readingroom_hub.durable import make, whole_file
from readingroom_hub.errors import BadInput, Conflict, IntegrityError, NotFound, StoreUnavailable
from readingroom_hub.model.audit import AuditEvent, AuditRecord, Outcome
from readingroom_hub.model.ids import ApprovalId, KeyId, PersonId, ProjectId
from readingroom_hub.policy.approval import approved_as, two_people
from readingroom_hub.ports.catalogue import Projects
from readingroom_hub.ports.custody import KeyCustody
from readingroom_hub.ports.records import AuditRepository

_SALT, _FORMAT = "salt.json", "readingroom-crosswalk/1"
_PSEUDONYM = re.compile(r"P-[0-9A-F]{16}")


@dataclass(frozen=True, slots=True)
class Original:
    """Which attribute of the originals told the patients apart, and what it said: PatientID, where there is one."""

    pseudonym: str
    keyword: str
    value: str


class Crosswalks:
    """One crosswalk a project, in `folder`. Methods raise StoreUnavailable where it cannot be read or written."""

    def __init__(self, projects: Projects, custody: KeyCustody, audit: AuditRepository, folder: Path) -> None:
        self._projects = projects
        self._custody = custody
        self._audit = audit
        self._folder = folder

    def keep(
        self, project: ProjectId, approved_by: Collection[PersonId], by: PersonId, approval: ApprovalId | None = None
    ) -> None:
        """From now on ingests of `project` add to its crosswalk.

        `approval`: where the two gave it; None where `by` names them.
        Raises BadInput unless two people approved, NotFound for an unknown project, Conflict where it has one."""
        self.check_none(project)
        self._changed(project, "kept", approved_by, by, approval)
        salt = {"format": _FORMAT, "key": KeyId.new(), "salt": secrets.token_hex(32)}
        _write(self._of(project) / _SALT, json.dumps(salt).encode())

    def check_none(self, project: ProjectId) -> None:
        """Raises NotFound for an unknown project, Conflict where it has one."""
        self._projects.get(project)
        if self.kept(project):
            raise Conflict(f"{project} has a crosswalk already")

    def kept(self, project: ProjectId) -> bool:
        """Whether `project` has one."""
        return (self._of(project) / _SALT).exists()

    def add(self, project: ProjectId, originals: Iterable[Original]) -> None:
        """Remember who stands behind pseudonyms; those that are there stay as they are."""
        key_id, key = self._key(project)
        for one in originals:
            path = self._of(project) / one.pseudonym
            if not path.exists():
                said = json.dumps({"attribute": one.keyword, "value": one.value})
                _write(path, seal(key, key_id, one.pseudonym, said.encode()))

    def look_up(self, project: ProjectId, pseudonym: str, reason: str, by: PersonId) -> Original:
        """Who stands behind `pseudonym`; on the record before it is told, with the reason.

        Raises BadInput without a reason or for what is no pseudonym, NotFound where the crosswalk or the patient is not
        there, IntegrityError where the entry was changed. All but the first are on record, too."""
        if not reason.strip():
            raise BadInput("say why the patient has to be known: it is part of the record")
        if not _PSEUDONYM.fullmatch(pseudonym):
            raise BadInput(f"{pseudonym!r} is no pseudonym: give P- and 16 hexadecimal digits, as PatientID has them")
        subject = {"patient": pseudonym, "purpose": reason.strip()}
        event = AuditEvent.CROSSWALK_LOOKED_UP
        self._audit.append([AuditRecord(event, person=by, project=project, subject=subject)])
        try:
            return self._open(project, pseudonym)
        except (NotFound, IntegrityError, StoreUnavailable) as error:
            self._audit.append([AuditRecord(event, Outcome.FAILURE, by, project, reason=str(error), subject=subject)])
            raise

    def destroy(
        self, project: ProjectId, approved_by: Collection[PersonId], by: PersonId, approval: ApprovalId | None = None
    ) -> int:
        """Make it useless for ever; returns how many patients nobody can be led back to any more.

        The salt goes first. `approval`: where the two gave it; None where `by` names them.
        Raises BadInput unless two people approved, NotFound where there is none."""
        self._key(project)
        self._changed(project, "destroyed", approved_by, by, approval)
        try:
            (self._of(project) / _SALT).unlink()
            entries = self._entries(project)
            for path in entries:
                path.unlink()
            with suppress(OSError):
                self._of(project).rmdir()
        except OSError as error:
            raise StoreUnavailable(f"the crosswalk of {project} cannot be removed: {error.strerror}") from error
        return len(entries)

    def patients(self, project: ProjectId) -> int:
        """How many it leads back to. Raises NotFound where there is no crosswalk."""
        self._key(project)
        return len(self._entries(project))

    def _entries(self, project: ProjectId) -> list[Path]:
        return [p for p in self._of(project).iterdir() if _PSEUDONYM.fullmatch(p.name)]

    def _changed(
        self,
        project: ProjectId,
        what: str,
        approved_by: Collection[PersonId],
        by: PersonId,
        approval: ApprovalId | None,
    ) -> None:
        refusal = "a crosswalk needs the approval of two different people, to be kept and to be destroyed"
        approvers = two_people(approved_by, refusal)
        subject = approved_as(approvers, approval) | {"crosswalk": what}
        self._audit.append([AuditRecord(AuditEvent.CROSSWALK_CHANGED, person=by, project=project, subject=subject)])

    def _open(self, project: ProjectId, pseudonym: str) -> Original:
        key_id, key = self._key(project)
        try:
            sealed = (self._of(project) / pseudonym).read_bytes()
        except FileNotFoundError as error:
            raise NotFound(
                f"the crosswalk of {project} has no {pseudonym}: it was taken in before the crosswalk was kept, or "
                "belongs to another project"
            ) from error
        except OSError as error:
            raise StoreUnavailable(f"the crosswalk of {project} cannot be read: {error.strerror}") from error
        said = json.loads(open_whole(key, key_id, pseudonym, sealed))
        return Original(pseudonym, said["attribute"], said["value"])

    def _key(self, project: ProjectId) -> tuple[KeyId, bytes]:
        try:
            said = json.loads((self._of(project) / _SALT).read_bytes())
            return KeyId(said["key"]), self._custody.derive(f"crosswalk/{project}/{said['salt']}")
        except FileNotFoundError as error:
            raise NotFound(f"{project} has no crosswalk: nobody can be led back to its patients") from error
        except OSError as error:
            raise StoreUnavailable(f"the crosswalk of {project} cannot be read: {error.strerror}") from error
        except (ValueError, LookupError, TypeError) as error:
            raise IntegrityError(
                f"the key file of {project}'s crosswalk is damaged: restore it from a backup"
            ) from error

    def _of(self, project: ProjectId) -> Path:
        return self._folder / project


def _write(path: Path, data: bytes) -> None:
    """Raises StoreUnavailable."""
    try:
        make(path.parent, 0o700)
    except OSError as error:
        raise StoreUnavailable(f"{path.parent} cannot be made: {error.strerror}") from error
    with whole_file(path) as file:
        file.write(data)
