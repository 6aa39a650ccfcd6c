"""How far one feed has come, durably: the next index, what was counted, what was refused, what is wrong.

Place and counts move in one commit, so a killed feed sends again and never leaves out."""

import contextlib
import fcntl
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import apsw

from readingroom_hub import locks
from readingroom_hub.adapters.audit_wire import wire_moment
from readingroom_hub.errors import BadInput, StoreUnavailable

_SCHEMA = """
CREATE TABLE IF NOT EXISTS feed(one INTEGER PRIMARY KEY CHECK(one = 1), next INTEGER NOT NULL, hash BLOB NOT NULL,
    sent INTEGER NOT NULL, purged INTEGER NOT NULL, trouble TEXT, since TEXT) STRICT;
INSERT OR IGNORE INTO feed VALUES(1, 0, x'', 0, 0, NULL, NULL);
CREATE TABLE IF NOT EXISTS refused(idx INTEGER PRIMARY KEY, reason TEXT NOT NULL, time TEXT NOT NULL,
    again INTEGER NOT NULL DEFAULT 0) STRICT;
"""
_REASON = 500


@dataclass(frozen=True, slots=True)
class Progress:
    """What one feed has done. `next`: the index that comes next; `hash`: the leaf hash of the one before it."""

    next: int
    hash: bytes
    sent: int
    purged: int
    refused: int
    trouble: str | None
    since: str | None
    """When `trouble` began, RFC 3339."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A record that the receiver will never take as it is."""

    index: int
    reason: str
    time: str


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.sqlite"


def is_running(folder: Path, name: str) -> bool:
    """Whether a process has this feed open now."""
    try:
        lock = os.open(folder / f"{name}.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(lock)


def _connect(folder: Path, name: str, *, write: bool) -> apsw.Connection:
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE if write else apsw.SQLITE_OPEN_READONLY
    connection = apsw.Connection(str(_file(folder, name)), flags=flags)
    connection.set_busy_timeout(5000)
    if write:
        connection.execute("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL").fetchall()
        with connection:  # all of it or nothing: others look while it is made
            connection.execute(_SCHEMA)
    return connection


def _progress(connection: apsw.Connection) -> Progress:
    sql = "SELECT next, hash, sent, purged, (SELECT count(*) FROM refused), trouble, since FROM feed"
    return Progress(*connection.execute(sql).get)


def _refused(connection: apsw.Connection) -> list[Refused]:
    return [Refused(*row) for row in connection.execute("SELECT idx, reason, time FROM refused ORDER BY idx")]


def look(folder: Path, name: str) -> tuple[Progress, list[Refused]] | None:
    """As of now, beside the running feed; None where it never ran. Raises StoreUnavailable."""
    if not _file(folder, name).exists():
        return None
    try:
        with contextlib.closing(_connect(folder, name, write=False)) as connection:
            if not connection.execute("SELECT count(*) FROM sqlite_schema").get:
                return None
            return _progress(connection), _refused(connection)
    except apsw.Error as error:
        raise StoreUnavailable(f"the state of the feed {name!r} in {folder} cannot be read: {error}") from error


def ask_again(folder: Path, name: str) -> int:
    """Have the running feed send what was refused once more; returns how many. Raises BadInput, StoreUnavailable."""
    if not _file(folder, name).exists():
        raise BadInput(f"there is no feed {name!r}: name one that `readingroom audit feed status` shows")
    try:
        with contextlib.closing(_connect(folder, name, write=True)) as connection:
            connection.execute("UPDATE refused SET again = 1")
            return connection.changes()
    except apsw.Error as error:
        raise StoreUnavailable(f"the state of the feed {name!r} in {folder} cannot be written: {error}") from error


class FeedState:
    """One feed's state, held by one process. Every method raises StoreUnavailable where the file fails."""

    def __init__(self, folder: Path, name: str) -> None:
        """Open or create it. Raises Conflict where another process runs this feed."""
        self._name = name
        taken = f"another process runs the audit feed {name!r}: stop it first"
        self._lock = locks.take(folder / f"{name}.lock", taken)
        try:
            self._connection = _connect(folder, name, write=True)
        except apsw.Error as error:
            os.close(self._lock)
            raise self._failed(error) from error

    def _failed(self, error: apsw.Error) -> StoreUnavailable:
        return StoreUnavailable(f"the state of the audit feed {self._name!r} cannot be kept: {error}")

    def progress(self) -> Progress:
        """What was done so far."""
        try:
            return _progress(self._connection)
        except apsw.Error as error:
            raise self._failed(error) from error

    def advance(self, next: int, hash: bytes, *, sent: int, purged: int, refused: Sequence[tuple[int, str]]) -> None:
        """Everything before `next` is settled; the counts are added. Durable when it returns."""
        now = wire_moment(datetime.now(UTC))
        try:
            with self._connection:
                self._connection.execute(
                    "UPDATE feed SET next = ?, hash = ?, sent = sent + ?, purged = purged + ?",
                    (next, hash, sent, purged),
                )
                self._refuse(refused, now)
        except apsw.Error as error:
            raise self._failed(error) from error

    def _refuse(self, refused: Sequence[tuple[int, str]], now: str) -> None:
        rows = [(index, reason[:_REASON], now) for index, reason in refused]
        self._connection.executemany("INSERT OR REPLACE INTO refused VALUES(?, ?, ?, 0)", rows)

    def again(self) -> list[int]:
        """Indexes of refused records that somebody asked to send once more, the oldest first."""
        try:
            sql = "SELECT idx FROM refused WHERE again ORDER BY idx"
            return [int(row[0]) for row in self._connection.execute(sql)]
        except apsw.Error as error:
            raise self._failed(error) from error

    def settle(self, index: int, reason: str | None) -> None:
        """A refused record was sent once more: it was taken, or is still refused for this reason."""
        try:
            with self._connection:
                if reason is None:
                    self._connection.execute("DELETE FROM refused WHERE idx = ?", (index,))
                    self._connection.execute("UPDATE feed SET sent = sent + 1")
                else:
                    self._refuse([(index, reason)], wire_moment(datetime.now(UTC)))
        except apsw.Error as error:
            raise self._failed(error) from error

    def trouble(self, text: str | None) -> None:
        """What keeps the feed from going on, None where nothing does; its beginning is kept while it lasts."""
        now = wire_moment(datetime.now(UTC))
        sql = "UPDATE feed SET trouble = ?1, since = CASE WHEN ?1 IS NOT NULL THEN coalesce(since, ?2) END"
        try:
            self._connection.execute(sql, (text and text[:_REASON], now))
        except apsw.Error as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Let another process have the feed."""
        with contextlib.suppress(apsw.Error):
            self._connection.close()
        os.close(self._lock)
