"""A server whose views are lost and come back, beside a hostile program in it: the same for root and an ordinary user.

Prints what it saw as one JSON object."""

import json
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support.fakes import MemoryAuditRepository
from tests.support.mount_process import soon
from tests.support.planted import holds
from tests.support.sandbox_runner import close_all, log_of, order, settings, vaults_of
from tests.support.views import kill_gocryptfs

from readingroom_hub.model.ids import PersonId, ProjectId, SessionId, VaultId
from readingroom_hub.mount import mounting
from readingroom_hub.mount.homes import Homes
from readingroom_hub.sandbox import layout
from readingroom_hub.sandbox.servers import Servers

PLANTED = "planted-5d41402abc4b2a76"
ROSA, LUNG = PersonId("p-" + "a" * 64), ProjectId("lung")

INSIDE = f"""
import errno, json, os, time

def attempt(what):
    try:
        return what() or "done"
    except OSError as error:
        return errno.errorcode[error.errno]

def write(path):
    with open(path, "w") as file:
        file.write("{PLANTED}")
        file.flush()
        os.fsync(file.fileno())
    written.append(path)

def lost():
    # Of what was written before, and on the disk.
    return [path for path in written if not os.path.exists(path) or open(path).read() != "{PLANTED}"]

def hostile(outer):
    # All that could bring a byte, or a place for one, below the folder that is bound.
    attempt(lambda: os.chmod(outer, 0o777))
    attempt(lambda: os.chmod(outer + "/view", 0o777))
    attempt(lambda: os.makedirs(outer + "/view/content/home"))
    attempt(lambda: os.makedirs(outer + "/view/content/project"))
    return [attempt(lambda: write(outer + name)) for name in ("/{PLANTED}", "/view/{PLANTED}")]

open("/project/open", "w").write("kept")
with open("/home/researcher/open", "w") as file:
    file.write("kept")
    file.flush()
    os.fsync(file.fileno())
held = [open("/home/researcher/open"), open("/project/open")]
n, before, written = 0, None, []
while True:
    n += 1
    now = {{
        "home": attempt(lambda: write(f"/home/researcher/{PLANTED}-{{n}}")),
        "project": attempt(lambda: write(f"/project/{PLANTED}-{{n}}")),
        "kept": [attempt(lambda: open(p + "/open").read()) for p in ("/home/researcher", "/project")],
        "bare": hostile("/home") + hostile("/run/readingroom/project"),
    }}
    if now != before:
        whole = now["home"] == now["project"] == "done"
        print("STATE", json.dumps(now | {{"lost": lost() if whole else None}}), flush=True)
        before = now
    time.sleep(0.001)
"""  # fmt: skip


class Case:
    """One running server."""

    def __init__(self, state: Path) -> None:
        self.settings = settings(state)
        self.audit = MemoryAuditRepository()
        self.vaults = vaults_of(self.settings)
        self.homes = Homes(self.settings.paths.vaults, self.vaults, self.audit)
        self.session = SessionId.new()
        self.both = VaultId.home(ROSA, LUNG), VaultId.shared(LUNG)

    def states(self) -> list[dict]:
        lines = log_of(self.settings, self.session).splitlines()
        return [json.loads(line.removeprefix("STATE ")) for line in lines if line.startswith("STATE ")]

    def until(self, condition: Callable[[dict], object]) -> dict:
        """The server's newest state once it is so."""
        soon(lambda: self.states() and condition(self.states()[-1]), 60)
        return self.states()[-1]

    def in_clear(self) -> list[str]:
        """Files of the disk with planted bytes or names, those of open views left out."""
        found = []
        for path in self.settings.paths.vaults.glob("*/cipher/**/*"):
            found += [str(path)] if path.is_file() and holds(path, PLANTED.encode()) else []
        for vault in self.both:
            outer = self.vaults.outer(vault)
            points = [p for p, _ in mounting.mount_points(outer)]
            for path in outer.rglob("*"):
                if any(path.is_relative_to(p) for p in points):
                    continue
                if PLANTED in path.name or (path.is_file() and PLANTED in path.read_text()):
                    found.append(str(path.relative_to(outer)))
        return found


def _naive(build: Callable[..., object]) -> Callable[..., object]:
    def built(*args: object) -> object:
        box = build(*args)
        return replace(box, binds=tuple(replace(b, below=False, writable=b.writable or b.below) for b in box.binds))

    return built


def main(state: Path, how: str) -> dict:
    case = Case(state)
    go_on, run = threading.Event(), case.vaults._run
    case.vaults._run = lambda *given: go_on.wait(60) and run(*given)
    if how == "naive":
        layout.build = _naive(layout.build)
    go_on.set()
    case.homes.start([])
    servers, seen = Servers(case.settings), {}
    running = servers.start(
        order(
            case.settings, [sys.executable, "-I", "-c", INSIDE], user=ROSA.hub_name, session=case.session, person=ROSA,
            project=LUNG, homes=case.homes,
        )
    )  # fmt: skip
    try:
        seen["before"] = case.until(lambda s: s["home"] == s["project"] == "done")
        go_on.clear()
        for vault in case.both:
            kill_gocryptfs(case.vaults.outer(vault) / "view")
        case.until(lambda s: s["project"] == "ENOTCONN" and s["home"] != "done")
        case.homes.look()
        soon(lambda: not list(mounting.mount_points(case.settings.paths.vaults, "fuse.gocryptfs")))
        if how != "unreached":
            seen["away"] = case.until(lambda s: s["project"] != "ENOTCONN" and s["kept"][0] != "kept")
        seen["in clear"] = case.in_clear()
        if how == "naive":
            case.homes._stopping.set()
        go_on.set()
        soon(lambda: not case.homes._returning)
        if how == "fixed":
            seen["back"] = case.until(lambda s: s["home"] == s["project"] == "done" and s["kept"] == ["kept"] * 2)
        seen["news"] = [said for session, said in case.homes.news() if session == case.session]
    finally:
        servers.stop(running)
        case.homes.close(case.session)
        close_all(case.settings)
    seen["records"] = [
        (r["event"], r["outcome"], r["subject"]["vault"]) for r in case.audit.records if r["event"] != "key-created"
    ]
    assert {r["session"] for r in case.audit.records} == {case.session}
    seen["left"] = [line for line in Path("/proc/mounts").read_text().splitlines() if str(state) in line]
    seen["in clear at last"] = case.in_clear()
    return seen


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]), sys.argv[2])))
