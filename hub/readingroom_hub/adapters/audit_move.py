"""Moves a log from its file into a PostgreSQL database: same records, checkpoints and cosignatures, so the same tree.

The file stays the log until all of it was read again from the database; then `log.url` appears in one step, and from
then on the database is. Killed before that, nothing has changed; a second run goes on where the first one was. The
writers' locks of both stores are held, so that no repository runs meanwhile."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from itertools import islice, zip_longest
from pathlib import Path

from readingroom_hub.adapters.audit_keys import open_signer
from readingroom_hub.adapters.audit_log import LOG_FILE, AuditLog, LogReader
from readingroom_hub.adapters.audit_log_postgres import PostgresAuditLog, PostgresLogReader, SignedRow
from readingroom_hub.adapters.audit_place import URL_FILE, log_place
from readingroom_hub.durable import make, sync, whole_file
from readingroom_hub.errors import Conflict, IntegrityError
from readingroom_hub.ledger.merkle import Frontier
from readingroom_hub.ledger.note import Checkpoint, split_note

MOVED_FILE = "log-moved.sqlite"
_FOLDER = "moving"
_CHUNK = 5000
_ANEW = "drop the database, make it again with `readingroom audit database`, and run this again"


def move_log(folder: Path, keys: Path, url: str, tell: Callable[[int, int], None]) -> tuple[int, bytes]:
    """Move the log of `folder` into the database at `url`; its size and root. `tell` hears how many records of all.

    Raises Conflict where a repository runs, or either place holds something else; IntegrityError for a log that does
    not verify, or a copy that differs; AuditUnavailable. The file is the log then, as before."""
    place = log_place(folder)
    if place is None:
        raise Conflict(f"there is no audit log in {folder} to move")
    file = folder / LOG_FILE
    if place.name == URL_FILE and (place.read_text().strip() != url or not file.exists()):
        raise Conflict(f"this audit log is in the database that {place} names: there is no file to move")
    with contextlib.closing(AuditLog(folder, open_signer(folder, keys))) as source:
        if place.name == LOG_FILE:
            _copy_verified(source, folder, url, tell)
            with whole_file(folder / URL_FILE) as written:
                written.write(f"{url}\n".encode())
        size, root = source.size, source.root
    file.rename(folder / MOVED_FILE)  # else the older log would be the log again where somebody lost `log.url`
    sync(folder)
    shutil.rmtree(folder / _FOLDER, ignore_errors=True)
    return size, root


def _copy_verified(source: AuditLog, folder: Path, url: str, tell: Callable[[int, int], None]) -> None:
    if source.damage:
        raise IntegrityError(f"the log does not verify, and stays where it is: {source.damage}")
    make(folder / _FOLDER, 0o700)  # for the lock of the database's writer
    with contextlib.closing(source.view()) as view:
        with contextlib.closing(PostgresAuditLog(folder / _FOLDER, source.signer, url)) as target:
            _check_beginning(target, source, view)
            for rows in _chunks(view, target.size):
                target.copy(rows)
                tell(rows[-1][0] + 1, source.size)
            for notes in _cosigned(view, target):
                target.copy_cosigned(notes)
        with contextlib.closing(PostgresAuditLog(folder / _FOLDER, source.signer, url)) as target:
            if target.damage or (target.size, target.root) != (source.size, source.root):
                found = target.damage or f"it has {target.size} records, root {target.root.hex()}"
                raise IntegrityError(f"the copy is not the log, which stays where it is: {found}. {_ANEW}")
            with contextlib.closing(target.view()) as copied:
                _compare(view, copied)


def _check_beginning(target: PostgresAuditLog, source: AuditLog, view: LogReader) -> None:
    """Raises Conflict where the database holds something else than the beginning of the log."""
    beginning = Frontier()
    if not target.damage and target.size <= source.size:
        for entry in view.leaves():
            if beginning.size == target.size:
                break
            beginning.append(entry.hash)
    if target.damage or (beginning.size, beginning.root()) != (target.size, target.root):
        raise Conflict(f"the database holds {target.size} records that are not the beginning of this log: {_ANEW}")


def _chunks(view: LogReader, start: int) -> Iterator[list[SignedRow]]:
    """The rows from `start` on, each list up to a checkpoint: what was copied is a whole log at every moment."""
    notes = ((size, note) for size, note, _ in view.signed() if size > start)
    size, note = next(notes, (0, ""))
    rows: list[SignedRow] = []
    for entry in view.entries(start):
        is_signed = entry.idx + 1 == size
        rows.append((entry.idx, entry.leaf, entry.hash, entry.salt, entry.record, note if is_signed else None))
        if is_signed:
            size, note = next(notes, (0, ""))
            if len(rows) >= _CHUNK or not size:
                yield rows
                rows = []


def _cosigned(view: LogReader, target: PostgresAuditLog) -> Iterator[list[tuple[int, str]]]:
    """Sizes and checkpoints with cosignatures that the target has not yet, smallest first."""
    with contextlib.closing(target.view()) as copied:
        newest = copied.cosigned()
    start = Checkpoint.parse(split_note(newest)[0]).size if newest else 0
    left = ((size, cosigned) for size, _, cosigned in view.signed() if cosigned and size > start)
    while notes := list(islice(left, _CHUNK)):
        yield notes


def _compare(view: LogReader, copied: PostgresLogReader) -> None:
    """Raises IntegrityError where contents, checkpoints or cosignatures differ; the tree alone covers the leaves."""
    for number, (one, other) in enumerate(zip_longest(view.entries(), copied.entries())):
        if one != other:
            raise IntegrityError(f"record {number} is not the same in both: the log stays where it is. {_ANEW}")
    for one, other in zip_longest(view.checkpoints(), copied.checkpoints()):
        if one != other:
            raise IntegrityError(f"the checkpoint {(one or other or '').splitlines()[1:2]} is not in both. {_ANEW}")
