"""A receive in a process of its own, which kills itself at a named moment: STATE PACKAGE SENDER MOMENT."""

import itertools
import os
import signal
import sys
import warnings
from pathlib import Path

from tests.support.fakes import MemoryAuditRepository

from readingroom_hub import compose
from readingroom_hub.adapters.keys_file import DevelopmentCustodyWarning
from readingroom_hub.config import Settings
from readingroom_hub.model.audit import AuditEvent
from readingroom_hub.model.ids import DatasetName, ProjectId
from readingroom_hub.services.institution import Institution


def _die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main(state: Path, package: Path, sender: Path, moment: str) -> None:
    audit = MemoryAuditRepository()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DevelopmentCustodyWarning)
        service = compose.receiving(Settings(state=state), audit)
    put, append, publish = service._objects.put, audit.append, service._versions.publish
    puts = itertools.count()  # several threads put

    def putting(name: str, data: bytes) -> None:
        if moment == f"put:{next(puts)}" or (moment == "manifest" and name.endswith("manifest")):
            _die()
        put(name, data)

    service._objects.put = putting
    if moment == "record":
        audit.append = lambda rows: _die() if rows[0].event is AuditEvent.VERSION_PUBLISHED else append(rows)
    elif moment == "publish":
        service._versions.publish = _die
    elif moment == "published":
        service._versions.publish = lambda version, key: (publish(version, key), _die())
    person = audit.identify("local", "uid:0", "Stella Steward")
    service.receive(
        package, Institution.read(sender), ProjectId("lung"), DatasetName("chest"), person, lambda _done, _total: None
    )


if __name__ == "__main__":
    main(*(Path(a) for a in sys.argv[1:4]), sys.argv[4])
