"""One record with its proof, as C2SP tlog-proof: what is accepted, and that nothing else is."""

import base64
import io
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contract.audit_receiver import rows
from typer.testing import CliRunner

from readingroom_hub import compose
from readingroom_hub.adapters.audit_log import AuditLog
from readingroom_hub.adapters.audit_proofs import write_proof
from readingroom_hub.cli.audit import app
from readingroom_hub.errors import BadInput
from readingroom_hub.ledger.__main__ import main
from readingroom_hub.ledger.merkle import leaf_hash
from readingroom_hub.ledger.note import Signer, split_note
from readingroom_hub.ledger.policy import Policy
from readingroom_hub.ledger.proof import HEADER, Proof, verify_file, verify_proof
from readingroom_hub.ledger.seal import Sealer

SIGNER = Signer("host/log", Ed25519PrivateKey.from_private_bytes(b"1" * 32))
WITNESS = Signer("w.example/1", Ed25519PrivateKey.from_private_bytes(b"2" * 32), cosigner=True)
ALONE = Policy((SIGNER.vkey,))
WITNESSED = Policy.parse(f"log {SIGNER.vkey}\nwitness w {WITNESS.vkey}\nquorum w\n#readingroom freshness 100\n")
COUNT = 300


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    folder, sealer = tmp_path_factory.mktemp("log"), Sealer(b"s" * 32)
    log = AuditLog(folder, SIGNER)
    log.append([sealer.seal(row) for row in rows(COUNT)])
    note = log.checkpoint
    log.keep_cosigned(COUNT, note + WITNESS.sign(split_note(note)[0], 1000))
    log.append([sealer.seal(row | {"id": row["id"][:-4] + "ffff"}) for row in rows(3)])
    log.close()
    return folder


def proof_of(log, tmp_path, index):
    write_proof(log, index, tmp_path / "p")
    return (tmp_path / "p").read_text()


def broken(text, policy=ALONE, now=1050):
    return [f.what for f in verify_proof(text, policy, now).findings]


@pytest.mark.parametrize("index", [0, 1, 255, 256, 299])
def test_a_record_that_witnesses_saw_is_proven(log, tmp_path, index):
    text = proof_of(log, tmp_path, index)
    assert text.split("\n")[0] == HEADER
    assert text.split("\n")[2] == f"index {index}"
    result = verify_file(io.BytesIO(text.encode()), WITNESSED, 1050)
    assert result.findings == []
    assert (result.first, result.end, result.size) == (index, index + 1, COUNT)
    assert list(result.cosigned) == [WITNESS.vkey]
    assert str(Proof.parse(text)) == text
    assert "cosigned too long ago" in broken(text, WITNESSED, 2000)[0]


def test_one_that_witnesses_have_not_seen_needs_a_policy_without(log, tmp_path):
    text = proof_of(log, tmp_path, COUNT + 1)
    assert broken(text) == []
    assert "too few witnesses" in broken(text, WITNESSED)[0]
    with pytest.raises(BadInput, match="its records are 0 to 302"):
        write_proof(log, COUNT + 3, tmp_path / "p")


def edited(text, place, value):
    lines = text.split("\n")
    lines[place] = value(lines[place])
    return "\n".join(lines)


def recoded(change):
    def value(line):
        extra = json.loads(base64.b64decode(line.removeprefix("extra ")))
        change(extra)
        return "extra " + base64.b64encode(json.dumps(extra, sort_keys=True, separators=(",", ":")).encode()).decode()

    return value


def test_each_change_is_told(log, tmp_path):
    text = proof_of(log, tmp_path, 7)
    other = proof_of(log, tmp_path, 8)
    wrong_contents = recoded(lambda e: e.update(record=e["record"].replace('"v":1', '"v":2')))
    assert "contents were changed" in broken(edited(text, 1, wrong_contents))[0]
    other_leaf = edited(text, 1, lambda _: other.split("\n")[1])
    assert "not in the signed tree" in broken(other_leaf)[0]
    assert "not in the signed tree" in broken(edited(text, 2, lambda _: "index 8"))[0]
    assert "not in the signed tree" in broken(edited(text, 3, lambda _: base64.b64encode(b"h" * 32).decode()))[0]
    stranger = Policy((Signer("host/log", Ed25519PrivateKey.generate()).vkey,))
    assert "is not valid" in broken(text, stranger)[0]
    assert "is not valid" in broken(text.replace("\n300\n", "\n400\n"))[-1]
    no_contents = recoded(lambda e: [e.pop(k) for k in ("record", "salt")])
    assert broken(edited(text, 1, no_contents)) == []


CHANGES = (
    lambda t: t.replace("@v1", "@v2"),
    lambda t: t.replace("index 7", "index 07"),
    lambda t: t.replace("index 7", "index -7"),
    lambda t: t.replace("index 7", "index \u0667"),
    lambda t: t.replace("index 7\n", ""),
    lambda t: t.replace("extra ", "extra !"),
    lambda t: t.replace("\n\n", "\n", 1),
    lambda t: t.replace("\n\n", "\nAAAA\n\n", 1),
    lambda t: t[:300],
    lambda t: t.replace("index 7\n", "index 7\n" + "A" * 43 + "=\n" * 70),
    lambda t: edited(t, 1, lambda _: "extra " + base64.b64encode(b"[]").decode()),
    lambda t: edited(t, 1, recoded(lambda e: e.update(salt="zz"))),
    lambda t: edited(t, 1, recoded(lambda e: e.update(more="x"))),
    lambda t: t + "x" * (1 << 20),
)


@pytest.mark.parametrize("number", range(len(CHANGES)))
def test_what_is_no_proof_is_bad_input(log, tmp_path, number):
    data = CHANGES[number](proof_of(log, tmp_path, 7)).encode()
    with pytest.raises(BadInput):
        verify_file(io.BytesIO(data), ALONE, 0)


@given(st.binary(max_size=300))
@settings(max_examples=100, deadline=None)
def test_rubbish_is_bad_input(data):
    with pytest.raises(BadInput):
        verify_file(io.BytesIO(HEADER.encode() + data), ALONE, 0)


def test_the_leaf_is_what_other_tools_hash(log, tmp_path):
    extra = base64.b64decode(proof_of(log, tmp_path, 9).split("\n")[1].removeprefix("extra "))
    entry = Proof.parse(proof_of(log, tmp_path, 9)).entry
    assert leaf_hash(json.loads(extra)["leaf"].encode()) == entry.hash


def test_the_commands(log, tmp_path, monkeypatch, capsys):
    from tests.support.fakes import MemoryAuditRepository

    audit = MemoryAuditRepository()
    monkeypatch.setattr(compose, "audit", lambda settings, process: audit)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "audit").symlink_to(log)
    monkeypatch.setenv("READINGROOM_STATE", str(tmp_path / "state"))
    out = str(tmp_path / "one.tlog-proof")
    done = CliRunner().invoke(app, ["prove", "7", out])
    assert done.exit_code == 0, done.output
    assert audit.records[-1]["subject"] == {"path": out, "export": True, "index": 7}
    (tmp_path / "policy").write_text(f"log {SIGNER.vkey}\nquorum none\n")
    checked = CliRunner().invoke(app, ["verify", out, "--policy", str(tmp_path / "policy")])
    assert checked.exit_code == 0, checked.output
    assert main([out, "--policy", str(tmp_path / "policy")]) == 0
    assert "7" in capsys.readouterr().out
    assert CliRunner().invoke(app, ["prove", "999", out + "2"]).exit_code == 1
