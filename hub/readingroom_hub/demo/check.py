"""`make demo ARGS=--check`: walks the whole path as its users would, and says for each step whether it stood."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from readingroom_hub.config import Settings
from readingroom_hub.demo.browser import Visitor, chromium
from readingroom_hub.demo.room import DemoRoom, record_size
from readingroom_hub.demo.walk import Walk
from readingroom_hub.errors import ReadingRoomError


@dataclass(frozen=True, slots=True)
class Outcome:
    """One step of the walk."""

    name: str
    ok: bool
    seconds: float
    error: str = ""


class Report:
    """The steps so far, printed as they happen and written to `demo-check.json` at the end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.steps: list[Outcome] = []
        self.audit: dict[str, Any] = {"records": 0, "verified": False}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time one step; a failure is noted and goes on up."""
        began = time.monotonic()
        try:
            yield
        except Exception as error:
            self.add(name, time.monotonic() - began, str(error) or repr(error))
            raise
        self.add(name, time.monotonic() - began)

    def add(self, name: str, seconds: float, error: str = "") -> None:
        """Note one step that is over."""
        self.steps.append(Outcome(name, not error, round(seconds, 2), error))
        mark = "[red]✗[/]" if error else "[green]✓[/]"
        self._console.print(f"{mark} {name} [dim]{seconds:.1f} s[/]")
        if error:
            self._console.print(error, markup=False, style="red")

    @property
    def ok(self) -> bool:
        """Whether every step stood and the record was verified."""
        return all(s.ok for s in self.steps) and bool(self.audit["verified"])

    def write(self, path: Path) -> None:
        """The report as JSON, whole or not at all."""
        rows = {"ok": self.ok, "steps": [asdict(s) for s in self.steps], "audit": self.audit}
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(rows, indent=1) + "\n")
        fresh.replace(path)


def check(settings: Settings, out: Path, console: Console) -> bool:
    """Walk the path in a fresh state folder; `demo-check.json` and screenshots in `demo-check` are left in `out`.

    Returns whether all of it stood."""
    shutil.rmtree(settings.state, ignore_errors=True)
    pictures = out / "demo-check"
    shutil.rmtree(pictures, ignore_errors=True)
    report = Report(console)
    room = DemoRoom(
        settings,
        lambda s: report.add(s.name, s.seconds),
        lambda text: console.print(f"[yellow]![/] {text}"),
    )
    try:
        try:
            room.start()
        except ReadingRoomError as error:
            report.add("The demo starts", 0, str(error))
            return False
        with chromium() as browser:
            people = {p.user_name: Visitor(browser, room.settings.public_url, p) for p in room.people}
            walk = Walk(room.settings, people, pictures, report.step)
            try:
                walk.run()
            except Exception:  # noqa: BLE001  # already in the report; whatever it was, the walk has failed
                walk.picture_of_failure()
                return False
        with report.step("The record verifies"):
            report.audit = verify(room.settings)
        return report.ok
    finally:
        began = time.monotonic()
        room.stop()
        report.add("Everything has stopped", time.monotonic() - began)
        report.write(out / "demo-check.json")
        console.print(f"Report: {out / 'demo-check.json'}; screenshots: {pictures}")


def verify(settings: Settings) -> dict[str, Any]:
    """Run `readingroom audit verify` as an auditor would. Raises AssertionError with what it found."""
    records = record_size(settings)
    argv = [sys.executable, "-m", "readingroom_hub.cli.main", "audit", "verify"]
    done = subprocess.run(argv, env=settings.to_environ(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"audit verify exits {done.returncode}: {done.stdout}{done.stderr}")
    return {"records": records, "verified": True}
