"""What the mount daemon is compared with: gocryptfs, file systems that do nothing, the same daemon without an audit
record."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.mount_process import MountProcess

from readingroom_hub.adapters.mounts_socket import SocketMounts

_UNAUDITED = """
import sys
from readingroom_hub import compose
from readingroom_hub.config import load
from readingroom_hub.model.audit import Receipt
from readingroom_hub.mount.service import serve
class Nothing:
    def append(self, records): return [Receipt(0, b"")] * len(records)
    def post(self, record): pass
    def check(self): pass
    def flush(self): pass
compose.audit = lambda settings, process: Nothing()
serve(load())
"""


@contextlib.contextmanager
def gocryptfs(folder: Path) -> Iterator[Path]:
    """A fresh gocryptfs mount."""
    cipher, plain, password = folder / "cipher", folder / "gocryptfs", folder / "password"
    cipher.mkdir()
    plain.mkdir()
    password.write_text("benchmark\n")
    base = ["gocryptfs", "-q", "-passfile", str(password)]
    subprocess.run([*base, "-init", "-scryptn", "10", str(cipher)], check=True)
    subprocess.run([*base, str(cipher), str(plain)], check=True)
    try:
        yield plain
    finally:
        subprocess.run(["fusermount3", "-u", "-z", str(plain)], check=True)


@contextlib.contextmanager
def bindfs(folder: Path, shown: Path) -> Iterator[Path]:
    """A folder that shows `shown` through FUSE, in C, with the kernel's cache kept as we keep it."""
    point = folder / "bindfs"
    point.mkdir()
    options = "ro,kernel_cache,entry_timeout=86400,attr_timeout=86400"
    subprocess.run(["bindfs", "-o", options, str(shown), str(point)], check=True)
    try:
        yield point
    finally:
        subprocess.run(["fusermount3", "-u", "-z", str(point)], check=True)


@contextlib.contextmanager
def bare(folder: Path, sizes: dict[str, int]) -> Iterator[Path]:
    """A folder with files of these names and sizes, from `mount_bare`."""
    point = folder / "bare"
    point.mkdir()
    argv = [sys.executable, str(Path(__file__).with_name("mount_bare.py")), str(point)]
    argv += [f"{name}={size}" for name, size in sizes.items()]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        if process.stdin is None or process.stdout is None or not process.stdout.readline():
            raise SystemExit("the bare file system did not start")
        try:
            yield point
        finally:
            process.stdin.close()


@contextlib.contextmanager
def unaudited(room: MountProcess) -> Iterator[None]:
    """The daemon of `room` with an audit record repository that does nothing, for the time of the block."""
    room.stop()
    with subprocess.Popen([sys.executable, "-W", "ignore", "-c", _UNAUDITED], env=room.settings.to_environ()) as daemon:
        try:
            mounts = SocketMounts(room.settings.paths.mount_socket)
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline:
                with contextlib.suppress(Exception):
                    mounts.status()
                    break
                time.sleep(0.05)
            yield
        finally:
            daemon.terminate()
            daemon.wait(20)
    room.start()
