"""The audit log in a real PostgreSQL: crashes, hangs, a second writer, an unfit server, what each role may do to it."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.support.audit_process import AuditProcess, audit_process
from tests.support.postgres import postgres
from typer.testing import CliRunner

from readingroom_hub.adapters.audit_bundle import write_bundle
from readingroom_hub.adapters.audit_client import SocketAuditRepository
from readingroom_hub.adapters.audit_log import AuditLog
from readingroom_hub.adapters.audit_log_postgres import PostgresAuditLog, check_url
from readingroom_hub.adapters.audit_offline import verify
from readingroom_hub.adapters.audit_place import read_log
from readingroom_hub.cli.audit import app
from readingroom_hub.config import Paths
from readingroom_hub.errors import AuditUnavailable, BadInput, Conflict, IntegrityError, SystemUnfit
from readingroom_hub.ledger.bundle import Wanted
from readingroom_hub.ledger.merkle import leaf_hash
from readingroom_hub.ledger.note import Signer
from readingroom_hub.ledger.policy import Policy
from readingroom_hub.ledger.seal import Sealer
from readingroom_hub.model.audit import AuditEvent, AuditRecord
from readingroom_hub.ports.records import Filter

SIGNER = Signer("host/log", Ed25519PrivateKey.from_private_bytes(b"1" * 32))
SEALER = Sealer(b"s" * 32, random=lambda n: b"r" * n)


def a_record(**fields):
    return AuditRecord(AuditEvent.READ_INTENT, **fields)


def sealed(seq, event=AuditEvent.READ_INTENT, **fields):
    source = {"process": "mount", "epoch": "e", "seq": seq}
    return SEALER.seal(AuditRecord(event, **fields).to_wire() | {"source": source})


def cli(state, *arguments):
    return CliRunner().invoke(app, list(arguments), env={"READINGROOM_STATE": str(state), "COLUMNS": "250"})


def findings(folder):
    return [str(f) for f in verify(folder, Policy.of_keys([SIGNER.vkey])).findings]


@pytest.fixture
def log(database, tmp_path):
    (tmp_path / "log.url").write_text(database.url)
    with contextlib.closing(PostgresAuditLog(tmp_path, SIGNER, database.url, limit=1.0)) as opened:
        yield opened


# --- what is stored ---


def test_both_stores_show_the_same(log, tmp_path):
    (tmp_path / "file").mkdir()
    with contextlib.closing(AuditLog(tmp_path / "file", SIGNER)) as other:
        for start in (0, 3, 7):
            subject = {"text": 'a"\\\x00\u2028ü', "study": "1.2.3"}
            rows = [sealed(start + n, subject=subject) for n in range(3 + start // 3)]
            assert log.append(rows) == other.append(rows)
        for each in (log, other):
            each.keep_cosigned(3, "first\n")
            each.keep_cosigned(3, "cosigned\n")
        views = (log.view(), other.view())
        shown = [
            {
                "entries": list(view.entries()),
                "from": list(view.entries(4)),
                "leaves": list(view.leaves(2)),
                "hashes": view.hashes(2, 9),
                "checkpoints": list(view.checkpoints()),
                "newest": view.newest(),
                "cosigned": view.cosigned(),
                "all": view.places("", "9999"),
                "none": view.places("9999", "9999"),
                "texts": json.loads(view.texts(1, 5)),
                "end": view.texts(12, 5),
                "at": view.at([5, 99, 1]),
                "purged": list(view.purged()),
            }
            for view in views
        ]
        for view in views:
            view.close()
        assert shown[0] == shown[1]
        assert len(shown[0]["entries"]) == 12
        assert shown[0]["texts"][0][0] == 1


def test_it_goes_on_where_it_stopped_and_a_bundle_comes_out(log, database, tmp_path):
    log.append([sealed(0), sealed(1)])
    root = log.root
    log.close()
    with contextlib.closing(PostgresAuditLog(tmp_path, SIGNER, database.url)) as again:
        assert (again.size, again.root, again.damage) == (2, root, None)
        assert again.append([sealed(2)])[0].index == 2
    assert findings(tmp_path) == []
    assert write_bundle(tmp_path, b"s" * 32, Wanted(), tmp_path / "bundle") == (3, 3)
    assert verify(tmp_path / "bundle", Policy.of_keys([SIGNER.vkey])).findings == []


def test_contents_go_only_after_a_purge_record(log, tmp_path):
    log.append([sealed(n) for n in range(3)])
    before = "2999-01-01T00:00:00.000000Z"
    assert log.expired("2000-01-01T00:00:00.000000Z") == 0
    assert log.expired(before) == 3
    with pytest.raises(AuditUnavailable, match="no purge record of 2999"):
        log.purge(before)
    hidden = {"nested": {"event": "record-purged", "subject": {"before": before}}}
    log.append([sealed(3, AuditEvent.INGEST, subject=hidden)])
    with pytest.raises(AuditUnavailable, match="no purge record of 2999"):
        log.purge(before)
    subject = {"class": "access", "before": before, "from": 0, "to": 4, "count": 3}
    log.append([sealed(4, AuditEvent.RECORD_PURGED, subject=subject)])
    log.purge(before)
    with contextlib.closing(log.view()) as view:
        assert list(view.purged()) == [0, 1, 2]
        assert [e.salt is None for e in view.entries()] == [True, True, True, False, False]
    assert log.expired(before) == 0
    assert findings(tmp_path) == []


# --- who may do what ---


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE readingroom_audit.entry SET record = NULL",
        "DELETE FROM readingroom_audit.entry",
        "TRUNCATE readingroom_audit.entry",
        "DROP TABLE readingroom_audit.entry",
        "ALTER TABLE readingroom_audit.entry DISABLE TRIGGER ALL",
        "UPDATE readingroom_audit.room SET bytes = 9",
        "DELETE FROM readingroom_audit.cosigned",
        "CREATE TABLE readingroom_audit.other(a int)",
        "CREATE TABLE public.other(a int)",
        "CREATE TEMP TABLE other(a int)",
        "SET ROLE readingroom_audit_owner",
    ],
)
def test_the_role_that_writes_may_only_add(log, database, sql):
    log.append([sealed(0)])
    with (
        psycopg.connect(database.url, autocommit=True) as thief,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        thief.execute(sql)
    assert log.append([sealed(1)])[0].index == 1


def test_a_row_that_a_thief_of_the_role_adds_stops_the_log(log, database):
    log.append([sealed(0)])
    with psycopg.connect(database.url, autocommit=True) as thief:
        thief.execute("INSERT INTO readingroom_audit.entry VALUES (1, 'x', %s)", (leaf_hash(b"x"),))
    with pytest.raises(AuditUnavailable, match="changed under its writer"):
        log.append([sealed(1)])
    with pytest.raises(AuditUnavailable, match="takes no records"):
        log.append([sealed(1)])


TAMPERING = {
    "contents edited": (
        "UPDATE entry SET record = replace(convert_from(record, 'UTF8'), 'success', 'failure')::bytea WHERE idx = 2",
        "record 2: its contents were changed",
    ),
    "leaf edited and rehashed": (
        """UPDATE entry SET (leaf, hash) = (SELECT l, sha256('\\x00'::bytea || l) FROM
            (SELECT replace(convert_from(leaf, 'UTF8'), '"access"', '"control"')::bytea AS l) AS new) WHERE idx = 2""",
        "record 2: it is not what was signed",
    ),
    "deleted": ("DELETE FROM entry WHERE idx = 2", "record 2: it is missing"),
    "reordered": (
        "UPDATE entry SET idx = -idx WHERE idx IN (2, 3); UPDATE entry SET idx = 5 + idx WHERE idx < 0",
        "record 2: it is not what was signed",
    ),
    "tail cut": ("DELETE FROM entry WHERE idx >= 4", "record 4: it is missing"),
    "replayed": ("INSERT INTO entry SELECT 5, leaf, hash, salt, record FROM entry WHERE idx = 2", "record 5: "),
    "purged unsaid": (
        "UPDATE entry SET record = NULL, salt = NULL WHERE idx = 2",
        "record 2: its contents are missing",
    ),
    "emptied": ("TRUNCATE entry", "record 0: it is missing"),
}


@pytest.mark.parametrize("how", TAMPERING)
def test_what_a_superuser_changes_is_found_and_named(log, database, tmp_path, how):
    for n in range(4):
        log.append([sealed(n)])
    log.append([sealed(4)])
    with contextlib.closing(log.view()) as view:
        kept = view.newest()
    sql, expected = TAMPERING[how]
    with database.superuser() as connection:
        connection.execute("SET search_path = readingroom_audit")
        connection.execute(sql)
        assert connection.execute("SELECT count(*) FROM entry").fetchone()  # the attack works on the raw store
    found = [str(f) for f in verify(tmp_path, Policy.of_keys([SIGNER.vkey]), [kept]).findings]
    assert found[0].startswith(expected), found


# --- one writer, on a fit server ---


def test_a_second_writer_is_refused(log, database, tmp_path):
    (tmp_path / "other").mkdir()
    with pytest.raises(Conflict, match="another process writes the audit log in this database"):
        PostgresAuditLog(tmp_path / "other", SIGNER, database.url)
    assert log.append([sealed(0)])


@pytest.mark.parametrize("name", ["fsync", "full_page_writes", "synchronous_commit"])
def test_a_server_that_may_lose_records_is_refused(log_server, tmp_path, name):
    log_server.stop()
    log_server.start("-c", f"{name}=off")
    try:
        with pytest.raises(SystemUnfit, match=f"{name}=off and may lose records"):
            PostgresAuditLog(tmp_path, SIGNER, log_server.url)
    finally:
        log_server.stop()
        log_server.start()


def test_a_role_that_may_change_the_log_is_refused(database, tmp_path):
    with pytest.raises(SystemUnfit, match="the role postgres may change the audit log"):
        PostgresAuditLog(tmp_path, SIGNER, database.url.replace("//readingroom_audit@", "//postgres@"))


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://a:secret@/db?host=/run", "no password"),
        ("postgresql://a@/db?host=/run&password=secret", "no password"),
        ("postgresql://a@/db?host=/run&sslpassword=secret", "no password"),
        ("postgresql://a@/db?service=other", "no service"),
        ("postgresql://a@db.example/db", "sslmode=verify-full"),
        ("postgresql://a@db.example/db?sslmode=require", "sslmode=verify-full"),
        ("postgresql://a@localhost,db.example/db", "sslmode=verify-full"),
        ("postgresql://a@/db?hostaddr=192.0.2.1", "sslmode=verify-full"),
        ("host=/run dbname=db", "postgresql://USER@HOST/DATABASE"),
        ("postgresql://a@localhost", "postgresql://USER@HOST/DATABASE"),
        ("postgresql://a@/db?nonsense=1", "cannot be used"),
    ],
)
def test_an_unsafe_address_is_refused_without_showing_a_password(url, says):
    with pytest.raises(BadInput, match=says) as caught:
        check_url(url)
    assert "secret" not in str(caught.value)


def test_no_second_log_begins_beside_a_log(database, tmp_path):
    paths = Paths(tmp_path / "s")
    with audit_process(paths.state, log_url=database.url) as (server, client):
        client.append([a_record()])
        server.stop()
    with pytest.raises(RuntimeError, match="this audit log is in PostgreSQL"):
        AuditProcess(paths).start(until_it_answers=False)
    database.make_log()  # somebody lost the database, and made a new one
    with pytest.raises(RuntimeError, match="is empty, but a log was published"):
        AuditProcess(paths, database.url).start(until_it_answers=False)
    other = Paths(tmp_path / "t")
    with audit_process(other.state) as (server, client):
        server.stop()
    with pytest.raises(RuntimeError, match=r"log\.sqlite: unset READINGROOM_AUDIT_LOG_URL"):
        AuditProcess(other, database.url).start(until_it_answers=False)
    with pytest.raises(IntegrityError):
        read_log(tmp_path)


# --- trouble ---


def test_no_room_denies_and_more_room_needs_no_restart(database, tmp_path):
    with database.superuser() as connection:
        connection.execute("UPDATE readingroom_audit.room SET bytes = 1000")
        with contextlib.closing(PostgresAuditLog(tmp_path, SIGNER, database.url)) as log:
            with pytest.raises(AuditUnavailable, match=r"GB and may have 0\.0: give its disk more room"):
                log.append([sealed(0)])
            connection.execute("UPDATE readingroom_audit.room SET bytes = 1000000000000")
            assert log.append([sealed(0)])[0].index == 0


@pytest.fixture
def small_disk():
    """A server whose whole folder has 176 MB."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small tmpfs")
    small = Path(tempfile.mkdtemp(prefix="rr-pg-"))  # short, and not below a folder of root's alone
    try:
        mount = ["mount", "-t", "tmpfs", "-o", "size=176m,mode=0700", "tmpfs", str(small)]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("this machine does not let root mount a tmpfs")
        try:
            with postgres(small) as server:
                server.make_log()
                yield server, small
        finally:
            subprocess.run(["umount", str(small)], check=True)
    finally:
        small.rmdir()


def fill(log, stored):
    for _ in range(1000):  # 600 MB, were there room
        stored += log.append([sealed(0, subject={"filler": os.urandom(15_000).hex()}) for _ in range(10)])


def use_up_segments(connection):
    for _ in range(100):  # each takes one of the write-ahead log, of 16 MB
        connection.execute("SELECT pg_switch_wal(), pg_logical_emit_message(false, 'test', 'x')")


def test_a_full_disk_denies_and_nothing_acknowledged_is_lost(small_disk, tmp_path):
    """The attack, on a database whose limit does not fit its disk: in the end PostgreSQL itself stops (PANIC)."""
    server, small = small_disk
    stored = []
    with contextlib.closing(PostgresAuditLog(tmp_path, SIGNER, server.url)) as log:
        with pytest.raises(AuditUnavailable):
            fill(log, stored)
        assert shutil.disk_usage(small).free < 16 << 20  # a segment of the write-ahead log
        with contextlib.suppress(OSError), (small / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(bytes(1 << 20))
        with server.superuser() as connection, pytest.raises(psycopg.OperationalError):
            use_up_segments(connection)
        with pytest.raises(AuditUnavailable):
            fill(log, stored)
        assert "PANIC" in (small / "server.log").read_text()
        subprocess.run(["mount", "-o", "remount,size=400m", str(small)], check=True)
        server.revive()
        assert until_it_takes(log, sealed(1)) >= len(stored) > 100
        with contextlib.closing(log.view()) as view:
            assert view.hashes(0, len(stored)) == [r.leaf_hash for r in stored]


def test_with_a_limit_the_disk_is_not_full_and_the_server_stays_up(small_disk, tmp_path):
    server, small = small_disk
    stored = []
    with server.superuser() as connection:
        connection.execute("UPDATE readingroom_audit.room SET bytes = 30000000")
        with contextlib.closing(PostgresAuditLog(tmp_path, SIGNER, server.url)) as log:
            with pytest.raises(AuditUnavailable, match="give its disk more room"):
                fill(log, stored)
            assert shutil.disk_usage(small).free > 16 << 20
            connection.execute("CHECKPOINT")
            count = connection.execute("SELECT count(*) FROM readingroom_audit.entry").fetchone()
            assert count == (len(stored),)
            assert len(stored) > 100


def test_a_read_is_denied_while_the_server_hangs_and_goes_on_by_itself(database):
    with audit_process(log_url=database.url, timeout_ms=1500) as (server, client):
        client.append([a_record()])
        stopped = database.processes()
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(AuditUnavailable, match=r"did not confirm within 1\.5 s"):
                client.append([a_record()])
        finally:
            for pid in stopped:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        until_it_takes_from(client)
        assert cli(server.paths.state, "verify").exit_code == 0


def test_old_contents_are_purged_on_record_in_log_and_index(database):
    with audit_process(log_url=database.url) as (server, client):
        officer = client.identify("https://idp.example", "officer", "Officer Example")
        other = client.identify("https://idp.example", "other", "Other Example")
        client.append([a_record(time=datetime(2015, 1, 1, tzinfo=UTC), subject={"series": "9.8.7.6"}), a_record()])
        client.purge(datetime(2016, 1, 1, tzinfo=UTC), "six years are over", officer, [officer, other], None)
        assert len(client.query(Filter(events=("read-intent",)), None)) == 1
        assert len(client.query(Filter(events=("record-purged",)), None)) == 1
        assert cli(server.paths.state, "verify").exit_code == 0
        server.stop()
        server.start()
        assert client.query(Filter(events=("integrity-failure",)), None) == []


def test_a_hung_server_denies_in_time_and_goes_on_by_itself(log, database):
    log.append([sealed(0)])
    stopped = database.processes()
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    try:
        start = time.monotonic()
        with pytest.raises(AuditUnavailable):
            log.append([sealed(1)])
        assert time.monotonic() - start < 20  # the commit, and one try to connect: each has its limit
    finally:
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):  # one that had just ended
                os.kill(pid, signal.SIGCONT)
    assert until_it_takes(log, sealed(2)) in (1, 2)  # what hung may have been stored in the end: never less


def test_a_hung_server_holds_nobody_up_for_a_cosigned_checkpoint(log, database):
    log.append([sealed(0)])
    pid = log._session[0]
    os.kill(pid, signal.SIGSTOP)
    try:
        start = time.monotonic()
        with pytest.raises(AuditUnavailable):
            log.keep_cosigned(1, log.checkpoint)
        assert time.monotonic() - start < 20
    finally:
        os.kill(pid, signal.SIGCONT)
    assert until_it_takes(log, sealed(1)) == 1


def test_a_session_that_hung_is_ended_before_the_next_one_writes(log):
    log.append([sealed(0)])
    pid = log._session[0]
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(AuditUnavailable, match="another process writes"):
            log.append([sealed(1)])
    finally:
        os.kill(pid, signal.SIGCONT)
    assert until_it_takes(log, sealed(2)) in (1, 2)
    assert log._session[0] != pid


def until_it_takes(log, record):
    """Its index, once the log takes records again."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return log.append([record])[0].index
        except AuditUnavailable:
            assert log.damage is None
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_nothing_acknowledged_is_lost_when_the_server_is_killed(database):
    with audit_process(log_url=database.url, timeout_ms=2000) as (server, client):
        acknowledged, stop = {}, threading.Event()

        def work():
            while not stop.is_set():
                record = a_record()
                with contextlib.suppress(AuditUnavailable):
                    (acknowledged[record.id],) = client.append([record])

        threads = [threading.Thread(target=work) for _ in range(4)]
        for t in threads:
            t.start()
        try:
            for _ in range(8):
                before, deadline = len(acknowledged), time.monotonic() + 30
                while len(acknowledged) < before + 20:
                    assert time.monotonic() < deadline, server.said()
                    time.sleep(0.005)
                database.stop(signal.SIGKILL)
                database.start()
        finally:
            stop.set()
            for t in threads:
                t.join()
        receipt = until_it_takes_from(client)
        assert receipt.index >= len(acknowledged)
        with contextlib.closing(read_log(server.paths.audit)) as view:
            stored = {json.loads(e.record)["id"]: (e.idx, e.hash) for e in view.entries()}
        assert {i: stored[i] for i in acknowledged} == {i: (r.index, r.leaf_hash) for i, r in acknowledged.items()}
        found = client.query(Filter(events=("read-intent",), limit=10_000), None)
        assert set(acknowledged) <= {f.record["id"] for f in found}
        checked = cli(server.paths.state, "verify")
        assert checked.exit_code == 0, checked.output


def until_it_takes_from(client):
    deadline = time.monotonic() + 30
    while True:
        try:
            return client.append([a_record()])[0]
        except AuditUnavailable:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_the_repository_waits_for_its_database_at_the_start(database, tmp_path):
    paths = Paths(tmp_path / "s")
    paths.make()
    settings = [f"READINGROOM_STATE={paths.state}", f"READINGROOM_AUDIT_LOG_URL={database.url}"]
    database.stop()
    log = paths.logs / "audit.log"
    with log.open("wb") as file:
        argv = ["env", *settings, sys.executable, "-m", "readingroom_hub.cli.main", "audit", "serve"]
        process = subprocess.Popen(argv, stderr=file)
    client = SocketAuditRepository(paths.audit_socket, "test", 5000)
    try:
        wait_for(lambda: "waits, for the audit log's database cannot be reached" in log.read_text())
    finally:
        database.start()
        try:
            wait_for(lambda: "audit record repository ready" in log.read_text())
            client.append([a_record()])
            (found,) = client.query(Filter(events=("configuration",)), None)
            assert found.record["subject"]["settings"]["audit_log_url"] == database.url
        finally:
            client.close()
            process.terminate()
            process.wait(20)


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_command_line_prints_the_sql(tmp_path):
    shown = cli(tmp_path, "database", "--gigabytes", "7")
    assert shown.exit_code == 0
    assert "VALUES (7 * bigint '1000000000')" in shown.output
    assert cli(tmp_path, "database", "--gigabytes", "0").exit_code != 0
