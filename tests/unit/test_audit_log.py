"""The log's store and its keys, in this process."""

import json

import apsw
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from readingroom_hub.adapters import audit_index, audit_log
from readingroom_hub.adapters.audit_index import AuditIndex, index_finding
from readingroom_hub.adapters.audit_keys import open_signer, publish_vkey
from readingroom_hub.adapters.audit_log import AuditLog, LogReader
from readingroom_hub.adapters.identities import Identities, commitment
from readingroom_hub.errors import AuditUnavailable, BadInput, Conflict, KeyUnavailable, SystemUnfit
from readingroom_hub.ledger.merkle import leaf_hash, root_of
from readingroom_hub.ledger.note import Checkpoint, Signer, open_note
from readingroom_hub.ledger.policy import Policy
from readingroom_hub.ledger.seal import Sealed
from readingroom_hub.ledger.verify import LogVerifier

SIGNER = Signer("host/log", Ed25519PrivateKey.from_private_bytes(b"1" * 32))

A, B = Sealed(b"a", b"salt", b"{}"), Sealed(b"b", b"salt", b"{}")


@pytest.fixture
def log(tmp_path):
    opened = AuditLog(tmp_path, SIGNER)
    yield opened
    opened.close()


def findings(folder):
    reader = LogReader(folder / "log.sqlite")
    try:
        verifier = LogVerifier(Policy.of_keys([SIGNER.vkey]), read_leaves=False)
        return [str(f) for f in verifier.findings(reader.entries(), reader.checkpoints())]
    finally:
        reader.close()


def other_connection(folder):
    connection = apsw.Connection(str(folder / "log.sqlite"))
    connection.set_busy_timeout(1000)
    return connection


def test_a_commit_gives_receipts_and_a_signed_checkpoint(log):
    receipts = log.append([A, B])
    assert [(r.index, r.leaf_hash) for r in receipts] == [(0, leaf_hash(b"a")), (1, leaf_hash(b"b"))]
    body, _ = open_note(log.checkpoint, [SIGNER.vkey])
    assert Checkpoint.parse(body) == Checkpoint("host/log", 2, root_of([leaf_hash(b"a"), leaf_hash(b"b")]))


def test_commits_are_durable_and_rows_are_append_only(log, tmp_path):
    log.append([A])
    assert log._connection.execute("PRAGMA synchronous").get == 2  # FULL
    assert log._connection.execute("PRAGMA journal_mode").get == "wal"
    other = other_connection(tmp_path)
    for sql in (
        "UPDATE entry SET leaf = x'00'",
        "DELETE FROM entry",
        "INSERT INTO entry VALUES(5, x'00', x'00', NULL, NULL)",
        "UPDATE checkpoint SET note = ''",
        "DELETE FROM checkpoint",
    ):
        with pytest.raises(apsw.ConstraintError):
            other.execute(sql)
    other.close()


def test_it_goes_on_where_it_stopped(log, tmp_path):
    log.append([A, B, Sealed(b"c", b"", b"")])
    root = log.root
    log.close()
    again = AuditLog(tmp_path, SIGNER)
    assert (again.size, again.root, again.damage) == (3, root, None)
    assert again.append([A])[0].index == 3
    again.close()
    assert findings(tmp_path) == []


def test_a_commit_that_fails_leaves_no_trace_and_the_next_one_works(log, tmp_path):
    log.append([A])
    other = other_connection(tmp_path)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(AuditUnavailable, match=r"could not store 1 record\(s\)"):
        log.append([B])
    assert log.size == 1
    other.execute("ROLLBACK")
    other.close()
    assert log.append([B])[0].index == 1
    assert findings(tmp_path) == []


def test_a_commit_that_worked_though_it_reported_an_error_counts(log, monkeypatch):
    real = log._commit

    def commit_then_fail(*arguments):
        real(*arguments)
        raise apsw.IOError("the reply got lost")

    monkeypatch.setattr(log, "_commit", commit_then_fail)
    assert log.append([A])[0].index == 0
    monkeypatch.undo()
    assert log.append([B])[0].index == 1


def test_somebody_else_s_row_stops_the_log(log, tmp_path):
    log.append([A])
    other = other_connection(tmp_path)
    other.execute("INSERT INTO entry VALUES(1, ?, ?, NULL, NULL)", (b"x", leaf_hash(b"x")))
    other.close()
    with pytest.raises(AuditUnavailable, match="changed under its writer"):
        log.append([B])
    with pytest.raises(AuditUnavailable, match="takes no records"):
        log.append([B])


def test_a_second_writer_is_refused(log, tmp_path):
    with pytest.raises(Conflict, match="another process"):
        AuditLog(tmp_path, SIGNER)


def test_an_unsafe_sqlite_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(audit_log, "_SQLITE_NEEDED", (99, 0, 0))
    with pytest.raises(SystemUnfit, match=r"can lose committed records: install apsw with 99\.0\.0"):
        AuditLog(tmp_path, SIGNER)


@pytest.fixture
def folders(tmp_path):
    for name in ("audit", "keys"):
        (tmp_path / name).mkdir()
    return tmp_path / "audit", tmp_path / "keys"


def test_the_key_is_made_once_and_kept_private(folders):
    signer = open_signer(*folders)
    publish_vkey(folders[0], signer)
    assert (folders[1] / "audit-log.key").stat().st_mode & 0o777 == 0o600
    assert open_signer(*folders).vkey == signer.vkey
    assert (folders[0] / "vkey").read_text() == f"{signer.vkey}\n"


@pytest.mark.parametrize(
    "damage",
    [lambda p: p.chmod(0o644), lambda p: p.write_bytes(b"short"), lambda p: p.unlink()],
    ids=["readable by others", "short", "gone"],
)
def test_a_key_that_cannot_be_trusted_is_refused(folders, damage):
    publish_vkey(folders[0], open_signer(*folders))
    damage(folders[1] / "audit-log.key")
    with pytest.raises(KeyUnavailable, match=r"audit-log\.key"):
        open_signer(*folders)


def read_in(year, number=0):
    both = {"id": f"r-{year}-{number}", "time": f"{year}-01-01T00:00:00.000000Z"}
    record = both | {"series": f"{year}.9.8.7.{number:05}"}
    return Sealed(json.dumps(both | {"class": "access"}).encode(), b"salt", json.dumps(record).encode())


def in_the_files(folder, what):
    return sum(path.read_bytes().count(what) for path in folder.glob("log.sqlite*"))


def test_no_byte_of_what_was_purged_stays_in_the_files(log, tmp_path):
    for number in range(150):
        log.append([read_in(2015, number), read_in(2026)])
    other = other_connection(tmp_path)
    other.execute("PRAGMA secure_delete=ON").fetchall()
    with other:
        other.execute("UPDATE entry SET salt = NULL, record = NULL WHERE idx < 150")
    other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    assert in_the_files(tmp_path, b"2015.9.8.7.00001") > 0  # all that `secure_delete` does
    other.close()
    log.purge("2016-01-01T00:00:00.000000Z")
    assert in_the_files(tmp_path, b"2015.9.8.7.") == 0
    log.append([read_in(2026)])
    assert [e.idx for e in log.view().entries()] == list(range(301))
    assert in_the_files(tmp_path, b"2026.9.8.7.") >= 76


def test_a_purge_says_when_a_reader_keeps_its_bytes(log, tmp_path):
    log.append([read_in(2015)])
    reader = other_connection(tmp_path)
    with reader:
        reader.execute("SELECT count(*) FROM entry").fetchall()
        with pytest.raises(AuditUnavailable, match="run it again"):
            log.purge("2016-01-01T00:00:00.000000Z")
    reader.close()
    log.purge("2016-01-01T00:00:00.000000Z")
    assert in_the_files(tmp_path, b"2015.9.8.7.") == 0


def test_the_index_stops_yielding_where_it_is_far_behind(log, tmp_path, monkeypatch):
    for name, value in (("_CHUNK", 10), ("_BEHIND", 40), ("_LAG_SECONDS", 3600)):
        monkeypatch.setattr(audit_index, name, value)
    monkeypatch.setattr(AuditIndex, "_is_due", lambda self: self._stopped)  # the yielding thread gets no time at all
    index = AuditIndex(tmp_path)
    try:
        log.append([read_in(2026)] * 30)
        index.advance(30)
        assert index.size == 0
        assert index._hurrying is None
        log.append([read_in(2026)] * 20)
        index.advance(50)
        index.wait(50, 20)
        log.append([read_in(2026)] * 12)
        index.wait(62, 20)  # a search waits, and is not far behind: it does not depend on the yielding thread either
    finally:
        index.close()
    assert index_finding(tmp_path) is None


def test_a_person_is_a_salted_commitment(tmp_path):
    table = Identities(tmp_path)
    person = table.identify("https://idp.example", "s-1", "Ann")
    salt = apsw.Connection(str(tmp_path / "identities.sqlite")).execute("SELECT salt FROM identity").get
    assert len(salt) == 32
    assert commitment(salt, "https://idp.example", "s-1") == person
    assert commitment(bytes(32), "https://idp.example", "s-1") != person
    assert table.names([person, "p-unknown"]) == {person: "Ann"}
    for issuer, subject in (("a\0b", "s"), ("a", "")):
        with pytest.raises(BadInput):
            table.identify(issuer, subject, "x")
    table.close()
