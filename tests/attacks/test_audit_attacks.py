"""Attacks on the audit record: each is first shown to work on the raw files, then what sees it."""

import contextlib
import csv
import io
import json
import time

import apsw
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.support.audit_process import audit_process
from typer.testing import CliRunner

from readingroom_hub.adapters.audit_bundle import write_bundle
from readingroom_hub.adapters.audit_log import LOG_FILE, AuditLog, LogReader
from readingroom_hub.adapters.audit_witnessing import Witnessing
from readingroom_hub.adapters.witness import Witness, open_cosigner
from readingroom_hub.cli.audit import app
from readingroom_hub.errors import IntegrityError, ReadingRoomError
from readingroom_hub.ledger.bundle import Wanted, verify_bundle
from readingroom_hub.ledger.canonical import canonical, from_leaf
from readingroom_hub.ledger.leaf import payload_hash
from readingroom_hub.ledger.note import Signer, printable
from readingroom_hub.ledger.policy import Policy
from readingroom_hub.ledger.seal import Sealed, Sealer
from readingroom_hub.ledger.verify import LogVerifier
from readingroom_hub.model.audit import AuditEvent, AuditRecord
from readingroom_hub.ports.records import Filter

SIGNER = Signer("host/log", Ed25519PrivateKey.from_private_bytes(b"1" * 32))
SECRET = b"s" * 32


def history(folder, words):
    folder.mkdir()
    log, sealer = AuditLog(folder, SIGNER), Sealer(SECRET)
    for seq, word in enumerate(words):
        source = {"process": "mount", "epoch": "e", "seq": seq}
        record = AuditRecord(AuditEvent.READ_INTENT, subject={"series": word}).to_wire() | {"source": source}
        log.append([sealer.seal(record)])
    log.close()


def through(witnesses, monkeypatch):
    """The log's way to these witnesses, without HTTP."""
    from readingroom_hub.adapters import audit_witnessing
    from readingroom_hub.adapters.witness import Refused
    from readingroom_hub.adapters.witness_http import Conflict409
    from readingroom_hub.errors import StoreUnavailable

    def ask(url, old, proof, note):
        from base64 import b64encode

        lines = [f"old {old}", *(b64encode(h).decode() for h in proof)]
        try:
            return witnesses[url].add_checkpoint(("\n".join(lines) + "\n\n" + note).encode())
        except Refused as refused:
            if refused.status == 409:
                raise Conflict409(int(refused.text)) from refused
            raise StoreUnavailable(str(refused)) from refused

    monkeypatch.setattr(audit_witnessing, "ask", ask)


@pytest.mark.parametrize(("needed", "seen"), [(1, False), (2, True)])
def test_a_split_view_needs_a_majority_to_be_seen(tmp_path, monkeypatch, needed, seen):
    """One history a witness. With a quorum of one of two both auditors are told that all is well: the known limit."""
    history(tmp_path / "ann", ["real", "read by Ann"])
    history(tmp_path / "bob", ["real", "nothing"])
    signers = [open_cosigner(tmp_path / f"w{i}", f"w.example/{i}") for i in (1, 2)]
    with contextlib.ExitStack() as stack:
        witnesses = {
            f"w{i}": stack.enter_context(contextlib.closing(Witness(tmp_path / f"w{i}", s, Policy((SIGNER.vkey,)))))
            for i, s in enumerate(signers, 1)
        }
        through(witnesses, monkeypatch)
        lines = [f"log {SIGNER.vkey}", *(f"witness {n} {s.vkey} {n}" for n, s in zip(witnesses, signers, strict=True))]
        text = "\n".join([*lines, f"group most {needed} w1 w2", "quorum most", ""])
        verdicts = []
        for name, reachable in (("ann", ("w1", "w2")[:needed]), ("bob", ("w2", "w1")[:needed])):
            others = [
                f"witness {n} {s.vkey} {n}" for n, s in zip(witnesses, signers, strict=True) if n not in reachable
            ]
            shown = text
            for line in others:  # the attacker asks only whom it wants to
                shown = shown.replace(line, line.rpartition(" ")[0])
            log = AuditLog(tmp_path / name, SIGNER)
            with contextlib.closing(LogReader(tmp_path / name / LOG_FILE)) as reader:
                done = Witnessing(Policy.parse(shown), 60).round(reader)
            log.keep_cosigned(done.size, done.note)
            log.close()
            write_bundle(tmp_path / name, SECRET, Wanted(), tmp_path / "bundle")
            data = (tmp_path / "bundle").read_bytes()
            verdicts.append(verify_bundle(io.BytesIO(data), Policy.parse(text), int(time.time())).findings)
        assert verdicts[0] == []
        assert bool(verdicts[1]) is seen
        assert len(witnesses["w1"].evidence()) == (1 if seen else 0)


def test_edited_contents_are_never_shown_as_a_record():
    with audit_process() as (server, client):
        client.append([AuditRecord(AuditEvent.READ_INTENT, subject={"series": "1.2.3"})])
        assert client.query(Filter(events=("read-intent",)), None)
        connection = apsw.Connection(str(server.paths.audit / LOG_FILE))
        connection.execute("DROP TRIGGER entry_no_update")
        connection.execute("UPDATE entry SET record = CAST(replace(record, '1.2.3', '9.9.9') AS BLOB)")
        (edited,) = connection.execute("SELECT record FROM entry WHERE idx = 1").fetchone()
        connection.close()
        assert json.loads(edited)["subject"]["series"] == "9.9.9"
        with pytest.raises(ReadingRoomError, match="audit record 1 was changed in the store") as caught:
            client.query(Filter(events=("read-intent",)), None)
        assert isinstance(caught.value, IntegrityError)


def first_wins(pairs):
    return dict(reversed(pairs))


def last_wins(text):
    return json.loads(text)


def as_javascript(text):
    return json.loads(text, parse_int=float)


SPELLINGS = {
    "a key twice": (
        b'"outcome":"success"',
        b'"outcome":"denied","outcome":"success"',
        lambda text: json.loads(text, object_pairs_hook=first_wins)["outcome"] != last_wins(text)["outcome"],
    ),
    "a number too large for some": (
        b'"bytes":1',
        b'"bytes":9007199254740993',
        lambda text: int(as_javascript(text)["subject"]["bytes"]) != last_wins(text)["subject"]["bytes"],
    ),
    "a number without end": (
        b'"bytes":1',
        b'"bytes":1E999',
        lambda text: last_wins(text)["subject"]["bytes"] == float("inf"),
    ),
    "no number": (b'"bytes":1', b'"bytes":NaN', lambda text: "bytes" in last_wins(text)["subject"]),
    "half a character": (
        b'"series":"1.2.3"',
        b'"series":"\\ud800"',
        lambda text: not last_wins(text)["subject"]["series"].isprintable(),
    ),
    "the same in other bytes": (
        b'"outcome":"success"',
        b'"outcome":"\\u0073uccess"',
        lambda text: last_wins(text)["outcome"] == "success",
    ),
}


@pytest.mark.parametrize("how", SPELLINGS)
def test_contents_that_two_readers_read_differently_are_malformed_whoever_signs_them(tmp_path, how):
    """The thief of the log's key stores a spelling that lenient parsers take: hashes, tree and signature all fit."""
    usual, odd, fools = SPELLINGS[how]
    source = {"process": "mount", "epoch": "e", "seq": 0}
    subject = {"series": "1.2.3", "bytes": 1}
    whole = Sealer(SECRET).seal(AuditRecord(AuditEvent.READ_INTENT, subject=subject).to_wire() | {"source": source})
    record = whole.record.replace(usual, odd)
    assert record != whole.record
    leaf = canonical(from_leaf(whole.leaf) | {"payload": payload_hash(whole.salt, record)})
    log = AuditLog(tmp_path, SIGNER)
    log.append([Sealed(leaf, whole.salt, record)])
    log.close()
    with contextlib.closing(LogReader(tmp_path / LOG_FILE)) as reader:
        (stored,) = reader.entries()
        assert fools(stored.record)
        shallow = LogVerifier(Policy((SIGNER.vkey,)), read_leaves=False)
        assert list(shallow.findings(reader.leaves(), reader.checkpoints())) == []
        full = LogVerifier(Policy((SIGNER.vkey,)))
        (finding,) = full.findings(reader.entries(), reader.checkpoints())
    assert (finding.index, finding.what) == (0, "it is malformed")


HOSTILE = [
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-2+3",
    "@SUM(A1)",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    " =1+1",
    "\uff1d1+1",
    "ok\0, not",
]


def test_no_cell_of_a_table_is_a_formula_and_nothing_is_cut_off():
    """A name at the identity provider and a claim of a kernel are whatever their owner wants."""
    plain = io.StringIO()
    csv.writer(plain).writerows([[text] for text in HOSTILE])
    attacks = [row[0] for row in csv.reader(io.StringIO(plain.getvalue(), newline=""))]
    assert attacks[0].startswith("=cmd")  # the attack: a plain table gives the spreadsheet its formula
    with audit_process() as (server, client):
        for n, text in enumerate(HOSTILE):
            person = client.identify("https://idp.example", f"s-{n}", text)
            claims = {"notebook": text}
            client.append([AuditRecord(AuditEvent.READ_DENIED, person=person, reason=text, claims=claims)])
        target = server.paths.state / "table.csv"
        environment = {"READINGROOM_STATE": str(server.paths.state)}
        done = CliRunner().invoke(app, ["export", str(target), "--format", "csv"], env=environment)
        assert done.exit_code == 0, done.output
        with target.open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["event"] == "read-denied"]
        found = client.query(Filter(events=("read-denied",)), None)
    assert [f.record["reason"] for f in reversed(found)] == HOSTILE  # the record itself keeps every character
    assert len(rows) == len(HOSTILE)
    for row, text in zip(rows, HOSTILE, strict=True):
        assert not [c for c in row.values() if c[:1] in set("=+-@\uff1d") or not c.isprintable()]
        assert row["reason"] == row["person_name"] == printable(text if text.startswith("ok") else f"'{text}")
        assert json.loads(row["claims"]) == {"notebook": text}
