"""How fast a session reads, beside gocryptfs and beside plain files on the same disk.

    python benchmarks/mount.py [--json FILE] [--rounds N]

Real parts: mount daemon, audit record repository, SQL catalogue, object directory, each in its place. Per round every
side runs once, in turn; figures are medians. Cold runs drop the page cache first, which needs root; gocryptfs is the
Debian package of that name. `ratio` says how many times better ours is."""

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support.mount_process import MountProcess, mount_process

from readingroom_hub.adapters.mounts_socket import SocketMounts
from readingroom_hub.mount import mounting

FILES, FILE_SIZE = 1000, 526_336
OBJECT_SIZE = 512 << 20
_UNAUDITED = """
import sys
from readingroom_hub import compose
from readingroom_hub.config import load
from readingroom_hub.model.audit import Receipt
from readingroom_hub.mount.service import serve
class Nothing:
    def append(self, records): return [Receipt(0, b"")] * len(records)
    def post(self, record): pass
    def flush(self): pass
compose.audit = lambda settings, process: Nothing()
serve(load())
"""


def drop_caches() -> None:
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


def read_files(paths: Sequence[Path]) -> float:
    """Seconds to open, read and close each file, whole."""
    buffer = bytearray(FILE_SIZE + 1)
    start = time.perf_counter()
    for path in paths:
        with path.open("rb", buffering=0) as f:
            if f.readinto(buffer) != FILE_SIZE:
                raise SystemExit(f"{path} was not read whole")
    return time.perf_counter() - start


def read_object(paths: Sequence[Path]) -> float:
    """Seconds to read one file in steps of 1 MiB."""
    buffer = bytearray(1 << 20)
    (path,) = paths
    total = 0
    start = time.perf_counter()
    with path.open("rb", buffering=0) as f:
        while n := f.readinto(buffer):
            total += n
    if total != OBJECT_SIZE:
        raise SystemExit(f"{path} was not read whole")
    return time.perf_counter() - start


Sides = dict[str, list[Path]]


def compare(work: Callable[[Sequence[Path]], float], sides: Sides, rounds: int, cold: bool) -> dict[str, float]:
    """Median seconds of each side."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    if not cold:
        for paths in sides.values():
            work(paths)
    for _ in range(rounds):
        for name, paths in sides.items():
            if cold:
                drop_caches()
            times[name].append(work(paths))
    return {name: statistics.median(t) for name, t in times.items()}


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


def row(measure: str, unit: str, ours: float, peer: float, peer_name: str, better: str) -> dict[str, Any]:
    ratio = ours / peer if better == "more" else peer / ours
    return {
        "measure": measure, "unit": unit, "ours": round(ours, 3), "peer": round(peer, 3), "peer_name": peer_name,
        "ratio": round(ratio, 2),
    }  # fmt: skip


def rows_of(name: str, state: str, seconds: dict[str, float]) -> list[dict[str, Any]]:
    made = []
    for peer in [s for s in seconds if s != "ours"]:
        measure = f"{name}-{state}-vs-{peer}"
        if name == "series-1000":
            per = {k: v / FILES * 1000 for k, v in seconds.items()}
            made.append(row(measure, "ms/file", per["ours"], per[peer], peer, "less"))
        else:
            speed = {k: OBJECT_SIZE / v / 1e6 for k, v in seconds.items()}
            made.append(row(measure, "MB/s", speed["ours"], speed[peer], peer, "more"))
    return made


def audit_row(room: MountProcess, files: list[Path], rounds: int) -> dict[str, Any]:
    """The cold series with and without audit, in turn."""
    on, off = [], []
    for _ in range(rounds):
        drop_caches()
        on.append(read_files(files))
        with unaudited(room):
            drop_caches()
            off.append(read_files(files))
    per = [statistics.median(t) / FILES * 1000 for t in (on, off)]
    return row("audit-on-vs-off", "ms/file", per[0], per[1], "no audit", "less")


def measure(folder: Path, rounds: int) -> list[dict[str, Any]]:
    with contextlib.ExitStack() as stack:
        room = stack.enter_context(mount_process(folder / "state"))
        project = room.project("bench")
        series = room.publish(project, "series", [[FILE_SIZE] * FILES], seed=1)
        large = room.publish(project, "object", [[OBJECT_SIZE]], seed=2)
        for published in (series, large):
            room.grant(project, published.version)
        data = room.mounts.attach(room.session(project).id) / "data"
        files: Sides = {"ours": [data / "series" / p for p in series.plain]}
        whole: Sides = {"ours": [data / "object" / p for p in large.plain]}
        peers = {"plain": folder / "plain"}
        (folder / "plain").mkdir()
        if shutil.which("gocryptfs"):
            peers["gocryptfs"] = stack.enter_context(gocryptfs(folder))
        else:
            print("gocryptfs is missing (Debian package gocryptfs): its rows are left out", file=sys.stderr)
        for name, peer in peers.items():
            (peer / "series").mkdir()
            for sides, published, to in ((files, series, peer / "series"), (whole, large, peer)):
                sides[name] = [to / Path(p).name for p in published.plain]
                for path, plain in zip(sides[name], published.plain.values(), strict=True):
                    path.write_bytes(plain)
        series.plain.clear()
        large.plain.clear()
        rows = []
        for name, work, sides in (("series-1000", read_files, files), ("object-512mb", read_object, whole)):
            for state in ("cold", "warm"):
                if state == "cold" and os.geteuid():
                    print("cold rows are left out: only root may drop the page cache", file=sys.stderr)
                    continue
                rows += rows_of(name, state, compare(work, sides, rounds, state == "cold"))
        if os.geteuid() == 0:
            rows.append(audit_row(room, files["ours"], rounds))
        return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="on the disk to measure")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="rrb-", dir=options.folder))
    try:
        rows = measure(folder, options.rounds)
    finally:
        for point, _ in mounting.mount_points(folder):
            mounting.unmount(point)
        shutil.rmtree(folder)
    for r in rows:
        print(f"{r['measure']:36} {r['ours']:>10} {r['peer']:>10} {r['unit']:8} {r['peer_name']:10} x{r['ratio']}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
