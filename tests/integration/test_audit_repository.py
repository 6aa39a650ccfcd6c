"""The audit record repository under trouble: kill -9, tampering, a second server, a stopped server, a full disk."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from datetime import UTC, datetime

import apsw
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.support.audit_process import AuditProcess, audit_process
from typer.testing import CliRunner

from readingroom_hub.adapters.audit_client import SocketAuditRepository
from readingroom_hub.adapters.audit_index import IndexReader, _where
from readingroom_hub.adapters.audit_log import LogReader
from readingroom_hub.cli.audit import app
from readingroom_hub.config import Paths
from readingroom_hub.errors import AuditUnavailable, BadInput
from readingroom_hub.ledger.merkle import Frontier, leaf_hash
from readingroom_hub.ledger.note import Checkpoint, Signer
from readingroom_hub.model.audit import AuditEvent, AuditRecord
from readingroom_hub.model.ids import UID, ProjectId
from readingroom_hub.ports.records import Filter
from readingroom_hub.services.approvals import Approvals

is_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small tmpfs or to become another user")


def a_record(**fields):
    return AuditRecord(AuditEvent.READ_INTENT, **fields)


def cli(state, *arguments, **environ):
    environ |= {"READINGROOM_STATE": str(state), "COLUMNS": "250"}
    return CliRunner().invoke(app, list(arguments), env=environ)


def approved(client, *people):
    """What was asked for last is approved by these."""
    approvals = Approvals(client)
    for person in people:
        approvals.give(approvals.all(person)[0].id, person)


def stored(paths):
    with closing(LogReader(paths.audit / "log.sqlite")) as reader:
        rows = [(e.idx, e.hash, json.loads(e.record)) for e in reader.entries()]
        return {row["id"]: (index, hash, row) for index, hash, row in rows}


def until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.005)


def test_nothing_acknowledged_is_lost_in_twenty_kills():
    with audit_process() as (server, client):
        acknowledged, posted, stop = {}, [], threading.Event()

        def work():
            while not stop.is_set():
                record = a_record()
                try:
                    (acknowledged[record.id],) = client.append([record])
                    for _ in range(20):
                        more = a_record()
                        client.post(more)
                        posted.append(more.id)
                except AuditUnavailable:
                    time.sleep(0.002)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for t in threads:
            t.start()
        for _ in range(20):
            before = len(acknowledged)
            until(lambda before=before: len(acknowledged) > before + 3)
            server.stop(signal.SIGKILL)
            server.start()
        stop.set()
        for t in threads:
            t.join()
        client.flush()
        log = stored(server.paths)
        assert {i: log[i][:2] for i in acknowledged} == {i: (r.index, r.leaf_hash) for i, r in acknowledged.items()}
        assert [i for i in posted if i not in log] == []
        checked = cli(server.paths.state, "verify")
        assert checked.exit_code == 0, checked.output


def test_a_stopped_server_denies_in_time_and_the_same_client_goes_on():
    with audit_process(timeout_ms=1500) as (server, client):
        client.append([a_record()])
        server.stop()
        with pytest.raises(AuditUnavailable, match="Is it running"):
            client.append([a_record()])
        server.start()
        assert client.append([a_record()])


def test_a_hanging_server_denies_in_time_and_the_late_record_is_marked():
    with audit_process(timeout_ms=1500) as (server, client):
        client.append([a_record()])
        os.kill(server.pid, signal.SIGSTOP)
        record = a_record()
        with pytest.raises(AuditUnavailable, match=r"did not confirm within 1\.5 s"):  # it would hang for ever
            client.append([record])
        server.stop(signal.SIGKILL)
        server.start()
        (receipt,) = client.append([record])
        assert stored(server.paths)[record.id][0] == receipt.index
        assert stored(server.paths)[record.id][2]["source"]["late"] is True
        assert cli(server.paths.state, "verify").exit_code == 0


def test_what_was_posted_before_a_kill_is_sent_again():
    with audit_process() as (server, client):
        client.append([a_record()])
        os.kill(server.pid, signal.SIGSTOP)
        posted = [a_record() for _ in range(3000)]
        for record in posted:
            client.post(record)
        server.stop(signal.SIGKILL)
        server.start()
        client.append([a_record()])
        client.flush()
        assert {r.id for r in posted} <= stored(server.paths).keys()
        assert cli(server.paths.state, "verify").exit_code == 0


def test_too_much_under_way_is_refused():
    with audit_process() as (server, client):
        client.append([a_record()])
        os.kill(server.pid, signal.SIGSTOP)

        def flood():
            for _ in range(30_000):
                client.post(a_record())

        with pytest.raises(AuditUnavailable, match="wait for the repository"):
            flood()


def test_a_second_server_is_refused_and_the_first_goes_on():
    with audit_process() as (server, client):
        client.append([a_record()])
        other = AuditProcess(server.paths)
        with pytest.raises(RuntimeError, match="another process writes the audit log"):
            other.start(until_it_answers=False)
        assert client.append([a_record()])


def test_start_and_stop_are_on_record_and_the_socket_is_private():
    with audit_process() as (server, client):
        assert server.paths.audit_socket.stat().st_mode & 0o777 == 0o600
        client.append([a_record()])
        assert server.stop() == 0
        assert not server.paths.audit_socket.exists()
        events = [row["event"] for _, _, row in stored(server.paths).values()]
        assert (events[0], events[-1]) == ("service-started", "service-stopped")
        assert "audit record repository ready" in server.said()


@is_root
def test_another_user_is_refused():
    with audit_process() as (server, _):
        for folder in (server.paths.state, server.paths.run):
            folder.chmod(0o755)
        server.paths.audit_socket.chmod(0o666)
        script = "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); sys.exit(len(s.recv(1)))"
        argv = [sys.executable, "-c", script, str(server.paths.audit_socket)]
        assert subprocess.run(argv, user=65534, check=False, timeout=20).returncode == 0
        until(lambda: "of user 65534" in server.said())


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", b"\0\0\0\2{}", b"\0\0\0\1x", b"\0\0\0\x10GET / HTTP/1.1\r\n"])
def test_nonsense_is_cut_off_and_others_go_on(data):
    with audit_process() as (server, client), socket.socket(socket.AF_UNIX) as rude:
        rude.connect(str(server.paths.audit_socket))
        rude.settimeout(10)
        rude.sendall(data)
        assert rude.recv(1) == b""
        assert client.append([a_record()])


@is_root
def test_a_full_disk_denies_and_recovers(tmp_path):
    small = tmp_path / "s"
    (small / "audit").mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", str(small / "audit")]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let root mount a tmpfs")
    try:
        with audit_process(small) as (server, client):
            acknowledged = []

            def fill():
                for _ in range(200):
                    record = a_record(subject={"filler": "x" * 30_000})
                    client.append([record])
                    acknowledged.append(record.id)

            with pytest.raises(AuditUnavailable, match=r"full|could not store"):
                fill()
            with pytest.raises(AuditUnavailable):
                client.append([a_record()])
            assert acknowledged
            subprocess.run(["mount", "-o", "remount,size=32m", str(small / "audit")], check=True)
            client.append([a_record()])
            log = stored(server.paths)
            assert set(acknowledged) <= log.keys()
            assert len(client.query(Filter(limit=5), None)) == 5
            server.stop()
            checked = cli(small, "verify")
            assert checked.exit_code == 0, checked.output
    finally:
        subprocess.run(["umount", str(small / "audit")], check=True)


@is_root
def test_a_hung_disk_denies_in_time_and_needs_no_hands_afterwards(tmp_path):
    """A real disk that takes no write and gives no error, as a frozen file system or a lost controller does."""
    small, image = tmp_path / "s", tmp_path / "disk"
    (small / "audit").mkdir(parents=True)
    with image.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    if subprocess.run(["mount", "-o", "loop", image, small / "audit"], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let root mount a file as a disk")
    try:
        (small / "audit" / "lost+found").rmdir()
        with audit_process(small, timeout_ms=1500) as (server, client):
            client.append([a_record()])
            record = a_record()
            subprocess.run(["fsfreeze", "-f", small / "audit"], check=True)
            try:
                with pytest.raises(AuditUnavailable, match=r"did not confirm within 1\.5 s"):
                    client.append([record])
                with pytest.raises(AuditUnavailable):
                    client.append([a_record()])
            finally:
                subprocess.run(["fsfreeze", "-u", small / "audit"], check=True)
            (receipt,) = client.append([record])
            assert stored(server.paths)[record.id][0] == receipt.index
            client.append([a_record()])
            server.stop()
            checked = cli(small, "verify")
            assert checked.exit_code == 0, checked.output
    finally:
        subprocess.run(["umount", str(small / "audit")], check=True)


# --- tampering ---


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A stopped log of 12 records, each with its own checkpoint, and an early checkpoint kept elsewhere."""
    with audit_process() as (server, client):
        for i in range(4):
            client.append([a_record(subject={"count": i})])
        kept = client.checkpoint()
        for i in range(6):
            client.append([a_record(subject={"count": 100 + i})])
        server.stop()
        folder = tmp_path_factory.mktemp("whole")
        shutil.copytree(server.paths.state, folder / "state")
        (folder / "kept").write_text(kept)
    return folder


@pytest.fixture
def state(whole, tmp_path):
    return shutil.copytree(whole / "state", tmp_path / "state")


def change(state, *statements, file="log.sqlite"):
    """Edit as somebody who owns the file: without the triggers."""
    connection = apsw.Connection(str(state / "audit" / file))
    for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    for sql, *values in statements:
        connection.execute(sql, values)
    connection.close()


def leaf_of(state, index):
    with closing(LogReader(state / "audit" / "log.sqlite")) as reader:
        return next(e.leaf for e in reader.entries() if e.idx == index)


def forged(state, index):
    return leaf_of(state, index).replace(b'"class":"access"', b'"class":"control"')


def one_byte(state):
    path = state / "audit" / "log.sqlite"
    leaf = leaf_of(state, 5)  # also where SQLite left an old copy of its page
    path.write_bytes(path.read_bytes().replace(leaf, leaf.replace(b'"access"', b'"Access"')))


TAMPERING = {
    "one byte": (one_byte, "record 5: its bytes were changed"),
    "contents edited": (
        lambda s: change(
            s, ("UPDATE entry SET record = CAST(replace(record, 'success', 'failure') AS BLOB) WHERE idx = 5",)
        ),
        "record 5: its contents were changed",
    ),
    "contents removed": (
        lambda s: change(s, ("UPDATE entry SET record = NULL, salt = NULL WHERE idx = 5",)),
        "record 5: its contents are missing",
    ),
    "leaf edited": (
        lambda s: change(s, ("UPDATE entry SET leaf = ? WHERE idx = 5", forged(s, 5))),
        "record 5: its bytes were changed",
    ),
    "leaf edited and rehashed": (
        lambda s: change(
            s, ("UPDATE entry SET leaf = ?, hash = ? WHERE idx = 5", forged(s, 5), leaf_hash(forged(s, 5)))
        ),
        "record 5: it is not what was signed",
    ),
    "deleted": (lambda s: change(s, ("DELETE FROM entry WHERE idx = 5",)), "record 5: it is missing"),
    "deleted and renumbered": (
        lambda s: change(
            s,
            ("DELETE FROM entry WHERE idx = 5",),
            ("UPDATE entry SET idx = -idx WHERE idx > 5",),
            ("UPDATE entry SET idx = -idx - 1 WHERE idx < 0",),
        ),
        "record 5: it is not what was signed",
    ),
    "reordered": (
        lambda s: change(
            s,
            ("UPDATE entry SET idx = -5 WHERE idx = 5",),
            ("UPDATE entry SET idx = 5 WHERE idx = 6",),
            ("UPDATE entry SET idx = 6 WHERE idx = -5",),
        ),
        "record 5: it is not what was signed",
    ),
    "tail cut": (lambda s: change(s, ("DELETE FROM entry WHERE idx >= 9",)), "record 9: it is missing"),
    "replayed": (
        lambda s: change(s, ("INSERT INTO entry SELECT 12, leaf, hash, salt, record FROM entry WHERE idx = 5",)),
        "record 12: its id occurs twice",
    ),
    "checkpoint edited": (
        lambda s: change(s, ("UPDATE checkpoint SET note = replace(note, '/readingroom-', '/readingr00m-')",)),
        "is of the log",
    ),
    "index edited": (
        lambda s: change(s, ("UPDATE record SET event = 'sign-in' WHERE idx = 5",), file="index.sqlite"),
        "record 5: its row in the index is not what the log says",
    ),
    "index row deleted": (
        lambda s: change(s, ("DELETE FROM record WHERE idx = 5",), file="index.sqlite"),
        "record 5: its row in the index is not what the log says",
    ),
}


def test_the_untouched_log_verifies(state):
    checked = cli(state, "verify")
    assert checked.exit_code == 0
    assert "The log is whole: 12 records, root " in checked.output


@pytest.mark.parametrize("how", TAMPERING)
def test_tampering_is_found_and_the_record_is_named(state, how):
    tamper, expected = TAMPERING[how]
    tamper(state)
    checked = cli(state, "verify")
    assert checked.exit_code == 1
    assert expected in checked.output.splitlines()[0], checked.output


def resign(state, size):
    """What somebody with the log's key can do: cut the log to `size` records, change the last, sign everything anew."""
    origin = (state / "audit" / "origin").read_text().strip()
    signer = Signer(origin, Ed25519PrivateKey.from_private_bytes((state / "keys" / "audit-log.key").read_bytes()))
    last = forged(state, size - 1)
    change(
        state,
        ("DELETE FROM entry WHERE idx >= ?", size),
        ("UPDATE entry SET leaf = ?, hash = ? WHERE idx = ?", last, leaf_hash(last), size - 1),
        ("DELETE FROM checkpoint WHERE size >= ?", size),
    )
    frontier = Frontier()
    with closing(LogReader(state / "audit" / "log.sqlite")) as reader:
        for entry in reader.entries():
            frontier.append(entry.hash)
    body = Checkpoint(origin, size, frontier.root()).body()
    change(state, ("INSERT INTO checkpoint VALUES(?, ?)", size, f"{body}\n{signer.sign(body)}"))
    (state / "audit" / "index.sqlite").unlink()


@pytest.mark.parametrize(
    ("size", "finding"), [(4, "record 4: it is missing"), (5, "record 0: it is not what was in a checkpoint kept")]
)
def test_a_thief_of_the_key_is_found_by_a_checkpoint_kept_elsewhere(state, whole, size, finding):
    resign(state, size)
    assert cli(state, "verify").exit_code == 0  # the known limit: the key alone makes a log that verifies
    checked = cli(state, "verify", "--kept", str(whole / "kept"))
    assert checked.exit_code == 1
    assert finding in checked.output


def test_another_key_does_not_verify(state):
    stranger = Signer("host/readingroom-audit/0", Ed25519PrivateKey.generate())
    checked = cli(state, "verify", str(state / "audit" / "log.sqlite"), "--key", str(stranger.vkey))
    assert checked.exit_code == 1


@pytest.mark.parametrize("how", ["one byte", "leaf edited and rehashed", "deleted", "tail cut"])
def test_a_damaged_log_takes_no_records_and_says_which(state, how):
    tamper, expected = TAMPERING[how]
    tamper(state)
    with audit_process(state) as (server, client):
        assert expected in client.status()["damage"]
        with pytest.raises(AuditUnavailable, match=expected):
            client.append([a_record()])
        assert "READ ONLY" in server.said()


def test_an_edited_index_is_rebuilt_and_that_is_on_record(state):
    TAMPERING["index edited"][0](state)
    with audit_process(state) as (_, client):
        (found,) = client.query(Filter(events=("integrity-failure",)), None)
        assert found.record["reason"].startswith("index-rebuilt: record 5")
        assert len(client.query(Filter(events=("read-intent",)), None)) == 10
        assert cli(state, "verify").exit_code == 0


def test_an_index_of_an_older_release_is_filled_again_without_an_alarm(state):
    old = ("DROP INDEX record_study",), ("ALTER TABLE record DROP COLUMN study",), ("PRAGMA user_version=0",)
    change(state, *old, file="index.sqlite")
    with pytest.raises(AuditUnavailable, match="another release"):
        IndexReader(state / "audit")
    assert cli(state, "verify").exit_code == 0
    with audit_process(state) as (_, client):
        assert client.query(Filter(events=("integrity-failure",)), None) == []
        client.append([a_record(subject={"study": "1.2.77"})])
        assert len(client.query(Filter(studies=(UID("1.2.77"),)), None)) == 1
    with closing(apsw.Connection(str(state / "audit" / "index.sqlite"))) as connection:
        terms, values = _where(Filter(studies=(UID("1.2.77"), UID("1.2.78")), since=datetime(2026, 1, 1, tzinfo=UTC)))
        sql = f"EXPLAIN QUERY PLAN SELECT idx FROM record WHERE {' AND '.join(terms)} ORDER BY idx DESC LIMIT 9"
        plan = " ".join(str(row[-1]) for row in connection.execute(sql, values))
    assert "COVERING INDEX record_study (study=? AND time>?)" in plan


def test_a_search_for_too_many_studies_is_refused(running):
    _, client = running
    with pytest.raises(BadInput, match="at most 500"):
        client.query(Filter(studies=tuple(UID(f"1.2.{n}") for n in range(501))), None)


@pytest.mark.parametrize("name", ["audit/log.sqlite", "keys/audit-log.key", "audit/origin"])
def test_a_lost_part_stops_the_start(state, name):
    (state / name).unlink()
    with pytest.raises(RuntimeError, match=name.rpartition("/")[2]):
        AuditProcess(Paths(state)).start()


def test_a_swapped_key_stops_the_start(state):
    (state / "keys" / "audit-log.key").write_bytes(b"7" * 32)
    with pytest.raises(RuntimeError, match="swapped"):
        AuditProcess(Paths(state)).start()


# --- the command line ---


@pytest.fixture(scope="module")
def running():
    with audit_process() as (server, client):
        person = client.identify("https://idp.example", "ann", "Ann \x1b[31mExample")
        subject = {"dataset": "lung-ct", "series": "1.2.3", "bytes": 526_000}
        client.append([a_record(person=person, subject=subject, reason="=cmd()")])
        client.append([AuditRecord(AuditEvent.SIGN_IN)])
        yield server, client


def test_query_prints_a_table_without_control_characters(running):
    state = running[0].paths.state
    result = cli(state, "query", "--event", "read-intent", "--dataset", "lung-ct", "--since", "2020-01-01")
    assert result.exit_code == 0
    assert "\x1b[31m" not in result.output
    flat = "".join(result.output.split())
    assert "lung-ct/1.2.3" in flat
    assert "526000" in flat


def test_query_by_user_gives_json(running):
    result = cli(running[0].paths.state, "query", "--user", "ANN", "--json")
    assert [r["record"]["event"] for r in json.loads(result.stdout)] == ["read-intent"]
    (searched,) = running[1].query(Filter(events=("record-searched",), limit=1), None)
    assert f"Complete for the first {searched.index} records." in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--event", "no-such"),
        ("--user", "nobody"),
        ("--project", "A B"),
        ("--since", "yesterday"),
        ("--session", "x"),
        ("--dataset", "/"),
    ],
)
def test_query_refuses_what_it_cannot_search_for(running, arguments):
    result = cli(running[0].paths.state, "query", *arguments)
    assert result.exit_code == 1
    assert "Error:" in result.output


def test_a_bundle_of_a_project_verifies_anywhere_and_its_making_is_on_record(running, tmp_path):
    server, client = running
    project, study = ProjectId("lung-study"), {"study": "1.2.3"}
    client.append([a_record(project=project, subject=study), a_record(project=ProjectId("other-study"))])
    target = tmp_path / "lung.bundle"
    made = cli(server.paths.state, "bundle", str(target), "--project", "lung-study", "--from", "2020-01-01")
    assert made.exit_code == 0, made.output
    (searched,) = client.query(Filter(events=("record-searched",), limit=1), None)
    assert searched.record["subject"]["project"] == ["lung-study"]
    (tmp_path / "policy").write_text(f"log {(server.paths.audit / 'vkey').read_text()}quorum none\n")
    result = cli(tmp_path, "verify", str(target), "--policy", str(tmp_path / "policy"))
    assert result.exit_code == 0, result.output
    assert "1 of them belong to project lung-study, and no other." in result.output
    assert b"other-study" not in target.read_bytes()
    target.write_bytes(target.read_bytes().replace(b'"study":"1.2.3"', b'"study":"1.2.4"'))
    result = cli(tmp_path, "verify", str(target), "--policy", str(tmp_path / "policy"))
    assert result.exit_code == 1
    assert "its contents were changed" in result.output
    assert cli(server.paths.state, "bundle", str(target), "--project", "x1", "--study", "1.2").exit_code == 1


def test_old_contents_are_purged_on_record_and_only_then(tmp_path):
    with audit_process() as (server, client):
        state = server.paths.state
        officers = [client.identify("https://idp.example", name, name) for name in ("officer-1", "officer-2")]
        old = datetime(2015, 1, 1, tzinfo=UTC)
        client.append([a_record(time=old, subject={"series": "9.8.7.6"}), a_record()])
        client.append([AuditRecord(AuditEvent.GRANT_ISSUED, time=old, subject={"grant": "kept"})])
        assert "kept for 6 years" in cli(state, "purge", "--before", "2999-01-01", "--ask", "over").output
        for before, code in (("2010-01-01", 1), ("2016-01-01", 0)):
            assert cli(state, "purge", "--before", before).exit_code == 1
            assert cli(state, "purge", "--before", before, "--ask", "six years are over").exit_code == 0
            assert cli(state, "purge", "--before", before).exit_code == 1
            approved(client, *officers)
            done = cli(state, "purge", "--before", before)
            assert done.exit_code == code, done.output
        (found,) = client.query(Filter(events=("record-purged",)), None)
        assert (found.record["subject"]["count"], found.record["subject"]["approved_by"]) == (1, officers)
        assert found.record["reason"] == "six years are over"
        assert [a.done for a in Approvals(client).all(officers[0])] == [True, False]
        assert len(client.query(Filter(events=("read-intent",)), None)) == 1
        assert len(client.query(Filter(events=("grant-issued",)), None)) == 1
        assert cli(state, "verify").exit_code == 0
        assert cli(state, "bundle", str(tmp_path / "b")).exit_code == 0
        vkey = (server.paths.audit / "vkey").read_text().strip()
        assert cli(tmp_path, "verify", str(tmp_path / "b"), "--key", vkey).exit_code == 0
        server.stop()
        for path in state.glob("audit/*.sqlite*"):
            assert b"9.8.7.6" not in path.read_bytes(), path
        server.start()
        assert client.query(Filter(events=("integrity-failure",)), None) == []


def test_records_go_to_other_systems_in_their_forms(running, tmp_path):
    server, client = running
    client.append([a_record(project=ProjectId("export-one"), subject={"study": "1.2.3"})])
    starts = {"atna": b"<AuditMessage>", "syslog": rb"\d+ <85>1 ", "fhir": rb'\{"resourceType": "AuditEvent"'}
    for form, start in starts.items():
        target = tmp_path / form
        done = cli(server.paths.state, "export", str(target), "--format", form, "--project", "export-one")
        assert done.exit_code == 0, done.output
        assert re.match(start, target.read_bytes())
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(starts)
    assert cli(server.paths.state, "export", str(tmp_path / "no" / "x"), "--format", "atna").exit_code == 1


def test_records_are_exported_as_json_lines_by_default(running, tmp_path):
    server, client = running
    sent = a_record(project=ProjectId("export-two"), subject={"study": "1.2.3"})
    (receipt,) = client.append([sent])
    done = cli(server.paths.state, "export", str(tmp_path / "x"), "--project", "export-two")
    assert (done.exit_code, f"1 of the first {receipt.index + 1} records written" in done.output) == (0, True)
    (line,) = (tmp_path / "x").read_text().splitlines()
    exported = json.loads(line)
    assert (exported["index"], exported["record"]["id"]) == (receipt.index, sent.id)


def test_a_person_is_erased_on_record_and_the_log_still_verifies():
    with audit_process() as (server, client):
        gone = client.identify("https://idp.example", "gone-1", "Gone Example")
        officers = [client.identify("https://idp.example", name, name) for name in ("officer-1", "officer-2")]
        client.append([a_record(person=gone)])
        state = server.paths.state
        assert cli(state, "forget", "Gone Example", "--ask", "asked for erasure").exit_code == 0
        approved(client, officers[0])
        assert "1 of 2 data stewards have approved" in cli(state, "forget", "Gone Example").output
        assert client.people(gone)
        approved(client, officers[1])
        done = cli(state, "forget", "Gone Example")
        assert done.exit_code == 0, done.output
        assert client.people(gone) == []
        (found,) = client.query(Filter(events=("person-forgotten",)), None)
        assert found.record["subject"]["erased"] == gone
        assert found.record["subject"]["approved_by"] == officers
        assert "Gone Example" not in json.dumps([f.record for f in client.query(Filter(limit=1000), None)])
        (read,) = client.query(Filter(person=gone), None)
        assert read.person_name is None
        for path in state.glob("audit/identities.sqlite*"):
            assert b"gone-1" not in path.read_bytes()
            assert b"Gone Example" not in path.read_bytes()
        assert client.identify("https://idp.example", "gone-1", "Gone Example") != gone
        assert cli(state, "verify").exit_code == 0


def test_nobody_approves_their_own_erasure_and_a_name_at_the_terminal_needs_two_and_a_reason():
    with audit_process() as (server, client):
        people = [client.identify("https://idp.example", name, name) for name in ("gone", "one", "two")]
        state, env = server.paths.state, {"READINGROOM_APPROVALS": "command-line"}
        for approvers, reason in (
            (("gone", "one"), "why"),
            (("one",), "why"),
            (("one", "one"), "why"),
            (("one", "two"), " "),
        ):
            named = [word for name in approvers for word in ("--approved-by", name)]
            refused = cli(state, "forget", "gone", "--reason", reason, *named, **env)
            assert refused.exit_code == 1
            assert "two other people who approved it" in refused.output
        with pytest.raises(BadInput, match="two people who approved it"):
            client.purge(datetime(2016, 1, 1, tzinfo=UTC), "why", people[1], [people[1], people[1]], None)
        assert client.people("gone")
        named = ("--approved-by", "one", "--approved-by", "two")
        assert cli(state, "forget", "gone", "--reason", "asked for erasure", *named, **env).exit_code == 0
        assert client.people("gone") == []


@pytest.mark.parametrize("text", ["", "{}\n", "SQLite format 3\0 but not really"])
def test_what_is_no_log_is_refused(running, tmp_path, text):
    (tmp_path / "bad").write_text(text)
    vkey = (running[0].paths.audit / "vkey").read_text().strip()
    assert cli(tmp_path, "verify", str(tmp_path / "bad"), "--key", vkey).exit_code == 1


def test_verify_works_while_records_come_in(running):
    server, client = running
    stop = threading.Event()

    def work():
        while not stop.is_set():
            client.append([a_record()])

    writer = threading.Thread(target=work)
    writer.start()
    try:
        for _ in range(5):
            result = cli(server.paths.state, "verify")
            assert result.exit_code == 0, result.output
    finally:
        stop.set()
        writer.join()


def test_checkpoint_is_printed_as_it_is(running):
    server, client = running
    assert cli(server.paths.state, "checkpoint").output == client.checkpoint()


def test_two_processes_write_one_log(running):
    server, client = running
    with closing(SocketAuditRepository(server.paths.audit_socket, "other", 5000)) as other:
        record = a_record()
        (first,) = client.append([record])
        (second,) = other.append([a_record()])
        assert second.index > first.index
        assert other.append([record]) == [first]


def test_a_record_that_two_processes_hand_over_is_stored_once_and_no_number_is_missing():
    """As two mount daemons do with one grant that expired."""
    with audit_process() as (server, client), closing(SocketAuditRepository(server.paths.audit_socket, "b", 5000)) as b:
        record = a_record()
        (first,) = client.append([record])
        assert b.append([record]) == [first]
        both = a_record()
        for one in (client, b):  # queued for one commit
            one.post(both)
        client.flush()
        b.append([a_record()])
        log = stored(server.paths)
        assert log[record.id][:2] == (first.index, first.leaf_hash)
        repeats = [row for _, _, row in log.values() if row["event"] == "record-repeated"]
        assert [r["subject"]["repeats"] for r in repeats] == [record.id, both.id]
        assert repeats[0]["source"]["process"] == "b"
        checked = cli(server.paths.state, "verify")
        assert checked.exit_code == 0, checked.output
