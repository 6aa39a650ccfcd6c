"""A log moves from its file into a real PostgreSQL: killed anywhere, it is one whole log in one place."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime

import apsw
import pytest
from tests.support.audit_process import audit_process
from typer.testing import CliRunner

from readingroom_hub.adapters.audit_keys import open_signer
from readingroom_hub.adapters.audit_log import AuditLog
from readingroom_hub.adapters.audit_log_postgres import PostgresAuditLog
from readingroom_hub.adapters.audit_move import MOVED_FILE, move_log
from readingroom_hub.adapters.audit_place import log_place, read_log
from readingroom_hub.cli.audit import app
from readingroom_hub.config import Paths
from readingroom_hub.errors import Conflict, IntegrityError
from readingroom_hub.model.audit import AuditEvent, AuditRecord
from readingroom_hub.ports.records import Filter

# Forked from one warm process, each child takes one of the steps that last, and ends itself before the next one.
_MOVES = """
import os, signal, sys
from pathlib import Path
from readingroom_hub.adapters import audit_move
from readingroom_hub.errors import Conflict
audit_move._CHUNK = 8
left = 0

def counted(work):
    def step(*values, **named):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return work(*values, **named)
    return step

folder, keys, url = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
audit_move.PostgresAuditLog.copy = counted(audit_move.PostgresAuditLog.copy)
audit_move.PostgresAuditLog.copy_cosigned = counted(audit_move.PostgresAuditLog.copy_cosigned)
audit_move.whole_file, audit_move.sync = counted(audit_move.whole_file), counted(audit_move.sync)
Path.rename = counted(Path.rename)
while True:
    child = os.fork()
    if not child:
        left = 1
        while True:
            try:
                audit_move.move_log(folder, keys, url, lambda *_: None)
                os._exit(0)
            except Conflict as error:  # the database has not noticed yet that the one before is dead
                if "another process writes the audit log in this database" not in str(error):
                    sys.exit(str(error))
    status = os.waitpid(child, 0)[1]
    print("killed" if os.WIFSIGNALED(status) else "ended", flush=True)
    if not os.WIFSIGNALED(status):
        break
    sys.stdin.readline()
"""


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """The state folder of a stopped repository: many commits, purged contents, a cosigned checkpoint."""
    paths = Paths(tmp_path_factory.mktemp("o") / "s")
    with audit_process(paths.state) as (server, client):
        one, other = (client.identify("https://idp.example", name, name) for name in ("one", "other"))
        for number in range(30):
            client.append([AuditRecord(AuditEvent.READ_INTENT, person=one, subject={"count": number})])
        client.append([AuditRecord(AuditEvent.READ_INTENT, time=datetime(2015, 1, 1, tzinfo=UTC))])
        client.purge(datetime(2016, 1, 1, tzinfo=UTC), "six years are over", one, [one, other], None)
        server.stop()
    with contextlib.closing(AuditLog(paths.audit, open_signer(paths.audit, paths.keys))) as log:
        log.keep_cosigned(log.size, f"{log.checkpoint}\N{EM DASH} witness AAAAAAAA\n")
    return paths.state


@pytest.fixture
def paths(original, tmp_path):
    return Paths(shutil.copytree(original, tmp_path / "s"))


def cli(paths, url, *arguments):
    env = {"READINGROOM_STATE": str(paths.state), "READINGROOM_AUDIT_LOG_URL": url, "COLUMNS": "250"}
    return CliRunner().invoke(app, list(arguments), env=env)


def move(paths, database):
    return move_log(paths.audit, paths.keys, database.url, lambda *_: None)


def stored(folder):
    with contextlib.closing(read_log(folder)) as log:
        return list(log.entries()), list(log.checkpoints()), log.newest(), log.cosigned()


def test_a_moved_log_is_the_same_log_and_goes_on(paths, database):
    before = stored(paths.audit)
    (paths.state / "kept").write_text(before[2])
    done = cli(paths, database.url, "move")
    assert done.exit_code == 0, done.output
    assert f"in the database: {len(before[0])} records" in done.output
    assert stored(paths.audit) == before
    assert sorted(p.name for p in paths.audit.glob("*mov*")) == [MOVED_FILE]
    with audit_process(paths.state, log_url=database.url) as (_, client):
        client.append([AuditRecord(AuditEvent.READ_INTENT)])
        assert len(client.query(Filter(events=("read-intent",)), None)) == 31
        checked = cli(paths, database.url, "verify", "--kept", str(paths.state / "kept"))
        assert checked.exit_code == 0, checked.output
    database.wait_for_writers()
    again = cli(paths, database.url, "move")
    assert again.exit_code != 0
    assert "there is no file to move" in " ".join(again.output.split())


def test_killed_at_any_step_it_is_one_log_and_can_be_moved_again(paths, database):
    before, places = stored(paths.audit), []
    argv = [sys.executable, "-c", _MOVES, str(paths.audit), str(paths.keys), database.url]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE) | {"text": True}
    with subprocess.Popen(argv, start_new_session=True, **pipes) as moves:
        try:
            while moves.stdout.readline().strip() == "killed":
                places.append(log_place(paths.audit).name)
                assert stored(paths.audit) == before
                moves.stdin.write("\n")
                moves.stdin.flush()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(moves.pid, signal.SIGKILL)
        said = moves.stderr.read()
    assert "there is no file to move" in said  # all but the last directory's sync was done
    assert places == sorted(places)  # log.url comes after log.sqlite, and never goes
    assert set(places) == {"log.sqlite", "log.url"}
    assert len(places) > 6
    assert log_place(paths.audit).name == "log.url"
    assert (paths.audit / MOVED_FILE).exists()
    assert not (paths.audit / "log.sqlite").exists()
    assert stored(paths.audit) == before


def test_only_a_stopped_log_moves_and_only_into_its_own_database(paths, database, tmp_path):
    assert "READINGROOM_AUDIT_LOG_URL" in cli(paths, "", "move").output
    with audit_process(paths.state), pytest.raises(Conflict, match="stop it first"):
        move(paths, database)
    with pytest.raises(Conflict, match="no audit log"):
        move(Paths(tmp_path / "none"), database)
    with audit_process(tmp_path / "t", log_url=database.url):
        pass
    database.wait_for_writers()
    with pytest.raises(Conflict, match="not the beginning of this log"):
        move(paths, database)
    assert log_place(paths.audit).name == "log.sqlite"


def test_a_log_that_does_not_verify_stays(paths, database):
    with contextlib.closing(apsw.Connection(str(paths.audit / "log.sqlite"))) as file:
        file.execute("DROP TRIGGER entry_no_update; UPDATE entry SET leaf = x'7b7d' WHERE idx = 3")
    with pytest.raises(IntegrityError, match="stays where it is: record 3"):
        move(paths, database)
    assert log_place(paths.audit).name == "log.sqlite"


def test_a_copy_with_other_contents_is_not_taken(paths, database, monkeypatch):
    copy = PostgresAuditLog.copy

    def forged(log, rows):
        record = json.dumps(json.loads(rows[4][4]) | {"reason": "forged"}).encode()
        copy(log, [*rows[:4], (*rows[4][:4], record, rows[4][5]), *rows[5:]])

    monkeypatch.setattr(PostgresAuditLog, "copy", forged)
    with pytest.raises(IntegrityError, match="record 4 is not the same in both"):
        move(paths, database)
    assert log_place(paths.audit).name == "log.sqlite"
