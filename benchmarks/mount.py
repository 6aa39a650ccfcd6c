"""How fast a session reads, beside gocryptfs and beside plain files on the same disk.

    python benchmarks/mount.py [--json FILE] [--rounds N] [--only ROW[,ROW]]

Rows: sessions, series-1000-cold, series-1000-warm, object-512mb-cold, object-512mb-warm, audit, volume, open.

Real parts: mount daemon, audit record repository, SQL catalogue, object directory, each in its place. Per round every
side runs once, in turn; figures are medians. Cold runs drop the page cache first, which needs root; gocryptfs is the
Debian package of that name. `bindfs` (also a Debian package) passes the plain files through FUSE in C, and `bare-fuse`
answers the kernel as we do and does nothing else: no file system in user space is faster than these two.
`ratio` says how many times better ours is."""

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.mount_peers import bare, bindfs, gocryptfs, unaudited
from tests.support.dicom_series import ct, write_series
from tests.support.mount_process import MountProcess, mount_process
from tests.support.mount_world import Published, make_instances

from readingroom_hub.model.dataset import Instance
from readingroom_hub.model.ids import UID, ProjectId
from readingroom_hub.mount import mounting

ROWS = (
    "sessions", "series-1000-cold", "series-1000-warm", "object-512mb-cold", "object-512mb-warm", "audit", "volume",
    "open",
)  # fmt: skip
_AS_ROOT = frozenset(r for r in ROWS if r.endswith("cold")) | {"audit", "volume"}
FILES, FILE_SIZE = 1000, 526_336
OBJECT_SIZE = 512 << 20


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
        files[0].stat()  # a daemon that has just started reads the manifest at first sight
        drop_caches()
        on.append(read_files(files))
        with unaudited(room):
            files[0].stat()
            drop_caches()
            off.append(read_files(files))
    per = [statistics.median(t) / FILES * 1000 for t in (on, off)]
    return row("audit-on-vs-off", "ms/file", per[0], per[1], "no audit", "less")


def _each(work: Callable[[Sequence[Path]], float], shares: Sequence[Sequence[Path]]) -> float:
    """Seconds until each share was read, all at once."""
    with ThreadPoolExecutor(len(shares)) as pool:
        start = time.perf_counter()
        list(pool.map(work, shares))
    return time.perf_counter() - start


def sessions_rows(room: MountProcess, project: ProjectId, names: Sequence[str], rounds: int) -> list[dict[str, Any]]:
    """All files of the series, shared out among 1, 8 and 32 new sessions that read at once; total throughput."""
    counts = (1, 8, 32)
    times: dict[int, list[float]] = {n: [] for n in counts}
    for _ in range(rounds):
        for n in counts:
            sessions = [room.session(project) for _ in range(n)]
            folders = [room.mounts.attach(s.id) / "data" / "series" for s in sessions]
            shares = [[f / p for p in names[i::n]] for i, f in enumerate(folders)]
            if os.geteuid() == 0:
                drop_caches()
            times[n].append(_each(read_files, shares))
            for s in sessions:
                room.mounts.detach(s.id)
    speed = {n: len(names) * FILE_SIZE / statistics.median(t) / 1e6 for n, t in times.items()}
    return [
        row(f"throughput-{n}-sessions-vs-1", "MB/s", speed[n], speed[1], "1 session", "more") for n in counts if n > 1
    ]


def open_row(room: MountProcess, project: ProjectId, instances: int, rounds: int) -> dict[str, Any]:
    """Open and close a small file in versions of 1,000 and of `instances` instances; `ratio` is large/small."""
    times = {}
    for name, count, seed in (("small", 1000, 11), ("large", instances, 12)):
        made = make_instances([[512] * 200], seed)
        rest = (replace(made[0][0], series=UID(f"2.25.{seed}.9.{i // 500}"), instance=UID(f"2.25.{seed}.9.{i}.1"))
                for i in range(count - len(made)))  # fmt: skip
        published = room.publish_made(project, name, made, rest)
        room.grant(project, published.version)
        data = room.mounts.attach(room.session(project).id) / "data" / name
        paths = [data / p for p in published.plain]
        times[name] = statistics.median(_opens(paths) for _ in range(rounds + 1)) * 1e6
    found = row("open-cost-1e6-vs-1e3-instances", "us/open", times["large"], times["small"], f"{instances} to 1000", "")
    return found | {"ratio": round(times["large"] / times["small"], 2)}


def _opens(paths: Sequence[Path]) -> float:
    """Median seconds of one open and close."""
    found = []
    for path in paths:
        start = time.perf_counter()
        os.close(os.open(path, os.O_RDONLY))
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def volume_rows(room: MountProcess, project: ProjectId, folder: Path, rounds: int) -> list[dict[str, Any]]:
    """pydicom.dcmread of 300 CT slices of 512 by 512 into one array, cold; slices per second."""
    plain = folder / "plain"
    folder.mkdir()
    rng = np.random.default_rng(5)
    slices = list(ct(rng.integers(-1000, 1500, (300, 512, 512)).astype(np.int16)))
    series = write_series(plain, "volume", slices)
    made = []
    for path in sorted(series.iterdir()):
        data = path.read_bytes()
        uids = [UID(u) for u in ("1.2.3", series.name, path.stem, "1.2.840.10008.5.1.4.1.1.2")]
        made.append((Instance(*uids, "CT", 1, len(data), hashlib.sha256(data).hexdigest()), data))
    published = room.publish_made(project, "volume", made)
    room.grant(project, published.version)
    ours = room.mounts.attach(room.session(project).id) / "data" / "volume"
    names = [Path(p).name for p in published.plain]
    sides = {"ours": [ours / p for p in published.plain], "plain": [series / n for n in names]}
    with contextlib.ExitStack() as stack:
        if shutil.which("bindfs"):
            shown = stack.enter_context(bindfs(folder, series))
            sides["bindfs"] = [shown / n for n in names]
        if shutil.which("gocryptfs"):
            sealed = stack.enter_context(gocryptfs(folder))
            shutil.copytree(series, sealed, dirs_exist_ok=True)
            sides["gocryptfs"] = [sealed / n for n in names]
        seconds = compare(_volume, sides, rounds, cold=True)
    speed = {name: 300 / s for name, s in seconds.items()}
    return [
        row(f"volume-300-cold-vs-{peer}", "slices/s", speed["ours"], speed[peer], peer, "more")
        for peer in speed
        if peer != "ours"
    ]


def _volume(paths: Sequence[Path]) -> float:
    start = time.perf_counter()
    np.stack([pydicom.dcmread(path).pixel_array for path in paths])
    return time.perf_counter() - start


def _sides(
    stack: contextlib.ExitStack, folder: Path, shown: Path, made: dict[str, Published]
) -> dict[str, tuple[Callable[[Sequence[Path]], float], Sides]]:
    """Each dataset's files, as ours, plain, and as the peers show them. `shown`: our mount."""
    peers = {"plain": folder / "plain"}
    peers["plain"].mkdir()
    if shutil.which("gocryptfs"):
        peers["gocryptfs"] = stack.enter_context(gocryptfs(folder))
    else:
        print("gocryptfs is missing (Debian package gocryptfs): its rows are left out", file=sys.stderr)
    found, sizes = {}, {}
    for name, published in made.items():
        sides: Sides = {"ours": [shown / name / p for p in published.plain]}
        for peer, root in peers.items():
            (root / name).mkdir()
            sides[peer] = [root / name / Path(p).name for p in published.plain]
            for path, plain in zip(sides[peer], published.plain.values(), strict=True):
                path.write_bytes(plain)
        sizes |= {Path(p).name: len(plain) for p, plain in published.plain.items()}
        found[name] = (read_files if name == "series" else read_object, sides)
    if shutil.which("bindfs"):
        point = stack.enter_context(bindfs(folder, peers["plain"]))
        for _, sides in found.values():
            sides["bindfs"] = [point / p.relative_to(peers["plain"]) for p in sides["plain"]]
    else:
        print("bindfs is missing (Debian package bindfs): its rows are left out", file=sys.stderr)
    nothing = stack.enter_context(bare(folder, sizes))
    for _, sides in found.values():
        sides["bare-fuse"] = [nothing / p.name for p in sides["plain"]]
    return found


def measure(folder: Path, rounds: int, instances: int, only: frozenset[str]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    with contextlib.ExitStack() as stack:
        room = stack.enter_context(mount_process(folder / "state"))
        project = room.project("bench")
        made = {"series": room.publish(project, "series", [[FILE_SIZE] * FILES], seed=1)}
        if only & {"object-512mb-cold", "object-512mb-warm"}:
            made["object"] = room.publish(project, "object", [[OBJECT_SIZE]], seed=2)
        for published in made.values():
            room.grant(project, published.version)
        data = room.mounts.attach(room.session(project).id) / "data"
        names = list(made["series"].plain)
        if any(r.partition("-")[0] in {"series", "object"} for r in only):
            sides = _sides(stack, folder, data, made)
        for published in made.values():
            published.plain.clear()
        if "sessions" in only:
            rows += sessions_rows(room, project, names, rounds)
        for measured, dataset in (("series-1000", "series"), ("object-512mb", "object")):
            for state in [s for s in ("cold", "warm") if f"{measured}-{s}" in only]:
                rows += rows_of(measured, state, compare(*sides[dataset], rounds, state == "cold"))
        if "audit" in only:
            rows.append(audit_row(room, [data / "series" / p for p in names], rounds))
        if "volume" in only:
            rows += volume_rows(room, project, folder / "volume", rounds)
        if "open" in only:
            rows.append(open_row(room, project, instances, rounds))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--instances", type=int, default=1_000_000, help="of the large dataset version")
    parser.add_argument("--only", default=",".join(ROWS), metavar="ROW[,ROW]", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--folder", type=Path, help="on the disk to measure")
    options = parser.parse_args()
    only = frozenset(options.only.split(","))
    if not only <= set(ROWS):
        parser.error(f"--only: {', '.join(sorted(only - set(ROWS)))} is no row; rows are {', '.join(ROWS)}")
    if os.geteuid() and only & _AS_ROOT:
        print("only root may drop the page cache: rows that need it are left out", file=sys.stderr)
        only -= _AS_ROOT
    folder = Path(tempfile.mkdtemp(prefix="rrb-", dir=options.folder))
    try:
        rows = measure(folder, options.rounds, options.instances, only)
    finally:
        for point, _ in mounting.mount_points(folder):
            mounting.unmount(point)
        shutil.rmtree(folder)
    load = os.getloadavg()[0]
    for r in rows:
        r["load"] = round(load, 1)
        print(f"{r['measure']:40} {r['ours']:>10} {r['peer']:>10} {r['unit']:8} {r['peer_name']:10} x{r['ratio']}")
    print(f"Load at the end: {load:.1f} on {os.cpu_count()} cores. Above one and a half, something else computed too.")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
