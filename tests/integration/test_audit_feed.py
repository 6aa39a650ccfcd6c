"""Feeds of a running repository to real receivers: killed on either side, refused, behind; and who is told."""

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path

import apsw
import pytest
from tests.contract.audit_receiver import rows
from tests.support.audit_process import audit_process
from tests.support.receivers import Authority, FhirServer, Rsyslog, running, until
from typer.testing import CliRunner

from readingroom_hub import compose
from readingroom_hub.adapters.audit_feed import Feed, status
from readingroom_hub.adapters.audit_feed_state import FeedState, is_running
from readingroom_hub.adapters.audit_log import LogReader
from readingroom_hub.cli.main import app
from readingroom_hub.config import Settings
from readingroom_hub.embedded import processes
from readingroom_hub.embedded.deployment import all_processes
from readingroom_hub.embedded.deployment import running as in_order
from readingroom_hub.embedded.supervisor import Supervisor
from readingroom_hub.errors import BadInput, Conflict, IntegrityError
from readingroom_hub.ledger.atna import syslog_message
from readingroom_hub.ledger.canonical import from_leaf
from readingroom_hub.model.audit import AuditEvent, AuditRecord
from readingroom_hub.ports.receivers import Receiver
from readingroom_hub.sandbox.fitness import Level, examine

_FEED = """
import json, sys
from readingroom_hub import compose
from readingroom_hub.config import load
from readingroom_hub.errors import ReadingRoomError
try:
    compose.feeds(load(json.loads(sys.argv[1]))).serve()
except ReadingRoomError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


@pytest.fixture
def repository():
    with audit_process() as (server, client):
        yield server.paths, client


@pytest.fixture
def authority(tmp_path) -> Authority:
    return Authority(tmp_path / "authority")


def variables(settings):
    return {k: v for k, v in settings.to_environ().items() if k.startswith("READINGROOM_")}


def start(settings):
    with (settings.paths.logs / "audit-feed.log").open("ab") as log:
        argv = [sys.executable, "-c", _FEED, json.dumps(variables(settings))]
        return subprocess.Popen(argv, stderr=log)


@contextlib.contextmanager
def feeding(settings):
    process = start(settings)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        # one that had only just begun to start dies of the signal itself
        assert process.wait(20) in {0, -signal.SIGKILL, -signal.SIGTERM}


def said(settings):
    return (settings.paths.logs / "audit-feed.log").read_text()


def records(paths):
    with contextlib.closing(LogReader(paths.audit / "log.sqlite")) as reader:
        return [from_leaf(e.record) for e in reader.entries() if e.record is not None]


def expected(paths):
    return [syslog_message(row, "localhost") for row in records(paths)]


def fill(client, count):
    client.append([AuditRecord(AuditEvent.READ_INTENT, subject={"study": f"1.2.{n}"}) for n in range(count)])


def shown(settings, *arguments):
    return CliRunner().invoke(app, ["audit", "feed", *arguments], env=variables(settings) | {"COLUMNS": "250"})


def checked(settings):
    (found,) = (c for c in examine(settings) if c.name == "audit feeds")
    return found


@pytest.mark.parametrize("killed", ["receiver", "feed"])
def test_whoever_is_killed_no_record_is_lost(repository, authority, tmp_path, killed):
    paths, client = repository
    with running(Rsyslog(tmp_path / "r", authority)) as far:
        address = f"localhost:{far.port}"
        settings = Settings(state=paths.state, audit_feed_syslog=address, audit_feed_ca_file=authority.ca)
        with contextlib.ExitStack() as stack:
            feed = stack.enter_context(feeding(settings))
            for number in range(3):
                fill(client, 700)
                until(lambda number=number: len(far.arrived()) > 200 + 700 * number)
                if killed == "feed":
                    feed.kill()
                    feed.wait()
                    feed = stack.enter_context(feeding(settings))
                else:
                    far.stop(signal.SIGKILL)
                    far.start()
            wanted = expected(paths)
            until(lambda: far.arrived()[-1:] == wanted[-1:] and len(far.arrived()) >= len(wanted))
        assert list(dict.fromkeys(far.arrived())) == wanted


def test_a_receiver_that_is_away_is_an_alarm_until_it_has_everything(repository, authority, tmp_path):
    paths, client = repository
    far = Rsyslog(tmp_path / "r", authority)
    port = far.port + 1
    settings = Settings(
        state=paths.state,
        audit_feed_syslog=f"localhost:{far.port}",
        audit_feed_ca_file=authority.ca,
        audit_feed_metrics_port=port,
    )

    def metrics():
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            return answer.read().decode()
        return ""

    assert "no process runs it" in checked(settings).sentence
    with feeding(settings):
        until(lambda: is_running(paths.feeds, "syslog"))
        fill(client, 5)
        until(lambda: status(paths.audit, paths.feeds, "syslog").trouble)
        size = client.status()["size"]
        found = shown(settings, "status", "--json")
        assert found.exit_code == 1
        (row,) = json.loads(found.output)
        assert (row["behind"], row["sent"], row["running"]) == (size, 0, True)
        assert "Connection refused" in row["trouble"]
        assert row["since"][:11] == datetime.now(UTC).isoformat()[:11]
        check = checked(settings)
        assert check.level is Level.ADVICE
        assert f"{size} records behind, since {row['since']}" in check.sentence
        until(lambda: 'readingroom_audit_feed_up{feed="syslog"} 0.0' in metrics())
        assert f'readingroom_audit_feed_behind{{feed="syslog"}} {size}.0' in metrics()
        with running(far):
            until(lambda: status(paths.audit, paths.feeds, "syslog").trouble is None)
            assert until(far.arrived) == expected(paths)
            assert shown(settings, "status").exit_code == 0
            assert checked(settings).level is Level.OK
            until(lambda: 'readingroom_audit_feed_up{feed="syslog"} 1.0' in metrics())
            assert f'readingroom_audit_feed_sent_total{{feed="syslog"}} {size}.0' in metrics()
    assert "STOPPED, tries again: the syslog receiver localhost" in said(settings)
    assert "goes on after" in said(settings)


def test_a_server_refuses_some_is_busy_and_is_asked_again(repository, authority):
    paths, client = repository
    with running(FhirServer(authority)) as far:
        base = f"https://localhost:{far.port}/r4"
        settings = Settings(state=paths.state, audit_feed_fhir=base, audit_feed_ca_file=authority.ca)
        asked, bad = [], {"1.2.3", "1.2.5"}

        def answer(resource):
            asked.append(resource)
            details = {d["type"]: d["valueString"] for d in resource["entity"][0]["detail"]}
            if len(asked) in {6, 7}:
                return 503
            return 422 if details.get("study") in bad else None

        far.answer = answer
        fill(client, 12)
        size = client.status()["size"]
        with feeding(settings):
            until(lambda: status(paths.audit, paths.feeds, "fhir").behind == 0)
            assert len(far.arrived()) == size - 2
            refused = [json.loads(line) for line in shown(settings, "refused", "fhir").output.splitlines()]
            assert [records(paths)[r["index"]]["subject"]["study"] for r in refused] == ["1.2.3", "1.2.5"]
            assert all(r["reason"].startswith("422 ") for r in refused)
            assert "2 records were refused" in checked(settings).sentence
            bad.discard("1.2.5")
            assert shown(settings, "again", "fhir").exit_code == 0
            until(lambda: len(far.arrived()) == size - 1)
            until(lambda: status(paths.audit, paths.feeds, "fhir").progress.refused == 1)
            (left,) = shown(settings, "refused", "fhir").output.splitlines()
            assert json.loads(left)["index"] == refused[0]["index"]
        ids = [json.loads(b)["entity"][0]["detail"][0]["valueString"] for b in far.arrived()]
        assert sorted(ids) == sorted(r["id"] for r in records(paths) if r.get("subject", {}).get("study") != "1.2.3")


class Kept(Receiver):
    """Takes everything."""

    def __init__(self, look=lambda: None):
        self.arrived, self._look = [], look

    def message(self, row):
        return json.dumps(row).encode()

    def deliver(self, messages):
        self._look()
        self.arrived += [json.loads(m) for m in messages]
        yield from (None for _ in messages)


def test_a_receiver_that_hangs_is_told_by_the_age_of_what_waits(repository):
    paths, client = repository
    old = AuditRecord(AuditEvent.SIGN_IN, time=datetime.now(UTC) - timedelta(minutes=7))
    state = FeedState(paths.feeds, "syslog")
    feed = Feed(paths.audit, state, Kept())
    while feed.step():
        pass
    found = status(paths.audit, paths.feeds, "syslog")
    assert (found.behind, found.oldest, found.trouble) == (0, None, None)
    client.append([old, old])
    found = status(paths.audit, paths.feeds, "syslog")
    assert found.behind == 1
    assert 400 < found.oldest < 500
    assert "is 7 minutes old" in found.trouble
    assert (
        "is 7 minutes old, 1 records behind"
        in checked(Settings(state=paths.state, audit_feed_syslog="localhost")).sentence
    )
    feed.step()
    assert status(paths.audit, paths.feeds, "syslog").trouble is None
    state.close()


def test_purged_records_are_passed_over_and_counted(repository, tmp_path):
    paths, client = repository
    fill(client, 3)
    by, other = (client.identify("i", s, s) for s in ("by", "other"))
    client.purge(datetime.now(UTC) + timedelta(hours=1), "time is over", by, [by, other], None)
    receiver, state = Kept(), FeedState(tmp_path, "f")
    assert Feed(paths.audit, state, receiver).step() is False
    progress = state.progress()
    state.close()
    assert progress.purged == 3
    assert [r["event"] for r in receiver.arrived] == [r["event"] for r in records(paths)]
    assert progress.next == client.status()["size"] == progress.sent + 3


def test_no_reader_is_open_while_records_are_sent(repository, tmp_path):
    """It would keep the log's write-ahead file growing for as long as a receiver takes."""
    paths, client = repository
    fill(client, 30)
    seen = []

    def look():
        with contextlib.closing(apsw.Connection(str(paths.audit / "log.sqlite"))) as connection:
            seen.append(connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()[0][0])

    state = FeedState(tmp_path, "f")
    feed = Feed(paths.audit, state, Kept(look), 10)
    while feed.step():
        pass
    state.close()
    assert seen
    assert set(seen) == {0}


def test_what_is_not_signed_or_was_changed_is_not_sent(repository, tmp_path):
    paths, client = repository
    fill(client, 5)
    raw = tmp_path / "audit"
    size = client.status()["size"]

    def copied(*statements):
        shutil.rmtree(raw, ignore_errors=True)
        raw.mkdir()
        with (
            contextlib.closing(apsw.Connection(str(paths.audit / "log.sqlite"))) as source,
            contextlib.closing(apsw.Connection(str(raw / "log.sqlite"))) as target,
        ):
            with target.backup("main", source, "main") as backup:
                backup.step()
            for name in ("entry_no_update", "entry_no_delete", "checkpoint_no_delete"):
                target.execute(f"DROP TRIGGER {name}")
            for statement in statements:
                target.execute(statement)
        shutil.copy(paths.audit / "vkey", raw)

    def step(name):
        receiver, state = Kept(), FeedState(tmp_path, name)
        try:
            Feed(raw, state, receiver).step()
        finally:
            state.close()
        return receiver.arrived

    unsigned = "INSERT INTO entry SELECT idx + 1, leaf, hash, salt, record FROM entry ORDER BY idx DESC LIMIT 1"
    copied(unsigned)
    assert len(step("follows")) == size
    for statement in (
        "UPDATE entry SET record = CAST(replace(CAST(record AS TEXT), '1.2.3', '1.2.9') AS BLOB) WHERE idx = 4",
        "UPDATE entry SET leaf = x'00' WHERE idx = 3",
        "UPDATE checkpoint SET note = replace(note, char(10) || size || char(10), char(10) || '9' || char(10))",
    ):
        copied("DROP TRIGGER checkpoint_no_update", statement)
        with pytest.raises(IntegrityError):
            step(f"fresh{statement[-9]}{len(statement)}")
    last = f"{size - 1}"
    copied(f"DELETE FROM checkpoint WHERE size > {size} - 2", f"DELETE FROM entry WHERE idx >= {size} - 2")
    with pytest.raises(IntegrityError, match="rolled back"):
        step("follows")
    copied("DROP TABLE checkpoint", f"UPDATE entry SET hash = x'{'00' * 32}' WHERE idx = {last}")
    with pytest.raises(IntegrityError):
        step("follows")


def test_one_feed_has_one_process(repository, tmp_path):
    paths, _ = repository
    state = FeedState(paths.feeds, "syslog")
    with pytest.raises(Conflict, match="another process runs the audit feed"):
        FeedState(paths.feeds, "syslog")
    settings = Settings(state=paths.state, audit_feed_syslog="localhost:1")
    second = start(settings)
    assert second.wait(20) == 1
    assert "Conflict" in said(settings)
    state.close()


def test_settings_that_cannot_work_are_told_at_the_start(repository, tmp_path):
    paths, _ = repository
    for wrong in (
        {},
        {"audit_feed_syslog": "nowhere:x"},
        {"audit_feed_fhir": "http://fhir.example"},
        {"audit_feed_syslog": "localhost", "audit_feed_ca_file": tmp_path / "missing"},
        {"audit_feed_syslog": "localhost", "audit_feed_cert_file": tmp_path / "half"},
        {"audit_feed_fhir": "https://localhost", "audit_feed_fhir_token_file": tmp_path / "missing"},
    ):
        with pytest.raises(BadInput):
            compose.feeds(Settings(state=paths.state, **wrong)).serve()


def test_the_deployment_runs_feeds_where_there_are_any(tmp_path):
    def names(**given):
        settings = Settings(state=Path(tmp_path), **given)
        settings.paths.make()
        return [p.name for p in all_processes(settings)]

    assert "audit feeds" not in names()
    assert names(audit_feed_syslog="arr.example") == [
        "audit repository", "mount daemon", "audit feeds", "monitor", "hub",
    ]  # fmt: skip
    assert "monitor" not in names(monitor_minutes=0)


def test_neither_the_start_nor_the_end_waits_for_a_receiver_that_hangs():
    """It takes the connection and never says a word."""
    said = []
    with tempfile.TemporaryDirectory(prefix="rr-") as folder, socket.create_server(("127.0.0.1", 0)) as far:
        address = f"localhost:{far.getsockname()[1]}"
        settings = Settings(state=Path(folder), audit_feed_syslog=address)
        settings.paths.make()
        supervisor = Supervisor(said.append)
        with in_order(supervisor, [processes.audit_repository(settings), processes.audit_feeds(settings)]):
            far.settimeout(20)
            with far.accept()[0] as connection:
                assert connection.recv(1) == b"\x16"  # a TLS handshake, whose answer it waits for
                supervisor.watch()
                started = time.monotonic()
                supervisor.stop()
        assert time.monotonic() - started < 8
        assert said == []
        state = FeedState(settings.paths.feeds, "syslog")
        assert state.progress().next == 0
        state.close()


def test_hostile_text_comes_through_a_whole_feed(repository, authority, tmp_path):
    paths, client = repository
    made = [
        AuditRecord(AuditEvent.READ_DENIED, subject=r["subject"], claims=r["claims"], reason=r.get("reason"))
        for r in rows(27)
    ]
    client.append(made)
    with running(Rsyslog(tmp_path / "r", authority)) as far:
        address = f"localhost:{far.port}"
        settings = Settings(state=paths.state, audit_feed_syslog=address, audit_feed_ca_file=authority.ca)
        with feeding(settings):
            wanted = expected(paths)
            until(lambda: len(far.arrived()) >= len(wanted))
        assert far.arrived() == wanted
