"""Somebody sets the clock: the attack on the times in the record, and the record that says so."""

import json
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.audit_process import AuditProcess

from readingroom_hub.adapters import audit_log
from readingroom_hub.adapters.audit_client import SocketAuditRepository
from readingroom_hub.adapters.audit_clock import read_clocks
from readingroom_hub.adapters.audit_log import LogReader
from readingroom_hub.adapters.audit_service import AuditService
from readingroom_hub.compose.repository import verify_log
from readingroom_hub.config import Paths
from readingroom_hub.errors import AuditUnavailable
from readingroom_hub.ledger.clock import Clocks
from readingroom_hub.model import audit
from readingroom_hub.model.audit import AuditEvent, AuditRecord
from readingroom_hub.ports.records import Filter

DAY = timedelta(days=1)
_DAY_MS = DAY // timedelta(milliseconds=1)


class Clock:
    """This machine's, with a wall clock that a test may set."""

    def __init__(self, ahead: timedelta = timedelta()) -> None:
        self.ahead = ahead

    def __call__(self) -> Clocks:
        real = read_clocks()
        return Clocks(real.wall + self.ahead // timedelta(microseconds=1) * 1000, real.boot)


@pytest.fixture
def paths():
    with tempfile.TemporaryDirectory(prefix="rr-") as folder:
        found = Paths(Path(folder))
        found.make()
        yield found


def stored(paths):
    with closing(LogReader(paths.audit / "log.sqlite")) as reader:
        return [json.loads(e.record) for e in reader.entries()]


def steps(paths):
    return [r["subject"]["step_ms"] for r in stored(paths) if r["event"] == "clock-step"]


def a_read(clock, seq):
    time = datetime.now(UTC) + clock.ahead
    source = {"process": "mount-daemon", "epoch": "e", "seq": seq}
    return AuditRecord(AuditEvent.READ_INTENT, time=time).to_wire() | {"source": source}


def commit(service, row):
    answers = []
    service.submit([row], answers.append)
    service.commit_waiting()
    return answers[0]


def test_a_clock_set_back_a_day_back_dates_records_and_that_is_on_record_before_them(paths):
    clock = Clock()
    service = AuditService(paths.audit, paths.keys, clock=clock)
    first, second = a_read(clock, 0), a_read(clock, 1)
    commit(service, first)
    clock.ahead = -DAY
    back_dated = a_read(clock, 1)
    commit(service, back_dated)
    assert back_dated["time"] < first["time"] < second["time"]  # the attack: it says to have been before the first
    commit(service, a_read(clock, 2))
    service.close()
    events = [r["event"] for r in stored(paths)]
    assert events == ["service-started", "read-intent", "clock-step", "read-intent", "read-intent", "service-stopped"]
    assert steps(paths) == [pytest.approx(-_DAY_MS, abs=1)]
    assert stored(paths)[2]["subject"]["limit_ms"] == 1000
    assert not verify_log(paths, None, None, []).findings


def test_a_clock_set_back_while_the_service_is_stopped_is_on_record_at_the_start(paths, monkeypatch):
    clock = Clock()

    class Shifted(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + clock.ahead

    monkeypatch.setattr(audit, "datetime", Shifted)  # what the service's own records say, too

    def run_once(ahead):
        clock.ahead = ahead
        AuditService(paths.audit, paths.keys, clock=clock).close()

    run_once(timedelta())
    assert steps(paths) == []
    run_once(-DAY)
    assert [r["event"] for r in stored(paths)][2:4] == ["clock-step", "service-started"]
    assert steps(paths) == [pytest.approx(-_DAY_MS, abs=60_000)]
    run_once(-DAY)
    assert len(steps(paths)) == 1
    run_once(DAY)  # as after a long pause: the documented limit
    assert len(steps(paths)) == 1


def test_at_the_start_only_the_repository_s_own_times_count(paths):
    ahead = Clock(DAY)
    service = AuditService(paths.audit, paths.keys, clock=Clock())
    for seq in range(2500):
        service.submit([a_read(ahead, seq)], lambda _: None)
    service.finish()
    for part in (service._reader, service._index, service._identities, service._log):
        part.close()  # as a kill does: the service's own last record is more than two thousand back
    AuditService(paths.audit, paths.keys, clock=Clock()).close()
    assert steps(paths) == []
    AuditService(paths.audit, paths.keys, clock=Clock(-DAY)).close()
    assert len(steps(paths)) == 1


def test_a_step_that_cannot_be_stored_denies_and_is_stored_first_afterwards(paths, monkeypatch):
    clock = Clock()
    service = AuditService(paths.audit, paths.keys, clock=clock)
    clock.ahead = -DAY

    def full(*_):
        raise AuditUnavailable("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(audit_log.AuditLog, "_commit", full)
        assert isinstance(commit(service, a_read(clock, 0)), AuditUnavailable)
        with pytest.raises(AuditUnavailable):
            service.watch_clock()
    commit(service, a_read(clock, 0))
    service.close()
    assert [r["event"] for r in stored(paths)][1:3] == ["clock-step", "read-intent"]
    assert len(steps(paths)) == 1


_SERVE = """
import asyncio, sys
from pathlib import Path
from readingroom_hub.adapters.audit_clock import read_clocks
from readingroom_hub.adapters.audit_server import AuditServer, _listen
from readingroom_hub.adapters.audit_service import AuditService
from readingroom_hub.config import Paths
from readingroom_hub.ledger.clock import Clocks
paths = Paths(Path(sys.argv[1]))

def clock():
    real, ahead = read_clocks(), paths.state / "ahead"
    return Clocks(real.wall + (int(ahead.read_text()) if ahead.exists() else 0) * 10**9, real.boot)

service = AuditService(paths.audit, paths.keys, clock=clock)
asyncio.run(AuditServer(service).run(_listen(paths.audit_socket)))
service.close()
"""


def test_a_step_while_nobody_reads_is_found_by_a_search(paths):
    """The running process, idle: its clock is set back a day, and a query through the socket finds that."""
    server = AuditProcess(paths)
    server._process = subprocess.Popen([sys.executable, "-c", _SERVE, str(paths.state)], stderr=subprocess.DEVNULL)
    client = SocketAuditRepository(paths.audit_socket, "test", 5000)
    try:
        deadline = time.monotonic() + 20
        while not server._answers():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        (paths.state / "ahead.part").write_text("-86400")
        (paths.state / "ahead.part").rename(paths.state / "ahead")
        wanted = Filter(events=("clock-step",))
        while not (found := client.query(wanted, None)):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        client.close()
        server.stop()
    (one,) = found
    assert one.record["subject"] == {"step_ms": pytest.approx(-_DAY_MS, abs=1), "limit_ms": 1000}
    assert one.record["outcome"] == "failure"
