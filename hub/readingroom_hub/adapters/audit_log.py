"""The log's store in SQLite: an append-only table in a file of its own.

A commit is durable when it returns (write-ahead log, synchronous=FULL). Search columns are kept
out of here: an index in the commit costs two thirds of the throughput, and could be edited without touching a leaf."""

import json
from collections.abc import Iterator, Sequence
from itertools import starmap
from pathlib import Path
from typing import Any

import apsw

from readingroom_hub.adapters.audit_writer import LogWriter, Row
from readingroom_hub.errors import AuditUnavailable, IntegrityError, SystemUnfit
from readingroom_hub.ledger.note import Signer
from readingroom_hub.ledger.verify import Entry
from readingroom_hub.ports.log import IndexedLog

LOG_FILE = "log.sqlite"
_SQLITE_NEEDED = (3, 51, 3)
"""Before it, a WAL reset under two connections could lose committed writes (sqlite.org/wal.html#walresetbug)."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS entry(idx INTEGER PRIMARY KEY, leaf BLOB NOT NULL, hash BLOB NOT NULL,
    salt BLOB, record BLOB) STRICT;
CREATE TABLE IF NOT EXISTS checkpoint(size INTEGER PRIMARY KEY, note TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS cosigned(size INTEGER PRIMARY KEY, note TEXT NOT NULL) STRICT;
CREATE TRIGGER IF NOT EXISTS entry_no_update BEFORE UPDATE ON entry
    WHEN (NEW.idx, NEW.leaf, NEW.hash, NEW.salt, NEW.record) IS NOT (OLD.idx, OLD.leaf, OLD.hash, NULL, NULL)
    BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS entry_no_delete BEFORE DELETE ON entry BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS entry_no_gap BEFORE INSERT ON entry
    WHEN NEW.idx <> (SELECT coalesce(max(idx) + 1, 0) FROM entry) BEGIN SELECT RAISE(ABORT, 'gap'); END;
CREATE TRIGGER IF NOT EXISTS checkpoint_no_update BEFORE UPDATE ON checkpoint
    BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER IF NOT EXISTS checkpoint_no_delete BEFORE DELETE ON checkpoint
    BEGIN SELECT RAISE(ABORT, 'append only'); END;
"""
_EXPIRED = """record IS NOT NULL AND CAST(leaf AS TEXT) ->> '$.class' = 'access'
    AND CAST(leaf AS TEXT) ->> '$.time' < ?"""


def check_sqlite() -> None:
    """Raises SystemUnfit where the SQLite in use may lose committed records."""
    found = tuple(int(p) for p in apsw.sqlite_lib_version().split("."))
    if found < _SQLITE_NEEDED:
        wanted = ".".join(map(str, _SQLITE_NEEDED))
        raise SystemUnfit(f"SQLite {apsw.sqlite_lib_version()} can lose committed records: install apsw with {wanted}")


class LogReader(IndexedLog):
    """A log file at one moment."""

    def __init__(self, path: Path) -> None:
        """Raises IntegrityError where `path` is not a readable log."""
        self._path = path
        try:
            self._connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
            self._connection.set_busy_timeout(2000)
            self._connection.execute("BEGIN")
            self._connection.execute("SELECT count(*) FROM checkpoint").get  # noqa: B018  # takes the snapshot
        except apsw.Error as error:
            raise IntegrityError(f"{path} cannot be read as an audit log: {error}") from error

    def entries(self, start: int = 0) -> Iterator[Entry]:
        """See the port."""
        sql = "SELECT idx, leaf, hash, salt, record FROM entry WHERE idx >= ? ORDER BY idx"
        return starmap(Entry, self._rows(sql, start))

    def leaves(self, start: int = 0) -> Iterator[Entry]:
        """See the port."""
        return starmap(Entry, self._rows("SELECT idx, leaf, hash FROM entry WHERE idx >= ? ORDER BY idx", start))

    def hashes(self, start: int, end: int) -> list[bytes]:
        """See the port."""
        return [hash for (hash,) in self._rows("SELECT hash FROM entry WHERE idx >= ? AND idx < ?", start, end)]

    def checkpoints(self) -> Iterator[str]:
        """See the port."""
        sql = "SELECT coalesce(w.note, c.note) FROM checkpoint AS c LEFT JOIN cosigned AS w USING(size) ORDER BY size"
        for (note,) in self._rows(sql):
            yield str(note)

    def cosigned(self) -> str | None:
        """See the port."""
        for (note,) in self._rows("SELECT note FROM cosigned ORDER BY size DESC LIMIT 1"):
            return str(note)
        return None

    def places(self, since: str, until: str) -> tuple[int, int]:
        """See the port."""
        sql = """SELECT coalesce(min(idx), 0), coalesce(max(idx) + 1, 0) FROM
            (SELECT idx, CAST(leaf AS TEXT) ->> '$.time' AS time FROM entry) WHERE time >= ? AND time < ?"""
        first, end = next(self._rows(sql, since, until))
        return int(first), int(end)

    def signed(self) -> Iterator[tuple[int, str, str | None]]:
        """Size, checkpoint as it was signed, and the same one with cosignatures where it has them; smallest first."""
        sql = "SELECT size, c.note, w.note FROM checkpoint AS c LEFT JOIN cosigned AS w USING(size) ORDER BY size"
        return self._rows(sql)

    def newest(self) -> str | None:
        """See the port."""
        for (note,) in self._rows("SELECT note FROM checkpoint ORDER BY size DESC LIMIT 1"):
            return str(note)
        return None

    def texts(self, start: int, most: int) -> bytes:
        """See the port."""
        sql = """SELECT CAST('[' || coalesce(group_concat('[' || idx || ',' || text || ']', ','), '') || ']' AS BLOB)
            FROM (SELECT idx, CAST(coalesce(record, leaf) AS TEXT) AS text FROM entry
            WHERE idx >= ? ORDER BY idx LIMIT ?)"""
        (found,) = next(self._rows(sql, start, most))
        return bytes(found)

    def at(self, indices: Sequence[int]) -> list[Entry]:
        """See the port."""
        sql = """SELECT e.idx, leaf, hash, salt, record FROM json_each(?) AS wanted
            JOIN entry AS e ON e.idx = wanted.value ORDER BY e.idx"""
        return list(starmap(Entry, self._rows(sql, json.dumps(list(indices)))))

    def purged(self) -> Iterator[int]:
        """See the port."""
        return (int(idx) for (idx,) in self._rows("SELECT idx FROM entry WHERE record IS NULL"))

    def _rows(self, sql: str, *values: int | str) -> Iterator[Any]:
        try:
            yield from self._connection.execute(sql, values)
        except apsw.Error as error:
            raise IntegrityError(f"{self._path} is damaged below the level of records: {error}") from error

    def close(self) -> None:
        """See the port."""
        self._connection.close()


class AuditLog(LogWriter):
    """Writes it."""

    _Error = apsw.Error

    def __init__(self, folder: Path, signer: Signer) -> None:
        check_sqlite()
        self._path = folder / LOG_FILE
        self._connection: apsw.Connection | None = None
        super().__init__(folder, signer)

    def view(self) -> LogReader:
        """See the base."""
        return LogReader(self._path)

    @property
    def _is_connected(self) -> bool:
        return self._connection is not None

    def _connect(self) -> None:
        try:
            connection = apsw.Connection(str(self._path))
            connection.set_busy_timeout(200)
            connection.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL").fetchall()
            connection.execute(_SCHEMA)
            connection.execute("SELECT record FROM entry LIMIT 0; SELECT note FROM cosigned LIMIT 0")
        except apsw.Error as error:
            raise AuditUnavailable(f"the audit log {self._path} cannot be opened: {error}") from error
        self._connection = connection

    def expired(self, before: str) -> int:
        """See the base."""
        return int(self._sql(f"SELECT count(*) FROM entry WHERE {_EXPIRED}", before))  # noqa: S608  # fixed text

    def purge(self, before: str) -> None:
        """See the base. They are gone from the file and the write-ahead log too.

        The file is written anew: pages that were split may keep copies of rows that lie elsewhere now, and no
        `secure_delete` finds these."""
        self._sql(f"UPDATE entry SET salt = NULL, record = NULL WHERE {_EXPIRED}", before)  # noqa: S608
        self._sql("VACUUM")
        if self._sql("PRAGMA wal_checkpoint(TRUNCATE)")[0]:
            raise AuditUnavailable(
                f"what was purged lies in {self._path}-wal still, since somebody reads the log: run it again later"
            )

    def _sql(self, sql: str, *values: str | int) -> Any:  # what the statement gives
        self.reopen()
        assert self._connection is not None  # noqa: S101  # reopen() raises otherwise
        try:
            self._connection.execute("PRAGMA secure_delete=ON").fetchall()
            return self._connection.execute(sql, values).get
        except apsw.Error as error:
            raise AuditUnavailable(f"the audit log could not be changed: {error}") from error

    def keep_cosigned(self, size: int, note: str) -> None:
        """See the base."""
        self._sql("INSERT OR REPLACE INTO cosigned VALUES(?, ?)", size, note)

    def _commit(self, rows: list[Row], size: int, note: str) -> None:
        assert self._connection is not None  # noqa: S101  # reopen() raises otherwise
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        self._connection.executemany("INSERT INTO entry VALUES(?, ?, ?, ?, ?)", rows)
        execute("INSERT INTO checkpoint VALUES(?, ?)", (size, note))
        execute("COMMIT")

    def _drop(self) -> None:
        if self._connection:
            self._connection.close(True)  # apsw's `force`
        self._connection = None
