"""An ingest in a process of its own, which may kill itself at a named moment: STATE SOURCE MOMENT.

Also importable: `open_room(state)` gives the service over real adapters and an audit repository in memory."""

import os
import signal
import sys
import threading
import warnings
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.support.fakes import MemoryAuditRepository

from readingroom_hub.adapters import catalogue_sql
from readingroom_hub.adapters.catalogue_tables import open_database
from readingroom_hub.adapters.keys_file import DevelopmentCustodyWarning, FileKeyCustody
from readingroom_hub.adapters.objects_dir import DirectoryObjectStore
from readingroom_hub.deid.policy import Policy
from readingroom_hub.errors import Conflict
from readingroom_hub.model.audit import AuditEvent
from readingroom_hub.model.ids import DatasetName, PersonId, ProjectId
from readingroom_hub.model.project import Project
from readingroom_hub.ports.catalogue import Grants, Versions
from readingroom_hub.services.crosswalk import Crosswalks
from readingroom_hub.services.datasets import DatasetService
from readingroom_hub.services.deletion import DeleteService
from readingroom_hub.services.ingest import Ingested, IngestService

PROJECT, DATASET = ProjectId("lung"), DatasetName("chest")


_counting = threading.Lock()


class DyingStore(DirectoryObjectStore):
    """Kills its process after `puts` objects, or at the manifest."""

    puts = -1
    at_manifest = False

    def put(self, name: str, data: bytes) -> None:
        if self.at_manifest and "/manifest" in name:
            os.kill(os.getpid(), signal.SIGKILL)
        super().put(name, data)
        with _counting:  # several threads put
            self.puts -= 1
            if self.puts == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class DeadlyModality(frozenset):
    """A policy line that ends the worker process when it is asked about `NM`, as a fault in a decoder would."""

    def __contains__(self, modality: object) -> bool:
        if modality == "NM":
            os._exit(3)
        return super().__contains__(modality)


@dataclass
class Room:
    service: IngestService
    datasets: DatasetService
    deletion: DeleteService
    grants: Grants
    versions: Versions
    store: DyingStore
    audit: MemoryAuditRepository
    person: PersonId
    state: Path
    crosswalks: Crosswalks

    def ingest(self, source: Path, **options: object) -> Ingested:
        return self.service.ingest(source, PROJECT, DATASET, self.person, **options)

    def left_overs(self) -> list[Path]:
        """Key folders that no version uses, lock files, temporary files."""
        used = {v.key for v in self.versions.all()}
        folders = [p for p in (self.state / "objects").glob("*") if p.name not in used]
        hidden = list((self.state / "objects").rglob(".*"))
        return folders + hidden + list((self.state / "ingests").glob("*"))


def open_room(state: Path) -> Room:
    engine = open_database(state / "catalogue.sqlite")
    projects, versions = catalogue_sql.SqlProjects(engine), catalogue_sql.SqlVersions(engine)
    with suppress(Conflict):  # an earlier process made it
        projects.create(Project(PROJECT, "Lung", "Olga", datetime.now(UTC)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DevelopmentCustodyWarning)
        custody = FileKeyCustody(state / "keys")
    store, audit = DyingStore(state / "objects"), MemoryAuditRepository()
    person = audit.identify("local", "uid:0", "Stella Steward")
    crosswalks = Crosswalks(projects, custody, audit, state / "crosswalks")
    service = IngestService(projects, versions, store, custody, audit, state / "ingests", crosswalks)
    grants = catalogue_sql.SqlGrants(engine)
    deletion = DeleteService(versions, grants, store, custody, audit, state / "ingests")
    datasets = DatasetService(versions, store, custody, audit)
    return Room(service, datasets, deletion, grants, versions, store, audit, person, state, crosswalks)


def _die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _arm(room: Room, moment: str) -> None:
    """Make the process die at `moment`."""
    if moment == "writing":
        os.link = _die  # the first object is whole then, below the name of a temporary file
    elif moment.startswith("put:"):
        room.store.puts = int(moment[4:])
    elif moment == "manifest":
        room.store.at_manifest = True
    elif moment == "record":
        append = room.audit.append
        room.audit.append = lambda records: (
            _die() if records[0].event is AuditEvent.VERSION_PUBLISHED else append(records)
        )
    elif moment == "publish":
        room.versions.publish = _die
    elif moment == "published":
        publish = room.versions.publish
        room.versions.publish = lambda version, key: (publish(version, key), _die())


def main(state: Path, source: Path, moment: str, reuse: bool = False) -> None:
    room = open_room(state)
    _arm(room, moment)
    done = room.ingest(source, reuse=reuse)
    print(done.version.digest, done.unchanged)


__all__ = ["DATASET", "PROJECT", "DeadlyModality", "Policy", "Room", "main", "open_room"]

if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], reuse="reuse" in sys.argv)
