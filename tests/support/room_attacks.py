"""Runs inside a researcher's server, as the researcher: tries what must not work, and prints what happened as JSON.

Called with a JSON file: `state`, `ports`, `pids`, `secrets` (SHA-256 of each), `dataset` of another project."""

import hashlib
import json
import os
import re
import signal
import socket
import sys
from pathlib import Path

GIVEN = json.loads(Path(sys.argv[1]).read_text())
WORD = re.compile(rb"[A-Za-z0-9+/=_.-]{12,512}")
results = {}


def attack(function):
    try:
        results[function.__name__] = f"SUCCEEDED: {function()}"
    except Exception as error:  # noqa: BLE001  # whatever it is, it did not work
        results[function.__name__] = f"refused: {type(error).__name__}: {error}"


@attack
def read_another_projects_data():
    return list(Path(f"/data/{GIVEN['dataset']}").iterdir())


@attack
def see_another_projects_data_in_the_listing():
    assert GIVEN["dataset"] not in {p.name for p in Path("/data").iterdir()}
    raise AssertionError("not listed")


@attack
def climb_out_of_the_mount():
    assert "catalogue.sqlite" not in " ".join(map(str, Path("/data/../../../..").glob("*")))
    return list(Path(f"/data/../../../../..{GIVEN['state']}").iterdir())


@attack
def list_the_state_folder():
    return list(Path(GIVEN["state"]).iterdir())


@attack
def read_the_audit_database():
    return Path(GIVEN["state"], "audit").stat()


@attack
def connect_to_a_server_of_the_host():
    for port in GIVEN["ports"]:
        for host in ("127.0.0.1", "::1", "localhost"):
            try:
                socket.create_connection((host, port), timeout=1).close()
            except OSError:
                continue
            return f"{host}:{port}"
    raise AssertionError("no port answers")


@attack
def connect_to_another_machine():
    with socket.socket() as s:
        s.settimeout(1)
        s.connect(("192.0.2.1", 443))
    return "connected"


@attack
def signal_a_process_of_the_host():
    for pid in GIVEN["pids"]:
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            continue
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        if b"readingroom_hub" in command:
            return pid
    raise AssertionError("none of them is here")


@attack
def see_processes_of_the_host():
    commands = [p.read_bytes() for p in Path("/proc").glob("[0-9]*/cmdline")]
    seen = [c for c in commands if b"readingroom_hub" in c or b"traefik" in c or b"canaille" in c]
    assert not seen
    raise AssertionError(f"{len(commands)} processes, none of the trusted wing")


def first_file():
    return next(p for p in sorted(Path("/data").rglob("*.dcm")))


@attack
def write_to_an_image():
    with first_file().open("r+b"):
        return "opened for writing"


@attack
def remove_an_image():
    first_file().unlink()
    return "removed"


@attack
def add_a_file_to_a_dataset():
    first_file().with_name("mine.dcm").write_text("mine")
    return "written"


@attack
def import_the_trusted_wing():
    try:
        import readingroom_hub.compose
    except ImportError as error:
        raise AssertionError(error) from error
    return readingroom_hub.__file__


@attack
def ask_the_hub_for_more_than_the_door_allows():
    answers = []
    for request in (
        "GET /hub/api/users",
        "GET /hub/api/services",
        "DELETE /hub/api/users/x",
        "GET /hub/home",
        "POST /hub/api/shutdown",
    ):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(5)
            s.connect("/run/readingroom/door/hub.sock")
            s.sendall(f"{request} HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n".encode())
            answers.append(s.recv(100).split(b"\r\n")[0].decode())
    assert all(" 403 " in a for a in answers), answers
    raise AssertionError(answers[0])


@attack
def find_a_secret():
    wanted = set(GIVEN["secrets"])
    seen = 0
    for path in readable():
        try:
            data = path.read_bytes()[: 4 << 20]
        except OSError:
            continue
        seen += 1
        for word in WORD.findall(data):
            for form in (word, word.strip(b"\"'=")):
                if hashlib.sha256(form).hexdigest() in wanted:
                    return str(path)
    assert seen > 50, seen
    raise AssertionError(f"in {seen} files")


def readable():
    for root in ("/proc", "/home", "/run", "/tmp", "/project", "/etc", "/dev/shm"):
        for folder, folders, names in os.walk(root):
            if folder == "/proc":
                folders[:] = [f for f in folders if f.isdigit()]
            folders[:] = [f for f in folders if f not in {"task", "data", "fd", "map_files", "net"}]
            folders[:] = [f for f in folders if Path(folder, f) != Path(sys.prefix)]  # a checkout may lie below /tmp
            for name in names:
                path = Path(folder, name)
                if root != "/proc" or name in {"environ", "cmdline", "mountinfo", "status"}:
                    yield path


print("RESULTS " + json.dumps(results))
