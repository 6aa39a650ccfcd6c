# ruff: noqa: PTH101, PTH102, PTH104, PTH106, PTH108, PTH116, PTH208, PTH211  # system calls under their own names
"""The mount daemon in this process, on a real FUSE mount: what a session sees, reads and is refused."""

import contextlib
import csv
import errno
import json
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from tests.support.mount_world import RESEARCHER, STEWARD, Published, mounted_world, read
from tests.support.mount_world import MountedWorld as Room
from tests.support.seaweed import KEYS
from tests.support.silent import SilentService

from readingroom.data import dataset
from readingroom.errors import AccessEnded, Damaged, NotNow
from readingroom.files import check_readable, reading
from readingroom_hub.adapters import aws
from readingroom_hub.adapters.objects_s3 import S3ObjectStore
from readingroom_hub.errors import Denied, NotFound, StoreUnavailable
from readingroom_hub.model.ids import SessionId
from readingroom_hub.mount.budget import Memory
from readingroom_hub.mount.clock import SteadyClock
from readingroom_hub.mount.daemon import OBEY, POLL
from readingroom_hub.mount.limits import Limits
from readingroom_hub.ports.objects import ObjectStore
from readingroom_hub.services.holds import HoldService

pytestmark = pytest.mark.fuse


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    with mounted_world(tmp_path / "state") as made:
        yield made


@pytest.fixture
def lung(room: Room) -> Published:
    return room.publish(room.project("lung"), "lung-ct")


@pytest.fixture
def data(room: Room, lung: Published) -> Path:
    room.grant(lung.version.project, lung.version)
    return room.attach(room.session(lung.version.project))


def soon(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait until it holds."""
    start = time.monotonic()
    while not condition():
        if time.monotonic() - start > seconds:
            raise AssertionError(f"not within {seconds} s")
        time.sleep(0.01)


def refused(path: Path | str, number: int) -> bool:
    try:
        read(path)
    except OSError as error:
        return error.errno == number
    return False


def withheld(fd: int) -> bool:
    try:
        os.pread(fd, 10, 0)
    except PermissionError:
        return True
    return False


def test_files_are_equal_to_their_plaintext(data: Path, lung: Published) -> None:
    for path, plain in lung.plain.items():
        assert read(data / "lung-ct" / path) == plain


def listed(published: Published) -> dict[str, int]:
    """Path below the dataset's folder -> bytes, as listing and index name them, of one series."""
    folder = "P-1%2C%20%22the%20first%22"
    found = sorted(published.manifest.instances, key=lambda i: i.number)
    return {f"{folder}/{i.study}/{i.series}/{n:04}.dcm": i.size for n, i in enumerate(found, 1)}


def test_listing_names_every_instance_with_its_size(data: Path, lung: Published) -> None:
    found = {}
    for at, _, files in os.walk(data / "lung-ct"):
        found |= {str((Path(at) / f).relative_to(data / "lung-ct")): os.stat(Path(at) / f).st_size for f in files}
    description = found.pop("dataset.json")
    assert found.pop("index.csv") == len(read(data / "lung-ct/index.csv"))
    assert found.pop("index.parquet") == len(read(data / "lung-ct/index.parquet"))
    assert found.pop("README.md") == len(read(data / "lung-ct/README.md"))
    assert found == listed(lung)
    text = read(data / "lung-ct/dataset.json")
    assert len(text) == description
    assert json.loads(text)["version"] == lung.version.digest


def test_the_index_names_every_instance_and_looking_at_it_is_on_the_record(
    room: Room, data: Path, lung: Published
) -> None:
    rows = list(csv.DictReader(read(data / "lung-ct/index.csv").decode().splitlines()))
    assert {r["path"]: int(r["bytes"]) for r in rows} == listed(lung)
    by_uid = {r["path"]: f"{r['study']}/{r['series']}/{r['instance']}.dcm" for r in rows}
    assert all(read(data / "lung-ct" / path) == lung.plain[uids] for path, uids in by_uid.items())
    assert all((data / "lung-ct" / path).samefile(data / "lung-ct" / uids) for path, uids in by_uid.items())
    assert rows[0]["patient"] == 'P-1, "the first"'
    intents = [(s.get("path"), "series" in s) for s in room.subjects("read-intent")]
    assert intents == [("index.csv", False), (None, True)], "one series, whatever its images are called"
    assert b"1 patients" in read(data / "lung-ct/README.md")


def test_the_parquet_index_holds_the_same_rows_typed_and_looking_at_it_is_on_the_record(
    room: Room, data: Path, lung: Published
) -> None:
    found = pyarrow.parquet.read_table(pa.BufferReader(read(data / "lung-ct/index.parquet"))).to_pylist()
    assert [s["path"] for s in room.subjects("read-intent")] == ["index.parquet"]
    rows = list(csv.DictReader(read(data / "lung-ct/index.csv").decode().splitlines()))
    assert [s["path"] for s in room.subjects("read-intent")] == ["index.parquet", "index.csv"]
    assert [{k: str(v) for k, v in row.items()} for row in found] == rows
    assert [row["bytes"] for row in found] == list(listed(lung).values())


def test_a_thumbnail_is_one_read_on_the_record_and_ends_with_the_grant(room: Room) -> None:
    lung = room.publish(room.project("lung"), "lung-ct", ((3000, 4000, 5000),))
    grant = room.grant(lung.version.project, lung.version)
    data = room.attach(room.session(lung.version.project))
    grid = dataset("lung-ct", data).browse(static="none").grid
    grid.check()
    assert [s.get("path") for s in room.subjects("read-intent")] == ["index.csv"], "to look costs no image"
    series = [i for i in lung.manifest.instances if i.series == grid.row(0).series]
    middle = sorted(series, key=lambda i: i.number)[len(series) // 2]
    with pytest.raises(Damaged, match=f"{middle.instance}.dcm of lung-ct"):  # it is random bytes, and no image
        grid.thumbnail(0)
    soon(lambda: room.subjects("instance-opened"))
    assert {s["instance"] for s in room.subjects("instance-opened")} == {middle.instance}

    room.revoke(grant)
    room.daemon.refresh()
    with pytest.raises(AccessEnded, match="Access to lung-ct was withdrawn"):
        grid.check()
    with pytest.raises(AccessEnded, match="Access to lung-ct was withdrawn"):
        grid.thumbnail(0)


def test_a_view_on_the_screen_learns_of_a_revocation_and_of_a_new_grant_and_costs_no_record(room: Room) -> None:
    lung = room.publish(room.project("lung"), "lung-ct", ((3000, 4000),))
    grant = room.grant(lung.version.project, lung.version)
    data = room.attach(room.session(lung.version.project))
    folder = (data / "lung-ct" / next(iter(lung.plain))).parent
    check_readable(folder, "lung-ct")
    before = len(room.audit.records)
    check_readable(folder, "lung-ct")
    assert len(room.audit.records) == before
    room.revoke(grant)
    room.daemon.refresh()
    with pytest.raises(AccessEnded, match="Access to lung-ct was withdrawn"):
        check_readable(folder, "lung-ct")
    room.grant(lung.version.project, lung.version)
    room.daemon.refresh()
    check_readable(folder, "lung-ct")


def test_a_revocation_takes_an_image_under_both_its_names(room: Room, lung: Published) -> None:
    grant = room.grant(lung.version.project, lung.version)
    folder = room.attach(room.session(lung.version.project)) / "lung-ct"
    paths = [folder / list(names)[-1] for names in (listed(lung), lung.plain)]
    opened = [path.open("rb", buffering=0) for path in paths]
    assert opened[0].read(100) == opened[1].read(100) != b""
    room.revoke(grant)
    room.daemon.refresh()
    for path, file in zip(paths, opened, strict=True):
        with file, pytest.raises(PermissionError):
            file.seek(0), file.read(100)
        assert refused(path, errno.EACCES)


def test_without_audit_nobody_looks_at_the_index(room: Room, data: Path, lung: Published) -> None:
    os.listdir(data / "lung-ct")
    room.audit.available = False
    assert refused(data / "lung-ct/index.csv", errno.EAGAIN)


def test_a_revocation_takes_an_open_index_too(room: Room, lung: Published) -> None:
    grant = room.grant(lung.version.project, lung.version)
    path = room.attach(room.session(lung.version.project)) / "lung-ct/index.csv"
    fd = os.open(path, os.O_RDONLY)
    try:
        assert os.pread(fd, 4, 0) == b"path"
        room.revoke(grant)
        room.daemon.refresh()
        with pytest.raises(PermissionError):
            os.pread(fd, 4, 0)
    finally:
        os.close(fd)


def test_a_session_opens_only_so_many_files_at_once(
    room: Room, lung: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    room.grant(lung.version.project, lung.version)
    monkeypatch.setattr(room.daemon, "_limits", Limits(open_files=2))
    data = room.attach(room.session(lung.version.project))
    path = data / "lung-ct" / next(iter(lung.plain))
    held = [os.open(path, os.O_RDONLY) for _ in range(2)]
    assert refused(path, errno.EMFILE)
    assert "holds 2 images open, which is its limit" in read(data / "README.txt").decode()
    assert room.reasons("read-denied") == ["too-many-open-files"]
    for fd in held:
        os.close(fd)
    soon(lambda: not refused(path, errno.EMFILE))


def test_a_session_reads_only_so_much_in_a_minute_and_others_go_on(
    room: Room, lung: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    room.grant(lung.version.project, lung.version)
    free = room.attach(room.session(lung.version.project))
    monkeypatch.setattr(room.daemon, "_limits", Limits(bytes_a_minute=50_000))
    data = room.attach(room.session(lung.version.project))
    path = "lung-ct/" + next(p for p, d in lung.plain.items() if len(d) == 70_000)
    assert len(read(data / path)) == 70_000  # the read that reaches the limit is still answered
    assert refused(data / path, errno.EDQUOT)
    assert "MB within a minute, its limit. Go on in" in read(data / "README.txt").decode()
    assert room.reasons("read-denied") == ["too-many-bytes"]
    assert len(read(free / path)) == 70_000
    monkeypatch.setattr("readingroom_hub.mount.limits._MINUTE", 0.0)
    assert len(read(data / path)) == 70_000


def test_plaintext_of_all_sessions_together_is_bounded_and_what_fell_out_is_read_again(room: Room) -> None:
    """Sessions that open images and read a little of each hold no more than the bound, whoever came first."""
    library = room.daemon._library
    library.memory = Memory(all_bytes=16 << 20)
    scans = room.publish(room.project("lung"), "scans", [[3 << 20] * 3 + [9 << 20]])
    room.grant(scans.version.project, scans.version)
    folders = [room.attach(room.session(scans.version.project)) / "scans" for _ in range(6)]
    with contextlib.ExitStack() as held:
        fds = {}
        for folder in folders:
            for path in scans.plain:
                fds[folder, path] = fd = os.open(folder / path, os.O_RDONLY)
                held.callback(os.close, fd)
                assert os.pread(fd, 1000, 0) == scans.plain[path][:1000]
                assert library.memory.total <= 16 << 20
        assert library.memory.total > 8 << 20
        for (_, path), fd in fds.items():
            assert os.pread(fd, 1000, 2 << 20) == scans.plain[path][2 << 20 : (2 << 20) + 1000]
            assert library.memory.total <= 16 << 20
    soon(lambda: library.memory.total == 0)


def test_a_folder_of_many_instances_is_listed_whole(room: Room) -> None:
    published = room.publish(room.project("many"), "many", [[1] * 400])
    room.grant(published.version.project, published.version)
    data = room.attach(room.session(published.version.project))
    series = data / "many" / "2.25.1.0" / "2.25.1.1"
    assert sorted(os.listdir(series)) == sorted(Path(p).name for p in published.plain)


def test_two_sessions_see_only_their_projects_grants(room: Room, lung: Published, data: Path) -> None:
    brain = room.publish(room.project("brain"), "brain-mr", seed=2)
    room.grant(brain.version.project, brain.version)
    other = room.attach(room.session(brain.version.project))
    assert sorted(os.listdir(data)) == ["README.txt", "lung-ct"]
    assert sorted(os.listdir(other)) == ["README.txt", "brain-mr"]
    assert refused(other / "lung-ct" / next(iter(lung.plain)), errno.ENOENT)
    assert refused(data / "brain-mr/dataset.json", errno.ENOENT)


def test_a_look_at_what_is_not_granted_is_on_the_record_once_and_then_counted(room: Room, data: Path) -> None:
    for _ in range(5):
        assert refused(data / "secret-ct", errno.ENOENT)
    assert refused(data / ".git", errno.ENOENT)
    assert [s["path"] for s in room.subjects("read-denied")] == ["secret-ct"]
    assert room.reasons("read-denied") == ["not-granted"]
    room.daemon.stop()
    assert [s.get("count") for s in room.subjects("read-denied")] == [None, 4]


_ATTEMPTS: dict[str, Callable[[Path, Path], object]] = {
    "write": lambda d, f: os.open(f, os.O_WRONLY),
    "update": lambda d, f: os.open(f, os.O_RDWR),
    "truncate": lambda d, f: os.truncate(f, 0),
    "unlink": lambda d, f: os.unlink(f),
    "chmod": lambda d, f: os.chmod(f, 0o666),
    "utime": lambda d, f: os.utime(f),
    "rename": lambda d, f: os.rename(f, d / "x"),
    "mkdir": lambda d, f: os.mkdir(d / "x"),
    "symlink": lambda d, f: os.symlink("/", d / "x"),
    "link": lambda d, f: os.link(f, d / "x"),
    "create": lambda d, f: os.open(d / "x", os.O_CREAT | os.O_WRONLY),
    "setxattr": lambda d, f: os.setxattr(f, "user.x", b""),
    "rmdir": lambda d, f: os.rmdir(d / "lung-ct"),
}


@pytest.mark.parametrize("attempt", _ATTEMPTS)
def test_nothing_can_be_written(data: Path, lung: Published, attempt: str) -> None:
    with pytest.raises(OSError) as caught:
        _ATTEMPTS[attempt](data, data / "lung-ct" / next(iter(lung.plain)))
    assert caught.value.errno == errno.EROFS


def test_attributes_and_odd_requests_are_answered(data: Path, lung: Published) -> None:
    path = data / "lung-ct" / next(iter(lung.plain))
    assert os.stat(path).st_mode & 0o777 == 0o444
    assert os.access(path, os.R_OK)
    with pytest.raises(OSError, match="not supported"):
        os.getxattr(path, "user.x")
    assert os.statvfs(data).f_files == lung.version.instances
    with pytest.raises(NotADirectoryError):
        os.listdir(path)


_MMAP = """
import mmap, sys, hashlib
with open(sys.argv[1], "rb") as f, mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ) as m:
    print(hashlib.sha256(m).hexdigest())
"""


def test_files_can_be_mapped(data: Path, lung: Published) -> None:
    instance = max(lung.manifest.instances, key=lambda i: i.size)
    path = data / "lung-ct" / instance.study / instance.series / f"{instance.instance}.dcm"
    done = subprocess.run([sys.executable, "-c", _MMAP, path], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout.strip() == instance.sha256


def _digests(paths: list[str]) -> list[str]:
    import hashlib

    return [hashlib.sha256(read(p)).hexdigest() for p in paths]


def test_several_processes_read_at_once(room: Room) -> None:
    published = room.publish(room.project("crowd"), "crowd", [[40_000 + i for i in range(20)], [150_000] * 10])
    room.grant(published.version.project, published.version)
    data = room.attach(room.session(published.version.project))
    paths = [str(data / "crowd" / i.study / i.series / f"{i.instance}.dcm") for i in published.manifest.instances]
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        results = pool.map_async(_digests, [paths, paths[::-1], paths], chunksize=1).get(timeout=60)
    wanted = [i.sha256 for i in published.manifest.instances]
    assert results == [wanted, wanted[::-1], wanted]
    assert len(room.subjects("instance-opened")) == 3 * len(paths)
    assert len(room.subjects("read-intent")) == 2


def test_large_objects_are_read_at_random(room: Room) -> None:
    size = (17 << 20) + 12_345
    published = room.publish(room.project("large"), "large", [[size]])
    room.grant(published.version.project, published.version)
    data = room.attach(room.session(published.version.project))
    (path, plain), *_ = published.plain.items()
    fd = os.open(data / "large" / path, os.O_RDONLY)
    try:
        rng = random.Random(3)
        places = [
            (0, 10),
            (size - 5, 100),
            (size, 1),
            ((1 << 20) - 3, 7),
            *((rng.randrange(size), rng.randrange(300_000)) for _ in range(60)),
        ]
        for offset, length in places:
            assert os.pread(fd, length, offset) == plain[offset : offset + length]
    finally:
        os.close(fd)
    assert read(data / "large" / path) == plain


def test_a_read_is_on_the_record_before_its_bytes(room: Room, data: Path, lung: Published) -> None:
    path, plain = next((p, d) for p, d in lung.plain.items() if d)
    fd = os.open(data / "lung-ct" / path, os.O_RDONLY)
    intent = room.subjects("read-intent")[0]
    opened = room.subjects("instance-opened")[0]
    assert intent["instances"] == len(lung.plain)
    assert intent["bytes"] == lung.version.size
    assert (intent["dataset"], intent["version"]) == ("lung-ct", lung.version.digest)
    assert opened["instance"] == Path(path).stem
    os.read(fd, len(plain))
    os.close(fd)
    soon(room.ends)
    end = room.ends()[0]
    assert end["bytes"] == end["size"] == len(plain)
    assert (end["intent"], end["instance"]) == (opened["intent"], opened["instance"])


def test_a_second_read_from_the_kernels_cache_is_still_a_recorded_open(room: Room, data: Path, lung: Published) -> None:
    path = data / "lung-ct" / next(p for p, d in lung.plain.items() if d)
    first = read(path)
    soon(lambda: len(room.ends()) == 1)
    assert read(path) == first
    soon(lambda: len(room.ends()) == 2)
    second = room.ends()[1]
    assert second["bytes"] == 0
    assert second["cached"] is True
    assert len(room.subjects("instance-opened")) == 2


def test_without_audit_nothing_is_opened_and_with_it_everything_is_again(
    room: Room, data: Path, lung: Published
) -> None:
    path = data / "lung-ct" / next(iter(lung.plain))
    os.listdir(path.parent)
    room.audit.available = False
    assert refused(path, errno.EAGAIN)
    assert b"audit record repository did not answer" in read(data / "README.txt")
    room.audit.available = True
    assert read(path) == lung.plain[next(iter(lung.plain))]


def test_without_audit_a_warm_file_is_refused_too(room: Room, data: Path, lung: Published) -> None:
    path = data / "lung-ct" / next(iter(lung.plain))
    read(path)
    room.audit.available = False
    assert refused(path, errno.EAGAIN)


def test_a_flipped_byte_is_an_error_and_a_security_record_and_spares_others(
    room: Room, lung: Published, data: Path
) -> None:
    bad, *others = [i for i in lung.manifest.instances if i.size]
    stored = lung.object_file(room, bad)
    raw = bytearray(stored.read_bytes())
    raw[len(raw) // 2] ^= 1
    stored.write_bytes(raw)
    folder = data / "lung-ct" / bad.study / bad.series
    assert refused(folder / f"{bad.instance}.dcm", errno.EIO)
    assert refused(folder / f"{bad.instance}.dcm", errno.EIO)
    for other in others:
        assert len(read(folder / f"{other.instance}.dcm")) == other.size
    assert [s["path"] for s in room.subjects("integrity-failure")] == [f"lung-ct/{bad.instance}"]
    assert b"is damaged and was not given out" in read(data / "README.txt")


def test_swapped_objects_are_errors(room: Room, lung: Published, data: Path) -> None:
    one, two = [i for i in lung.manifest.instances if i.size][:2]
    a, b = lung.object_file(room, one), lung.object_file(room, two)
    raw = a.read_bytes()
    a.write_bytes(b.read_bytes())
    b.write_bytes(raw)
    for i in (one, two):
        assert refused(data / "lung-ct" / i.study / i.series / f"{i.instance}.dcm", errno.EIO)
    assert len(room.subjects("integrity-failure")) == 2


def test_a_damaged_large_object_gives_no_wrong_byte(room: Room) -> None:
    published = room.publish(room.project("large"), "large", [[9 << 20]])
    room.grant(published.version.project, published.version)
    data = room.attach(room.session(published.version.project))
    (path, plain), *_ = published.plain.items()
    stored = published.object_file(room, published.manifest.instances[0])
    raw = bytearray(stored.read_bytes())
    raw[5 << 20] ^= 1
    stored.write_bytes(raw)
    fd = os.open(data / "large" / path, os.O_RDONLY)
    try:
        assert os.pread(fd, 1000, 0) == plain[:1000]
        with pytest.raises(OSError) as caught:
            os.pread(fd, 16_384, (5 << 20) - 16_384)  # tags move the flipped byte to before 5 MiB of plaintext
        assert caught.value.errno == errno.EIO
    finally:
        os.close(fd)
    assert len(room.subjects("integrity-failure")) == 1


def test_a_missing_object_is_an_error_and_a_security_record(room: Room, lung: Published, data: Path) -> None:
    i = lung.manifest.instances[0]
    lung.object_file(room, i).unlink()
    assert refused(data / "lung-ct" / i.study / i.series / f"{i.instance}.dcm", errno.EIO)
    assert len(room.subjects("integrity-failure")) == 1


def test_a_damaged_manifest_takes_only_its_dataset_away(room: Room, lung: Published, data: Path) -> None:
    other = room.publish(lung.version.project, "other-ct", seed=5)
    room.grant(lung.version.project, other.version)
    room.daemon.refresh()
    manifest = room.settings.paths.objects / lung.version.key / "manifest"
    raw = bytearray(manifest.read_bytes())
    raw[-1] ^= 1
    manifest.write_bytes(raw)
    with pytest.raises(OSError) as caught:
        os.listdir(data / "lung-ct")
    assert caught.value.errno == errno.EIO
    assert read(data / "other-ct" / next(iter(other.plain))) == next(iter(other.plain.values()))
    assert len(room.subjects("integrity-failure")) == 1


def test_revocation_reaches_open_files_cached_pages_and_names(room: Room, lung: Published) -> None:
    project = lung.version.project
    grant = room.grant(project, lung.version)
    data = room.attach(room.session(project))
    path, plain = next((p, d) for p, d in lung.plain.items() if d)
    fd = os.open(data / "lung-ct" / path, os.O_RDONLY)
    try:
        assert os.pread(fd, len(plain), 0) == plain
        room.revoke(grant)  # nobody tells the daemon: it finds out, and looks twice within a second
        assert POLL + OBEY < 1

        def withdrawn() -> bool:
            try:
                os.pread(fd, 10, 0)
            except OSError as error:
                return error.errno == errno.EACCES
            return False

        soon(withdrawn)
        assert os.listdir(data) == ["README.txt"]
        assert refused(data / "lung-ct" / path, errno.EACCES)
        assert room.daemon.status()["keys"] == 0
        assert set(room.reasons("read-denied")) == {"grant-revoked"}
        assert b"Access to lung-ct was withdrawn on" in read(data / "README.txt")
        room.grant(project, lung.version)
        room.daemon.refresh()
        assert read(data / "lung-ct" / path) == plain
        assert os.pread(fd, len(plain), 0) == plain
    finally:
        os.close(fd)


_MAPPED = """
import mmap, sys
f = open(sys.argv[1], "rb")
m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
m[0]; print("mapped", flush=True); sys.stdin.readline(); m[0]; print("still there", flush=True)
"""


def test_revocation_takes_mapped_pages(room: Room, lung: Published) -> None:
    grant = room.grant(lung.version.project, lung.version)
    data = room.attach(room.session(lung.version.project))
    path = data / "lung-ct" / next(p for p, d in lung.plain.items() if d)
    with subprocess.Popen(
        [sys.executable, "-c", _MAPPED, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "mapped\n"
        room.revoke(grant)
        room.daemon.refresh()
        out, _ = child.communicate("\n", timeout=20)
    assert out == ""
    assert child.returncode == -7  # SIGBUS


def test_a_folder_that_is_somebodys_working_directory_is_closed_too(room: Room, lung: Published) -> None:
    grant = room.grant(lung.version.project, lung.version)
    data = room.attach(room.session(lung.version.project))
    path = Path(next(iter(lung.plain)))
    folder = os.open(data / "lung-ct" / path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.stat(data / "lung-ct" / path)
        room.revoke(grant)
        room.daemon.refresh()
        with pytest.raises(PermissionError):  # though the kernel had been told to believe the names for a while
            os.stat(data / "lung-ct" / path)
        for attempt in (lambda: os.open(path.name, os.O_RDONLY, dir_fd=folder), lambda: os.listdir(folder)):
            with pytest.raises(PermissionError):
                attempt()
    finally:
        os.close(folder)


def test_an_expired_grant_ends_on_time_and_is_recorded_once(room: Room, lung: Published) -> None:
    grant = room.grant(lung.version.project, lung.version, timedelta(seconds=2))
    one = room.attach(room.session(lung.version.project))
    two = room.attach(room.session(lung.version.project))
    path = next(p for p, d in lung.plain.items() if d)
    fd = os.open(one / "lung-ct" / path, os.O_RDONLY)
    try:
        os.pread(fd, 10, 0)
        soon(lambda: os.listdir(one) == os.listdir(two) == ["README.txt"])
        soon(lambda: withheld(fd))  # what the kernel had read goes a moment after the name
    finally:
        os.close(fd)
    soon(lambda: room.subjects("grant-expired"))
    room.daemon.refresh()
    assert [s["grant"] for s in room.subjects("grant-expired")] == [grant.id]
    assert set(room.reasons("read-denied")) == {"grant-expired"}


def test_an_access_that_ended_stays_ended_when_the_clock_is_set_back_a_day(room: Room, lung: Published) -> None:
    hour = 3_600 * 10**9
    later, back = [0], [0]
    room.daemon._clock = SteadyClock(
        lambda: time.time_ns() + later[0] - back[0], lambda: time.clock_gettime_ns(time.CLOCK_BOOTTIME) + later[0]
    )
    room.grant(lung.version.project, lung.version, timedelta(hours=1))
    other = room.publish(lung.version.project, "chest-ct", seed=3)
    room.grant(lung.version.project, other.version, timedelta(hours=3))
    data = room.attach(room.session(lung.version.project, timedelta(hours=10)))
    assert os.listdir(data) == ["README.txt", "chest-ct", "lung-ct"]
    later[0] = 2 * hour
    room.daemon.refresh()
    assert os.listdir(data) == ["README.txt", "chest-ct"]
    back[0] = 24 * hour
    room.daemon.refresh()
    assert os.listdir(data) == ["README.txt", "chest-ct"]
    wanted = data / "chest-ct" / next(p for p, d in other.plain.items() if d)
    read(wanted)
    later[0] = 4 * hour  # three hours last three hours, not a day more
    room.daemon.refresh()
    assert refused(wanted, errno.EACCES)
    assert os.listdir(data) == ["README.txt"]
    soon(lambda: len(room.subjects("grant-expired")) == 2)


def test_an_expired_session_reads_nothing(room: Room, lung: Published) -> None:
    room.grant(lung.version.project, lung.version)
    session = room.session(lung.version.project, timedelta(seconds=0.6))
    data = room.attach(session)
    path = data / "lung-ct" / next(p for p, d in lung.plain.items() if d)
    read(path)
    soon(lambda: refused(path, errno.EACCES))
    assert b"This session ended by itself" in read(data / "README.txt")
    room.daemon.detach(session.id)
    with pytest.raises(Denied, match="Start a new server"):
        room.daemon.attach(session.id)
    assert room.reasons("request-refused") == ["session-expired"]


def test_two_versions_of_a_dataset_are_told_apart(room: Room, lung: Published) -> None:
    project = lung.version.project
    room.grant(project, lung.version)
    data = room.attach(room.session(project))
    newer = room.publish(project, "lung-ct", [[10, 20]], seed=9)
    room.grant(project, newer.version)
    room.daemon.refresh()
    old = f"lung-ct@{lung.version.digest.short}"
    assert sorted(os.listdir(data)) == ["README.txt", "lung-ct", old]
    assert json.loads(read(data / "lung-ct/dataset.json"))["version"] == newer.version.digest
    assert json.loads(read(data / old / "dataset.json"))["version"] == lung.version.digest
    for path, plain in newer.plain.items():
        assert read(data / "lung-ct" / path) == plain


def test_attach_again_gives_the_same_folder_and_detach_leaves_nothing(room: Room, lung: Published) -> None:
    room.grant(lung.version.project, lung.version)
    session = room.session(lung.version.project)
    data = room.attach(session)
    assert room.attach(session) == data
    path = next(p for p, d in lung.plain.items() if d)
    fd = os.open(data / "lung-ct" / path, os.O_RDONLY)
    try:
        os.pread(fd, 10, 0)
        room.daemon.detach(session.id)
        with pytest.raises(OSError):
            os.pread(fd, 10, 0)
    finally:
        with contextlib.suppress(OSError):  # the connection is gone, which close reports too
            os.close(fd)
    assert not data.parent.exists()
    assert set(room.daemon.status().values()) == {0}
    assert len(room.ends()) == 1
    room.daemon.detach(session.id)


def test_an_unknown_session_is_not_found(room: Room) -> None:
    with pytest.raises(NotFound):
        room.daemon.attach(SessionId.new())


def test_inode_numbers_are_the_same_in_every_session(room: Room, lung: Published, data: Path) -> None:
    other = room.attach(room.session(lung.version.project))
    for path in ["lung-ct", "lung-ct/dataset.json", *(f"lung-ct/{p}" for p in lung.plain)]:
        assert os.stat(data / path).st_ino == os.stat(other / path).st_ino


def test_a_store_that_is_gone_gives_errors_not_hangs(room: Room, lung: Published, data: Path) -> None:
    path = data / "lung-ct" / next(p for p, d in lung.plain.items() if d)
    os.stat(path)
    shutil.rmtree(room.settings.paths.objects)
    assert refused(path, errno.EIO)


class Moving(ObjectStore):
    """What is read, `now`."""

    def __init__(self, store: ObjectStore) -> None:
        self.now = store

    def put(self, name: str, data: bytes) -> None:
        raise NotImplementedError

    def read(self, name: str, offset: int = 0, size: int | None = None) -> bytes:
        return self.now.read(name, offset, size)

    def size(self, name: str) -> int:
        return self.now.size(name)

    def names(self, prefix: str) -> Iterator[str]:
        raise NotImplementedError

    def remove(self, name: str) -> None:
        raise NotImplementedError

    def delete(self, prefix: str) -> None:
        raise NotImplementedError


def test_a_silent_store_ends_reads_with_a_sentence_and_a_record_and_they_go_on_with_it(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the kernel has stays readable; nobody waits behind others for a store that is known to be silent."""
    monkeypatch.setattr(aws, "_READ_SECONDS", 0.2)
    monkeypatch.setattr(aws, "_ATTEMPTS", 1)
    monkeypatch.setattr("readingroom_hub.mount.library.RETRY_UNAVAILABLE", 60.0)
    project = room.project("lung")
    known, other = room.publish(project, "lung-ct", [[50_000] * 3]), room.publish(project, "chest-ct", seed=2)
    store = room.daemon._library.objects = Moving(room.objects)
    for version in (known.version, other.version):
        room.grant(project, version)
    data = room.attach(room.session(project))
    seen, *unseen = (data / "lung-ct" / p for p in known.plain)
    before = read(seen)
    with SilentService() as service:
        store.now = S3ObjectStore(service.endpoint, "bucket", "us-east-1", dict.fromkeys(KEYS, "k"))
        for path in unseen:
            with pytest.raises(NotNow, match=r"its store, .* does not answer"), reading(path, "lung-ct"):
                read(path)
        for _ in range(5):
            with pytest.raises(TimeoutError):
                os.listdir(data / "chest-ct")
        assert read(seen) == before
        assert 3 <= service.attempts() <= 6  # the kernel asks twice for a page; a manifest has two possible names
        told = read(data / "README.txt").decode()
        for name in ("lung-ct", "chest-ct"):
            assert f"Images of {name} cannot be read now, since their store does not answer." in told
        assert service.endpoint.rpartition(":")[2] not in told
    failed = [r for r in room.audit.records if r["event"] == "read-denied"]
    assert [(r["outcome"], r["subject"]["path"]) for r in failed] == [("failure", "lung-ct"), ("failure", "chest-ct")]
    assert {r["reason"].partition(":")[0] for r in failed} == {"store-unavailable"}
    store.now = room.objects
    assert [read(p) for p in unseen] == list(known.plain.values())[1:]


@pytest.mark.parametrize("hangs", ["store", "audit"])
def test_a_session_whose_reads_hang_still_lists_and_reads_on_once_they_do_not(
    room: Room, lung: Published, data: Path, monkeypatch: pytest.MonkeyPatch, hangs: str
) -> None:
    path, plain = next((data / "lung-ct" / p, d) for p, d in lung.plain.items() if len(d) > 60_000)
    listed = sorted(os.listdir(path.parent))
    waiting, go_on = threading.Semaphore(0), threading.Event()
    held = room.objects if hangs == "store" else room.audit
    name = "read" if hangs == "store" else "append"
    work = getattr(held, name)

    def hang(*args: object) -> object:
        waiting.release()
        assert go_on.wait(20)
        return work(*args)

    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)  # a request for each page, so that two wait for one object
    monkeypatch.setattr(held, name, hang)
    with ThreadPoolExecutor(4) as pool:
        try:
            if hangs == "store":
                reads = [pool.submit(os.pread, fd, 4096, at) for at in (0, 40_960)]
                expected = [plain[at : at + 4096] for at in (0, 40_960)]
            else:
                reads = [pool.submit(read, data / "lung-ct" / "index.csv") for _ in range(2)]
                expected = []
            assert waiting.acquire(timeout=5)
            for _ in range(20):
                assert sorted(pool.submit(os.listdir, path.parent).result(5)) == listed
                assert pool.submit(read, data / "lung-ct" / "dataset.json").result(5)
            assert not any(r.done() for r in reads)
        finally:
            go_on.set()
        found = [r.result(5) for r in reads]
    os.close(fd)
    assert found == (expected or [found[0]] * 2)
    assert read(path) == plain


def test_without_the_catalogue_reading_stops_and_goes_on_with_it(
    room: Room, lung: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A revocation could be in it. An open says EAGAIN; a read ETIMEDOUT, which nobody takes for the file's end."""
    monkeypatch.setattr("readingroom_hub.mount.session.CATALOGUE_TRUST", 0.3)
    room.grant(lung.version.project, lung.version)
    data = room.attach(room.session(lung.version.project))
    room.daemon.refresh()
    path, unread = (data / "lung-ct" / p for p, d in lung.plain.items() if d)
    fd = os.open(unread, os.O_RDONLY)
    try:
        with monkeypatch.context() as broken:
            broken.setattr(type(room.catalogue.sessions), "open_ones", _fail)
            soon(lambda: refused(path, errno.EAGAIN))
            with pytest.raises(OSError) as caught:
                os.pread(fd, 10, 0)
            assert caught.value.errno == errno.ETIMEDOUT
            assert b"The catalogue does not answer" in read(data / "README.txt")
        soon(lambda: not refused(path, errno.EAGAIN))
        assert len(os.pread(fd, 10, 0)) == 10
    finally:
        os.close(fd)


def _fail(_self: object) -> None:
    raise StoreUnavailable("switched off by the test")


def test_a_hold_stops_the_next_read_and_lifting_it_gives_reads_back(room: Room, data: Path, lung: Published) -> None:
    holds = HoldService(room.catalogue.holds, room.catalogue.sessions, room.audit, room.daemon)
    path = data / "lung-ct" / next(iter(lung.plain))
    fd = os.open(path, os.O_RDONLY)
    try:
        assert os.pread(fd, 10, 0) == lung.plain[next(iter(lung.plain))][:10]
        holds.suspend(RESEARCHER, "studies", None)  # it returns when the daemon knows
        with pytest.raises(PermissionError):
            os.pread(fd, 10, 0)
        assert refused(path, errno.EACCES) or refused(path, errno.ENOENT)
    finally:
        os.close(fd)
    assert "on-hold" in room.reasons("read-denied")
    assert "ask a data steward, who can lift the hold" in (data / "README.txt").read_text()
    holds.resume(RESEARCHER, STEWARD)
    soon(path.exists)
    assert read(path) == lung.plain[next(iter(lung.plain))]
