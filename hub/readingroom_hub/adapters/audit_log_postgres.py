"""The log's store in PostgreSQL: one append-only table, one COPY a commit, written by a role that may do nothing else.

The index comes from the writer's tree, never from a database sequence. A checkpoint lies beside the last record of its
commit, so that both come or neither. One writer: an advisory lock that lives as long as its connection."""

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import count, starmap
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import psycopg
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict

from readingroom_hub.adapters.audit_log_schema import EXPIRED
from readingroom_hub.adapters.audit_writer import LogWriter, Row
from readingroom_hub.errors import AuditUnavailable, BadInput, Conflict, IntegrityError, SystemUnfit
from readingroom_hub.ledger.note import Signer
from readingroom_hub.ledger.verify import Entry
from readingroom_hub.ports.log import IndexedLog

_COMMIT_SECONDS, _READ_SECONDS = 5.0, 60.0
"""Without an answer of the server for so long, a connection is given up."""
_PURGE_SECONDS = 3600.0
_ROOM_SECONDS, _ROOM_BYTES = 10.0, 16 << 20
"""At most, between two looks at the database's size."""
_START_SECONDS = 45.0
"""How long a start waits for the server: whoever restarts us does so only a few times a minute."""
_LOCK = 0x72726C6F67
"""Of the one writer; advisory locks are a database's own."""
_OLDEST = 140000
_COPY = "COPY readingroom_audit.entry(idx, leaf, hash, salt, record, note) FROM STDIN (FORMAT BINARY)"
_TYPES = ("int8", "bytea", "bytea", "bytea", "bytea", "text")
_FIT = {"fsync": ("on",), "full_page_writes": ("on",), "synchronous_commit": ("on", "remote_apply")}
"""Settings without which a commit that was confirmed may be lost."""
_SECRETS = {"password", "sslpassword", "oauth_client_secret"}
_T = TypeVar("_T")
SignedRow = tuple[int, bytes, bytes, bytes | None, bytes | None, str | None]
"""A row as it is stored: index, leaf, its hash, salt and record where they were not purged, a commit's checkpoint."""


def check_url(url: str) -> None:
    """Raises BadInput for an address that holds a secret, or whose server nobody vouches for."""
    try:
        parts = conninfo_to_dict(url)
        is_url = urlsplit(url).scheme in {"postgresql", "postgres"}
    except (psycopg.Error, ValueError) as error:
        raise BadInput(f"READINGROOM_AUDIT_LOG_URL cannot be used: {error}") from error
    if not is_url or not parts.get("dbname"):
        raise BadInput("READINGROOM_AUDIT_LOG_URL is postgresql://USER@HOST/DATABASE")
    if parts.keys() & _SECRETS:
        raise BadInput("READINGROOM_AUDIT_LOG_URL must hold no password: name a file of it with ?passfile=")
    if "service" in parts:  # it could name any host
        raise BadInput("READINGROOM_AUDIT_LOG_URL must name the host itself, and no service")
    host = str(parts.get("hostaddr") or parts.get("host") or "/")
    is_near = host in {"localhost", "127.0.0.1", "::1"} or (host.startswith("/") and "," not in host)
    if not is_near and parts.get("sslmode") != "verify-full":  # else anybody on the way could confirm a commit
        raise BadInput(f"the audit log's database is on {host}: add sslmode=verify-full and sslrootcert= to its URL")


class _Connection(psycopg.Connection[tuple[Any, ...]]):
    """One that waits no longer than its `limit`."""

    limit = _READ_SECONDS

    def wait(self, gen: PQGen[_T], interval: float = 0.1, timeout: float | None = None) -> _T:
        """Raises OperationalError where the server says nothing in time."""
        return super().wait(gen, interval, self.limit if timeout is None else timeout)

    @classmethod
    def to(cls, url: str, limit: float, *, autocommit: bool) -> Self:
        """Raises AuditUnavailable where it cannot be made."""
        check_url(url)
        try:
            connection = cls.connect(
                url,
                autocommit=autocommit,
                connect_timeout=max(2, int(min(limit, _COMMIT_SECONDS))),
                keepalives_idle=5,
                keepalives_interval=2,
                keepalives_count=3,
                application_name="readingroom-audit",
                options="-c client_encoding=UTF8 -c tcp_keepalives_idle=5 -c tcp_keepalives_interval=2",
            )
        except psycopg.Error as error:
            raise AuditUnavailable(f"the audit log's database cannot be reached: {_said(error)}") from error
        connection.limit = limit
        return connection


def _said(error: psycopg.Error) -> str:
    return " ".join(str(error).split())


class PostgresLogReader(IndexedLog):
    """A log in a database at one moment: a read-only transaction of isolation level REPEATABLE READ."""

    def __init__(self, url: str, limit: float = _READ_SECONDS) -> None:
        """Raises AuditUnavailable where the database does not answer, BadInput for an unusable address."""
        self._connection = _Connection.to(url, limit, autocommit=False)
        self._names = count()
        try:
            self._connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            self._connection.read_only = True
            self.hashes(0, 1)  # takes the snapshot
        except BaseException:
            self.close()
            raise

    def entries(self, start: int = 0) -> Iterator[Entry]:
        """See the port."""
        sql = "SELECT idx, leaf, hash, salt, record FROM readingroom_audit.entry WHERE idx >= %s ORDER BY idx"
        return starmap(Entry, self._rows(sql, start))

    def leaves(self, start: int = 0) -> Iterator[Entry]:
        """See the port."""
        sql = "SELECT idx, leaf, hash FROM readingroom_audit.entry WHERE idx >= %s ORDER BY idx"
        return starmap(Entry, self._rows(sql, start))

    def hashes(self, start: int, end: int) -> list[bytes]:
        """See the port."""
        sql = "SELECT hash FROM readingroom_audit.entry WHERE idx >= %s AND idx < %s ORDER BY idx"
        return [hash for (hash,) in self._rows(sql, start, end)]

    def checkpoints(self) -> Iterator[str]:
        """See the port."""
        sql = """SELECT coalesce(w.note, e.note) FROM readingroom_audit.entry AS e
            LEFT JOIN readingroom_audit.cosigned AS w ON w.size = e.idx + 1 WHERE e.note IS NOT NULL ORDER BY e.idx"""
        return (str(note) for (note,) in self._rows(sql))

    def cosigned(self) -> str | None:
        """See the port."""
        return self._text("SELECT note FROM readingroom_audit.cosigned ORDER BY size DESC LIMIT 1")

    def newest(self) -> str | None:
        """See the port."""
        return self._text("SELECT note FROM readingroom_audit.entry WHERE note IS NOT NULL ORDER BY idx DESC LIMIT 1")

    def places(self, since: str, until: str) -> tuple[int, int]:
        """See the port."""
        sql = """SELECT coalesce(min(idx), 0), coalesce(max(idx) + 1, 0) FROM
            (SELECT idx, (convert_from(leaf, 'UTF8')::json ->> 'time') COLLATE "C" AS time
            FROM readingroom_audit.entry) AS e WHERE time >= %s AND time < %s"""
        first, end = next(self._rows(sql, since, until))
        return int(first), int(end)

    def texts(self, start: int, most: int) -> bytes:
        """See the port."""
        sql = """SELECT string_agg(convert_to('[' || idx || ',', 'UTF8') || text || ']'::bytea, ',' ORDER BY idx) FROM
            (SELECT idx, coalesce(record, leaf) AS text FROM readingroom_audit.entry
            WHERE idx >= %s ORDER BY idx LIMIT %s) AS e"""
        (found,) = next(self._rows(sql, start, most))
        return b"[" + (found or b"") + b"]"

    def at(self, indices: Sequence[int]) -> list[Entry]:
        """See the port."""
        sql = "SELECT idx, leaf, hash, salt, record FROM readingroom_audit.entry WHERE idx = ANY(%s) ORDER BY idx"
        return list(starmap(Entry, self._rows(sql, list(indices))))

    def purged(self) -> Iterator[int]:
        """See the port."""
        return (int(idx) for (idx,) in self._rows("SELECT idx FROM readingroom_audit.entry WHERE record IS NULL"))

    def _text(self, sql: str) -> str | None:
        row = next(self._rows(sql), None)
        return str(row[0]) if row else None

    def _rows(self, sql: str, *values: object) -> Iterator[Any]:
        """Row by row from a cursor on the server: a log is larger than memory."""
        try:
            with self._connection.cursor(f"c{next(self._names)}", scrollable=False) as cursor:
                cursor.itersize = 1000
                cursor.execute(sql, values, binary=True)
                yield from cursor
        except (psycopg.errors.DataCorrupted, psycopg.errors.IndexCorrupted, psycopg.errors.DataError) as error:
            raise IntegrityError(f"the audit log is damaged below the level of records: {_said(error)}") from error
        except psycopg.Error as error:
            raise AuditUnavailable(f"the audit log's database cannot be read: {_said(error)}") from error

    def close(self) -> None:
        """See the port."""
        self._connection.close()


class PostgresAuditLog(LogWriter):
    """Writes it."""

    _Error = psycopg.Error

    def __init__(self, folder: Path, signer: Signer, url: str, limit: float = _COMMIT_SECONDS) -> None:
        """`limit`: seconds that the server may be silent. Raises BadInput, and what LogWriter raises."""
        self._url, self._limit = url, limit
        self._connection: _Connection | None = None
        self._session: tuple[int, Any] | None = None
        self._looked, self._written = 0.0, 0
        _wait_for(url)
        super().__init__(folder, signer)

    def view(self) -> PostgresLogReader:
        """See the base."""
        return PostgresLogReader(self._url, self._limit)

    @property
    def _is_connected(self) -> bool:
        return self._connection is not None

    def _connect(self) -> None:
        connection = _Connection.to(self._url, self._limit, autocommit=True)
        try:
            _check_server(connection)
            self._take(connection)
        except psycopg.Error as error:
            connection.close()
            raise AuditUnavailable(f"the audit log's database cannot be used: {_said(error)}") from error
        except BaseException:
            connection.close()
            raise
        self._connection, self._looked = connection, 0.0

    def _take(self, connection: _Connection) -> None:
        """Be the one writer. A session of our own that we gave up is ended first: its commit may still be under way."""
        if not _locked(connection) and self._session:
            sql = "SELECT pg_terminate_backend(pid, 200) FROM pg_stat_activity WHERE (pid, backend_start) = (%s, %s)"
            connection.execute(sql, self._session)
        if not _locked(connection):
            raise Conflict("another process writes the audit log in this database: stop it first")
        sql = "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
        self._session = connection.execute(sql).fetchone()

    def _commit(self, rows: list[Row], size: int, note: str) -> None:  # noqa: ARG002  # the note says it
        assert self._connection is not None  # noqa: S101  # reopen() raises otherwise
        self._insert(self._connection, [*((*row, None) for row in rows[:-1]), (*rows[-1], note)])

    def _insert(self, connection: _Connection, rows: Sequence[SignedRow]) -> None:
        self._check_room(connection, sum(len(part or b"") for row in rows for part in row[1:5]))
        with connection.cursor() as cursor:
            with cursor.copy(_COPY) as copy:
                copy.set_types(_TYPES)
                for row in rows:
                    copy.write_row(row)
            if cursor.rowcount != len(rows):
                raise psycopg.DataError(f"{cursor.rowcount} of {len(rows)} rows from {rows[0][0]} on were stored")

    def copy(self, rows: Sequence[SignedRow]) -> None:
        """Store rows of a log that lies elsewhere, in one commit. Raises AuditUnavailable.

        The tree does not follow: open the log again, which checks them, before anybody appends to it."""
        with self._copying() as connection:
            self._insert(connection, rows)

    def copy_cosigned(self, notes: Sequence[tuple[int, str]]) -> None:
        """Store sizes and checkpoints with cosignatures of such a log, in one commit. Raises AuditUnavailable."""
        with self._copying() as connection, connection.transaction(), connection.cursor() as cursor:
            cursor.executemany("INSERT INTO readingroom_audit.cosigned VALUES(%s, %s)", notes)

    @contextlib.contextmanager
    def _copying(self) -> Iterator[_Connection]:
        self.reopen()
        assert self._connection is not None  # noqa: S101  # reopen() raises otherwise
        try:
            yield self._connection
        except psycopg.Error as error:
            self._drop()
            raise AuditUnavailable(f"the audit log could not be copied: {_said(error)}") from error

    def _check_room(self, connection: _Connection, coming: int) -> None:
        """Refuse before the disk is full: then PostgreSQL would stop, and could not even be read."""
        self._written += coming
        if time.monotonic() - self._looked < _ROOM_SECONDS and self._written < _ROOM_BYTES:
            return
        sql = "SELECT pg_database_size(current_database()), min(bytes) FROM readingroom_audit.room"
        used, room = connection.execute(sql).fetchone() or (0, None)
        if room is None or used >= room:
            given = f"{(room or 0) / 1e9:.1f}"
            raise AuditUnavailable(
                f"the audit log's database has {used / 1e9:.1f} GB and may have {given}: "
                "give its disk more room, then raise the limit in readingroom_audit.room"
            )
        self._looked, self._written = time.monotonic(), 0

    def expired(self, before: str) -> int:
        """See the base."""
        sql = f"SELECT count(*) FROM readingroom_audit.entry WHERE {EXPIRED.format('%s')}"  # noqa: S608  # fixed text
        return int(self._change(sql, before, limit=_PURGE_SECONDS)[0])

    def purge(self, before: str) -> None:
        """See the base. Their bytes leave the files with the owner's next VACUUM FULL."""
        self._change("SELECT readingroom_audit.purge(%s)", before, limit=_PURGE_SECONDS)

    def keep_cosigned(self, size: int, note: str) -> None:
        """See the base."""
        sql = """INSERT INTO readingroom_audit.cosigned VALUES(%s, %s)
            ON CONFLICT (size) DO UPDATE SET note = excluded.note RETURNING size"""
        self._change(sql, size, note, limit=self._limit)

    def _change(self, sql: str, *values: object, limit: float) -> tuple[Any, ...]:
        self.reopen()
        assert self._connection is not None  # noqa: S101  # reopen() raises otherwise
        try:
            self._connection.limit = limit
            return self._connection.execute(sql.encode(), values).fetchone() or ()
        except psycopg.Error as error:
            self._drop()
            raise AuditUnavailable(f"the audit log could not be changed: {_said(error)}") from error
        finally:
            if self._connection is not None:
                self._connection.limit = self._limit

    def _drop(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection = None


def _wait_for(url: str) -> None:
    """Return once the server answers: after a power cut it may come up later than we do. Raises AuditUnavailable."""
    end, said = time.monotonic() + _START_SECONDS, False
    while True:
        try:
            _Connection.to(url, _COMMIT_SECONDS, autocommit=True).close()
        except AuditUnavailable as error:
            if time.monotonic() > end:
                raise
            if not said:
                sys.stderr.write(f"audit record repository: waits, for {error}\n")
                sys.stderr.flush()
            said = True
            time.sleep(0.5)
        else:
            return


def _locked(connection: _Connection) -> bool:
    return connection.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK,)).fetchone() == (True,)


def _check_server(connection: _Connection) -> None:
    """Raises SystemUnfit for a server that may lose what it confirmed, or a role that may change what is stored."""
    found = {name: str((connection.execute("SHOW " + name).fetchone() or ("",))[0]) for name in _FIT}
    for name, allowed in _FIT.items():
        if found[name] not in allowed:
            raise SystemUnfit(
                f"PostgreSQL runs with {name}={found[name]} and may lose records that it confirmed: "
                f"set {name}={allowed[0]}"
            )
    if connection.info.server_version < _OLDEST:
        raise SystemUnfit(f"PostgreSQL {connection.info.parameter_status('server_version')} is too old: 14 is needed")
    sql = """SELECT current_user, bool_or(has_table_privilege('readingroom_audit.entry', p))
        FROM unnest(ARRAY['UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER']) AS p"""
    role, may = connection.execute(sql).fetchone() or ("", True)
    if may:
        raise SystemUnfit(f"the role {role} may change the audit log: sign in as readingroom_audit, which may only add")
