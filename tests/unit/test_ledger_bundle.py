"""The auditor's single file: what it proves, what it hides, and what it refuses."""

import contextlib
import io
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from readingroom_hub.adapters.audit_bundle import write_bundle
from readingroom_hub.adapters.audit_log import AuditLog, LogReader
from readingroom_hub.errors import BadInput
from readingroom_hub.ledger.bundle import MAX_LINE, Wanted, verify_bundle
from readingroom_hub.ledger.merkle import Frontier, Subtrees, leaf_hash, root_of
from readingroom_hub.ledger.note import Checkpoint, Signer
from readingroom_hub.ledger.policy import Policy
from readingroom_hub.ledger.seal import Sealer
from readingroom_hub.model.audit import AuditEvent, AuditRecord
from readingroom_hub.model.ids import PersonId, ProjectId

SECRET = b"s" * 32
SIGNER = Signer("host/log", Ed25519PrivateKey.from_private_bytes(b"1" * 32))
WITNESS = Signer("w/1", Ed25519PrivateKey.from_private_bytes(b"2" * 32), cosigner=True)
POLICY = Policy((SIGNER.vkey,))
START = datetime(2027, 3, 1, tzinfo=UTC)
ANN = PersonId("p-" + "a" * 64)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """37 records of two projects, an hour apart, in commits of 5."""
    made = tmp_path_factory.mktemp("log")
    log, sealer, waiting = AuditLog(made, SIGNER), Sealer(SECRET), []
    for i in range(37):
        subject = {"study": f"1.2.{i % 4}", "instance": f"1.2.{i % 4}.9.{i}"}
        record = AuditRecord(
            AuditEvent.INSTANCE_OPENED,
            project=ProjectId("lung-study" if i % 3 else "brain-study"),
            person=ANN if i % 2 else None,
            subject=subject,
            time=START + timedelta(hours=i),
        )
        waiting.append(sealer.seal(record.to_wire() | {"source": {"process": "mount", "epoch": "e", "seq": i}}))
        if len(waiting) == 5 or i == 36:
            log.append(waiting)
            waiting = []
    log.close()
    return made


def bundle(folder, tmp_path, **wanted):
    target = tmp_path / "bundle"
    counted = write_bundle(folder, SECRET, Wanted(**wanted), target)
    return target.read_bytes(), counted


def check(data, policy=POLICY, kept=(), now=0):
    result = verify_bundle(io.BytesIO(data), policy, now, kept)
    return result, [str(f) for f in result.findings]


LUNG = {"kind": "project", "values": ("lung-study",)}


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [
        ({}, 37),
        (LUNG, 24),
        ({"kind": "study", "values": ("1.2.1",)}, 9),
        ({"kind": "study", "values": ("1.2.1", "1.2.2")}, 18),
        ({"kind": "person", "values": (ANN,)}, 18),
        (LUNG | {"since": START + timedelta(hours=7), "until": START + timedelta(hours=20)}, 9),
    ],
)
def test_a_bundle_is_complete_and_verifies(folder, tmp_path, wanted, shown):
    data, counted = bundle(folder, tmp_path, **wanted)
    result, findings = check(data)
    assert findings == []
    assert (result.size, result.belonging, counted[0]) == (37, shown, shown)


def test_a_project_s_bundle_shows_nothing_of_another_one(folder, tmp_path):
    data, _ = bundle(folder, tmp_path, **LUNG)
    assert b"brain-study" not in data
    rows = [json.loads(line) for line in data.splitlines()]
    hidden = [r["leaf"] for r in rows if "leaf" in r and "record" not in r]
    assert len(hidden) == 13
    assert {frozenset(leaf) for leaf in hidden} == {
        frozenset({"v", "id", "time", "class", "payload", "source", "tags"})
    }
    tags = [t for leaf in hidden for t in leaf["tags"]]
    assert len(set(tags)) == len(tags)  # nothing to tell who or what occurs twice


def lines_of(data):
    return data.splitlines(keepends=True)


def places(data, key):
    return [i for i, line in enumerate(lines_of(data)) if line.startswith(key)]


def test_a_read_that_is_left_out_is_missed(folder, tmp_path):
    data, _ = bundle(folder, tmp_path, **LUNG)
    lines = lines_of(data)
    place = next(i for i, line in enumerate(lines) if b'"record"' in line)
    row = json.loads(lines[place])
    lines[place] = json.dumps({"leaf": row["leaf"]}, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    _, findings = check(b"".join(lines))
    assert findings[0].startswith(f"record {place - 1}: its contents are missing")


def test_another_key_for_a_project_is_found(folder, tmp_path):
    data, _ = bundle(folder, tmp_path, **LUNG)
    header = json.loads(lines_of(data)[0])
    real = header["scope"]["keys"][0][1]
    shown = data.replace(real.encode(), b"00" * 32)
    assert "tag does not belong to lung-study" in check(shown)[1][0]
    empty, _ = bundle(folder, tmp_path, kind="project", values=("no-such",))
    assert "no record shows that the tag key" in check(empty)[1][0]


def edit_line(data, index, change):
    lines = lines_of(data)
    lines[index] = change(lines[index])
    return b"".join(lines)


CHANGES = {
    "a record edited": lambda d: d.replace(b'"instance":"1.2.1.9.1"', b'"instance":"1.2.1.9.2"'),
    "a leaf edited": lambda d: edit_line(d, 4, lambda x: x.replace(b'"class":"access"', b'"class":"control"')),
    "a line left out": lambda d: edit_line(d, 4, lambda _: b""),
    "a line twice": lambda d: edit_line(d, 4, lambda x: x + x),
    "two lines swapped": lambda d: edit_line(edit_line(d, 4, lambda _: lines_of(d)[5]), 5, lambda _: lines_of(d)[4]),
    "the end left out": lambda d: edit_line(d, -1, lambda _: b""),
    "cut in a line": lambda d: d[:-10],
    "a line behind the end": lambda d: d + lines_of(d)[4],
    "another root": lambda d: edit_line(d, -1, lambda x: x.replace(b"\\n37\\n", b"\\n36\\n")),
    "a key twice": lambda d: edit_line(d, 4, lambda x: b'{"leaf":{},' + x[1:]),
    "a huge number": lambda d: edit_line(d, 4, lambda x: x.replace(b'"seq":3', b'"seq":1e999')),
    "NUL": lambda d: edit_line(d, 4, lambda x: x.replace(b'"mount"', b'"mount\\u0000"')),
    "no UTF-8": lambda d: edit_line(d, 4, lambda x: x.replace(b"mount", b"moun\xff")),
    "nested": lambda d: edit_line(d, 4, lambda _: b"[" * 100_000 + b"\n"),
    "a line without end": lambda d: d + b"x" * (MAX_LINE + 10),
    "too many subtrees": lambda d: edit_line(
        d, -1, lambda x: x.replace(b'"after":[]', b'"after":[' + b"[0,0]," * 500 + b"[0,0]]")
    ),
    "a level that is none": lambda d: edit_line(d, -1, lambda x: x.replace(b"[]", b'[[99,"' + b"00" * 32 + b'"]]')),
}


@pytest.mark.parametrize("how", CHANGES)
def test_a_changed_bundle_is_found(folder, tmp_path, how):
    data, _ = bundle(folder, tmp_path)
    changed = CHANGES[how](data)
    assert changed != data
    assert check(changed)[1]


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_changed_byte_is_found(bundle_once, data):
    place = data.draw(st.integers(0, len(bundle_once) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda v: v != bundle_once[place]))
    changed = bundle_once[:place] + bytes([value]) + bundle_once[place + 1 :]
    with contextlib.suppress(BadInput):
        assert check(changed)[1]


@pytest.fixture(scope="module")
def bundle_once(folder, tmp_path_factory):
    return bundle(folder, tmp_path_factory.mktemp("once"), **LUNG)[0]


@pytest.mark.parametrize("data", [b"", b"\n", b"{}\n", b'{"bundle":"readingroom-bundle/2"}\n', b"SQLite"])
def test_what_is_no_bundle_is_refused(data):
    with pytest.raises(BadInput, match="bundle"):
        check(data)


def cosigned(folder, at):
    with_reader = LogReader(folder / "log.sqlite")
    try:
        note = with_reader.newest()
    finally:
        with_reader.close()
    return note + WITNESS.sign(note.rpartition("\n\n")[0] + "\n", at)


def test_the_policy_decides_who_must_have_seen_it_and_when(folder, tmp_path):
    text = f"log {SIGNER.vkey}\nwitness w {WITNESS.vkey}\nquorum w\n#readingroom freshness 60\n"
    policy = Policy.parse(text)
    data, _ = bundle(folder, tmp_path)
    assert "too few witnesses" in check(data, policy)[1][0]
    end = json.loads(lines_of(data)[-1]) | {"checkpoint": cosigned(folder, 1000)}
    line = json.dumps(end, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
    seen = edit_line(data, -1, lambda _: line)
    assert check(seen, policy, now=1060)[1] == []
    assert "cosigned too long ago" in check(seen, policy, now=1061)[1][0]


def test_a_retired_key_signs_nothing_new(folder, tmp_path):
    name = f"{SIGNER.vkey.name}+{SIGNER.vkey.id.hex()}"
    policy = Policy.parse(f"log {SIGNER.vkey}\nquorum none\n#readingroom valid {name} 0 36\n")
    data, _ = bundle(folder, tmp_path)
    assert "signs sizes from 0 to 36, not 37" in check(data, policy)[1][0]


def test_a_checkpoint_kept_from_earlier_must_fit(folder, tmp_path):
    data, _ = bundle(folder, tmp_path)
    with_reader = LogReader(folder / "log.sqlite")
    kept = list(with_reader.checkpoints())
    with_reader.close()
    assert check(data, kept=kept)[1] == []
    body = Checkpoint("host/log", 10, b"x" * 32).body()
    forked = body + "\n" + SIGNER.sign(body)
    assert "not what was in a checkpoint kept elsewhere" in check(data, kept=[forked])[1][0]


def test_it_verifies_without_the_rest_of_the_program(folder, tmp_path):
    """Only this folder, `errors` and `cryptography`: run with everything else hidden."""
    bundle(folder, tmp_path, **LUNG)
    (tmp_path / "policy").write_text(f"log {SIGNER.vkey}\nquorum none\n")
    script = (
        "import sys, runpy;"
        "hidden = ('apsw', 'orjson', 'sqlalchemy', 'typer', 'rfc8785', 'pydicom', 'jupyterhub');"
        "sys.modules.update(dict.fromkeys(hidden));"
        "runpy.run_module('readingroom_hub.ledger', run_name='x')['main'](sys.argv[1:]);"
        "print(sorted(m.split('.')[1] for m in sys.modules if m.count('.') == 1 and m.startswith('readingroom_hub.')))"
    )
    argv = [sys.executable, "-c", script, str(tmp_path / "bundle"), "--policy", str(tmp_path / "policy")]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert "24 of them belong to project lung-study" in done.stdout, done.stderr
    assert done.stdout.splitlines()[-1] == "['errors', 'ledger']"


@given(st.integers(0, 70), st.integers(0, 70), st.integers(0, 70))
@settings(max_examples=60)
def test_subtrees_stand_for_the_leaves_that_are_not_shown(one, two, three):
    first, middle, end = sorted((one, two, three))
    hashes = [leaf_hash(bytes([i])) for i in range(end)]
    frontier, after = Frontier(), Subtrees(middle)
    for hash in hashes[:middle]:
        frontier.append(hash)
    assert len(frontier.hashes) == middle.bit_count()
    for hash in hashes[middle:]:
        after.append(hash)
    for level, hash in after.nodes:
        frontier.append_subtree(level, hash)
    assert (frontier.size, frontier.root()) == (end, root_of(hashes))
    assert len(after.nodes) <= 14
    assert first <= middle
