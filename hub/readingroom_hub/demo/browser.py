"""A person at a headless browser: signs in, starts a server, works in JupyterLab, as the pages ask them to."""

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from readingroom_hub.demo.identity import DemoPerson
from readingroom_hub.errors import SystemUnfit

PATIENCE_MS = 60_000

FLAGS = (
    "--no-sandbox",  # Chromium refuses its own sandbox to root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    # Nothing may go out: these would look for updates and accounts.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def chromium() -> Iterator[Browser]:
    """The operating system's Chromium, headless. Raises SystemUnfit where there is none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        raise SystemUnfit("Chromium is missing: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


class Visitor:
    """One person in a browser profile of their own."""

    def __init__(self, browser: Browser, url: str, person: DemoPerson, *, dark: bool = False) -> None:
        self.person = person
        self._url = url
        context = browser.new_context(
            ignore_https_errors=True,  # the demo's certificate is its own
            viewport={"width": 1280, "height": 900},
            color_scheme="dark" if dark else "light",
        )
        context.set_default_timeout(PATIENCE_MS)
        self.page: Page = context.new_page()
        self.foreign: list[str] = []
        self.page.on("request", self._note_request)

    def _note_request(self, request: Any) -> None:
        if not re.match(r"(https|wss)://localhost[:/]|data:|blob:|about:", request.url):
            self.foreign.append(request.url)

    def sign_in(self) -> None:
        """Password, then the second factor, at the identity provider; ends at "My projects"."""
        page = self.page
        page.goto(self._url)
        if page.get_by_role("link", name=re.compile("sign in", re.IGNORECASE)).count():
            page.get_by_role("link", name=re.compile("sign in", re.IGNORECASE)).first.click()
        # The code is made when it is asked for: it is good for half a minute.
        answers: dict[str, Callable[[], str]] = {
            "login": lambda: self.person.user_name,
            "password": lambda: self.person.password,
            "otp": self.person.fresh_code,
        }
        for field, answer in answers.items():
            page.wait_for_selector(f"input[name={field}]")
            page.fill(f"input[name={field}]", answer())
            page.keyboard.press("Enter")
        page.wait_for_url(re.compile(r"/hub/home"))

    def start_server(self, project: str) -> None:
        """Click Start on the project's card and wait until JupyterLab can be used."""
        page = self.page
        page.goto(self._url + "/hub/home")
        page.locator(f"[data-project={project}]").get_by_role("link", name=re.compile("Start|Open")).first.click()
        page.wait_for_url(re.compile(rf"/user/[^/]+/{project}/lab"))
        page.wait_for_selector(".jp-FileBrowser", state="visible")

    @property
    def server_url(self) -> str:
        """The address of the server that is open."""
        found = re.match(r"(https://.*/user/[^/]+/[^/]+)/", self.page.url)
        if found is None:
            raise AssertionError(f"no server is open at {self.page.url}")
        return found.group(1)

    def open_notebook(self, path: str) -> None:
        """Open a notebook of the home and wait for its kernel."""
        self.page.goto(f"{self.server_url}/lab/tree/{path}")
        self.page.wait_for_selector(".jp-Notebook-cell")
        # The status bar says so once the kernel really answers; before that "Run" asks which kernel to take.
        self.page.locator(".jp-StatusBar-Widget").get_by_text(re.compile(r"\| Idle$")).wait_for()

    def run_all(self) -> None:
        """Run > Run All Cells, then wait until every code cell has run. Raises AssertionError naming a failed cell."""
        page = self.page
        for attempt in range(5):
            page.locator(".lm-MenuBar-itemLabel", has_text=re.compile("^Run$")).click()
            page.locator("[data-command='runmenu:run-all']").click()
            try:
                until(self._any_started, "a cell has started", 10)
                break
            except AssertionError:
                # JupyterLab drops what is run before its connection to the kernel stands, though it shows "Idle".
                if attempt == 4:
                    raise
        errors = page.locator(".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.error']")
        until(lambda: self._all_ran() or errors.count() > 0, "every cell has run", 120)
        if errors.count():
            raise AssertionError(f"a cell failed: {errors.first.inner_text()[-600:]}")

    def _prompts(self) -> list[str]:
        # Not the inner text: JupyterLab does not lay out cells that are scrolled away, and they have none then.
        found: list[str] = self.page.locator(".jp-CodeCell .jp-InputArea-prompt").all_text_contents()
        return found

    def _any_started(self) -> bool:
        return any(re.search(r"\[[*\d]", p) for p in self._prompts())

    def _all_ran(self) -> bool:
        prompts = self._prompts()
        return bool(prompts) and all(re.search(r"\[\d+\]", p) for p in prompts)

    def save(self) -> None:
        """Ctrl-S, and wait until nothing is unsaved."""
        self.page.keyboard.press("Control+s")
        until(lambda: self.page.locator(".lm-TabBar-tab.lm-mod-current.jp-mod-dirty").count() == 0, "it is saved")

    def in_terminal(self, line: str, result: str) -> str:
        """Type a line into a terminal, and return the file `result` of the home once the line has ended.

        The line's own output goes to that file; the marker behind it says that it ended."""
        page = self.page
        page.goto(f"{self.server_url}/lab")
        page.locator(
            "[data-command='filebrowser:create-main-launcher'], [data-command='launcher:create']"
        ).first.click()
        page.locator(".jp-LauncherCard", has_text="Terminal").last.click()
        # JupyterLab brings back the tabs of last time; the new one is in front.
        page.locator(".lm-TabBar-tab.lm-mod-current", has_text="Terminal").wait_for()
        page.locator(".jp-Terminal:not(.lm-mod-hidden) .xterm-screen").last.click()
        page.keyboard.type(f"( {line} ) > ~/{result} 2>&1; echo ended $? >> ~/{result}\n")
        until(lambda: "ended " in (self.file(result) or ""), f"the terminal has run {line!r}", 180)
        return self.file(result) or ""

    def file(self, path: str) -> str | None:
        """A text file of the home, by the server's contents API; None where it is not there."""
        answer = self.page.request.get(f"{self.server_url}/api/contents/{path}?content=1")
        if answer.status == 404:
            return None
        content = answer.json()["content"]
        return content if isinstance(content, str) else str(content)

    def upload(self, path: str, text: str) -> None:
        """Put a text file or a notebook into the home, as JupyterLab does. Raises AssertionError."""
        notebook = path.endswith(".ipynb")
        kind, form = ("notebook", "json") if notebook else ("file", "text")
        xsrf = next(
            c["value"]
            for c in self.page.context.cookies()
            if c["name"] == "_xsrf" and c["path"] in self.server_url + "/" and c["path"].count("/") > 2
        )
        answer = self.page.request.put(
            f"{self.server_url}/api/contents/{path}",
            headers={"X-XSRFToken": xsrf, "Content-Type": "application/json", "Referer": self.server_url},
            data=json.dumps({"type": kind, "format": form, "content": json.loads(text) if notebook else text}),
        )
        if not answer.ok:
            raise AssertionError(f"{path} could not be uploaded: {answer.status} {answer.text()[:300]}")

    def notebook(self, path: str) -> dict[str, Any]:
        """A notebook of the home as it is saved."""
        answer: dict[str, Any] = self.page.request.get(f"{self.server_url}/api/contents/{path}?content=1").json()
        content: dict[str, Any] = answer["content"]
        return content

    def picture(self, path: Path) -> None:
        """A screenshot of what is on the screen."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=str(path))


def until(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Wait for a condition. Raises AssertionError naming it."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"within {seconds:.0f} s it did not happen that {what}")
        time.sleep(0.1)
