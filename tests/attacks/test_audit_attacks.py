"""Attacks on the audit record: each is first shown to work on the raw files, then what sees it."""

import contextlib
import io
import json
import time

import apsw
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.support.audit_process import audit_process

from readingroom_hub.adapters.audit_bundle import write_bundle
from readingroom_hub.adapters.audit_log import LOG_FILE, AuditLog, LogReader
from readingroom_hub.adapters.audit_witnessing import Witnessing
from readingroom_hub.adapters.witness import Witness, open_cosigner
from readingroom_hub.errors import IntegrityError, ReadingRoomError
from readingroom_hub.ledger.bundle import Wanted, verify_bundle
from readingroom_hub.ledger.leaf import Sealer
from readingroom_hub.ledger.note import Signer
from readingroom_hub.ledger.policy import Policy
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
