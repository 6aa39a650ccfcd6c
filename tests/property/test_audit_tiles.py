"""Tiles, read by a reader of C2SP tlog-tiles that knows RFC 6962 and nothing of ours."""

import base64
import contextlib
import struct
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.audit_process import audit_process
from typer.testing import CliRunner

from readingroom_hub.adapters import audit_tiles
from readingroom_hub.adapters.audit_log import AuditLog
from readingroom_hub.adapters.audit_tiles import export, tile_path, write_tiles
from readingroom_hub.cli.audit import app
from readingroom_hub.errors import BadInput, IntegrityError, StoreUnavailable
from readingroom_hub.ledger.merkle import leaf_hash, root_of
from readingroom_hub.ledger.note import Checkpoint, Signer
from readingroom_hub.ledger.seal import Sealed
from readingroom_hub.ledger.verify import Entry
from readingroom_hub.model.audit import AuditEvent, AuditRecord

SIGNER = Signer("host/log", Ed25519PrivateKey.from_private_bytes(b"1" * 32))
LEAVES = [b"leaf %d" % n for n in range(70_000)]
HASHES = [leaf_hash(leaf) for leaf in LEAVES]


class View:
    """The first `size` of LEAVES as a log; `cosigned_size`: what witnesses have seen."""

    def __init__(self, size, cosigned_size=None):
        self.size, self.cosigned_size = size, cosigned_size

    def leaves(self, start=0):
        return (Entry(n, LEAVES[n], HASHES[n]) for n in range(start, self.size))

    def _note(self, size):
        body = Checkpoint("host/log", size, root_of(HASHES[:size])).body()
        return f"{body}\n{SIGNER.sign(body)}"

    def newest(self):
        return self._note(self.size) if self.size else None

    def cosigned(self):
        return self._note(self.cosigned_size) if self.cosigned_size else None


# --- the independent reader: paths, tiles and tree from the words of the specifications ---


def mth(hashes):
    """RFC 6962 2.1, over leaf hashes."""
    if len(hashes) == 1:
        return hashes[0]
    k = 1
    while k * 2 < len(hashes):
        k *= 2
    return sha256(b"\x01" + mth(hashes[:k]) + mth(hashes[k:])).digest()


def name(index):
    """1234067 is x001/x234/067."""
    digits = str(index).zfill(-(-len(str(index)) // 3) * 3)
    groups = [digits[i : i + 3] for i in range(0, len(digits), 3)]
    return "/".join([*("x" + g for g in groups[:-1]), groups[-1]])


def expected(size):
    """Every tile that a tree of this size has: path to (level, index, width)."""
    tiles, level = {}, 0
    while size >> 8 * level:
        count = size >> 8 * level
        for index in range(count // 256):
            tiles[f"tile/{level}/{name(index)}"] = (level, index, 256)
        if count % 256:
            tiles[f"tile/{level}/{name(count // 256)}.p/{count % 256}"] = (level, count // 256, count % 256)
        level += 1
    return tiles


def read(folder, leaves=LEAVES):
    """The size of what is published; every hash of every tile is computed anew from the entries."""
    origin, size, root = (folder / "checkpoint").read_text().split("\n")[:3]
    size, tiles = int(size), expected(int(size))
    entries = []
    for path, (level, _, width) in tiles.items():
        if level == 0:
            data, count = (folder / path.replace("tile/0/", "tile/entries/")).read_bytes(), 0
            while data:
                (length,) = struct.unpack(">H", data[:2])
                entries.append(data[2 : 2 + length])
                data, count = data[2 + length :], count + 1
            assert count == width
    assert leaves is None or entries == leaves[:size]
    hashes = [sha256(b"\x00" + e).digest() for e in entries]
    for path, (level, index, width) in tiles.items():
        data, span = (folder / path).read_bytes(), 256**level
        places = range(index * 256, index * 256 + width)
        assert data == b"".join(mth(hashes[p * span : (p + 1) * span]) for p in places), path
    assert mth(hashes) == base64.b64decode(root)
    assert origin == "host/log" or leaves is None
    return size


def files(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_paths_are_the_specification_s():
    assert tile_path(0, 1234067) == "tile/0/x001/x234/067"
    assert tile_path("entries", 273, 112) == "tile/entries/273.p/112"
    for index in (0, 9, 999, 1000, 1001, 999_999, 10**6, 1_002_003_004):
        assert tile_path(3, index) == f"tile/3/{name(index)}"


def test_the_example_of_the_specification(tmp_path):
    """70,000: 273 full and one of 112 on level 0, one full and one of 17 on level 1, one of 1 on level 2."""
    assert export(View(70_000), tmp_path) == (0, 70_000)
    assert read(tmp_path) == 70_000
    found = files(tmp_path)
    assert found.keys() - {"checkpoint"} == expected(70_000).keys() | {
        p.replace("tile/0/", "tile/entries/") for p in expected(70_000) if p.startswith("tile/0/")
    }
    assert {p for p in found if ".p/" in p} == {
        "tile/0/273.p/112",
        "tile/entries/273.p/112",
        "tile/1/001.p/17",
        "tile/2/000.p/1",
    }


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.one_of(st.integers(1, 1500), st.sampled_from([255, 256, 257, 512])), min_size=1, max_size=4))
def test_what_is_continued_is_what_is_written_at_once(tmp_path_factory, sizes):
    folder, whole = tmp_path_factory.mktemp("grown"), tmp_path_factory.mktemp("whole")
    for size in sorted(sizes):
        export(View(size), folder)
        assert read(folder) == size
    export(View(max(sizes)), whole)
    grown, once = files(folder), files(whole)
    assert once.items() <= grown.items()
    assert all(".p/" in path for path in grown.keys() - once.keys())


def test_a_crash_at_any_file_leaves_the_old_log_whole_and_the_next_run_goes_on(tmp_path, monkeypatch):
    real, left = audit_tiles.whole_file, [0]

    @contextlib.contextmanager
    def dying(target):
        if not left[0]:
            raise StoreUnavailable("the power went")
        left[0] -= 1
        with real(target) as file:
            yield file

    monkeypatch.setattr(audit_tiles, "whole_file", dying)
    left[0] = 99
    export(View(300), tmp_path)
    tries = 0
    while True:
        left[0] = tries
        try:
            export(View(900), tmp_path)
            break
        except StoreUnavailable:
            assert read(tmp_path) == 300
            tries += 1
    assert tries == 8  # three tiles with their entries, one of the level above, the checkpoint
    assert read(tmp_path) == 900


def test_what_witnesses_saw_is_published_and_nothing_is_taken_back(tmp_path):
    assert export(View(500, 400), tmp_path) == (0, 400)
    assert export(View(600), tmp_path) == (400, 600)
    assert export(View(700, 500), tmp_path) == (600, 700)
    with pytest.raises(IntegrityError, match="holds 700 records of host/log, the log 650"):
        export(View(650), tmp_path)
    assert read(tmp_path) == 700
    with pytest.raises(BadInput, match="empty"):
        export(View(0), tmp_path)


def test_files_of_another_log_are_never_continued(tmp_path):
    export(View(300), tmp_path)
    tile = tmp_path / "tile/0/000"
    tile.write_bytes(b"x" * 32 + tile.read_bytes()[32:])
    before = (tmp_path / "checkpoint").read_bytes()
    with pytest.raises(IntegrityError, match="not those of this log"):
        export(View(600), tmp_path)
    assert (tmp_path / "checkpoint").read_bytes() == before


def test_an_edited_leaf_is_not_published(tmp_path):
    (tmp_path / "log").mkdir()
    log = AuditLog(tmp_path / "log", SIGNER)
    log.append([Sealed(b"a", b"s", b"{}"), Sealed(b"b", b"s", b"{}")])
    connection = log._connection
    connection.execute("DROP TRIGGER entry_no_update; UPDATE entry SET leaf = x'00' WHERE idx = 1").fetchall()
    with pytest.raises(IntegrityError, match="audit record 1 was changed"):
        write_tiles(tmp_path / "log", tmp_path / "out")
    log.close()
    assert not (tmp_path / "out" / "checkpoint").exists()


def test_the_command_line_publishes_no_contents(tmp_path):
    with audit_process() as (server, client):
        client.append([AuditRecord(AuditEvent.READ_INTENT, subject={"series": "9.8.7.6"})])
        env = {"READINGROOM_STATE": str(server.paths.state)}
        for number in (1, 2):
            done = CliRunner().invoke(app, ["tiles", str(tmp_path / "t")], env=env)
            assert done.exit_code == 0, done.output
            assert read(tmp_path / "t", leaves=None) >= 2 + number
        everything = b"".join(files(tmp_path / "t").values())
        assert b'"payload":' in everything
        assert b"9.8.7.6" not in everything
        assert b"read-intent" not in everything
