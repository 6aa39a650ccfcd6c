"""`kill -9` between commit and release, a hundred times: the record is there, and it is there once. In either store."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import pytest
from tests.support.postgres import postgres
from typer.testing import CliRunner

from readingroom_hub.adapters.audit_client import SocketAuditRepository
from readingroom_hub.adapters.audit_place import read_log
from readingroom_hub.cli.audit import app
from readingroom_hub.config import Paths
from readingroom_hub.errors import AuditUnavailable
from readingroom_hub.model.audit import AuditEvent, AuditRecord

KILLS = 100
# Forked from one warm process, each server ends itself right after its first commit of a read: no answer has left yet.
_SERVERS = """
import os, signal, sys
from pathlib import Path
from readingroom_hub.adapters.audit_log import AuditLog
from readingroom_hub.adapters.audit_log_postgres import PostgresAuditLog
from readingroom_hub.adapters.audit_server import serve
from readingroom_hub.config import Paths
from readingroom_hub.errors import Conflict
paths, kills, url = Paths(Path(sys.argv[1])), int(sys.argv[2]), sys.argv[3]
Log = PostgresAuditLog if url else AuditLog
commit = Log._commit
paths.make()

def commit_and_die(log, rows, size, note):
    commit(log, rows, size, note)
    if any(b'"read-intent"' in row[4] for row in rows):
        os.kill(os.getpid(), signal.SIGKILL)

for turn in range(kills + 1):
    child = os.fork()
    if not child:
        Log._commit = commit_and_die if turn < kills else commit
        while True:
            try:
                serve(paths.audit, paths.keys, paths.audit_socket, log_url=url)
                os._exit(0)
            except Conflict as error:  # the database has not noticed yet that the one before is dead
                if "in this database" not in str(error):
                    raise
    status = os.waitpid(child, 0)[1]
    print(os.WTERMSIG(status), flush=True)
    if turn < kills and os.WTERMSIG(status) != signal.SIGKILL:
        sys.exit("a server ended by itself")
"""


@pytest.fixture
def state():
    with tempfile.TemporaryDirectory(prefix="rr-") as folder:  # short: a Unix socket's path has at most 107 bytes
        yield Path(folder)


def answered(ask, seconds=20.0):
    """What the next server says."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except AuditUnavailable:
            assert time.monotonic() < deadline, "no server came back in time"
            time.sleep(0.002)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request):
    """Of the log's database; empty for a file."""
    if request.param == "sqlite":
        yield ""
        return
    with postgres() as database:
        database.make_log()
        yield database.url


def test_a_kill_between_commit_and_release_loses_nothing_and_stores_nothing_twice(state, url):
    paths = Paths(state)
    argv = [sys.executable, "-c", _SERVERS, str(state), str(KILLS), url]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) as servers:
        client = SocketAuditRepository(paths.audit_socket, "test", 20_000)
        try:
            answered(client.status)
            receipts = {}
            for _ in range(KILLS):
                record = AuditRecord(AuditEvent.READ_INTENT)
                with pytest.raises(AuditUnavailable):  # stored, but not confirmed: nothing may be released
                    client.append([record])
                (receipts[record.id],) = answered(lambda record=record: client.append([record]))
        finally:
            client.close()
            os.killpg(servers.pid, signal.SIGKILL)
        deaths = servers.stdout.read().split()
    assert deaths == [b"9"] * KILLS
    with closing(read_log(paths.audit)) as reader:
        rows = [(e.idx, e.hash, json.loads(e.record)) for e in reader.entries()]
    reads = [row for row in rows if row[2]["event"] == "read-intent"]
    assert [(r["id"], index, hash) for index, hash, r in reads] == [
        (id, receipt.index, receipt.leaf_hash) for id, receipt in receipts.items()
    ]
    # What is stored when sent again is marked late: these are the ones from before the kill.
    assert not [r["id"] for _, _, r in reads if r["source"].get("late")]
    checked = CliRunner().invoke(app, ["verify"], env={"READINGROOM_STATE": str(state), "COLUMNS": "250"})
    assert checked.exit_code == 0, checked.output
