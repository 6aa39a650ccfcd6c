"""The verifier of a log, fed with values: no file, no server."""

import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from readingroom_hub.errors import BadInput
from readingroom_hub.ledger.canonical import to_leaf
from readingroom_hub.ledger.merkle import leaf_hash, root_of
from readingroom_hub.ledger.note import Checkpoint, Signer
from readingroom_hub.ledger.verify import LogVerifier
from readingroom_hub.model.audit import AuditEvent, AuditRecord

SIGNER = Signer("host/log/1", Ed25519PrivateKey.from_private_bytes(b"1" * 32))
WITNESS = Signer("witness/1", MLDSA44PrivateKey.from_seed_bytes(b"2" * 32))


def row(seq, epoch="e", **changes):
    source = {"process": "mount", "epoch": epoch, "seq": seq}
    return AuditRecord(AuditEvent.INSTANCE_OPENED).to_wire() | {"source": source} | changes


def entries(rows):
    leaves = [r if isinstance(r, bytes) else to_leaf(r) for r in rows]
    return [(i, leaf, leaf_hash(leaf)) for i, leaf in enumerate(leaves)]


def note(stored, *signers):
    body = Checkpoint("host/log/1", len(stored), root_of([h for _, _, h in stored])).body()
    return body + "\n" + "".join(s.sign(body, 1) for s in signers or (SIGNER,))


def findings(stored, notes=None, prior=(), vkeys=(SIGNER.vkey,)):
    verifier = LogVerifier(vkeys)
    return [str(f) for f in verifier.findings(stored, [note(stored)] if notes is None else notes, prior)]


def test_a_whole_log_has_no_findings_and_gives_its_root():
    stored = entries([row(i) for i in range(9)])
    verifier = LogVerifier([SIGNER.vkey])
    assert list(verifier.findings(stored, [note(stored[:n]) for n in (1, 4, 9)])) == []
    assert (verifier.size, verifier.root) == (9, root_of([h for _, _, h in stored]))


def test_it_reads_a_stream_once_and_keeps_little():
    stored = entries([row(i) for i in range(300)])
    assert findings(iter(stored), iter([note(stored)])) == []


@pytest.mark.parametrize(
    ("sequence", "expected"),
    [
        ([0, 1, 2], []),
        ([1, 2], ["record 0: 1 record(s) that mount/e sent before it are not in the log"]),
        ([0, 1, 4, 5], ["record 2: 2 record(s) that mount/e sent before it are not in the log"]),
        ([0, 2, 1, 3], []),  # a record sent again after a broken connection comes late
        ([0, 1, 1], ["record 2: its number from mount/e is out of order"]),
        ([0, 10**9], ["record 1: its number from mount/e is out of order"]),
    ],
)
def test_a_gap_in_a_process_s_numbers_is_found(sequence, expected):
    found = findings(entries([row(n) for n in sequence]))
    assert [f.partition(" (")[0] if "(s)" not in f else f.partition(" (expected")[0] for f in found] == expected


def test_every_epoch_counts_for_itself():
    assert findings(entries([row(0, "a"), row(0, "b"), row(1, "a"), row(1, "b")])) == []


def test_an_id_that_occurs_twice_is_found():
    first = row(0)
    (found,) = findings(entries([first, row(1, id=first["id"])]))
    assert found.startswith("record 1: its id occurs twice")


@pytest.mark.parametrize(
    "leaf",
    [
        b"",
        b"{}",
        b"not json",
        to_leaf(row(0)) + b" ",
        to_leaf(row(0, v=2)),
        to_leaf(row(0, time="yesterday")),
        to_leaf(row(0, time="2031-01-01T00:00:00+01:00")),
        to_leaf(row(0, subject="x")),
        to_leaf(row(0, person=1)),
        to_leaf(row(-1)),
        to_leaf(row(True)),
        to_leaf(row(0, source="me")),
        to_leaf({k: v for k, v in row(0).items() if k != "id"}),
    ],
)
def test_a_malformed_leaf_is_found(leaf):
    found = findings(entries([leaf]))
    assert found
    assert found[0].startswith("record 0: it is malformed")


def test_records_without_a_checkpoint_are_found():
    stored = entries([row(i) for i in range(3)])
    assert findings(stored, [])[0].startswith("record 0: the log has no checkpoint")
    assert findings(stored, [note(stored[:2])]) == [
        "record 2: no checkpoint covers it (expected a signed checkpoint, found none)"
    ]
    assert findings([], [])


def test_checkpoints_are_held_to_size_key_origin_and_form():
    stored = entries([row(i) for i in range(3)])
    stranger = Signer("host/log/1", Ed25519PrivateKey.generate())
    other = Signer("host/log/2", Ed25519PrivateKey.generate())
    assert "no key that is trusted" in findings(stored, [note(stored, stranger)])[0]
    assert "it is of the log host/log/1" in findings(stored, vkeys=(other.vkey,))[0]
    assert "cannot be read" in findings(stored, ["rubbish"])[0]
    assert (
        "the checkpoint of size 3 is not valid" in findings(stored, [note(stored).replace("— host/log/1 ", "— x ")])[0]
    )
    assert "out of order" in findings(stored, [note(stored), note(stored[:1])])[0]
    assert findings(stored, [note(stored, WITNESS)], vkeys=(SIGNER.vkey, WITNESS.vkey))[0].endswith(
        "only witnesses signed it, not the log)"
    )
    assert findings(stored, [note(stored, SIGNER, WITNESS)], vkeys=(SIGNER.vkey, WITNESS.vkey)) == []


def test_a_checkpoint_kept_elsewhere_shows_rollback_and_fork():
    stored = entries([row(i) for i in range(5)])
    kept = note(stored)
    assert findings(stored, [note(stored)], [kept]) == []
    assert findings(stored[:3], [note(stored[:3])], [kept])[0].startswith("record 3: it is missing (expected 5 records")
    fork = stored[:2] + [(i, leaf, h) for i, leaf, h in entries([row(n) for n in range(5)]) if i >= 2]
    (found,) = findings(fork, [note(fork[:2]), note(fork)], [note(stored[:2]), kept])
    assert found.startswith("record 2: it is not what was in a checkpoint kept elsewhere (it, or one up to record 4)")


def test_no_key_is_no_verification():
    with pytest.raises(BadInput, match="no verifier key"):
        LogVerifier([])


def test_the_verifier_needs_nothing_but_the_ledger():
    script = (
        "import sys, readingroom_hub.ledger.verify;"
        "print(sorted(m for m in sys.modules if m.startswith('readingroom_hub.') and '.ledger' not in m),"
        "'apsw' in sys.modules, 'sqlalchemy' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "['readingroom_hub.errors'] False False"
