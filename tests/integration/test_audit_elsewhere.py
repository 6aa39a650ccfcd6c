"""Other people's programs read what the log publishes: aics-tlog its tiles, aics-witness cosigns it (Python 3.12)."""

import contextlib
import shutil
import signal
import subprocess
import sys
import time

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.support.ports import free_ports

from readingroom_hub.adapters.audit_log import AuditLog
from readingroom_hub.adapters.audit_tiles import write_tiles
from readingroom_hub.adapters.audit_witnessing import Witnessing
from readingroom_hub.ledger.note import Signer
from readingroom_hub.ledger.policy import Policy
from readingroom_hub.ledger.seal import Sealer
from readingroom_hub.model.audit import AuditEvent, AuditRecord

pytestmark = pytest.mark.skipif(sys.version_info < (3, 12), reason="aics-tlog and aics-witness need Python 3.12")
SIGNER = Signer("host/log", Ed25519PrivateKey.from_private_bytes(b"1" * 32))
SEALER = Sealer(b"s" * 32)


def grow(folder, count):
    """Add so many records; returns the new size."""
    with contextlib.closing(AuditLog(folder, SIGNER)) as log:
        source = {"process": "mount", "epoch": "e"}
        numbers = range(log.size, log.size + count)
        rows = [AuditRecord(AuditEvent.READ_INTENT).to_wire() | {"source": source | {"seq": n}} for n in numbers]
        log.append([SEALER.seal(row) for row in rows])
        return log.size


@pytest.fixture
def published(tmp_path):
    """Log and tiles, exported at two sizes; the checkpoint of the first."""
    log, tiles = tmp_path / "log", tmp_path / "tiles"
    log.mkdir()
    grow(log, 300)
    write_tiles(log, tiles)
    first = (tiles / "checkpoint").read_text()
    grow(log, 700)
    write_tiles(log, tiles)
    return log, tiles, first


def state(note):
    """The checkpoint, after its signature was checked with the published key."""
    import aics_tlog

    note = aics_tlog.parse_note(note)
    found = aics_tlog.verify_checkpoint(note, aics_tlog.parse_vkey(str(SIGNER.vkey)), expected_origin="host/log")
    assert found.log_ok, found
    return aics_tlog.parse_checkpoint(note.text)


def test_tiles_are_whole_and_only_grew(published):
    import aics_tlog

    log, tiles, first = published
    old, new = state(first), state((tiles / "checkpoint").read_text())
    reader = aics_tlog.FileSystemTileReader(tiles)
    report = aics_tlog.audit_tiles(reader, new.size, new.root)
    assert (old.size, report.size, report.bundles) == (300, 1000, 4)
    proof = aics_tlog.consistency_proof_from_tiles(reader, old.size, new.size)
    assert aics_tlog.verify_consistency(old.size, new.size, old.root, new.root, proof)
    with contextlib.closing(AuditLog(log, SIGNER).view()) as view:
        leaves = [entry.leaf for entry in view.entries()]
    checked = aics_tlog.VerifiedTileReader(reader, new.size, new.root)
    for index in (0, 255, 256, 999):
        assert checked.entry(index) == leaves[index]
        path = aics_tlog.inclusion_proof_from_tiles(reader, index, new.size)
        assert aics_tlog.verify_leaf_inclusion(leaves[index], index, new.size, path, new.root)


@pytest.mark.parametrize("name", ["tile/0/000", "tile/0/003.p/232", "tile/1/000.p/3", "tile/entries/001"])
def test_a_changed_tile_is_found(published, tmp_path, name):
    import aics_tlog

    tiles = shutil.copytree(published[1], tmp_path / "changed")
    new = state((tiles / "checkpoint").read_text())
    data = bytearray((tiles / name).read_bytes())
    data[-1] ^= 1
    (tiles / name).write_bytes(data)
    with pytest.raises(aics_tlog.TileVerificationError):
        aics_tlog.audit_tiles(aics_tlog.FileSystemTileReader(tiles), new.size, new.root)


@pytest.fixture
def witness(tmp_path):
    """aics-witness, running; its line for a policy."""
    config, port = tmp_path / "witness.json", free_ports(1)
    program = [sys.executable, "-m", "aics_witness"]

    def run(*arguments):
        argv = [*program, arguments[0], "--config", str(config), *arguments[1:]]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout

    vkey = next(w for w in run("init", "--name", "w.example/1").split() if w.startswith("w.example/1+"))
    run("add-log", "--origin", "host/log", "--vkey", str(SIGNER.vkey))
    serve = [*program, "serve", "--config", str(config), "--listen", f"127.0.0.1:{port}"]
    with subprocess.Popen(serve, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as running:
        try:
            yield f"witness w {vkey} http://127.0.0.1:{port}"
        finally:
            running.send_signal(signal.SIGTERM)


def rounds(witnessing, folder):
    """One round; again while the witness still starts."""
    deadline = time.monotonic() + 20
    while True:
        with contextlib.closing(AuditLog(folder, SIGNER)) as log, contextlib.closing(log.view()) as view:
            done = witnessing.round(view)
        if not any("cannot be reached" in t or "refused" in t for t in done.troubles) or time.monotonic() > deadline:
            return done


def test_a_foreign_witness_cosigns_what_grows_and_nothing_else(witness, tmp_path):
    policy = Policy.parse(f"log {SIGNER.vkey}\n{witness}\nquorum w\n")
    witnessing = Witnessing(policy, 60.0)
    log = tmp_path / "log"
    log.mkdir()
    for count in (5, 300, 1):
        grow(log, count)
        done = rounds(witnessing, log)
        assert done.met, done.troubles
    shutil.rmtree(log)
    log.mkdir()
    grow(log, 400)  # another history under the same key
    done = rounds(witnessing, log)
    assert not done.met
    assert "was rewritten" in done.troubles[0] or "422" in done.troubles[0]
