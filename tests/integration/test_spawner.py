"""The spawner in a real JupyterHub: JupyterLab in its sandbox, reached through its door, found after a restart."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from contextlib import ExitStack, closing, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import nbformat
import psutil
import pytest
import requests
import websocket
from tests.support import spawn_hub
from tests.support.fakes import MemoryAuditRepository
from tests.support.ports import free_ports

from readingroom.viewers import scripts
from readingroom_hub.compose import open_catalogue
from readingroom_hub.crypto.vouch import SESSION_HEADER, VOUCH_HEADER, check_vouch
from readingroom_hub.jhub.stored import door_key
from readingroom_hub.model.ids import ProjectId, SessionId
from readingroom_hub.model.project import Role
from readingroom_hub.sandbox.servers import Servers
from readingroom_hub.services.projects import ProjectService

pytestmark = pytest.mark.sandbox

REPOSITORY = Path(__file__).parents[2]
PROJECT = ProjectId("chest-ct")


def until(what, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(requests.ConnectionError):
            if value := what():
                return value
        time.sleep(0.05)
    raise TimeoutError(f"waited {seconds} s")


class Portal(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.seen.append((self.path, self.headers[SESSION_HEADER], self.headers[VOUCH_HEADER]))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


class Hub:
    """One hub process, and a browser of one person."""

    def __init__(self, stack: ExitStack) -> None:
        self.state = Path(tempfile.mkdtemp(prefix="readingroom-hub-"))
        stack.callback(shutil.rmtree, self.state, ignore_errors=True)
        self.settings = spawn_hub.settings(self.state)
        self.settings.paths.make()
        self.servers = Servers(self.settings)
        projects = ProjectService(open_catalogue(self.settings).projects, MemoryAuditRepository())
        projects.create(PROJECT, "Chest CT", "Dr Owner", None, spawn_hub.PERSON)
        projects.sync_memberships(spawn_hub.PERSON, {PROJECT: Role.RESEARCHER})
        self.portal = ThreadingHTTPServer(("127.0.0.1", 0), Portal)
        self.portal.seen = []
        threading.Thread(target=self.portal.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        stack.callback(self.portal.server_close)
        stack.callback(self.portal.shutdown)
        self.port = free_ports(1)
        self.url = f"http://127.0.0.1:{self.port}/hub"
        self.name = spawn_hub.PERSON.hub_name
        self.config = self.state / "config.py"
        self.config.write_text(
            f"import sys\nsys.path.insert(0, {str(REPOSITORY)!r})\nfrom pathlib import Path\n"
            "from tests.support.spawn_hub import configure\n"
            f"configure(c, Path({str(self.state)!r}), {self.port}, {self.portal.server_port})\n"
        )
        stack.callback(self.servers.stop_all)
        stack.callback(self.kill)
        self.start()
        self.browser = self.sign_in(spawn_hub.PERSON)
        self.token = self.api("POST", f"/users/{self.name}/tokens").json()["token"]

    def start(self) -> None:
        self.log = (self.state / "hub.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "jupyterhub", "-f", str(self.config)],
            cwd=self.state,
            stdout=self.log,
            stderr=self.log,
            env={"PATH": "/usr/bin:/bin"},
        )
        until(lambda: requests.get(f"{self.url}/health", timeout=5).ok)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.log.close()

    def sign_in(self, person):
        browser = requests.Session()
        browser.trust_env = False
        browser.get(f"{self.url}/login", timeout=10)
        form = {"username": person, "password": "", "_xsrf": browser.cookies["_xsrf"]}
        browser.post(f"{self.url}/login", data=form, timeout=10, allow_redirects=False)
        return browser

    def api(self, method, path, browser=None, **given):
        browser = browser or self.browser
        headers = {"X-XSRFToken": browser.cookies.get("_xsrf", path="/hub/") or browser.cookies["_xsrf"]}
        headers["Referer"] = f"{self.url}/home"
        return browser.request(method, f"{self.url}/api{path}", headers=headers, timeout=60, **given)

    def spawn(self) -> "Server":
        self.stop()
        answer = self.api("POST", f"/users/{self.name}/servers/{PROJECT}")
        assert answer.status_code in {201, 202}, answer.text
        until(lambda: self.model().get("ready"))
        return Server(self)

    def model(self):
        return self.api("GET", f"/users/{self.name}").json().get("servers", {}).get(PROJECT, {})

    def stop(self) -> None:
        if self.model():
            self.api("DELETE", f"/users/{self.name}/servers/{PROJECT}")
            until(lambda: not self.model())

    def records(self, event):
        rows = map(json.loads, (self.state / "audit.jsonl").read_text().splitlines())
        return [row for row in rows if row["event"] == event]


class Server:
    """The running server, as a browser that is signed in sees it."""

    def __init__(self, hub: Hub) -> None:
        (self.running,) = hub.servers.running()
        self.path = f"/user/{hub.name}/{PROJECT}"
        self.headers = {"Authorization": f"token {hub.token}"}

    def ask(self, method, path, **given):
        url = self.running.url + self.path + path
        return requests.request(method, url, headers=self.headers, timeout=60, **given)

    def socket(self, path):
        url = self.running.url.replace("http", "ws") + self.path + path
        return closing(websocket.create_connection(url, header=self.headers, timeout=60))

    def execute(self, code: str) -> str:
        kernel = self.ask("POST", "/api/kernels", json={"name": "python3"}).json()["id"]
        request = {
            "msg_id": uuid.uuid4().hex,
            "msg_type": "execute_request",
            "session": "t",
            "username": "",
            "version": "5.3",
        }
        content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
        text = ""
        with self.socket(f"/api/kernels/{kernel}/channels") as ws:
            ws.send(
                json.dumps(
                    {"header": request, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
                )
            )
            while True:
                message = json.loads(ws.recv())
                if message["parent_header"].get("msg_id") != request["msg_id"]:
                    continue
                text += message["content"].get("text", "") + "\n".join(message["content"].get("traceback", []))
                if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                    return text

    def terminal(self, command: str) -> str:
        name = self.ask("POST", "/api/terminals").json()["name"]
        text = ""
        with self.socket(f"/terminals/websocket/{name}") as ws:
            ws.send(json.dumps(["stdin", f"{command}; echo en''d\r"]))
            while "end" not in text:
                kind, *rest = json.loads(ws.recv())
                text += rest[0] if kind == "stdout" else ""
        return text


@pytest.fixture(scope="module")
def hub():
    with ExitStack() as stack:
        yield Hub(stack)


@pytest.fixture
def server(hub):
    """The one that runs, or a new one: starting JupyterLab takes seconds."""
    return Server(hub) if hub.model().get("ready") else hub.spawn()


def leftovers(hub):
    """Processes, mounts, control groups and folders of servers."""
    mounts = [m for m in Path("/proc/mounts").read_text().splitlines() if str(hub.state) in m]
    groups = [g for r in hub.servers.running() for g in r.groups]
    doors = [p.pid for p in psutil.process_iter(["cmdline"]) if str(hub.state) in " ".join(p.info["cmdline"] or [])]
    doors.remove(hub.process.pid)
    folders = [*(hub.settings.paths.run / "doors").glob("*"), *hub.settings.paths.mounts.iterdir()]
    return mounts + groups + doors + folders


def test_server_without_a_project_is_refused_with_a_sentence(hub):
    answer = hub.api("POST", f"/users/{hub.name}/server")
    assert answer.status_code == 400
    assert "belongs to a project" in answer.json()["message"]


def test_stranger_is_refused_and_nothing_is_left(hub):
    browser = hub.sign_in(spawn_hub.STRANGER)
    answer = hub.api("POST", f"/users/{spawn_hub.STRANGER.hub_name}/servers/{PROJECT}", browser)
    assert answer.status_code == 403
    assert "not a member" in answer.json()["message"]
    assert leftovers(hub) == []


def test_kernel_computes_and_reads_its_data(server):
    assert (
        server.execute("import numpy; print(open('/data/README.txt').read(), numpy.arange(4).sum())") == "mounted 6\n"
    )


SEARCH = """
import glob, http.client, os, re, socket, sys
candidates = set(re.findall(rb"[0-9a-zA-Z_-]{32,}", repr(dict(os.environ)).encode()))
refused = []
for path in glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/mem") + glob.glob("/proc/[0-9]*/cmdline"):
    try:
        candidates |= set(re.findall(rb"[0-9a-zA-Z_-]{32,}", open(path, "rb").read(1 << 20)))
    except OSError as error:
        refused.append(path)
for top in ("/home/researcher", "/tmp", "/dev/shm", "/run"):
    for root, folders, files in os.walk(top):
        folders[:] = [f for f in folders if os.path.join(root, f) != sys.prefix]  # a checkout may lie below /tmp
        for name in files:
            try:
                candidates |= set(re.findall(rb"[0-9a-zA-Z_-]{32,}", open(os.path.join(root, name), "rb").read()))
            except OSError:
                pass
def opens(token):
    c = http.client.HTTPConnection("hub")
    c.sock = socket.socket(socket.AF_UNIX)
    c.sock.connect("/run/readingroom/door/hub.sock")
    c.request("GET", "/hub/api/user", headers={"Authorization": "token " + token.decode()})
    return c.getresponse().status == 200
print({"tokens": [t for t in candidates if opens(t)], "tried": len(candidates), "refused": len(refused) > 1,
       "environment": [n for n in os.environ if "TOKEN" in n]})
"""


def test_no_token_is_found_by_a_kernel(server):
    found = eval(server.execute(SEARCH))  # printed by the line above
    assert found["tried"] > 0
    assert found["refused"]
    assert found["tokens"] == []
    assert found["environment"] == []


def test_no_token_is_found_by_a_terminal(server):
    text = server.terminal("env | grep -c TOKEN; whoami")
    assert re.search(r"\r0\s", text)
    assert "researcher" in text


def test_portal_learns_the_session_from_the_door(hub, server):
    code = """
from readingroom import client
try: client.session()
except Exception as error: print(error)
"""
    server.execute(code)
    path, session, code = hub.portal.seen[-1]
    assert path == "/services/portal/api/v1/session"
    assert session == server.running.session
    check_vouch(door_key(hub.settings), SessionId(session), code)


def test_refused_request_goes_on_the_record(hub, server):
    code = """
import http.client, socket
c = http.client.HTTPConnection("hub")
c.sock = socket.socket(socket.AF_UNIX)
c.sock.connect("/run/readingroom/door/hub.sock")
c.request("GET", "/hub/api/users")
print(c.getresponse().status)
"""
    assert server.execute(code) == "403\n"
    (row,) = until(lambda: [r for r in hub.records("request-refused") if r["session"] == server.running.session])
    assert row["subject"]["path"] == "GET /hub/api/users"
    assert row["person"] == spawn_hub.PERSON


def test_browser_without_a_token_gets_no_page(server):
    answer = requests.get(server.running.url + server.path + "/api/contents", timeout=30)
    assert answer.status_code == 403


def test_script_that_draws_volumes_lies_below_the_servers_own_address(server):
    page = server.ask("GET", "/lab")
    assert f'"fullLabextensionsUrl": "{server.path}/lab/extensions"' in page.text
    script = server.ask("GET", f"/lab/extensions/{scripts.served('volume')}")
    assert (script.status_code, script.headers["Content-Type"]) == (200, "application/javascript")
    assert script.content == (Path(scripts.__file__).parent / "built" / "volume.js").read_bytes()


def test_hub_that_was_killed_finds_the_server_again(hub, server):
    kernel = server.ask("POST", "/api/kernels", json={"name": "python3"}).json()["id"]
    hub.kill()
    hub.start()
    until(lambda: hub.model().get("ready"))
    assert kernel in [k["id"] for k in server.ask("GET", "/api/kernels").json()]


def test_home_stays_and_nothing_else_does(hub):
    first = hub.spawn()
    first.execute("open('kept', 'w').write('x'); open('/tmp/gone', 'w').write('x')")
    hub.stop()
    assert leftovers(hub) == []
    session = open_catalogue(hub.settings).sessions.get(first.running.session)
    assert session.closed_at is not None
    assert hub.records("session-closed")[-1]["session"] == first.running.session
    projects = open_catalogue(hub.settings).projects
    projects.allow_pictures(PROJECT, False)
    try:
        second = hub.spawn()
        assert second.execute("import os; print(os.path.exists('kept'), os.path.exists('/tmp/gone'))") == "True False\n"
        # This project forbids pictures in saved notebooks, and the server obeys.
        output = nbformat.v4.new_output("display_data", {"image/png": "iVBORw0KGgo=", "text/plain": "slice 3"})
        made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("view", outputs=[output])])
        answer = second.ask("PUT", "/api/contents/seen.ipynb", json={"type": "notebook", "content": made})
        assert answer.status_code == 201, answer.text
        look = "text = open('seen.ipynb').read(); print('image/png' in text, 'slice 3' in text)"
        assert second.execute(look) == "False True\n"
        hub.stop()
    finally:
        projects.allow_pictures(PROJECT, True)


def test_server_that_dies_takes_its_door_along_and_is_tidied(hub):
    server = hub.spawn()
    door = psutil.Process(server.running.pid)
    inside = [p for p in door.children(recursive=True) if "readingroom.server" in " ".join(p.cmdline())]
    os.kill(inside[-1].pid, signal.SIGKILL)
    until(lambda: not hub.model())
    assert not door.is_running() or door.status() == psutil.STATUS_ZOMBIE
    assert leftovers(hub) == []


def test_door_that_dies_takes_its_server_along(hub):
    server = hub.spawn()
    door = psutil.Process(server.running.pid)
    inside = door.children(recursive=True)
    door.kill()
    _, alive = psutil.wait_procs(inside, timeout=10)
    assert alive == []
    until(lambda: not hub.model())
    assert leftovers(hub) == []
