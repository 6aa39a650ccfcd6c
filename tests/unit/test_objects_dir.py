import os
import signal
import subprocess
import sys

import pytest
from tests.contract.object_store import ObjectStoreContract

from readingroom_hub.adapters.objects_dir import DirectoryObjectStore
from readingroom_hub.errors import NotFound, StoreUnavailable


class TestDirectoryObjectStore(ObjectStoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        return DirectoryObjectStore(tmp_path / "objects")


def test_objects_are_the_owners_only(tmp_path):
    store = DirectoryObjectStore(tmp_path / "objects")
    store.put("k/ab/x", b"")
    modes = [p.stat().st_mode & 0o077 for p in (tmp_path / "objects").rglob("*")]
    assert len(modes) == 3
    assert not any(modes)


def test_a_symlink_in_the_store_is_not_followed(tmp_path):
    (tmp_path / "secret").write_bytes(b"secret")
    store = DirectoryObjectStore(tmp_path / "objects")
    store.put("k/x", b"")
    (tmp_path / "objects/k/link").symlink_to(tmp_path / "secret")
    with pytest.raises((NotFound, StoreUnavailable)):
        store.read("k/link")


_FULL = """
import resource, signal, sys
from pathlib import Path
from readingroom_hub.adapters.objects_dir import DirectoryObjectStore
from readingroom_hub.errors import StoreUnavailable
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    DirectoryObjectStore(Path(sys.argv[1])).put("k/ab/big", bytes(1_000_000))
except StoreUnavailable as error:
    print(error)
"""


def test_a_full_disk_leaves_nothing_half_written(tmp_path):
    """A file size limit stops the write in the middle, as a full disk does, whoever runs the test."""
    done = subprocess.run([sys.executable, "-c", _FULL, str(tmp_path)], capture_output=True, text=True, check=True)
    assert "k/ab/big" in done.stdout
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


_LOOP = """
import os, sys
from pathlib import Path
from readingroom_hub.adapters.objects_dir import DirectoryObjectStore
store = DirectoryObjectStore(Path(sys.argv[1]))
for n in range(100000):
    store.put(f"k/{n}", bytes([n % 256]) * 300_000)
    os.write(1, b"x")
"""


def test_a_killed_writer_leaves_whole_objects_only(tmp_path):
    with subprocess.Popen([sys.executable, "-c", _LOOP, str(tmp_path)], stdout=subprocess.PIPE) as writer:
        assert len(os.read(writer.stdout.fileno(), 1)) == 1
        while len(list(tmp_path.glob("k/*"))) < 20:
            assert writer.poll() is None
        writer.send_signal(signal.SIGKILL)
    store = DirectoryObjectStore(tmp_path)
    names = list(store.names("k"))
    assert len(names) >= 19
    for name in names:
        assert store.read(name) == bytes([int(name[2:]) % 256]) * 300_000
    store.delete("k")
    assert list(tmp_path.iterdir()) == []
