"""The supervisor against real processes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from readingroom_hub.embedded.supervisor import Process, Supervisor
from readingroom_hub.errors import ReadingRoomError, SystemUnfit

SERVER = """
import pathlib, signal, sys, threading
done = threading.Event()
signal.signal(signal.SIGTERM, lambda *a: done.set())
pathlib.Path(sys.argv[1]).write_text(str(__import__("os").getpid()))
done.wait(60)
pathlib.Path(sys.argv[1] + ".stopped").touch()
"""


def until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "condition not met in time"
        time.sleep(0.01)


def server(folder: Path, name: str = "server") -> Process:
    flag = folder / name
    return Process(
        name, [sys.executable, "-c", SERVER, str(flag)], flag.exists, {"PATH": os.defpath}, folder / f"{name}.log"
    )


@pytest.fixture
def supervisor():
    events: list[str] = []
    s = Supervisor(events.append)
    s.events = events
    yield s
    s.stop()


def test_processes_are_started_waited_for_and_stopped_gently(supervisor, tmp_path):
    supervisor.start(server(tmp_path))
    supervisor.wait("server")
    supervisor.watch()
    supervisor.stop()
    assert (tmp_path / "server.stopped").exists()
    assert supervisor.events == []


def test_a_killed_process_is_started_again(supervisor, tmp_path):
    supervisor.start(server(tmp_path))
    supervisor.wait("server")
    first = supervisor.pid("server")
    os.kill(first, signal.SIGKILL)

    def restarted() -> bool:
        supervisor.watch()
        return supervisor.pid("server") != first

    until(restarted)
    assert "started again" in supervisor.events[0]


def test_a_process_that_keeps_dying_is_given_up_with_the_end_of_its_log(supervisor, tmp_path):
    argv = [sys.executable, "-c", "print('no disk left'); raise SystemExit(3)"]
    supervisor.start(Process("dying", argv, lambda: False, {}, tmp_path / "log"))

    def given_up() -> bool:
        try:
            supervisor.watch()
        except ReadingRoomError as error:
            return "again and again" in str(error) and "no disk left" in str(error)
        return False

    until(given_up)


def test_a_process_that_ends_while_starting_is_named(supervisor, tmp_path):
    argv = [sys.executable, "-c", "raise SystemExit('port is taken')"]
    supervisor.start(Process("hub", argv, lambda: False, {}, tmp_path / "log"))
    with pytest.raises(SystemUnfit, match=r"hub ended while it started \(exit 1\).*\n.*port is taken"):
        supervisor.wait("hub")


def test_a_process_that_ignores_the_signal_is_killed(supervisor, tmp_path):
    flag = tmp_path / "up"
    code = (
        "import signal, pathlib, time; signal.signal(15, signal.SIG_IGN); "
        f"pathlib.Path({str(flag)!r}).touch(); time.sleep(60)"
    )
    supervisor.start(Process("deaf", [sys.executable, "-c", code], flag.exists, {}, tmp_path / "log", stop_seconds=0.2))
    supervisor.wait("deaf")
    supervisor.stop()
    assert "killed" in supervisor.events[0]


def test_a_killed_supervisor_leaves_no_process(tmp_path):
    code = f"""
import sys; sys.path[:0] = {sys.path!r}
from pathlib import Path
from tests.integration.test_supervisor import server
from readingroom_hub.embedded.supervisor import Supervisor
s = Supervisor(print); s.start(server(Path({str(tmp_path)!r}))); s.wait("server")
import time; time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", code])
    flag = tmp_path / "server"
    until(lambda: flag.exists() and flag.read_text())
    parent.kill()
    parent.wait()
    until((tmp_path / "server.stopped").exists)


FIRST = """
import os, signal, subprocess, sys, time
from pathlib import Path
from readingroom_hub.embedded.supervisor import Process, Supervisor
def zombies():
    states = [p.read_text().rpartition(")")[2].split()[0] for p in Path("/proc").glob("[0-9]*/stat")]
    return states.count("Z")
flag = Path(sys.argv[1])
orphan = ["sh", "-c", "(sleep 0 & echo) && touch " + str(flag) + " && exec sleep 60"]
s = Supervisor(print)
s.start(Process("server", orphan, flag.exists, {"PATH": os.defpath}, flag.with_suffix(".log")))
s.wait("server")
while not zombies():
    time.sleep(0.01)
s.watch()
print(os.getpid(), "left:", zombies())
os.kill(s.pid("server"), signal.SIGKILL)
while not zombies():
    time.sleep(0.01)
s.watch()
s.stop()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes a process namespace")
def test_a_containers_first_process_lets_go_of_orphans_and_still_sees_its_own(tmp_path):
    namespace = ["unshare", "--propagation", "slave", "--pid", "--fork", "--mount-proc"]
    argv = [*namespace, sys.executable, "-c", FIRST, tmp_path / "flag"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == ["1 left: 0", "server ended (exit -9) and is started again"]
