"""The monitor on a real log: what it reads, and that its process starts and ends."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.support.audit_process import audit_process
from typer.testing import CliRunner

import readingroom_hub
from readingroom_hub import compose
from readingroom_hub.adapters.monitor_tail import LogTail
from readingroom_hub.cli.main import app
from readingroom_hub.compose import monitoring
from readingroom_hub.config import Settings
from readingroom_hub.model.audit import AuditEvent, AuditRecord
from readingroom_hub.sandbox.fitness import Level, examine


def a_read(person, study, at):
    subject = {"dataset": "lung", "study": study, "bytes": 10**8}
    return AuditRecord(AuditEvent.READ_INTENT, person=person, time=at, subject=subject)


def examined(settings):
    """What `readingroom doctor` says of the monitor, and whether it says that none runs."""
    (found,) = (c for c in examine(settings) if c.name == "monitor")
    return found.level, "no process runs it" in found.sentence


def test_the_process_finds_a_bulk_download_and_holds_the_person_and_ends_when_told():
    with audit_process() as (server, audit):
        now = datetime.now(UTC)
        rosa = audit.identify("test", "rosa", "Rosa")
        audit.append([a_read(rosa, f"1.2.{d % 3}", now - timedelta(days=d)) for d in range(30, 0, -1)])
        audit.append([a_read(rosa, f"1.3.{n}", now) for n in range(80)])
        tail = LogTail(server.paths.audit)
        records, end = tail.read(tail.first(now - timedelta(days=60)), 1000)
        assert [r["subject"]["study"] for _, r in records if r["event"] == "read-intent"][:3] == [
            "1.2.0",
            "1.2.2",
            "1.2.1",
        ]
        assert [i for i, _ in records] == list(range(end))
        assert tail.first(now + timedelta(days=1)) == end
        assert tail.read(0, 2) == (records[:2], 2)
        assert tail.read(end + 1000, 5) == ([], end + 1000)
        settings = Settings(state=server.paths.state, monitor_suspend=("studies",))
        environ = settings.to_environ() | {"PYTHONPATH": str(Path(readingroom_hub.__file__).parents[1])}
        command = [sys.executable, "-m", "readingroom_hub.cli.main", "audit", "monitor", "serve"]
        process = subprocess.Popen(command, env=environ, stderr=subprocess.PIPE)
        try:
            memory = monitoring.memory(settings)
            deadline = time.monotonic() + 30
            while memory.load().looked_at is None and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.02)
            assert memory.load().looked_at is not None
            assert memory.is_running()
            assert examined(settings) == (Level.OK, False)
            assert [h.person for h in compose.holds(settings, audit).current()] == [rosa]
            lines = compose.alerts(audit).lines(rosa)
            assert [(n.alert.person, n.suspended, n.name) for n in lines] == [(rosa, True, "Rosa")]
        finally:
            process.send_signal(signal.SIGTERM)
            said = process.communicate(timeout=20)[1]
        assert (process.returncode, said) == (0, b"")
        assert examined(settings) == (Level.ADVICE, True)
        assert examined(replace(settings, monitor_minutes=0)) == (Level.OK, False)
        the_command_line_does_what_the_page_does(settings, rosa, lines[0].alert.id)


def the_command_line_does_what_the_page_does(settings, rosa, alert):
    def run(*arguments, code=0):
        result = CliRunner().invoke(app, ["audit", *arguments], env={"READINGROOM_STATE": str(settings.state)})
        assert result.exit_code == code, result.output
        return result.output

    def holds():
        return compose.open_catalogue(settings).holds.current()

    (row,) = json.loads(run("alerts", "--json"))
    assert (row["alert"], row["who"], row["suspended"]) == (alert, "Rosa", True)
    assert "studies for the first time within fourteen days" in row["because"]
    assert "write in a few words" in run("monitor", "acknowledge", alert, "--note", " ", code=1)
    run("monitor", "acknowledge", alert, "--note", "asked her: a deadline")
    assert "No alert waits." in run("alerts")
    (row,) = json.loads(run("alerts", "--all", "--json"))
    assert row["note"] == "asked her: a deadline"
    run("monitor", "resume", "Rosa")
    assert holds() == {}
    run("monitor", "suspend", "Rosa", "--reason", "by telephone")
    assert holds()[rosa].reason == "by telephone"
    run("monitor", "resume", "Rosa")
    assert "suspended" in run("monitor", "resume", "Rosa", code=1)
