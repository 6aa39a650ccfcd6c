"""A page of headless Chromium that nobody listens to, over the Chrome DevTools Protocol.

Playwright has the browser report to it whatever comes over a web socket, and the page's own thread does that. So what a
page can do is measured here without."""

import contextlib
import json
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import websocket
from tests.support.lab import CHROMIUM, FLAGS, NO_WEBGL

# As Playwright has them, too: a page that is never hidden, and never without the focus.
_AWAKE = ["--disable-backgrounding-occluded-windows", "--disable-renderer-backgrounding"]
# Counts the bytes that come to the page over its web sockets.
_COUNT = """window.came = 0;
window.WebSocket = class extends WebSocket {
  constructor(...rest) {
    super(...rest);
    this.addEventListener('message', ({ data }) => { window.came += data.byteLength ?? data.size ?? data.length; });
  }
};"""


class BarePage:
    """One page, driven by expressions."""

    def __init__(self, address: str) -> None:
        self._line = websocket.create_connection(address, timeout=120)
        self._serial = 0
        self._command("Emulation.setFocusEmulationEnabled", enabled=True)
        self._command("Page.enable")
        self._command("Page.addScriptToEvaluateOnNewDocument", source=_COUNT)

    def _command(self, method: str, **parameters: Any) -> Any:
        self._serial += 1
        self._line.send(json.dumps({"id": self._serial, "method": method, "params": parameters}))
        while True:
            told = json.loads(self._line.recv())
            if told.get("id") == self._serial:
                if "error" in told:
                    raise RuntimeError(f"{method}: {told['error']}")
                return told["result"]

    def goto(self, url: str) -> None:
        """Begin to load a page."""
        self._command("Page.navigate", url=url)

    def evaluate(self, function: str, *arguments: Any) -> Any:
        """Call a function of the page, wait for what it promises, and answer it."""
        call = f"({function})({', '.join(map(json.dumps, arguments))})"
        told = self._command("Runtime.evaluate", expression=call, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in told:
            raise RuntimeError(told["exceptionDetails"])
        return told["result"].get("value")

    def wait_for(self, function: str, *arguments: Any, seconds: float = 120) -> None:
        """Wait until a function of the page says yes."""
        end = time.monotonic() + seconds
        while not self.evaluate(function, *arguments):
            if time.monotonic() > end:
                raise TimeoutError(function)
            time.sleep(0.1)

    def bytes_that_came(self) -> int:
        """Over the page's web sockets, so far."""
        return int(self.evaluate("() => window.came"))


@contextlib.contextmanager
def bare_page() -> Iterator[BarePage]:
    """A page in a fresh profile, without WebGL."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [
            CHROMIUM, "--headless", "--remote-debugging-port=0", "--remote-allow-origins=*", "--window-size=1280,1400",
            f"--user-data-dir={profile}", *FLAGS, *NO_WEBGL, *_AWAKE, "about:blank",
        ]  # fmt: skip
        browser = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield BarePage(_address_of(Path(profile) / "DevToolsActivePort"))
        finally:
            browser.terminate()
            browser.wait(30)


def _address_of(told: Path) -> str:
    """Of the browser's one page. `told`: where the browser writes its port."""
    end = time.monotonic() + 60
    while not (told.exists() and told.read_text().count("\n")):
        if time.monotonic() > end:
            raise TimeoutError("Chromium did not start in a minute.")
        time.sleep(0.05)
    port = told.read_text().split("\n", 1)[0]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
        pages = json.load(answer)
    return str(next(one["webSocketDebuggerUrl"] for one in pages if one["url"] == "about:blank"))
