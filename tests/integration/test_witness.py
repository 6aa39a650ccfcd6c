"""Witnesses: what they sign and what never, and what the log does with their cosignatures and without them."""

import contextlib
import http.client
import signal
import subprocess
import sys
import tempfile
import threading
import time
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.support.room import PROJECT, make_room

from readingroom_hub.adapters.audit_client import SocketAuditRepository
from readingroom_hub.adapters.audit_log import AuditLog, LogReader
from readingroom_hub.adapters.audit_witnessing import Witnessing
from readingroom_hub.adapters.witness import KEY_FILE, STATE_FILE, Refused, Witness, open_cosigner, parse_request
from readingroom_hub.adapters.witness_http import WitnessServer
from readingroom_hub.cli.audit import app
from readingroom_hub.config import Paths, Settings
from readingroom_hub.errors import AuditUnavailable, BadInput, KeyUnavailable
from readingroom_hub.ledger.merkle import consistency_proof, leaf_hash, root_of
from readingroom_hub.ledger.note import MLDSA44_COSIGNATURE, Checkpoint, Signer, VKey, open_note
from readingroom_hub.ledger.policy import Policy
from readingroom_hub.ledger.seal import Sealed, to_leaf
from readingroom_hub.ledger.verify import LogVerifier, quorum_findings
from readingroom_hub.model.audit import AuditEvent, AuditRecord
from readingroom_hub.ports.records import Filter

SIGNER = Signer("host/log", Ed25519PrivateKey.from_private_bytes(b"1" * 32))
HASHES = [leaf_hash(bytes([i])) for i in range(40)]
FORK = [*HASHES[:5], *(leaf_hash(b"other" + bytes([i])) for i in range(35))]


def note(size, hashes=HASHES, signer=SIGNER):
    body = Checkpoint(signer.vkey.name, size, root_of(hashes[:size])).body()
    return f"{body}\n{signer.sign(body)}"


def request(old, size, hashes=HASHES, signer=SIGNER):
    from base64 import b64encode

    proof = [b64encode(h).decode() for h in consistency_proof(hashes[:size], old)]
    return ("\n".join([f"old {old}", *proof]) + "\n\n" + note(size, hashes, signer)).encode()


@pytest.fixture
def witness(tmp_path):
    made = Witness(tmp_path / "w", open_cosigner(tmp_path / "w", "w.example/1"), Policy((SIGNER.vkey,)), lambda: 1000)
    yield made
    made.close()


def status(witness, body):
    try:
        line = witness.add_checkpoint(body)
    except Refused as refused:
        return refused.status
    checkpoint = parse_request(body)[2].rpartition("\n\n")[0] + "\n"
    _, signers = open_note(f"{checkpoint}\n{line}", [witness._signer.vkey])
    assert signers[witness._signer.vkey] == 1000
    return 200


def test_a_witness_follows_one_history(witness):
    assert [status(witness, request(*step)) for step in ((0, 7), (7, 7), (7, 12), (12, 40))] == [200] * 4
    assert witness.evidence() == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (request(0, 12), 409),
        (request(5, 12), 409),
        (request(7, 12, FORK), 422),
        (request(7, 7, FORK), 409),
        (request(7, 12).replace(b"old 7", b"old 07"), 400),
        (request(7, 12).replace(b"old 7", b"old 13"), 400),
        (request(7, 12).replace(b"old 7", b"old \xc2\xb2"), 400),
        (b"", 400),
        (b"old 7\n" + b"A" * 44 + b"\n\nrubbish", 400),
        (request(7, 12, signer=Signer("host/log", Ed25519PrivateKey.from_private_bytes(b"9" * 32))), 403),
        (request(7, 12, signer=Signer("host/other", Ed25519PrivateKey.from_private_bytes(b"1" * 32))), 404),
    ],
)
def test_a_witness_signs_nothing_else(witness, body, expected):
    assert status(witness, request(0, 7)) == 200
    assert status(witness, body) == expected
    assert len(witness.evidence()) == (1 if body in {request(7, 12, FORK), request(7, 7, FORK)} else 0)
    assert status(witness, request(7, 12)) == 200


def test_a_witness_that_lost_its_state_does_not_start(tmp_path):
    open_cosigner(tmp_path / "w", "w.example/1")
    (tmp_path / "w" / STATE_FILE).rename(tmp_path / "gone")
    with pytest.raises(KeyUnavailable, match="must be given up"):
        open_cosigner(tmp_path / "w", "w.example/1")
    (tmp_path / "gone").rename(tmp_path / "w" / STATE_FILE)
    with pytest.raises(KeyUnavailable, match="is named"):
        open_cosigner(tmp_path / "w", "w.example/2")
    (tmp_path / "w" / KEY_FILE).unlink()
    with pytest.raises(KeyUnavailable):
        open_cosigner(tmp_path / "w", "w.example/1")


@contextlib.contextmanager
def serving(folder, number, vkey=SIGNER.vkey):
    signer = open_cosigner(folder / f"w{number}", f"w.example/{number}")
    made = Witness(folder / f"w{number}", signer, Policy((vkey,)))
    with WitnessServer(0, made) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield signer.vkey, server.server_port, made
        finally:
            server.shutdown()
            thread.join()
            made.close()


def policy_text(log, witnesses, needed):
    lines = [f"log {log}"]
    lines += [f"witness w{i} {vkey} http://127.0.0.1:{port}/" for i, (vkey, port, *_) in enumerate(witnesses)]
    names = " ".join(f"w{i}" for i in range(len(witnesses)))
    return "\n".join([*lines, f"group most {needed} {names}", "quorum most", ""])


def test_http_takes_one_request_and_no_other(tmp_path):
    with serving(tmp_path, 1) as (_, port, _):
        for method, path, body, expected in (
            ("POST", "/add-checkpoint", request(0, 7), 200),
            ("POST", "/add-checkpoint", request(0, 7), 409),
            ("POST", "/other", b"", 404),
            ("GET", "/add-checkpoint", None, 501),
            ("POST", "/add-checkpoint", b"x" * 70_000, 413),
        ):
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    connection.request(method, path, body)
                answer = connection.getresponse()
                assert answer.status == expected
                if expected == 409:
                    assert (answer.read(), answer.headers["Content-Type"]) == (b"7\n", "text/x.tlog.size")


def fill(log, count, word=b"r"):
    for i in range(0, count, 500):
        log.append([Sealed(word + str(i + n).encode(), b"s", b"{}") for n in range(min(500, count - i))])


def test_two_of_three_are_a_quorum_and_one_is_not(tmp_path):
    log, now = AuditLog(tmp_path, SIGNER), [time.time()]
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(serving(tmp_path, i)) for i in (1, 2)]
        dead = Signer("w.example/3", Ed25519PrivateKey.generate(), cosigner=True).vkey
        policy = Policy.parse(policy_text(SIGNER.vkey, [*running, (dead, 1)], 2))
        witnessing = Witnessing(policy, 3600, lambda: now[0])
        for size in (1, 1500, 700):  # across the subtrees of 256 whose roots are kept
            fill(log, size, str(size).encode())
            with contextlib.closing(LogReader(tmp_path / "log.sqlite")) as reader:
                done = witnessing.round(reader)
            assert done.met
            assert [t.partition(":")[0] for t in done.troubles] == ["w2"]
            _, signers = open_note(done.note, [SIGNER.vkey, running[0][0], running[1][0]])
            assert len(signers) == 3
            resumed = Witnessing(policy, 3600, lambda: now[0])
            assert "no quorum of witnesses" in resumed.late()
            resumed.resume(done.note)
            assert resumed.late() is None
            log.keep_cosigned(done.size, done.note)
            fill(log, 3, b"after")  # ahead of its witnesses
            with contextlib.closing(LogReader(tmp_path / "log.sqlite")) as reader:
                verifier = LogVerifier(policy, read_leaves=False)
                assert list(verifier.findings(reader.leaves(), reader.checkpoints())) == []
            assert verifier.cosigned_size == done.size < verifier.size
            assert list(quorum_findings(policy, verifier, int(time.time()), 1)) == []
            assert list(quorum_findings(policy, verifier, int(time.time()), verifier.size))
        again = Witnessing(policy, 3600)  # a restarted log remembers no sizes, and asks the witnesses
        with contextlib.closing(LogReader(tmp_path / "log.sqlite")) as reader:
            assert again.round(reader).met
    with contextlib.closing(LogReader(tmp_path / "log.sqlite")) as reader:
        assert not witnessing.round(reader).met
    assert witnessing.late() is None
    now[0] += 3601
    assert "no quorum of witnesses" in witnessing.late()
    log.close()


def test_a_restored_backup_and_a_rewritten_log_are_told_by_the_witness(tmp_path):
    for name in ("real", "old", "fork"):
        (tmp_path / name).mkdir()
    logs = {name: AuditLog(tmp_path / name, SIGNER) for name in ("real", "old", "fork")}
    fill(logs["real"], 30)
    fill(logs["old"], 20)
    fill(logs["fork"], 40, b"x")
    with serving(tmp_path, 1) as running:
        policy = Policy.parse(policy_text(SIGNER.vkey, [running], 1))

        def troubles(name):
            with contextlib.closing(LogReader(tmp_path / name / "log.sqlite")) as reader:
                return Witnessing(policy, 60).round(reader).troubles

        assert troubles("real") == ()
        assert "rolled back" in troubles("old")[0]  # both verify by themselves: their key is the real one
        assert "refuses with 422" in troubles("fork")[0]
        assert len(running[2].evidence()) == 1
    for log in logs.values():
        log.close()


@pytest.fixture
def state():
    """Short: a Unix socket's path has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="rr-") as folder:
        yield Path(folder)


@contextlib.contextmanager
def repository(paths, policy, seconds=1):
    environment = Settings(state=paths.state, audit_policy_file=policy, audit_witness_seconds=seconds).to_environ()
    argv = [sys.executable, "-m", "readingroom_hub.cli.main", "audit", "serve"]
    process = subprocess.Popen(argv, env=environment, stderr=subprocess.DEVNULL)
    client = SocketAuditRepository(paths.audit_socket, "test", 5000)
    try:
        until(client.status, process)
        yield client
    finally:
        client.close()
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def until(condition, process=None, seconds=20.0):
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(AuditUnavailable):
            if condition():
                return
        assert process is None or process.poll() is None, "the process ended"
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


def test_the_running_log_is_cosigned_and_missing_witnesses_are_on_record(state, tmp_path):
    from typer.testing import CliRunner

    from readingroom_hub.adapters.audit_service import AuditService

    paths = Paths(state)
    paths.make()
    AuditService(paths.audit, paths.keys).close()
    vkey = (paths.audit / "vkey").read_text().strip()
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(serving(tmp_path, i, VKey.parse(vkey))) for i in (1, 2, 3)]
        (tmp_path / "policy").write_text(policy_text(vkey, running, 2) + "#readingroom freshness 60\n")
        with repository(paths, tmp_path / "policy") as client:
            client.append([AuditRecord(AuditEvent.READ_INTENT)])
            size = client.status()["size"]

            def cosigned():
                with contextlib.closing(LogReader(paths.audit / "log.sqlite")) as reader:
                    found = reader.cosigned()
                return found is not None and int(found.split("\n")[1]) >= size

            until(cosigned)
            assert client.witnesses_late() is None
            (configured,) = client.query(Filter(events=("configuration",)), None)
            subject = configured.record["subject"]
            assert subject["settings"]["audit_policy_file"] == str(tmp_path / "policy")
            assert subject["digest"] == "sha256:" + sha256(to_leaf(subject["settings"])).hexdigest()
            run = CliRunner().invoke
            environment = {"READINGROOM_STATE": str(state), "COLUMNS": "250"}
            assert run(app, ["bundle", str(tmp_path / "b")], env=environment).exit_code == 0
            checked = run(app, ["verify", str(tmp_path / "b"), "--policy", str(tmp_path / "policy")], env=environment)
            assert checked.exit_code == 0, checked.output
            assert "3 witness(es) saw it" in checked.output
            log = str(paths.audit / "log.sqlite")
            checked = run(app, ["verify", log, "--policy", str(tmp_path / "policy")], env=environment)
            assert checked.exit_code == 0, checked.output
            with contextlib.closing(LogReader(paths.audit / "log.sqlite")) as reader:
                _, by = open_note(reader.cosigned(), [VKey.parse((paths.audit / "vkey-mldsa").read_text())])
            assert [v.type for v in by] == [MLDSA44_COSIGNATURE]
            stack.close()
            wanted = Filter(events=("integrity-failure",))
            until(lambda: client.query(wanted, None))
            (found,) = client.query(wanted, None)
            assert found.record["reason"].startswith("witnesses-late: no quorum cosigned the record")


def test_no_grant_is_given_while_the_witnesses_are_late(tmp_path, monkeypatch):
    room = make_room(tmp_path)
    monkeypatch.setattr(room.audit, "witnesses_late", lambda: "no quorum of witnesses")
    with pytest.raises(AuditUnavailable, match="no quorum of witnesses"):
        room.grants.issue(PROJECT, "lung", room.tomorrow, room.steward)
    assert room.catalogue.grants.all(PROJECT) == []
    assert [r for r in room.audit.records if r["event"] == "grant-issued"] == []
    monkeypatch.undo()
    assert room.grants.issue(PROJECT, "lung", room.tomorrow, room.steward)


@pytest.mark.parametrize("text", ["", "log x\nquorum none\n"])
def test_a_policy_that_is_none_stops_the_start(tmp_path, text):
    from readingroom_hub.compose.repository import read_policy

    (tmp_path / "policy").write_text(text)
    with pytest.raises(BadInput, match="policy"):
        read_policy(tmp_path / "policy")
