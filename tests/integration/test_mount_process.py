# ruff: noqa: PTH116, PTH208  # system calls under their own names
"""The mount daemon as a process: killed, restarted, stopped, cut off from the audit record repository."""

import dataclasses
import errno
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.mount_process import MountProcess, mount_process, soon
from tests.support.mount_world import Published, read

from readingroom_hub.errors import BadInput, NotFound, StoreUnavailable
from readingroom_hub.model.ids import SessionId
from readingroom_hub.mount import mounting

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


_READER = """
import os, sys
n = 0
while True:
    for path in sys.argv[1:]:
        try:
            with open(path, "rb") as f:
                f.read()
        except OSError as error:
            print("ended", error.errno, flush=True); sys.exit()
        print(path.rpartition("/")[2], flush=True)
"""


def test_a_killed_daemon_ends_reads_with_an_error_and_the_record_covers_them(
    room: MountProcess, lung: Published
) -> None:
    session = room.session(lung.version.project)
    folder = room.mounts.attach(session.id)
    paths = [str(folder / "data/lung-ct" / p) for p in lung.plain]
    with subprocess.Popen([sys.executable, "-c", _READER, *paths], stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None
        given = {reader.stdout.readline().strip() for _ in range(8)}
        room.stop(signal.SIGKILL)
        out, _ = reader.communicate(timeout=10)
    *more, last = out.splitlines()
    assert last.split() in (["ended", str(errno.ENOTCONN)], ["ended", str(errno.ECONNABORTED)])
    given |= set(more)
    intended = {r["subject"]["series"] for r in room.records("read-intent")}
    series = {f"{i.instance}.dcm": i.series for i in lung.manifest.instances}
    assert given
    assert {series[name] for name in given} <= intended


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
    assert len(room.records("instance-closed")) == 1
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


def test_a_hanging_repository_refuses_within_its_limit(room: MountProcess, lung: Published) -> None:
    folder = room.mounts.attach(room.session(lung.version.project).id)
    path = folder / "data/lung-ct" / next(iter(lung.plain))
    os.stat(path)
    os.kill(room.audit_server.pid, signal.SIGSTOP)
    start = time.monotonic()
    with pytest.raises(BlockingIOError):
        read(path)
    assert time.monotonic() - start < 5
    assert "README.txt" in os.listdir(folder / "data")


def test_a_hanging_repository_does_not_hold_up_a_revocation(room: MountProcess, lung: Published) -> None:
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
        start = time.monotonic()
        room.mounts.refresh()
        assert time.monotonic() - start < 1.5
        with pytest.raises(PermissionError):
            os.pread(fd, 10, 0)
    finally:
        os.close(fd)


def test_every_served_byte_is_on_the_record(room: MountProcess, lung: Published) -> None:
    session = room.session(lung.version.project)
    folder = room.mounts.attach(session.id)
    for path in lung.plain:
        read(folder / "data/lung-ct" / path)
    soon(lambda: len(room.records("instance-closed")) == len(lung.plain))
    closed = room.records("instance-closed")
    assert sum(r["subject"]["bytes"] for r in closed) == lung.version.size
    assert {r["session"] for r in closed} == {session.id}
    intents = {r["id"]: r["subject"] for r in room.records("read-intent")}
    assert {intents[r["subject"]["intent"]]["series"] for r in closed} == {i.series for i in lung.manifest.instances}
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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_metrics_say_what_status_says(room: MountProcess, lung: Published) -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    room.stop()
    room.settings = dataclasses.replace(room.settings, mount_metrics_port=port)
    room.start()
    session = room.session(lung.version.project)
    folder = room.mounts.attach(session.id)
    for path in lung.plain:
        read(folder / "data/lung-ct" / path)

    def metrics() -> dict[str, float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line[:1] != "#"}

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
