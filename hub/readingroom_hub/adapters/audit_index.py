"""The searchable copy of the log: a second SQLite file, filled behind the commits, rebuildable and checked against it.

It only finds places; what a search returns is read from the log. Rows are made by SQL inside SQLite, a thousand
of one text, so that filling it does not hold up the threads that append."""

import contextlib
import json
import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from readingroom_hub.adapters.audit_checks import check_contents
from readingroom_hub.adapters.audit_place import read_log
from readingroom_hub.adapters.audit_wire import wire_moment
from readingroom_hub.errors import AuditUnavailable, IntegrityError, ReadingRoomError
from readingroom_hub.ledger.canonical import from_leaf
from readingroom_hub.ledger.record import Finding
from readingroom_hub.ledger.verify import Entry
from readingroom_hub.ports.log import IndexedLog
from readingroom_hub.ports.records import Filter

INDEX_FILE = "index.sqlite"
_CHUNK = 5000
"""Records of one transaction. Each writes every page of eight search columns that it touches: fewer, larger ones cost
less CPU, which appends need."""
_CACHE_KIB = 64 << 10
"""Of the thread that fills it; with SQLite's 2 MiB it reads most pages again and again."""
_CHECKED = 1000
"""Records that are compared at once."""
_LAG_SECONDS = 0.5
_NICE = 10
"""Linux gives each thread its own priority: filling the index yields to committing."""
_BEHIND = 20_000
"""Records. Further behind it yields to nobody, so that a machine that is busy for hours can still be searched."""
_TOO_FAR = 100_000
"""Records. Further behind, appends wait for it: a few seconds of filling, well within what a search waits."""
_MARK_SECONDS = 0.1
_VERSION = 2
"""Of the columns, in SQLite's user_version. An index of another version is thrown away and filled again."""
_COLUMNS = ("id", "time", "event", "person", "project", "session", "dataset", "study")
_NAMES = ", ".join(_COLUMNS)
_SCHEMA = """
CREATE TABLE IF NOT EXISTS record(idx INTEGER PRIMARY KEY, id TEXT NOT NULL, time TEXT NOT NULL, event TEXT,
    person TEXT, project TEXT, session TEXT, dataset TEXT, study TEXT) STRICT;
CREATE INDEX IF NOT EXISTS record_id ON record(id);
CREATE INDEX IF NOT EXISTS record_time ON record(time);
CREATE INDEX IF NOT EXISTS record_event ON record(event);
CREATE INDEX IF NOT EXISTS record_person ON record(person) WHERE person IS NOT NULL;
CREATE INDEX IF NOT EXISTS record_project ON record(project) WHERE project IS NOT NULL;
CREATE INDEX IF NOT EXISTS record_session ON record(session) WHERE session IS NOT NULL;
CREATE INDEX IF NOT EXISTS record_dataset ON record(dataset) WHERE dataset IS NOT NULL;
CREATE INDEX IF NOT EXISTS record_study ON record(study, time) WHERE study IS NOT NULL;
"""
_PATHS = {"dataset": "subject.dataset", "study": "subject.study"}
_DERIVED = (  # of a record without contents the leaf still tells id and time
    "SELECT value ->> '$[0]' AS idx, {} FROM jsonb_each(CAST(?1 AS TEXT))".format(  # noqa: S608
        ", ".join(f"value ->> '$[1].{_PATHS.get(c, c)}' AS {c}" for c in _COLUMNS)
    )
)
_FILL = f"INSERT INTO record {_DERIVED}"
_DIFFERING = f"""
SELECT max(e.idx), min(e.idx) FILTER (WHERE e.idx < ?2 AND (r.idx IS NULL OR ({", ".join("e." + c for c in _COLUMNS)})
    IS NOT ({", ".join("r." + c for c in _COLUMNS)}))) FROM ({_DERIVED}) AS e LEFT JOIN record AS r ON r.idx = e.idx
"""  # noqa: S608  # fixed text
_SIZE = "SELECT coalesce(max(idx) + 1, 0) FROM record"


def _open(folder: Path, *, write: bool) -> apsw.Connection:
    flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE if write else apsw.SQLITE_OPEN_READONLY
    connection = apsw.Connection(str(folder / INDEX_FILE), flags=flags)
    connection.set_busy_timeout(5000)
    if write:  # synchronous=OFF: after a power cut the check at the next start finds and rebuilds a torn file
        connection.execute(
            f"PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; PRAGMA cache_size=-{_CACHE_KIB}"
        ).fetchall()
        with connection:
            connection.execute(_SCHEMA)
            connection.execute(f"PRAGMA user_version={_VERSION}")
    return connection


def _is_current(connection: apsw.Connection) -> bool:
    return bool(connection.execute("PRAGMA main.user_version").get == _VERSION)


def index_finding(folder: Path) -> Finding | None:
    """The first record whose row in the index is not what the log says, or None. Reads only; the index may lag.

    None too for an index of another version, which no search uses."""
    try:
        connection = _open(folder, write=False)
    except apsw.Error as error:
        return Finding(0, "the index cannot be read", "a readable index", str(error))
    try:
        if not _is_current(connection):
            return None
        with contextlib.closing(read_log(folder)) as log:
            return _difference(connection, log)
    except (apsw.Error, IntegrityError) as error:
        return Finding(0, "the index cannot be read", "a readable index", str(error))
    finally:
        connection.close()


def forget_purged(folder: Path) -> None:
    """Take out of the index what the log has no more. Raises AuditUnavailable: run it again."""
    cleared = ", ".join(f"{c} = NULL" for c in _COLUMNS if c not in {"id", "time"})
    try:
        connection = _open(folder, write=True)
        try:
            connection.execute("PRAGMA secure_delete=ON").fetchall()
            with contextlib.closing(read_log(folder)) as log, connection:
                places = ((index,) for index in log.purged())
                connection.executemany(f"UPDATE record SET {cleared} WHERE idx = ?", places)  # noqa: S608
            connection.execute("VACUUM; PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            connection.close()
    except apsw.Error as error:
        raise AuditUnavailable(f"the audit index still has rows of purged records: {error}") from error


def _difference(connection: apsw.Connection, log: IndexedLog) -> Finding | None:
    size, stored = connection.execute(_SIZE).get, 0
    while stored < size:
        last, first = connection.execute(_DIFFERING, (log.texts(stored, _CHECKED), size)).get
        if last is None:
            return Finding(stored, "the index has rows that the log has not", f"{stored} records", f"{size} rows")
        if first is not None:
            return Finding(
                first, "its row in the index is not what the log says", "the leaf's values", "others, or none"
            )
        stored = last + 1
    trouble = connection.execute("PRAGMA main.integrity_check(1)").get
    return None if trouble == "ok" else Finding(0, "the index is damaged", "ok", str(trouble))


@dataclass(frozen=True, slots=True)
class Lag:
    """How far the index is behind the log."""

    records: int
    seconds: float
    """At most this long ago the oldest of them was stored."""


class AuditIndex:
    """Follows one log with its own thread. `advance` tells it how far the log is."""

    def __init__(self, folder: Path) -> None:
        """Check the index against the log, rebuild it where it differs (`rebuilt` then says why), start following."""
        self._folder = folder
        self.rebuilt: Finding | None = None
        if (folder / INDEX_FILE).exists():
            self.rebuilt = index_finding(folder)
            if self.rebuilt or self._is_old():
                self._remove()
        self._changed = threading.Condition()
        self._filling = threading.Lock()
        self._hurrying: threading.Thread | None = None
        self._asked = 0
        self._marks: deque[tuple[int, float]] = deque()
        """Places in the log, with moments before which none of the records from there on was stored."""
        self._stopped = self._failing = False
        try:
            self._connection: apsw.Connection | None = _open(folder, write=True)
            self.size: int = self._connection.execute(_SIZE).get
            self._wanted = self.size
        except apsw.Error as error:
            raise AuditUnavailable(f"the audit index in {folder} cannot be opened: {error}") from error
        self._thread = threading.Thread(target=self._run, name="audit-index", daemon=True)
        self._thread.start()

    def _is_old(self) -> bool:
        with contextlib.closing(_open(self._folder, write=False)) as connection:
            return not _is_current(connection)

    def _remove(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            (self._folder / (INDEX_FILE + suffix)).unlink(missing_ok=True)

    def advance(self, size: int) -> None:
        """The log now has `size` records; the index follows when a chunk is full, a search waits, or soon."""
        with self._changed:
            self._reach(size)
            if size - self.size >= _BEHIND:
                self._hurry()
            elif size - self.size >= _CHUNK:
                self._changed.notify_all()

    def _reach(self, size: int) -> None:
        """With the lock held."""
        now = time.monotonic()
        if size > self._wanted and (not self._marks or now - self._marks[-1][1] >= _MARK_SECONDS):
            self._marks.append((self._wanted, now))
        self._wanted = max(self._wanted, size)

    def lag(self) -> Lag:
        """How far it is behind what `advance` told. From any thread."""
        with self._changed:
            since = self._marks[0][1] if self._marks else time.monotonic()
            return Lag(max(0, self._wanted - self.size), time.monotonic() - since)

    def hold_up(self, seconds: float) -> None:
        """Too far behind: return when it holds more, or after `seconds`, so that whoever appends gets no further ahead.

        At once where it cannot be filled: a full disk of the index stops no append."""
        with self._changed:
            before = self.size
            if self._wanted - before >= _TOO_FAR:
                self._hurry()
                self._changed.wait_for(lambda: self.size > before or self._failing or self._stopped, seconds)

    def wait(self, size: int, seconds: float) -> None:
        """Return once `size` records can be found. Raises AuditUnavailable after `seconds`."""
        with self._changed:
            self._asked = max(self._asked, size)
            self._reach(size)
            if size - self.size >= _CHUNK:
                self._hurry()
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: self.size >= size, seconds):
                raise AuditUnavailable(f"the index holds {self.size} of {size} records: search again in a moment")

    def _is_behind(self) -> bool:
        return self._wanted - self.size >= _CHUNK or self._asked > self.size

    def _is_due(self) -> bool:
        return self._stopped or (self._hurrying is None and self._is_behind())

    def _run(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        while True:
            with self._changed:
                self._changed.wait_for(self._is_due, _LAG_SECONDS)
                if self._stopped:
                    return
            if self.size < self._wanted and self._hurrying is None:
                self._try_to_fill()

    def _hurry(self) -> None:
        """With the lock held: have a thread of the caller's priority fill it until it is close behind, since nobody may
        raise their own again."""
        if self._hurrying is None and not self._stopped:
            self._hurrying = threading.Thread(target=self._catch_up, name="audit-index-hurries", daemon=True)
            self._hurrying.start()

    def _catch_up(self) -> None:
        while True:
            with self._changed:
                if self._stopped or not self._is_behind():
                    self._hurrying = None
                    return
            self._try_to_fill()

    def _try_to_fill(self) -> None:
        with self._filling:
            try:
                self._fill()
                self._failing = False
            except (apsw.Error, ReadingRoomError):  # a full disk: appends do not need it, searches time out and say so
                self._close()
                with self._changed:
                    self._failing = True
                    self._changed.notify_all()
                time.sleep(_LAG_SECONDS)

    def _fill(self) -> None:
        if self._connection is None:
            self._connection = _open(self._folder, write=True)
        with contextlib.closing(read_log(self._folder)) as log:
            texts = log.texts(self.size, _CHUNK)
        with self._connection:
            self._connection.execute(_FILL, (texts,))
        size = self._connection.execute(_SIZE).get
        with self._changed:
            self.size = size
            while self._marks and (size >= self._wanted or (len(self._marks) > 1 and self._marks[1][0] <= size)):
                self._marks.popleft()
            self._changed.notify_all()

    def _close(self) -> None:
        if self._connection:
            self._connection.close(True)  # apsw's `force`
        self._connection = None

    def close(self) -> None:
        """Stop following."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
            hurrying = self._hurrying
        self._thread.join()
        if hurrying:
            hurrying.join()
        self._close()


class IndexReader:
    """One thread's read-only door to index and log. Raises AuditUnavailable where the files cannot be read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            self._connection = _open(folder, write=False)
            current = _is_current(self._connection)
        except apsw.Error as error:
            raise AuditUnavailable(f"the audit index in {folder} cannot be opened: {error}") from error
        if not current:
            self._connection.close()
            raise AuditUnavailable(f"the audit index in {folder} is of another release: restart the repository")

    def places(self, ids: Sequence[str]) -> dict[str, tuple[int, bytes]]:
        """Index and leaf hash of those of these record ids that are stored and indexed."""
        sql = "SELECT r.idx, r.id FROM json_each(?) AS wanted JOIN record AS r ON r.id = wanted.value"
        try:
            found = dict(self._connection.execute(sql, (json.dumps(ids),)))
        except apsw.Error as error:
            raise AuditUnavailable(f"the audit index cannot be searched: {error}") from error
        return {found[e.idx]: (e.idx, e.hash) for e in self._entries(list(found))}

    def search(self, wanted: Filter, before: int | None) -> list[tuple[int, dict[str, Any]]]:
        """Index and record of what matches, newest first; `before` continues an earlier search."""
        terms, values = _where(wanted)
        if before is not None:
            terms.append("idx < ?")
            values.append(before)
        where = "WHERE " + " AND ".join(terms) if terms else ""
        sql = f"SELECT idx FROM record {where} ORDER BY idx DESC LIMIT ?"  # noqa: S608  # terms are fixed texts
        try:
            indices = [idx for (idx,) in self._connection.execute(sql, (*values, wanted.limit))]
        except apsw.Error as error:
            raise AuditUnavailable(f"the index cannot be searched: {error}") from error
        return [_shown(e) for e in reversed(self._entries(indices)) if e.record is not None]

    def _entries(self, indices: Sequence[int]) -> list[Entry]:
        if not indices:
            return []
        with contextlib.closing(read_log(self._folder)) as log:
            return log.at(indices)

    def close(self) -> None:
        """Close the files."""
        with contextlib.suppress(apsw.Error):
            self._connection.close()


def _shown(entry: Entry) -> tuple[int, dict[str, Any]]:
    """Raises IntegrityError where the contents are not those of the leaf: never show an edited record as one."""
    check_contents(entry)
    return entry.idx, from_leaf(entry.record or b"")


def _where(wanted: Filter) -> tuple[list[str], list[Any]]:
    given = {
        "person = ?": wanted.person,
        "project = ?": wanted.project,
        "dataset = ?": wanted.dataset,
        "session = ?": wanted.session,
        "time >= ?": wanted.since and wire_moment(wanted.since),
        "time < ?": wanted.until and wire_moment(wanted.until),
    }
    terms = [t for t, v in given.items() if v is not None]
    values: list[Any] = [v for v in given.values() if v is not None]
    if wanted.studies:
        terms.append(f"study IN ({', '.join('?' * len(wanted.studies))})")
        values.extend(wanted.studies)
    if wanted.events:
        terms.append(f"event IN ({', '.join('?' * len(wanted.events))})")
        values.extend(wanted.events)
    return terms, values
