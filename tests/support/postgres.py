"""A real PostgreSQL server on a Unix socket, as an unprivileged user, in a folder of its own."""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from readingroom_hub.adapters.audit_log_schema import schema

_START_SECONDS = 30.0


def _programs() -> Path:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: float(p.parent.name))
    found = shutil.which("initdb")
    if not folders and not found:
        raise RuntimeError("PostgreSQL is not installed: run `make packages` as root")
    return folders[-1] if folders else Path(found or "").parent


def _runs(pid: int) -> bool:
    """Not one that has ended and waits for its parent to notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


class Postgres:
    """One server with the log's database; it can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = 5432
        """Also a part of the Unix socket's name."""
        self._user = {"user": pwd.getpwnam("nobody").pw_uid} if os.geteuid() == 0 else {}
        self._process: subprocess.Popen[bytes] | None = None
        self._initialise()

    def _initialise(self) -> None:
        if self._user:
            os.chown(self._folder, self._user["user"], -1)
        argv = [_programs() / "initdb", "-D", self._folder / "data", "-U", "postgres", "-A", "trust", "--no-sync"]
        subprocess.run(argv, check=True, capture_output=True, cwd="/", **self._user)

    @property
    def url(self) -> str:
        """The log, for the append-only role."""
        return f"postgresql://readingroom_audit@/readingroom_audit?host={self._folder}&port={self.port}"

    @property
    def pid(self) -> int:
        """Of the postmaster."""
        assert self._process is not None
        return self._process.pid

    def superuser(self, database: str = "readingroom_audit") -> psycopg.Connection:
        """A connection that may do everything."""
        return psycopg.connect(
            f"postgresql://postgres@/{database}?host={self._folder}&port={self.port}", autocommit=True
        )

    def make_log(self, gigabytes: int = 10) -> None:
        """As the operator does it: psql and the SQL that the command line prints. What was there is dropped."""
        with self.superuser("postgres") as connection:
            connection.execute("DROP DATABASE IF EXISTS readingroom_audit WITH (FORCE)")
            connection.execute("DROP ROLE IF EXISTS readingroom_audit")
            connection.execute("DROP ROLE IF EXISTS readingroom_audit_owner")
        argv = [
            _programs() / "psql",
            "-X",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-h",
            self._folder,
            "-p",
            str(self.port),
            "-U",
            "postgres",
            "postgres",
        ]
        made = subprocess.run(argv, input=schema(gigabytes).encode(), stderr=subprocess.PIPE, check=False)
        if made.returncode:
            raise RuntimeError(made.stderr.decode())

    def empty_log(self) -> None:
        """As new, much sooner than `make_log`."""
        self.wait_for_writers()
        with self.superuser() as connection:
            connection.execute("TRUNCATE readingroom_audit.entry, readingroom_audit.cosigned")
            connection.execute("UPDATE readingroom_audit.room SET bytes = 10000000000")

    def wait_for_writers(self) -> None:
        """Wait until it has noticed that whoever wrote the log is gone: some time after the connection's end."""
        deadline = time.monotonic() + _START_SECONDS
        with self.superuser() as connection:
            while connection.execute("SELECT 1 FROM pg_locks WHERE locktype = 'advisory'").fetchone():
                assert time.monotonic() < deadline, "somebody still writes the log"
                time.sleep(0.01)

    def own(self, name: str, content: bytes) -> Path:
        """A file in the server's folder that only it may read."""
        path = self._folder / "data" / name
        path.write_bytes(content)
        path.chmod(0o600)
        if self._user:
            os.chown(path, self._user["user"], -1)
        return path

    def start(self, *options: str) -> None:
        """Return once it answers; `options` as `-c name=value`."""
        places = ["-D", self._folder / "data", "-k", self._folder, "-h", "", "-p", str(self.port)]
        argv = [_programs() / "postgres", *places, *options]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(argv, stderr=log, stdout=log, cwd="/", **self._user)
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop(signal.SIGQUIT)
                raise RuntimeError((self._folder / "server.log").read_text())
            time.sleep(0.01)

    def _answers(self) -> bool:
        try:
            self.superuser("postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def revive(self) -> None:
        """Start it again where it ended by itself, as a service manager does."""
        if not self._answers():
            self.stop(signal.SIGQUIT)
            self.start()

    def processes(self) -> list[int]:
        """The postmaster and its children."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [self.pid, *map(int, children)]

    def stop(self, number: int = signal.SIGINT) -> None:
        """End it, and wait until all of its processes are gone: SIGINT cleanly, SIGKILL as a crash does."""
        if self._process is None:
            return
        family = self.processes() if self._process.poll() is None else []
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
        self._process.wait(_START_SECONDS)
        self._process = None
        deadline = time.monotonic() + _START_SECONDS
        while any(map(_runs, family)):
            assert time.monotonic() < deadline, "a server process is left"
            time.sleep(0.01)


@contextlib.contextmanager
def postgres(given: Path | None = None) -> Iterator[Postgres]:
    """A running server; its folder is removed afterwards, unless it was given. A Unix socket's path has 107 bytes."""
    folder = given or Path(tempfile.mkdtemp(prefix="rr-pg-"))
    try:
        server = Postgres(folder)
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        if given is None:
            shutil.rmtree(folder)
