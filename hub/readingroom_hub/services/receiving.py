"""Receiving: another institution's package becomes a dataset version here, whole and as signed, or not at all."""

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.constant_time import bytes_eq

from readingroom_hub.crypto import hpke
from readingroom_hub.crypto.envelope import open_whole
from readingroom_hub.errors import Conflict, IntegrityError, NotFound, ReadingRoomError
from readingroom_hub.model.audit import AuditEvent, AuditRecord, Outcome
from readingroom_hub.model.dataset import DatasetVersion, Instance, Manifest
from readingroom_hub.model.ids import DatasetName, PersonId, ProjectId
from readingroom_hub.model.keys import destroyed
from readingroom_hub.ports.catalogue import Projects, Versions
from readingroom_hub.ports.custody import KeyCustody
from readingroom_hub.ports.objects import ObjectStore
from readingroom_hub.ports.records import AuditRepository
from readingroom_hub.services import institution, object_checks, processes
from readingroom_hub.services.ingest import CARD_FORMAT
from readingroom_hub.services.institution import Institution
from readingroom_hub.services.intake_locks import IntakeLocks
from readingroom_hub.services.leftovers import Leftovers
from readingroom_hub.services.object_checks import Key
from readingroom_hub.services.package import CARD_PART, Head, Package, Placed, placed, read_at, total

Progress = Callable[[int, int], None]
_KEY_BYTES = 32
_WRITERS = 4  # a durable write waits for the disk most of the time


@dataclass(frozen=True, slots=True)
class Received:
    """What a package came to."""

    version: DatasetVersion
    unchanged: bool
    """The very same version was there already."""


@dataclass(frozen=True, slots=True)
class _Take:
    """What each worker needs to take objects out of the package."""

    package: Path
    store: ObjectStore
    key: Key


class ReceiveService:
    """Opens packages. `locks` is the folder for lock files, which it shares with the ingest."""

    def __init__(
        self,
        projects: Projects,
        versions: Versions,
        objects: ObjectStore,
        custody: KeyCustody,
        audit: AuditRepository,
        locks: Path,
    ) -> None:
        self._projects = projects
        self._versions = versions
        self._objects = objects
        self._custody = custody
        self._audit = audit
        self._locks = IntakeLocks(locks)
        self._leftovers = Leftovers(versions, objects, custody)

    def receive(
        self,
        path: Path,
        sender: Institution,
        project: ProjectId,
        dataset: DatasetName,
        by: PersonId,
        progress: Progress,
    ) -> Received:
        """Check everything that `sender` signed and publish it in `project` as `dataset`, under the same digest.

        Stopped at any point, nothing is published; run it again. What differs is refused and on the record, with the
        object's name: IntegrityError. Raises Conflict where the version is here under another name, or was erased here;
        NotFound for an unknown project; BadInput for a file that is no package; what the ports raise."""
        self._projects.get(project)
        self._locks.tidy(self._leftovers)
        about: dict[str, object] = {"dataset": dataset, "sender": sender.fingerprint}
        try:
            package = Package.open(path, sender.vkey)
            head = package.head
            about |= {"version": head.version, "package": head.digest}
            key = self._open_key(head, sender)
            self._audit.append([AuditRecord(AuditEvent.DATASET_RECEIVED, person=by, project=project, subject=about)])
            known = self._known(head, key, project, dataset)
            if known is not None:
                return Received(known, unchanged=True)
            with self._locks.hold(head.data_key):
                version = self._take(package, key, project, dataset, progress)
                self._publish(version, key, by)
        except BaseException as error:
            self._refuse(error, by, project, about)
            raise
        return Received(version, unchanged=False)

    def _open_key(self, head: Head, sender: Institution) -> Key:
        """The data key. Raises IntegrityError where the package is from or for another institution."""
        mine = institution.own(self._custody)
        if head.sender != sender.fingerprint:
            raise IntegrityError(
                f"the package is from the institution {head.sender}, --from gives {sender.fingerprint}: "
                "ask the sender for its present keys"
            )
        if head.recipient != mine.fingerprint:
            raise IntegrityError(
                f"the package is sealed for the institution {head.recipient}, this one is {mine.fingerprint}: send "
                "yours again (`readingroom key institution`), and ask for a new package"
            )
        secret = hpke.open_sealed(institution.opening_seed(self._custody), head.key_bytes(), head.info())
        if len(secret) != _KEY_BYTES:
            raise IntegrityError(f"the package's data key has {len(secret)} bytes instead of {_KEY_BYTES}")
        return Key(head.data_key, secret)

    def _known(self, head: Head, key: Key, project: ProjectId, dataset: DatasetName) -> DatasetVersion | None:
        """The version, where it is here already. Raises Conflict where it is not here as it is wanted."""
        try:
            version = self._versions.get(head.version)
        except NotFound:
            self._check_key(key)
            return None
        kek = self._versions.key(version.key).kek
        if destroyed(kek, self._custody.keks()):
            raise Conflict(f"{version.label} was erased here on purpose: a package does not bring it back")
        if (version.project, version.dataset) != (project, dataset):
            raise Conflict(f"this version is here already, as {version.label} of project {version.project}: grant it")
        return version

    def _check_key(self, key: Key) -> None:
        """A sender's versions may share a data key; then it is the same here. Raises Conflict where it is another."""
        if self._leftovers.versions(key.id):
            mine = self._custody.unwrap(self._versions.key(key.id))
            if not bytes_eq(mine, key.secret):
                raise Conflict(f"another data key is called {key.id} here: ask for a version with a key of its own")

    def _take(
        self, package: Package, key: Key, project: ProjectId, dataset: DatasetName, progress: Progress
    ) -> DatasetVersion:
        """Check and store every object; the version, not yet published."""
        head = package.head
        card = package.read(0, head.card)
        sealed_manifest = package.read(head.card, head.manifest)
        if hashlib.sha256(card).hexdigest() != head.card_sha256:
            raise IntegrityError("the package's card is not the one that was signed; ask for the package again")
        manifest = _manifest(open_whole(key.secret, key.id, head.manifest_part, sealed_manifest), head)
        first = head.card + head.manifest
        if first + total(manifest.instances) != head.objects:
            raise IntegrityError(f"the package holds {head.objects} bytes, its manifest names other objects")
        count = len(manifest.instances)
        workers = object_checks.workers_for(head.objects, count)
        todo = object_checks.batches(placed(manifest.instances, package.start + first))
        work, done = _Take(package.path, self._objects, key), 0
        for stored in processes.spread(_store, work, todo, workers):
            done += stored
            progress(done, count)
        self._objects.put(f"{key.id}/{head.manifest_part}", sealed_manifest)
        return DatasetVersion(
            digest=head.version,
            project=project,
            dataset=dataset,
            key=key.id,
            instances=len(manifest.instances),
            series=len({i.series for i in manifest.instances}),
            studies=len({i.study for i in manifest.instances}),
            size=sum(i.size for i in manifest.instances),
            published_at=self._versions.next_moment(dataset, datetime.now(UTC)),
            card=_card(open_whole(key.secret, key.id, CARD_PART, card), manifest, head),
        )

    def _publish(self, version: DatasetVersion, key: Key, by: PersonId) -> None:
        """The durable record, then the catalogue, as in an ingest."""
        subject = {
            "dataset": version.dataset,
            "version": version.digest,
            "instances": version.instances,
            "bytes": version.size,
        }
        record = AuditRecord(AuditEvent.VERSION_PUBLISHED, person=by, project=version.project, subject=subject)
        shared = bool(self._leftovers.versions(key.id))
        wrapped = None if shared else self._custody.wrap(key.id, key.secret)
        self._audit.append([record])
        self._versions.publish(version, wrapped)

    def _refuse(self, error: BaseException, by: PersonId, project: ProjectId, about: dict[str, object]) -> None:
        """Remove what was stored, unless the version is out after all; errors on the way do not hide the first."""
        with suppress(ReadingRoomError):
            self._locks.tidy(self._leftovers)
        told = str(error) if isinstance(error, ReadingRoomError) else type(error).__name__
        record = AuditRecord(
            AuditEvent.DATASET_RECEIVED, Outcome.FAILURE, by, project, reason=f"not-received: {told}", subject=about
        )
        with suppress(ReadingRoomError):
            self._audit.append([record])


def _store(work: _Take, batch: tuple[Placed, ...]) -> int:
    """Check objects and store them as they are; returns how many. A batch is small enough to be in memory."""
    with ThreadPoolExecutor(_WRITERS) as writers:
        writing = [writers.submit(_put, work, place.instance, _checked(work, place)) for place in batch]
    for write in writing:
        write.result()
    return len(batch)


def _checked(work: _Take, place: Placed) -> bytes:
    """An object out of the package. Raises IntegrityError naming the instance."""
    sealed = read_at(work.package, place.offset, place.size)
    try:
        object_checks.check_bytes(work.key, place.instance, sealed)
    except IntegrityError as error:
        raise IntegrityError(
            f"object {place.instance.instance} in the package is not what was sealed: ask for the package again"
        ) from error
    return sealed


def _put(work: _Take, instance: Instance, sealed: bytes) -> None:
    """Store an object, where an earlier version with this data key has not. Raises Conflict where it has another."""
    name = f"{work.key.id}/{instance.object_name}"
    try:
        work.store.put(name, sealed)
    except Conflict as error:
        try:
            object_checks.check_bytes(work.key, instance, work.store.read(name))
        except IntegrityError:
            raise Conflict(
                f"another content is stored here for {instance.instance}, under the same data key"
            ) from error


def _manifest(data: bytes, head: Head) -> Manifest:
    """Parsed, each value of its type: it comes from outside. Raises IntegrityError."""
    try:
        manifest = Manifest.from_bytes(data, head.version)
    except (LookupError, TypeError, ValueError, ReadingRoomError) as error:
        raise IntegrityError(f"the manifest in the package cannot be used: {error}") from error
    kinds = {f.name: int if f.type in {int, "int"} else str for f in fields(Instance)}
    for instance in manifest.instances:
        values = {name: getattr(instance, name) for name in kinds}
        if not all(isinstance(v, kinds[n]) and not isinstance(v, bool) for n, v in values.items()) or instance.size < 0:
            raise IntegrityError(f"the manifest in the package describes {instance.instance} in no known form")
    names = {i.instance for i in manifest.instances}
    if len(names) != len(manifest.instances) or not names:
        raise IntegrityError("the manifest in the package names no instance, or one twice")
    return manifest


def _card(data: bytes, manifest: Manifest, head: Head) -> str:
    """The sender's card, and where the version came from. Raises IntegrityError."""
    try:
        card = json.loads(data)
        right = card["format"] == CARD_FORMAT and isinstance(card["profile"], str)
        right = right and all(isinstance(part, dict) for part in (card["left_out"], *card["actions"].values()))
        right = right and _printable(card)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise IntegrityError(f"the card in the package cannot be read: {error}") from error
    if not right:
        raise IntegrityError(f"the card in the package is not of format {CARD_FORMAT}")
    came = {"sender": head.sender, "package": head.digest, "made_at": head.made_at, "dataset": manifest.dataset}
    return json.dumps(card | {"received": came | {"project": manifest.project}}, sort_keys=True)


def _printable(value: object) -> bool:
    """It will be shown on terminals, which control characters would steer."""
    if isinstance(value, dict):
        return all(_printable(k) and _printable(v) for k, v in value.items())
    if isinstance(value, list):
        return all(_printable(v) for v in value)
    return not isinstance(value, str) or value.isprintable()
