"""A small hub for tests of the mount: catalogue, object store and keys for real, below one folder."""

import contextlib
import hashlib
import os
import random
import secrets
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.support.fakes import MemoryAuditRepository

from readingroom_hub import compose
from readingroom_hub.adapters.keys_file import DevelopmentCustodyWarning
from readingroom_hub.config import Settings
from readingroom_hub.crypto.envelope import MANIFEST_PART, seal
from readingroom_hub.model.dataset import DatasetVersion, Instance, Manifest, manifest_of
from readingroom_hub.model.grant import Grant
from readingroom_hub.model.ids import UID, DatasetName, GrantId, KeyId, PersonId, ProjectId, SessionId, VersionDigest
from readingroom_hub.model.project import Project
from readingroom_hub.model.session import Session
from readingroom_hub.mount import mounting
from readingroom_hub.mount.daemon import MountDaemon
from readingroom_hub.mount.library import Library

STEWARD = PersonId("p-" + "1" * 64)
RESEARCHER = PersonId("p-" + "2" * 64)


@dataclass(frozen=True)
class Published:
    version: DatasetVersion
    manifest: Manifest
    plain: dict[str, bytes]
    """Path below the dataset's folder -> plaintext."""

    def object_file(self, world: "World", instance: Instance) -> Path:
        return world.settings.paths.objects / self.version.key / instance.object_name


def make_instances(series_sizes: Iterable[Iterable[int]], seed: int) -> list[tuple[Instance, bytes]]:
    """One study; one series per inner list; one instance per size."""
    rng = random.Random(seed)
    made = []
    for s, sizes in enumerate(series_sizes, 1):
        for n, size in enumerate(sizes, 1):
            data = b"".join(rng.randbytes(min(1 << 20, size - at)) for at in range(0, size, 1 << 20))
            root = f"2.25.{seed}"
            uid = UID(f"{root}.{s}.{n}")
            made.append(
                (
                    Instance(
                        UID(f"{root}.0"),
                        UID(f"{root}.{s}"),
                        uid,
                        UID("1.2.840.10008.5.1.4.1.1.2"),
                        "CT",
                        n,
                        size,
                        hashlib.sha256(data).hexdigest(),
                        'P-1, "the first"',
                    ),
                    data,
                )
            )
    return made  # fmt: skip


class World:
    """Folders below `state`; nothing runs."""

    def __init__(self, state: Path) -> None:
        self.settings = Settings(state=state)
        self.settings.paths.make()
        self.catalogue = compose.open_catalogue(self.settings)
        self.objects = compose.objects(self.settings)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DevelopmentCustodyWarning)
            self.custody = compose.custody(self.settings)

    def project(self, name: str, ends_at: datetime | None = None) -> ProjectId:
        id = ProjectId(name)
        self.catalogue.projects.create(Project(id, f"Project {name}", "Dr Owner", _now(), ends_at))
        return id

    def publish(
        self,
        project: ProjectId,
        dataset: str,
        series_sizes: Iterable[Iterable[int]] = ((3000, 0, 70_000),),
        seed: int = 1,
    ) -> Published:
        return self.publish_made(project, dataset, make_instances(series_sizes, seed))

    def publish_made(
        self,
        project: ProjectId,
        dataset: str,
        made: list[tuple[Instance, bytes]],
        absent: Iterable[Instance] = (),
        card: str = "{}",
    ) -> Published:
        """Publish these instances. `absent` ones are in the manifest only, to make it long."""
        manifest = manifest_of(project, DatasetName(dataset), "test profile", [*(i for i, _ in made), *absent])
        key_id, key = KeyId.new(), secrets.token_bytes(32)
        for instance, data in made:
            self.objects.put(f"{key_id}/{instance.object_name}", seal(key, key_id, instance.instance, data))
        self.objects.put(f"{key_id}/manifest", seal(key, key_id, MANIFEST_PART, manifest.to_bytes()))
        version = DatasetVersion(
            manifest.digest(), project, manifest.dataset, key_id, len(made), len({i.series for i, _ in made}), 1,
            sum(i.size for i, _ in made), _now(), card,
        )  # fmt: skip
        self.catalogue.versions.publish(version, self.custody.wrap(key_id, key))
        return Published(version, manifest, {f"{i.study}/{i.series}/{i.instance}.dcm": data for i, data in made})

    def grant(self, project: ProjectId, version: DatasetVersion, lasts: timedelta = timedelta(hours=1)) -> Grant:
        grant = Grant(
            GrantId.new(), project, version.dataset, VersionDigest(version.digest), _now() + lasts, STEWARD, _now()
        )
        self.catalogue.grants.add(grant)
        return grant

    def revoke(self, grant: Grant) -> None:
        self.catalogue.grants.revoke(grant.id, _now(), STEWARD)

    def session(self, project: ProjectId, lasts: timedelta = timedelta(hours=1)) -> Session:
        now = _now()
        session = Session(SessionId.new(), RESEARCHER, project, now, now + lasts)
        self.catalogue.sessions.open(session)
        return session


def ends_of(records: Iterable[dict]) -> list[dict]:
    """How single opens ended, by `read-completed` records, whose sums must be theirs. Oldest first."""
    found = []
    for record in records:
        subject = record["subject"]
        closes = [dict(zip(("instance", "bytes", "size", "cached"), c, strict=True)) for c in subject["closes"]]
        assert len(closes) <= 100
        assert closes or "concluded" in subject
        assert subject["bytes"] == sum(c["bytes"] for c in closes)
        assert subject["instances"] == len({c["instance"] for c in closes})
        about = {k: subject[k] for k in ("dataset", "version", "study", "series", "grant", "intent")}
        found += [about | {"session": record["session"]} | c for c in closes]
    return found


class MountedWorld(World):
    """A world with a running mount daemon in this process, on real FUSE mounts."""

    def __init__(self, state: Path) -> None:
        super().__init__(state)
        self.audit = MemoryAuditRepository()
        c = self.catalogue
        library = Library(c.versions, self.objects, self.custody, self.audit)
        self.daemon = MountDaemon(
            self.settings.paths.mounts, c.projects, c.grants, c.sessions, c.holds, library, self.audit
        )
        self.daemon.start()

    def attach(self, session: Session) -> Path:
        return self.daemon.attach(session.id) / "data"

    def subjects(self, event: str) -> list[dict]:
        return [r["subject"] for r in self.audit.records if r["event"] == event]

    def ends(self) -> list[dict]:
        return ends_of(r for r in self.audit.records if r["event"] == "read-completed")

    def reasons(self, event: str) -> list[str]:
        return [r["reason"].partition(":")[0] for r in self.audit.records if r["event"] == event]


@contextlib.contextmanager
def mounted_world(state: Path) -> Iterator[MountedWorld]:
    """No mount is left below `state`."""
    made = MountedWorld(state)
    try:
        yield made
    finally:
        made.daemon.stop()
        left = [point for point, _ in mounting.mount_points(state)]
        for point in left:
            mounting.unmount(point)
        assert not left


def _now() -> datetime:
    return datetime.now(UTC)


def read(path: Path | str) -> bytes:
    """Read a file with plain system calls, which release the interpreter's lock."""
    fd = os.open(path, os.O_RDONLY)
    try:
        parts = []
        while part := os.read(fd, 1 << 20):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(fd)


def listed(published: Published) -> dict[str, int]:
    """Path below the dataset's folder -> bytes, as listing and index name them, of one series."""
    folder = "P-1%2C%20%22the%20first%22"
    found = sorted(published.manifest.instances, key=lambda i: i.number)
    return {f"{folder}/{i.study}/{i.series}/{n:04}.dcm": i.size for n, i in enumerate(found, 1)}


def refused(path: Path | str, number: int) -> bool:
    try:
        read(path)
    except OSError as error:
        return error.errno == number
    return False


def withheld(fd: int) -> bool:
    try:
        os.pread(fd, 10, 0)
    except PermissionError:
        return True
    return False
