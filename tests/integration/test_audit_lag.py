"""A search index that falls behind: it holds up whoever appends, and everybody is told."""

import threading
import types
from urllib.request import urlopen

import apsw
import pytest
from tests.support.audit_process import audit_process
from tests.support.ports import free_ports

from readingroom_hub.adapters import audit_index
from readingroom_hub.adapters.audit_index import AuditIndex, Lag
from readingroom_hub.adapters.audit_service import AuditService
from readingroom_hub.config import Paths, Settings
from readingroom_hub.model.audit import AuditEvent, AuditRecord, Receipt

SECONDS = 20.0


@pytest.fixture
def service(tmp_path, monkeypatch):
    """Whose index is filled in chunks of ten, by nobody of its own accord."""
    paths = Paths(tmp_path / "state")
    paths.make()
    opened = AuditService(paths.audit, paths.keys)
    opened._index.wait(opened.size, SECONDS)
    for name, value in (("_CHUNK", 10), ("_BEHIND", 10**9), ("_LAG_SECONDS", 0.01)):
        monkeypatch.setattr(audit_index, name, value)
    monkeypatch.setattr(AuditIndex, "_is_due", lambda self: self._stopped)
    monkeypatch.setattr(AuditIndex, "_try_to_fill", _unless_idle(AuditIndex._try_to_fill))
    yield opened
    monkeypatch.undo()
    opened.close()


def _unless_idle(fill):
    def try_to_fill(self):
        if threading.current_thread().name == "audit-index-hurries":
            fill(self)

    return try_to_fill


def append(service, count):
    """One commit of so many."""
    told: list[list[Receipt]] = []
    source = {"process": "test", "epoch": "e", "seq": service.size}
    rows = [AuditRecord(AuditEvent.READ_INTENT).to_wire() | {"source": source} for _ in range(count)]
    service.submit(rows, told.append)
    assert not service.commit_waiting()
    (receipts,) = told
    assert len(receipts) == count


def test_an_index_that_nobody_waits_for_falls_behind_without_bound(service):
    for _ in range(20):
        append(service, 20)
    assert service.lag().records == 400


def test_an_index_too_far_behind_holds_up_whoever_appends(service, monkeypatch):
    monkeypatch.setattr(audit_index, "_TOO_FAR", 100)
    monkeypatch.setattr("readingroom_hub.adapters.audit_service._HOLD_UP_SECONDS", SECONDS)
    first = service.size
    for _ in range(200):
        append(service, 5)
        assert service.lag().records < 105
    assert service.size >= first + 1000, "none is refused"
    assert service.status()["index_lag"] == service.lag().records


def test_an_index_that_cannot_be_filled_holds_nobody_up(service, monkeypatch):
    def full(_index):
        raise apsw.FullError("database or disk is full")

    monkeypatch.setattr(audit_index, "_TOO_FAR", 100)
    monkeypatch.setattr("readingroom_hub.adapters.audit_service._HOLD_UP_SECONDS", 3600.0)
    monkeypatch.setattr(AuditIndex, "_fill", full)
    for _ in range(4):
        append(service, 100)
    assert service.lag().records == 400


def test_the_age_of_what_the_index_has_not_is_told(service, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(audit_index, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    assert service.lag() == Lag(0, 0.0)
    append(service, 10)
    now[0] += 30
    append(service, 10)
    now[0] += 12
    assert service.lag() == Lag(20, 42.0)
    service._index._fill()
    assert service.lag() == Lag(10, 12.0)
    service._index._fill()
    assert service.lag() == Lag(0, 0.0)


def test_prometheus_is_told(tmp_path_factory):
    folder = tmp_path_factory.mktemp("s")
    settings = Settings(state=folder, audit_metrics_port=free_ports(1))
    with audit_process(folder, settings=settings) as (_, client):
        client.append([AuditRecord(AuditEvent.READ_INTENT) for _ in range(50)])
        with urlopen(f"http://127.0.0.1:{settings.audit_metrics_port}/metrics", timeout=SECONDS) as answer:
            lines = answer.read().decode().splitlines()
        values = dict(line.split() for line in lines if not line.startswith("#"))
        assert float(values["readingroom_audit_log_records"]) == client.status()["size"]
        assert float(values["readingroom_audit_index_behind"]) <= 50 + 10
        assert float(values["readingroom_audit_index_seconds"]) >= 0
