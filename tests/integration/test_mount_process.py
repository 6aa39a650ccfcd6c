# ruff: noqa: PTH116, PTH208  # system calls under their own names
"""The mount daemon as a process: killed, restarted, stopped, cut off from the audit record repository."""

import contextlib
import dataclasses
import errno
import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.mount_process import MountProcess, mount_process, soon
from tests.support.mount_world import Published, read
from tests.support.ports import free_ports
from tests.support.views import kill_gocryptfs
from typer.testing import CliRunner

from readingroom_hub import compose
from readingroom_hub.cli.audit import app as audit_app
from readingroom_hub.errors import BadInput, NotFound, StoreUnavailable
from readingroom_hub.model.ids import SessionId, VaultId
from readingroom_hub.mount import mounting
from readingroom_hub.mount.vaults import Vaults
from readingroom_hub.ports.mounts import CONTENT, HOME_IMAGE, HOME_NAME

pytestmark = pytest.mark.fuse


@pytest.fixture
def room() -> Iterator[MountProcess]:
    with mount_process() as made:
        yield made


@pytest.fixture
def lung(room: MountProcess) -> Published:
    published = room.publish(room.project("lung"), "lung-ct", [[50_000] * 12, [2 << 20] * 3])
    room.grant(published.version.project, published.version)
    return published


_PATIENT_READER = """
import hashlib, os, sys, time
stop, *paths = sys.argv[1:]
while True:
    for path in paths:
        name = path.rpartition("/")[2].removesuffix(".dcm")
        while not os.path.exists(stop):
            given, parts = "open", []
            try:
                fd = os.open(path, os.O_RDONLY)
            except OSError as error:
                print("refused", error.errno, flush=True)
                time.sleep(0.01)
                continue
            try:
                given = "whole"
                while part := os.read(fd, 4096):
                    parts.append(part)
            except OSError as error:
                given = "cut"
            try:
                os.close(fd)
            except OSError:
                pass
            data = b"".join(parts)
            print(given, name, len(data), hashlib.sha256(data).hexdigest(), flush=True)
            if given == "whole":
                break
        else:
            sys.exit()
"""
"""Reads every file in turn, again and again, in small steps; tries again what it is refused. Says what it was given."""


class PatientReader:
    """It runs in a process of its own, and goes on by itself after whatever befell it."""

    def __init__(self, room: MountProcess, published: Published) -> None:
        self.session = room.session(published.version.project).id
        self.folder = room.mounts.attach(self.session) / "data"
        self._stop = room.settings.paths.state / f"stop-{self.session}"
        argv = [sys.executable, "-c", _PATIENT_READER, str(self._stop)]
        argv += [str(self.folder / published.version.dataset / path) for path in published.plain]
        self._process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        self.said: list[list[str]] = []

    def until(self, wanted: str, count: int = 1) -> None:
        """Wait until it has said this so often from now on."""
        assert self._process.stdout is not None
        while count:
            self.said.append(self._process.stdout.readline().split())
            count -= self.said[-1][0] == wanted

    def stop(self) -> None:
        self._stop.touch()
        assert self._process.stdout is not None
        with self._process.stdout as out:
            self.said += [line.split() for line in out]
        self._process.wait(20)

    @property
    def given(self) -> list[tuple[str, int]]:
        """Instance and bytes of each successful open."""
        return [(said[1], int(said[2])) for said in self.said if said[0] != "refused"]

    @property
    def refusals(self) -> set[int]:
        return {int(said[1]) for said in self.said if said[0] == "refused"}


def check_given(room: MountProcess, reader: PatientReader, published: Published) -> None:
    """Every byte that it got is the right one, and a durable intent of its session covers it."""
    plain = {path.rpartition("/")[2].removesuffix(".dcm"): data for path, data in published.plain.items()}
    for kind, name, *more in (said for said in reader.said if said[0] != "refused"):
        count, digest = int(more[0]), more[1]
        assert hashlib.sha256(plain[name][:count]).hexdigest() == digest
        assert kind != "whole" or count == len(plain[name])
    covered = {r["subject"]["series"] for r in room.records("read-intent") if r["session"] == reader.session}
    assert {i.series for i in published.manifest.instances if i.instance in dict(reader.given)} <= covered
    done = CliRunner().invoke(
        audit_app, ["verify"], env={"READINGROOM_STATE": str(room.settings.paths.state), "COLUMNS": "250"}
    )
    assert done.exit_code == 0, done.output


def test_reads_go_on_over_kills_of_the_daemon_and_the_record_covers_each_byte(room: MountProcess) -> None:
    """Killed by itself, and together with the repository."""
    published = room.publish(room.project("many"), "many-ct", [[20_000]] * 150)
    room.grant(published.version.project, published.version)
    readers = [PatientReader(room, published) for _ in range(2)]
    for repository_too in (False, True):
        for reader in readers:
            reader.until("whole", 60)
        room.stop(signal.SIGKILL)  # in the middle of reads
        if repository_too:
            room.audit_server.stop(signal.SIGKILL)
        for reader in readers:
            reader.until("refused")
        if repository_too:
            room.audit_server.start()
        room.start()
    for reader in readers:
        reader.until("whole", 80)
        reader.stop()
        check_given(room, reader, published)


def test_a_restarted_daemon_serves_the_same_sessions_at_the_same_place(room: MountProcess, lung: Published) -> None:
    session = room.session(lung.version.project)
    folder = room.mounts.attach(session.id)
    path, plain = next(iter(lung.plain.items()))
    assert read(folder / "data/lung-ct" / path) == plain
    room.stop(signal.SIGKILL)
    with pytest.raises(OSError):
        read(folder / "data/lung-ct" / path)
    room.start()
    assert read(folder / "data/lung-ct" / path) == plain
    assert room.mounts.attach(session.id) == folder
    assert len(room.records("service-started")) == 3  # the repository's own, and two of the daemon


def test_a_stop_leaves_nothing_mounted_and_is_recorded(room: MountProcess, lung: Published) -> None:
    folder = room.mounts.attach(room.session(lung.version.project).id)
    fd = os.open(folder / "data/lung-ct" / next(iter(lung.plain)), os.O_RDONLY)
    try:
        assert room.stop() == 0
    finally:
        try:
            os.close(fd)
        except OSError as error:
            assert error.errno in {errno.ENOTCONN, errno.ECONNABORTED}  # noqa: PT017
    assert list(mounting.mount_points(room.settings.paths.state)) == []
    assert os.listdir(room.settings.paths.mounts) == []
    assert len(room.ends()) == 1
    assert [r["subject"]["service"] for r in room.records("service-stopped")] == ["mount-daemon"]
    assert "Traceback" not in room.log()


def test_a_session_that_ended_while_no_daemon_ran_leaves_nothing(room: MountProcess, lung: Published) -> None:
    session = room.session(lung.version.project)
    room.mounts.attach(session.id)
    room.stop(signal.SIGKILL)
    room.catalogue.sessions.close(session.id, datetime.now(UTC))
    room.start()
    assert os.listdir(room.settings.paths.mounts) == []
    assert room.mounts.status()["sessions"] == 0


def test_a_second_daemon_is_refused_and_disturbs_nothing(room: MountProcess, lung: Published) -> None:
    folder = room.mounts.attach(room.session(lung.version.project).id)
    path, plain = next(iter(lung.plain.items()))
    assert "Conflict: another mount daemon serves" in room.second()
    assert read(folder / "data/lung-ct" / path) == plain
    assert room.mounts.status()["sessions"] == 1


def test_without_the_repository_nothing_opens_and_with_it_everything_does(room: MountProcess, lung: Published) -> None:
    folder = room.mounts.attach(room.session(lung.version.project).id)
    path, plain = next(iter(lung.plain.items()))
    os.stat(folder / "data/lung-ct" / path)
    room.audit_server.stop(signal.SIGKILL)
    with pytest.raises(BlockingIOError):
        read(folder / "data/lung-ct" / path)
    assert b"did not answer" in read(folder / "data/README.txt")
    room.audit_server.start()

    def opens() -> bool:
        try:
            return read(folder / "data/lung-ct" / path) == plain
        except BlockingIOError:
            return False

    soon(opens)


def test_reads_go_on_over_kills_of_the_repository_and_the_record_has_each_byte(room: MountProcess) -> None:
    """Also where it is stopped and started as for an upgrade. Each series needs an intent of its own."""
    published = room.publish(room.project("many"), "many-ct", [[20_000]] * 150)
    room.grant(published.version.project, published.version)
    readers = [PatientReader(room, published) for _ in range(2)]
    for how in (signal.SIGKILL, signal.SIGTERM):
        for reader in readers:
            reader.until("whole", 60)
        room.audit_server.stop(how)  # in the middle of reads
        for reader in readers:
            reader.until("refused")
            assert b"did not answer" in read(reader.folder / "README.txt")
        room.audit_server.start()
    for reader in readers:
        reader.until("whole", 80)
        reader.stop()
        assert reader.refusals == {errno.EAGAIN}
        check_given(room, reader, published)
    room.stop()  # hands over what it still holds
    ends = room.ends()
    for reader in readers:
        ours = [e for e in ends if e["session"] == reader.session]
        assert Counter(s["instance"] for s in ours) == Counter(name for name, _ in reader.given)
        assert all(s["cached"] or s["bytes"] == s["size"] for s in ours)
        assert sum(s["size"] for s in ours) == sum(count for _, count in reader.given)


def test_a_hanging_repository_refuses_within_its_limit(room: MountProcess, lung: Published) -> None:
    folder = room.mounts.attach(room.session(lung.version.project).id)
    path = folder / "data/lung-ct" / next(iter(lung.plain))
    os.stat(path)
    os.kill(room.audit_server.pid, signal.SIGSTOP)
    with pytest.raises(BlockingIOError):  # it hangs for ever
        read(path)
    assert "README.txt" in os.listdir(folder / "data")


def test_a_hanging_repository_does_not_hold_up_a_revocation(room: MountProcess, lung: Published) -> None:
    # A refresh that waited for a record would wait longer than its caller does, who raises then.
    room.stop()
    room.settings = dataclasses.replace(room.settings, audit_timeout_ms=60_000)
    room.start()
    grant = room.catalogue.grants.all(lung.version.project)[0]
    other = room.publish(lung.version.project, "short-ct", seed=7)
    room.grant(lung.version.project, other.version, timedelta(seconds=1))
    folder = room.mounts.attach(room.session(lung.version.project).id)
    path = folder / "data/lung-ct" / next(iter(lung.plain))
    fd = os.open(path, os.O_RDONLY)
    try:
        os.pread(fd, 10, 0)
        os.kill(room.audit_server.pid, signal.SIGSTOP)
        soon(lambda: "short-ct" not in os.listdir(folder / "data"))  # now a `grant-expired` waits for its record
        room.revoke(grant)
        room.mounts.refresh()
        os.kill(room.audit_server.pid, signal.SIGCONT)
        with pytest.raises(PermissionError):
            os.pread(fd, 10, 0)
    finally:
        os.close(fd)


def completed(room: MountProcess) -> list[dict]:
    return [r["subject"] for r in room.records("read-completed")]


def test_every_served_byte_is_on_the_record(room: MountProcess, lung: Published) -> None:
    session = room.session(lung.version.project)
    folder = room.mounts.attach(session.id)
    for path in lung.plain:
        read(folder / "data/lung-ct" / path)
    soon(lambda: len(room.ends()) == len(lung.plain))
    ends = room.ends()
    assert {e["instance"]: (e["bytes"], e["series"]) for e in ends} == {
        i.instance: (i.size, i.series) for i in lung.manifest.instances
    }
    assert {e["session"] for e in ends} == {session.id}
    intents = {r["id"]: r["subject"] for r in room.records("read-intent")}
    assert all(intents[e["intent"]]["series"] == e["series"] for e in ends)
    assert not room.records("instance-closed")
    room.mounts.detach(session.id)
    soon(lambda: {s["intent"] for s in completed(room) if "concluded" in s} == intents.keys())
    assert {s["intent"]: s["concluded"] for s in completed(room) if "concluded" in s} == Counter(
        e["intent"] for e in room.ends()
    )
    assert sum(s["instances"] for s in intents.values()) == len(lung.plain)
    assert len(room.records("key-unwrapped")) == 1


def test_a_revocation_is_obeyed_when_refresh_returns(room: MountProcess, lung: Published) -> None:
    grant = room.catalogue.grants.all(lung.version.project)[0]
    folder = room.mounts.attach(room.session(lung.version.project).id)
    path = folder / "data/lung-ct" / next(iter(lung.plain))
    read(path)
    room.revoke(grant)
    room.mounts.refresh()
    assert room.mounts.status()["keys"] == 0
    with pytest.raises(PermissionError):
        read(path)
    assert [r["reason"].partition(":")[0] for r in room.records("read-denied")] == ["grant-revoked"]


def test_a_view_that_is_lost_comes_back_on_the_record_in_the_log_and_in_the_notice(
    room: MountProcess, lung: Published
) -> None:
    session = room.session(lung.version.project)
    volume = room.mounts.attach(session.id)
    project = room.mounts.open_folders(session.id).project
    (project / CONTENT / "finding").write_text("kept")
    kill_gocryptfs(project / "view")
    soon(lambda: room.records("service-started")[-1]["subject"].get("vault") == "project.lung")
    assert (project / CONTENT / "finding").read_text() == "kept"
    (stopped,) = room.records("service-stopped")
    assert (stopped["session"], stopped["outcome"]) == (session.id, "failure")
    assert stopped["reason"].startswith("view-lost: gocryptfs of the vault project.lung has ended")
    assert f"has ended, and the sessions {session.id} lost their folder" in room.log()
    soon(lambda: "/project was away for a moment and is back" in (volume / "data/README.txt").read_text())
    room.mounts.detach(session.id)


@pytest.mark.parametrize("step", ["lost", "taken away", "opened"])
def test_a_daemon_that_is_killed_while_a_view_comes_back_leaves_it_to_the_next(
    room: MountProcess, lung: Published, step: str
) -> None:
    session = room.session(lung.version.project)
    room.mounts.attach(session.id)
    outer = room.mounts.open_folders(session.id).home
    image = outer / CONTENT / HOME_IMAGE
    if os.geteuid() == 0:
        with image.open("wb") as file:
            file.truncate(16 << 20)
        subprocess.run(["/sbin/mkfs.ext4", "-q", "-F", str(image)], check=True)
    room.mounts.show_home(session.id)
    (outer / CONTENT / "finding").write_text("kept")
    room.stop(signal.SIGKILL)
    kill_gocryptfs(outer / "view")
    keeper = Vaults(room.settings.paths.vaults, compose.vault_keys(room.settings), room.custody)
    vault = VaultId(outer.parent.name)
    if step != "lost":  # as far as the first daemon came
        (outer.parent / "away").touch()
        keeper._leave(vault)
    if step == "opened":
        keeper.open(vault)
    room.start()
    finding, own = outer / CONTENT / "finding", outer / HOME_NAME
    # Not Path's own methods: a view that is lost raises ENOTCONN there.
    soon(lambda: os.path.exists(finding) and os.path.ismount(own) == (os.geteuid() == 0))  # noqa: PTH110
    assert finding.read_text() == "kept"
    assert len(room.records("service-stopped")) == (0 if step == "opened" else 1)
    room.mounts.detach(session.id)
    assert list(outer.parent.glob("away")) == []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.skipif(os.geteuid() != 0, reason="mount namespaces of root")
def test_a_mount_of_a_restarted_daemon_reaches_a_running_namespace(
    room: MountProcess, lung: Published, how: signal.Signals
) -> None:
    """A slave mount namespace that bound the session's folder before, as the sandbox does."""
    folder = room.mounts.attach(room.session(lung.version.project).id)
    path = next(iter(lung.plain))
    script = (
        f"mkdir -p {room.settings.paths.state}/inside && mount --rbind {folder} {room.settings.paths.state}/inside && "
        "echo ready && while read line; do "
        f"head -c 4 {room.settings.paths.state}/inside/data/lung-ct/{path} | wc -c; done"
    )
    with subprocess.Popen(
        ["unshare", "--mount", "--propagation", "slave", "sh", "-c", script],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    ) as inside:  # fmt: skip
        assert inside.stdin is not None
        assert inside.stdout is not None

        def ask() -> str:
            inside.stdin.write("\n")
            inside.stdin.flush()
            return inside.stdout.readline().strip()

        assert inside.stdout.readline() == "ready\n"
        assert ask() == "4"
        room.stop(how)
        assert ask() == "0"
        room.start()
        assert ask() == "4"
        inside.stdin.close()
    assert room.stop() == 0
    assert list(mounting.mount_points(room.settings.paths.state)) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mount namespaces of root")
def test_a_stopped_daemon_leaves_no_mount_for_a_namespace_that_bound_nothing(
    room: MountProcess, lung: Published
) -> None:
    """Such as the servers of another deployment on this machine: a new namespace copies every mount."""
    room.mounts.attach(room.session(lung.version.project).id)
    with subprocess.Popen(
        ["unshare", "--mount", "--propagation", "slave", "sh", "-c", "echo ready && read line"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as other:  # fmt: skip
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
        assert room.stop() == 0
        assert list(mounting.mount_points(room.settings.paths.state)) == []
        other.stdin.close()


def test_the_control_socket_says_what_is_wrong(room: MountProcess) -> None:
    with pytest.raises(NotFound):
        room.mounts.attach(SessionId.new())
    path = room.settings.paths.mount_socket
    assert path.stat().st_mode & 0o777 == 0o600
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(path))
        s.sendall(b'{"op":"attach","session":"../../etc"}\nnonsense\n{"op":"format"}\n')
        lines = s.makefile("rb")
        for _ in range(3):
            assert b'"error": "BadInput"' in lines.readline()
    room.stop()
    with pytest.raises(StoreUnavailable, match="does not answer"):
        room.mounts.status()
    with pytest.raises(BadInput):
        SessionId("../../etc")


def with_metrics(room: MountProcess, **settings: object) -> Callable[[], dict[str, float]]:
    """Start the daemon anew so that it says its counts; returns what asks for them: value by name and labels."""
    port = free_ports(1)
    room.stop()
    room.settings = dataclasses.replace(room.settings, mount_metrics_port=port, **settings)
    room.start()

    def metrics() -> dict[str, float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
            lines = answer.read().decode().splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line[:1] != "#"}

    return metrics


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_metrics_say_what_status_says(room: MountProcess, lung: Published) -> None:
    metrics = with_metrics(room)
    session = room.session(lung.version.project)
    folder = room.mounts.attach(session.id)
    for path in lung.plain:
        read(folder / "data/lung-ct" / path)

    labels = f'{{project="lung",session="{session.id}"}}'
    soon(lambda: metrics()[f"readingroom_mount_open_files{labels}"] == 0)
    found, status = metrics(), room.mounts.status()
    assert found["readingroom_mount_sessions"] == status["sessions"] == 1
    assert found["readingroom_mount_keys"] == status["keys"] == 1
    assert found[f"readingroom_mount_bytes_total{labels}"] == status["bytes_served"] == lung.version.size
    assert found[f"readingroom_mount_opens_total{labels}"] == status["opens"] == len(lung.plain)
    assert found['readingroom_mount_request_seconds_count{request="open"}'] == len(lung.plain)
    room.mounts.detach(session.id)
    assert f"readingroom_mount_opens_total{labels}" not in metrics()


_GREEDY = "while :; do xargs -a $0 -P $1 -n 40 cat >/dev/null; done"
"""Reads all files again and again, so many at a time."""


def memory(room: MountProcess) -> int:
    """The most that the daemon ever had in memory, in MB."""
    status = Path(f"/proc/{room.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) // 1000  # type: ignore[index]


def test_sixty_three_greedy_slow_and_hostile_sessions_leave_one_its_share(room: MountProcess) -> None:
    """By the daemon's own counts: while one session reads 15 images, one after the other, none reads more than six
    times as many, though they have four threads each and one asks for 32 images at a time."""
    metrics = with_metrics(room, session_open_files=100)
    published = room.publish(room.project("many"), "many-ct", [[100_000] * 40] * 7 + [[3_000_000]])
    room.grant(published.version.project, published.version)
    before = memory(room)
    sessions = [room.session(published.version.project) for _ in range(64)]
    folders = [room.mounts.attach(s.id) / "data/many-ct" for s in sessions]
    opens = [f'readingroom_mount_opens_total{{project="many",session="{s.id}"}}' for s in sessions]
    *small, large = published.plain
    listing = room.settings.paths.state / "files"
    listing.write_text("\n".join(small))
    with contextlib.ExitStack() as undo:
        for folder in folders[35:]:  # slow: open, look at the beginning, never read on
            os.pread(_held(undo, folder / large), 10, 0)
        for path in small[:100]:  # hostile: holds all that it may
            _held(undo, folders[34] / path)
        with pytest.raises(OSError) as limit:
            os.open(folders[34] / small[100], os.O_RDONLY)
        assert limit.value.errno == errno.EMFILE
        for folder, parallel in zip(folders[1:34], ["32", *["4"] * 32], strict=True):
            argv = ["sh", "-c", _GREEDY, str(listing), parallel]
            greedy = subprocess.Popen(argv, cwd=folder, start_new_session=True, stderr=subprocess.DEVNULL)
            undo.callback(greedy.wait)
            undo.callback(os.killpg, greedy.pid, signal.SIGKILL)
        soon(lambda: all(metrics()[o] > 0 for o in opens[1:34]), 60)
        begun = metrics()
        for path in small[:15]:
            assert read(folders[0] / path) == published.plain[path]
        ended = metrics()
    got = [ended[o] - begun[o] for o in opens]
    assert got[0] == 15
    assert max(got[1:]) <= 15 * 6
    assert memory(room) - before < 300
    assert [r["reason"].partition(":")[0] for r in room.records("read-denied")] == ["too-many-open-files"]


def _held(undo: contextlib.ExitStack, path: Path) -> int:
    fd = os.open(path, os.O_RDONLY)
    undo.callback(os.close, fd)
    return fd


def test_other_users_of_the_machine_cannot_look_in(room: MountProcess, lung: Published) -> None:
    folder = room.mounts.attach(room.session(lung.version.project).id)
    path = str(folder / "data/lung-ct" / next(iter(lung.plain)))
    script = f"import os\nos.setuid(65534)\ntry:\n    open({path!r})\nexcept PermissionError:\n    print('refused')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout == "refused\n"


def test_data_keys_are_kept_out_of_core_dumps(room: MountProcess, lung: Published) -> None:
    limits = Path(f"/proc/{room.pid}/limits").read_text()
    assert next(x for x in limits.splitlines() if x.startswith("Max core file size")).split()[4:6] == ["0", "0"]
    folder = room.mounts.attach(room.session(lung.version.project).id)
    read(folder / "data/lung-ct" / next(iter(lung.plain)))
    assert room.mounts.status()["keys"] == 1
