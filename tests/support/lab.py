"""A real JupyterLab on loopback, and Chromium in front of it that may reach nothing else."""

import contextlib
import http.client
import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from tests.support.ports import free_ports

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]  # fmt: skip
NO_WEBGL = ["--disable-3d-apis"]
WEBGL = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
"""WebGL drawn by the processor: as slow as it gets."""
_NO_NEWS = '{"fetchNews": "false", "checkForUpdates": false}'


@dataclass
class Lab:
    port: int
    token: str
    folder: Path
    data: Path

    def url(self, notebook: str) -> str:
        """Its address, with no other notebook open beside it."""
        return f"http://127.0.0.1:{self.port}/lab/tree/{notebook}?reset&token={self.token}"

    def end_kernels(self) -> None:
        """What earlier notebooks left running."""
        for session in json.loads(self._asked("GET", "/api/sessions")):
            self._asked("DELETE", f"/api/sessions/{session['id']}")

    def _asked(self, method: str, path: str) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, headers={"Authorization": f"token {self.token}"})
            answer = connection.getresponse()
            assert answer.status in {200, 204}, (method, path, answer.status)
            return answer.read()
        finally:
            connection.close()


@contextlib.contextmanager
def running_lab(home: Path, data: Path) -> Iterator[Lab]:
    """JupyterLab with `home` as its only home, serving `home`/work."""
    work = home / "work"
    work.mkdir(parents=True)
    settings = home / ".jupyter/lab/user-settings/@jupyterlab/apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(_NO_NEWS)
    port = free_ports(1)
    lab = Lab(port, secrets.token_hex(16), work, data)
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--ip=127.0.0.1", f"--port={port}", "--allow-root",
        "--ServerApp.port_retries=0", f"--IdentityProvider.token={lab.token}", f"--ServerApp.root_dir={work}",
        "--ServerApp.jpserver_extensions", "readingroom.picture_server=True",
        "--LabApp.expose_app_in_browser=True", "--JupyterNotebookApp.expose_app_in_browser=True",
    ]  # fmt: skip
    with pytest.MonkeyPatch.context() as patch, (home / "lab.log").open("wb") as log:
        patch.setenv("HOME", str(home))
        patch.setenv("READINGROOM_DATA", str(data))
        server = subprocess.Popen(command, stdout=log, stderr=log, cwd=work)
    try:
        _wait_until_ready(server, lab, home / "lab.log")
        yield lab
    finally:
        # It ends its kernels on the first signal.
        server.terminate()
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait_until_ready(server: subprocess.Popen, lab: Lab, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()
        connection = http.client.HTTPConnection("127.0.0.1", lab.port, timeout=5)
        with contextlib.suppress(OSError):
            connection.request("GET", f"/api/status?token={lab.token}")
            if connection.getresponse().status == 200:
                connection.close()
                return
        connection.close()
        server_wait(server, 0.2)
    raise AssertionError(f"JupyterLab was not ready in a minute:\n{log.read_text()}")


def server_wait(server: subprocess.Popen, seconds: float) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(seconds)


@dataclass
class Guard:
    """Every address that the page asked for. The browser itself resolves no name and no address but loopback's."""

    schemes: set[str] = field(default_factory=set)
    outside: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        page.on("request", lambda request: self._note(request.url))
        page.on("websocket", lambda opened: self._note(opened.url))

    def _note(self, url: str) -> None:
        parts = urlsplit(url)
        self.schemes.add(parts.scheme)
        if parts.scheme not in {"data", "blob"} and parts.hostname != "127.0.0.1":
            self.outside.append(url)


@contextlib.contextmanager
def chromium_page(*flags: str) -> Iterator[tuple[Page, Guard]]:
    """A page in a fresh profile of headless Chromium; without WebGL, unless the WEBGL flags are given."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *(flags or NO_WEBGL)])
        guard = Guard()
        try:
            yield fresh_page(browser, guard), guard
        finally:
            browser.close()


def fresh_page(browser: Browser, guard: Guard) -> Page:
    """A page that shares no cookie and no storage with another one."""
    page = browser.new_page(viewport={"width": 1280, "height": 1400})
    page.set_default_timeout(30_000)
    guard.watch(page)
    return page
