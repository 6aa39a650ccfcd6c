"""The log's store: an append-only SQLite table, an RFC 6962 tree over it, a signed checkpoint in every commit.

One writer, one thread. A commit is durable when it returns (write-ahead log, synchronous=FULL). Search columns are kept
out of here: an index in the commit costs two thirds of the throughput, and could be edited without touching a leaf."""

import fcntl
import os
from collections.abc import Iterator, Sequence
from itertools import starmap
from pathlib import Path
from typing import Any

import apsw

from readingroom_hub.errors import AuditUnavailable, Conflict, IntegrityError, SystemUnfit
from readingroom_hub.ledger.leaf import Sealed
from readingroom_hub.ledger.merkle import Frontier, leaf_hash
from readingroom_hub.ledger.note import Checkpoint, Signer, VKey
from readingroom_hub.ledger.policy import Policy
from readingroom_hub.ledger.record import Finding
from readingroom_hub.ledger.verify import Entry, LogVerifier
from readingroom_hub.model.audit import Receipt

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


class LogReader:
    """A read-only view of a log file at one moment, while its writer goes on."""

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
        """What is stored from index `start` on. Raises IntegrityError where the file is damaged."""
        sql = "SELECT idx, leaf, hash, salt, record FROM entry WHERE idx >= ? ORDER BY idx"
        return starmap(Entry, self._rows(sql, start))

    def leaves(self, start: int = 0) -> Iterator[Entry]:
        """As `entries`, without the contents, which the tree does not need."""
        return starmap(Entry, self._rows("SELECT idx, leaf, hash FROM entry WHERE idx >= ? ORDER BY idx", start))

    def hashes(self, start: int, end: int) -> list[bytes]:
        """The leaf hashes from index `start` to before `end`."""
        return [hash for (hash,) in self._rows("SELECT hash FROM entry WHERE idx >= ? AND idx < ?", start, end)]

    def checkpoints(self) -> Iterator[str]:
        """Every checkpoint, smallest size first; with its cosignatures, where it has them."""
        sql = "SELECT coalesce(w.note, c.note) FROM checkpoint AS c LEFT JOIN cosigned AS w USING(size) ORDER BY size"
        for (note,) in self._rows(sql):
            yield str(note)

    def cosigned(self) -> str | None:
        """The newest checkpoint with cosignatures of witnesses, None where there is none."""
        for (note,) in self._rows("SELECT note FROM cosigned ORDER BY size DESC LIMIT 1"):
            return str(note)
        return None

    def places(self, since: str, until: str) -> tuple[int, int]:
        """First index and the one behind the last, of records with a time from `since` to before `until`; (0, 0): none.

        Both are RFC 3339 in UTC, with microseconds."""
        sql = """SELECT coalesce(min(idx), 0), coalesce(max(idx) + 1, 0) FROM
            (SELECT idx, CAST(leaf AS TEXT) ->> '$.time' AS time FROM entry) WHERE time >= ? AND time < ?"""
        first, end = next(self._rows(sql, since, until))
        return int(first), int(end)

    def newest(self) -> str | None:
        """The newest checkpoint, None in a log without one."""
        for (note,) in self._rows("SELECT note FROM checkpoint ORDER BY size DESC LIMIT 1"):
            return str(note)
        return None

    def _rows(self, sql: str, *values: int | str) -> Iterator[Any]:
        try:
            yield from self._connection.execute(sql, values)
        except apsw.Error as error:
            raise IntegrityError(f"{self._path} is damaged below the level of records: {error}") from error

    def close(self) -> None:
        """End the view."""
        self._connection.close()


class AuditLog:
    """The only writer of one log. Not for use from several threads."""

    def __init__(self, folder: Path, signer: Signer) -> None:
        """Open or create the log in `folder` and check all of it against its newest checkpoint.

        Raises Conflict where another process has it open, SystemUnfit for an unsafe SQLite. A log that does not verify
        opens too, but `damage` then names the first bad record and every append is refused."""
        check_sqlite()
        self._path = folder / LOG_FILE
        self._signer = signer
        self._connection: apsw.Connection | None = None
        self._frontier = Frontier()
        self._proposed: Frontier | None = None
        self._note: str | None = None
        self.damage: Finding | None = None
        self._lock = self._take_lock(folder)
        try:
            self._connection = self._connect()
            self._verify()
        except BaseException:
            self.close()
            raise

    @staticmethod
    def _take_lock(folder: Path) -> int:
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(lock)
            raise Conflict(f"another process writes the audit log in {folder}: stop it first") from error
        return lock

    def _connect(self) -> apsw.Connection:
        try:
            connection = apsw.Connection(str(self._path))
            connection.set_busy_timeout(200)
            connection.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL").fetchall()
            connection.execute(_SCHEMA)
            connection.execute("SELECT record FROM entry LIMIT 0; SELECT note FROM cosigned LIMIT 0")
        except apsw.Error as error:
            raise AuditUnavailable(f"the audit log {self._path} cannot be opened: {error}") from error
        return connection

    def _verify(self) -> None:
        """Check every hash and the newest signature; only where that fails, look for the first bad record."""
        reader = LogReader(self._path)
        try:
            newest = reader.newest()
            notes = [newest] if newest else []
            if not notes and not any(reader.leaves()):
                return
            policy = Policy((self._signer.vkey,))
            quick = LogVerifier(policy, read_leaves=False)
            self.damage = next(quick.findings(reader.leaves(), notes), None)
            if self.damage:
                full = LogVerifier(policy, read_leaves=False)
                self.damage = next(full.findings(reader.leaves(), reader.checkpoints()), self.damage)
            self._frontier, self._note = quick.frontier, newest
        except IntegrityError as error:
            self.damage = Finding(self._frontier.size, "it cannot be read", "a readable file", str(error))
        finally:
            reader.close()

    @property
    def size(self) -> int:
        """Records stored."""
        return self._frontier.size

    @property
    def root(self) -> bytes:
        """The root over them."""
        return self._frontier.root()

    @property
    def checkpoint(self) -> str | None:
        """The newest checkpoint, None in an empty log."""
        return self._note

    @property
    def vkey(self) -> VKey:
        """The public key that verifies the checkpoints."""
        return self._signer.vkey

    def append(self, records: Sequence[Sealed]) -> list[Receipt]:
        """Store these records in one commit: all of them durably, or none.

        Raises AuditUnavailable where the commit failed (disk full, for example) or the log is damaged."""
        self.reopen()
        frontier = self._frontier.copy()  # a failed commit must leave no trace in the tree
        rows = []
        for leaf, salt, record in records:
            hash = leaf_hash(leaf)
            rows.append((frontier.size, leaf, hash, salt, record))
            frontier.append(hash)
        body = Checkpoint(self._signer.vkey.name, frontier.size, frontier.root()).body()
        note = f"{body}\n{self._signer.sign(body)}"
        self._proposed = frontier
        try:
            self._commit(rows, frontier.size, note)
        except apsw.Error as error:
            self._drop()
            self.reopen()
            if self.size != frontier.size:
                raise AuditUnavailable(f"the audit log could not store {len(rows)} record(s): {error}") from error
        self._frontier, self._proposed, self._note = frontier, None, note
        return [Receipt(index, hash) for index, _, hash, _, _ in rows]

    def expired(self, before: str) -> int:
        """How many access records from before this time still have their contents. Raises AuditUnavailable."""
        return int(self._sql(f"SELECT count(*) FROM entry WHERE {_EXPIRED}", before))  # noqa: S608  # fixed text

    def purge(self, before: str) -> None:
        """Remove their contents and the salts of their hashes, also from the write-ahead log.

        Put a purge record into the log first: without it, the log verifies no more. Raises AuditUnavailable."""
        self._sql(f"UPDATE entry SET salt = NULL, record = NULL WHERE {_EXPIRED}", before)  # noqa: S608
        self._sql("PRAGMA wal_checkpoint(TRUNCATE)")

    def _sql(self, sql: str, *values: str | int) -> Any:  # what the statement gives
        self.reopen()
        assert self._connection is not None  # noqa: S101  # reopen() raises otherwise
        try:
            self._connection.execute("PRAGMA secure_delete=ON").fetchall()
            return self._connection.execute(sql, values).get
        except apsw.Error as error:
            raise AuditUnavailable(f"the audit log could not be changed: {error}") from error

    def keep_cosigned(self, size: int, note: str) -> None:
        """Store a checkpoint with its witnesses' cosignatures. Raises AuditUnavailable."""
        self._sql("INSERT OR REPLACE INTO cosigned VALUES(?, ?)", size, note)

    def _commit(self, rows: list[tuple[int, bytes, bytes, bytes, bytes]], size: int, note: str) -> None:
        assert self._connection is not None  # noqa: S101  # reopen() raises otherwise
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        self._connection.executemany("INSERT INTO entry VALUES(?, ?, ?, ?, ?)", rows)
        execute("INSERT INTO checkpoint VALUES(?, ?)", (size, note))
        execute("COMMIT")

    def _drop(self) -> None:
        """After any error nothing that the connection says about itself is believed."""
        if self._connection:
            self._connection.close(True)  # apsw's `force`
        self._connection = None

    def reopen(self) -> None:
        """Make the log writable after an error, from what the file says. Does nothing where it is writable.

        Raises AuditUnavailable where that cannot be: try again later, or look at `damage`."""
        if self.damage:
            raise AuditUnavailable(f"the audit log is damaged and takes no records: {self.damage}. Ask the operator")
        if self._connection:
            return
        connection = self._connect()
        reader = LogReader(self._path)
        try:
            note = reader.newest()
            tail = self._frontier.copy()
            for entry in reader.leaves(tail.size):
                if leaf_hash(entry.leaf) == entry.hash:
                    tail.append(entry.hash)
        finally:
            reader.close()
        self._adopt(tail, note)
        self._connection = connection

    def _adopt(self, tail: Frontier, note: str | None) -> None:
        """Go on from the state before the failed commit, or from the one after it; nothing else can be in the file."""
        possible = [f for f in (self._frontier, self._proposed) if f is not None]
        body = Checkpoint(self._signer.vkey.name, tail.size, tail.root()).body()
        if tail not in possible or (tail.size and (note or "").partition("\n\n")[0] + "\n" != body):
            found = f"{tail.size} records, root {tail.root().hex()}"
            self.damage = Finding(self.size, "the log changed under its writer", f"{self.size} records", found)
            raise AuditUnavailable(f"the audit log is damaged and takes no records: {self.damage}")
        self._frontier, self._proposed, self._note = tail, None, note

    def close(self) -> None:
        """Close the file and let another process have it."""
        self._drop()
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1
