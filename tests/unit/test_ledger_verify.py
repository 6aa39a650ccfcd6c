"""The verifier of a log, fed with values: no file, no server."""

import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from readingroom_hub.errors import BadInput
from readingroom_hub.ledger.canonical import from_leaf
from readingroom_hub.ledger.leaf import scope_key
from readingroom_hub.ledger.merkle import leaf_hash, root_of
from readingroom_hub.ledger.note import Checkpoint, Signer
from readingroom_hub.ledger.policy import Policy
from readingroom_hub.ledger.seal import Sealer, to_leaf
from readingroom_hub.ledger.verify import Entry, LogVerifier, Scope
from readingroom_hub.model.audit import AuditEvent, AuditRecord

SIGNER = Signer("host/log/1", Ed25519PrivateKey.from_private_bytes(b"1" * 32))
SEALER = Sealer(b"3" * 32)
WITNESS = Signer("witness/1", MLDSA44PrivateKey.from_seed_bytes(b"2" * 32))


def row(seq, epoch="e", **changes):
    source = {"process": "mount", "epoch": epoch, "seq": seq}
    return AuditRecord(AuditEvent.INSTANCE_OPENED).to_wire() | {"source": source} | changes


def entries(rows):
    sealed = [SEALER.seal(r) for r in rows]
    return [Entry(i, s.leaf, leaf_hash(s.leaf), s.salt, s.record) for i, s in enumerate(sealed)]


def note(stored, *signers):
    body = Checkpoint("host/log/1", len(stored), root_of([e.hash for e in stored])).body()
    return body + "\n" + "".join(s.sign(body, 1) for s in signers or (SIGNER,))


def findings(stored, notes=None, prior=(), vkeys=(SIGNER.vkey,)):
    verifier = LogVerifier(Policy.of_keys(vkeys))
    return [str(f) for f in verifier.findings(stored, [note(stored)] if notes is None else notes, prior)]


def test_a_whole_log_has_no_findings_and_gives_its_root():
    stored = entries([row(i) for i in range(9)])
    verifier = LogVerifier(Policy.of_keys([SIGNER.vkey]))
    assert list(verifier.findings(stored, [note(stored[:n]) for n in (1, 4, 9)])) == []
    assert (verifier.size, verifier.root) == (9, root_of([e.hash for e in stored]))


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
    "bad",
    [
        row(0, v=2),
        row(0, time="yesterday"),
        row(0, time="2031-01-01T00:00:00+01:00"),
        row(0, subject="x"),
        row(0, person=1),
        row(-1),
        row(True),
        row(0, source="me"),
        row(0, event="record-purged"),
    ],
)
def test_a_malformed_record_is_found(bad):
    assert findings(entries([bad]))[0].startswith("record 0: it is malformed")


GOOD = from_leaf(SEALER.seal(row(0)).leaf)


@pytest.mark.parametrize(
    "leaf",
    [
        b"",
        b"{}",
        b"not json",
        to_leaf(GOOD) + b" ",
        to_leaf(GOOD | {"v": 2}),
        to_leaf(GOOD | {"time": "yesterday"}),
        to_leaf(GOOD | {"class": "none"}),
        to_leaf(GOOD | {"payload": "AB" * 32}),
        to_leaf(GOOD | {"tags": GOOD["tags"][:2]}),
        to_leaf(GOOD | {"tags": ["x", "y", "z"]}),
        to_leaf(GOOD | {"source": "me"}),
        to_leaf({k: v for k, v in GOOD.items() if k != "id"}),
    ],
)
def test_a_malformed_leaf_is_found(leaf):
    (good,) = entries([row(0)])
    found = findings([good._replace(leaf=leaf, hash=leaf_hash(leaf))])
    assert found[0].startswith("record 0: it is malformed")


def test_a_leaf_that_says_another_id_than_its_contents_is_found():
    one, two = row(0), row(1)
    (first,) = entries([one])
    sealed = SEALER.seal(two)
    lying = to_leaf(from_leaf(sealed.leaf) | {"id": one["id"]})
    found = findings([first._replace(leaf=lying, hash=leaf_hash(lying), salt=sealed.salt, record=sealed.record)])
    assert "another id, time or source" in found[0]


def test_contents_that_are_not_the_leaf_s_are_found():
    stored = entries([row(0), row(1)])
    notes = [note(stored)]
    stored[1] = stored[1]._replace(record=stored[1].record.replace(b"success", b"failure"))
    assert findings(stored, notes)[0].startswith("record 1: its contents were changed")


def purge(seq, first, end, before, **more):
    subject = {"class": "access", "from": first, "to": end, "before": before, "count": end - first}
    return row(seq, event="record-purged", subject=subject | more)


@pytest.mark.parametrize(
    ("purged", "explained"),
    [
        (purge(4, 1, 3, "2999-01-01T00:00:00Z"), True),
        (purge(4, 0, 4, "2999-01-01T00:00:00Z"), True),
        (purge(4, 1, 2, "2999-01-01T00:00:00Z"), False),
        (purge(4, 1, 3, "2000-01-01T00:00:00Z"), False),
        (purge(4, 1, 9, "2999-01-01T00:00:00Z"), False),
        (row(4), False),
    ],
)
def test_contents_may_be_missing_under_a_purge_record_only(purged, explained):
    stored = entries([row(i) for i in range(4)] + [purged])
    stored[1:3] = [e._replace(salt=None, record=None) for e in stored[1:3]]
    found = findings(stored)
    if explained:
        assert found == []
    else:
        assert found[0].startswith("record 1: its contents are missing (it, and those up to record 2)")


def test_what_is_kept_for_ever_cannot_be_purged():
    stored = entries([row(0, event="grant-issued"), purge(1, 0, 1, "2999-01-01T00:00:00Z")])
    stored[0] = stored[0]._replace(salt=None, record=None)
    assert findings(stored)[0].startswith("record 0: its contents are missing")


def test_wrong_tags_are_found_with_the_tag_secret():
    stored = entries([row(0, project="lung")])
    for secret, expected in ((b"3" * 32, []), (b"4" * 32, ["record 0: it is malformed"])):
        verifier = LogVerifier(Policy.of_keys([SIGNER.vkey]), scope=Scope(secret=secret))
        assert [str(f)[:25] for f in verifier.findings(stored, [note(stored)])] == expected


GOLDEN_LEAF = (
    '{"class":"access","id":"01890a5d-ac96-774b-bcce-b302099a8057","payload":"ab92d6d4ae6dd84480b7be9d7df'
    '0839854a3585570116d164378905466e66ca6","source":{"epoch":"e","process":"mount","seq":7},"tags":["101'
    '112131415161718191a1b1c1d1e1f","6b3148cf39b0711b7b1c2841847fb9c1","303132333435363738393a3b3c3d3e3f"'
    '],"time":"2027-03-31T12:00:00.000000Z","v":1}'
)
GOLDEN_HASH = "b634ac9360b25a264777a38059b77b94fdafd1da5b7d272298a5dc3a751e9242"
GOLDEN_KEY = "6646c7c9e29e7dfe37becd65593a695808a4d56427a15ac2d575a9b3c4a8b96e"


def test_the_leaf_format_is_frozen():
    """Golden: a change of these bytes makes every stored log unverifiable."""
    noise = bytes(range(64))
    stored = row(7, id="01890a5d-ac96-774b-bcce-b302099a8057", time="2027-03-31T12:00:00.000000Z", project="lung")
    sealed = Sealer(b"3" * 32, lambda n: noise[:n]).seal(stored)
    assert sealed.leaf.decode() == GOLDEN_LEAF
    assert leaf_hash(sealed.leaf).hex() == GOLDEN_HASH
    assert scope_key(b"3" * 32, "project", "lung").hex() == GOLDEN_KEY


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
    fork = stored[:2] + entries([row(n) for n in range(5)])[2:]
    (found,) = findings(fork, [note(fork[:2]), note(fork)], [note(stored[:2]), kept])
    assert found.startswith("record 2: it is not what was in a checkpoint kept elsewhere (it, or one up to record 4)")


def test_no_key_is_no_verification():
    with pytest.raises(BadInput, match="no verifier key"):
        Policy.of_keys([])


def test_the_verifier_needs_nothing_but_the_ledger():
    script = (
        "import sys, readingroom_hub.ledger.verify;"
        "print(sorted(m for m in sys.modules if m.startswith('readingroom_hub.') and '.ledger' not in m),"
        "'apsw' in sys.modules, 'sqlalchemy' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "['readingroom_hub.errors'] False False"
