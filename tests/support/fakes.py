"""In-memory stand-ins that pass the same contract suites as the real adapters."""

import hashlib
import secrets
import threading
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from readingroom_hub.errors import AuditUnavailable
from readingroom_hub.ledger.merkle import leaf_hash, root_of
from readingroom_hub.ledger.seal import to_leaf
from readingroom_hub.model.audit import AuditEvent, AuditRecord, Receipt
from readingroom_hub.model.ids import PersonId
from readingroom_hub.ports.records import Answer, AuditRepository, Filter, Found, Identity, NodeState


class MemoryAuditRepository(AuditRepository):
    """Keeps records in a list. Set `available = False` to have every call raise AuditUnavailable."""

    def __init__(self) -> None:
        self.available = True
        self.records: list[dict[str, Any]] = []
        self.nodes: tuple[NodeState, ...] = ()
        self._hashes: list[bytes] = []
        self._places: dict[str, int] = {}
        self._people: dict[tuple[str, str], Identity] = {}
        self._lock = threading.RLock()

    def check(self) -> None:
        if not self.available:
            raise AuditUnavailable("the audit record repository does not answer (switched off by the test)")

    def append(self, records: Sequence[AuditRecord]) -> list[Receipt]:
        with self._lock:
            self.check()
            leaves = [(r.id, r.to_wire(), leaf_hash(to_leaf(r.to_wire()))) for r in records]
            return [self._store(*leaf) for leaf in leaves]

    def _store(self, id: str, row: dict[str, Any], hash: bytes) -> Receipt:
        if id not in self._places:
            self._places[id] = len(self.records)
            self.records.append(row)
            self._hashes.append(hash)
        place = self._places[id]
        return Receipt(place, self._hashes[place])

    def post(self, record: AuditRecord) -> None:
        self.append([record])

    def flush(self) -> None:
        self.check()

    def identify(self, issuer: str, subject: str, name: str) -> PersonId:
        with self._lock:
            self.check()
            known = self._people.get((issuer, subject))
            salt = secrets.token_bytes(32)
            person = known.person if known else PersonId("p-" + hashlib.sha256(salt).hexdigest())
            self._people[issuer, subject] = Identity(person, issuer, subject, name)
            return person

    def people(self, text: str) -> list[Identity]:
        with self._lock:
            self.check()
            wanted = text.casefold()
            return [
                p
                for p in self._people.values()
                if not wanted or wanted in {p.person, p.subject.casefold(), p.name.casefold()}
            ]

    def search(self, wanted: Filter, asked_by: PersonId | None) -> Answer:
        with self._lock:
            self.check()
            names = {p.person: p.name for p in self._people.values()}
            found = [
                Found(i, row, names.get(row.get("person", "")))
                for i, row in enumerate(self.records)
                if _matches(row, wanted)
            ]
            found, size = found[::-1][: wanted.limit], len(self.records)
            self.append([AuditRecord(AuditEvent.RECORD_SEARCHED, person=asked_by, subject={"count": len(found)})])
            return Answer(found, size, 0, 0.0, self.nodes)

    def checkpoint(self) -> str:
        """Unsigned: body only, with an empty signature block."""
        with self._lock:
            self.check()
            return f"memory\n{len(self.records)}\n{root_of(self._hashes).hex()}\n\n"

    def events(self) -> list[str]:
        """The event names so far, for assertions."""
        return [r["event"] for r in self.records]


def _matches(row: dict[str, Any], wanted: Filter) -> bool:
    at = datetime.fromisoformat(row["time"])
    return (
        wanted.person in {None, row.get("person")}
        and wanted.project in {None, row.get("project")}
        and wanted.session in {None, row.get("session")}
        and wanted.dataset in {None, row.get("subject", {}).get("dataset")}
        and (not wanted.studies or row.get("subject", {}).get("study") in wanted.studies)
        and (not wanted.events or row["event"] in wanted.events)
        and (wanted.since is None or at >= wanted.since)
        and (wanted.until is None or at < wanted.until)
    )
