"""Copies of the audit record, sent live: a loop that reads the log behind its writer and hands each record over once
or more, in order.

It never asks the repository anything (a query is itself a record) and takes no part in an append: it opens the log's
file read-only, takes a bounded piece, closes it, and sends then. Nothing that was not signed leaves."""

import contextlib
import random
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from readingroom_hub.adapters.audit_checks import check_contents, check_leaf
from readingroom_hub.adapters.audit_feed_state import FeedState, Progress, is_running, look
from readingroom_hub.adapters.audit_place import VKEY_FILE, read_log
from readingroom_hub.errors import BadInput, IntegrityError, ReadingRoomError
from readingroom_hub.ledger.canonical import from_leaf
from readingroom_hub.ledger.note import Checkpoint, VKey, open_note, printable
from readingroom_hub.ledger.verify import Entry
from readingroom_hub.ports.log import LogView
from readingroom_hub.ports.receivers import Receiver

_BATCH_RECORDS = 500
_BATCH_BYTES = 4 << 20
_POLL_SECONDS = 1.0
_LATE_SECONDS = 300.0
"""A feed without trouble of its own that is later than this is one whose receiver hangs, or is too slow."""
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 300.0


def signed_size(folder: Path, reader: LogView) -> int:
    """How many records the newest checkpoint of the log in `folder` signs. Raises IntegrityError, BadInput."""
    note = reader.newest()
    if note is None:
        return 0
    try:
        vkey = VKey.parse((folder / VKEY_FILE).read_text())
    except OSError as error:
        raise IntegrityError(f"the log's public key {folder / VKEY_FILE} cannot be read: {error.strerror}") from error
    return Checkpoint.parse(open_note(note, [vkey])[0]).size


@dataclass(frozen=True, slots=True)
class _Item:
    """One record of a batch: a message, or nothing to send, with a reason or, where it was purged, without."""

    entry: Entry
    message: bytes | None = None
    reason: str | None = None


@dataclass(slots=True)
class _Settled:
    last: Entry | None = None
    sent: int = 0
    purged: int = 0
    refused: list[tuple[int, str]] = field(default_factory=list)

    def add(self, item: _Item, verdict: str | None) -> None:
        self.last = item.entry
        reason = item.reason or verdict
        if reason is not None:
            self.refused.append((item.entry.idx, reason))
        elif item.message is None:
            self.purged += 1
        else:
            self.sent += 1


def _checked(entry: Entry, index: int) -> Entry:
    """Raises IntegrityError where the entry is not the one that was stored at `index`."""
    check_leaf(entry, index)
    if entry.record is not None:
        check_contents(entry)
    return entry


def _bounded(entries: Iterable[Entry], before: int) -> Iterator[Entry]:
    """The first `before`, and those behind it up to the limit in bytes, at least one."""
    room = _BATCH_BYTES
    for number, entry in enumerate(entries):
        yield entry
        if number >= before:
            room -= len(entry.leaf) + len(entry.record or b"")
        if room < 0:
            return


class Feed:
    """One feed of one log. Not for use from several threads."""

    def __init__(self, log: Path, state: FeedState, receiver: Receiver, batch: int = _BATCH_RECORDS) -> None:
        """`log`: the repository's folder; `batch`: records between two commits of the state."""
        self._log, self._state, self._receiver, self._batch = log, state, receiver, batch

    def step(self) -> bool:
        """Send what comes next, at most a batch. True where more may be waiting.

        Raises StoreUnavailable: try again later. Raises IntegrityError where the log is not the one followed so far."""
        self._send_again()
        entries, size = self._read(self._state.progress())
        if not entries:
            return False
        self._send([self._item(e) for e in entries])
        return entries[-1].idx + 1 < size

    def _read(self, progress: Progress) -> tuple[list[Entry], int]:
        """The next entries below the signed size, each checked, and that size. The view of the log is closed then."""
        before = 1 if progress.next else 0
        with contextlib.closing(read_log(self._log)) as reader:
            size = signed_size(self._log, reader)
            if size < progress.next:
                raise IntegrityError(
                    f"the log has {size} records, {progress.next} were sent: it was rolled back or is another one"
                )
            start = progress.next - before
            wanted = min(self._batch + before, size - start)
            found = list(_bounded(islice(reader.entries(start), wanted), before))
        entries = [_checked(e, start + n) for n, e in enumerate(found)]
        if before and (not entries or entries[0].hash != progress.hash):
            raise IntegrityError(f"audit record {start} is not the one that was sent: the log was rewritten")
        return entries[before:], size

    def _item(self, entry: Entry) -> _Item:
        if entry.record is None:
            return _Item(entry)
        try:
            return _Item(entry, self._receiver.message(from_leaf(entry.record)))
        except BadInput as error:
            return _Item(entry, None, str(error))

    def _send(self, items: list[_Item]) -> None:
        verdicts = self._receiver.deliver([i.message for i in items if i.message is not None])
        settled = _Settled()
        try:
            for item in items:
                settled.add(item, None if item.message is None else next(verdicts))
        except ReadingRoomError:
            self._keep(settled)
            raise
        self._keep(settled)

    def _keep(self, settled: _Settled) -> None:
        if settled.last is not None:
            next = settled.last.idx + 1
            counts = {"sent": settled.sent, "purged": settled.purged}
            self._state.advance(next, settled.last.hash, **counts, refused=settled.refused)

    def _send_again(self) -> None:
        """What was refused and is asked for again goes out of order, one by one."""
        for index in self._state.again():
            with contextlib.closing(read_log(self._log)) as reader:
                entry = next(reader.entries(index))
            item = self._item(_checked(entry, index))
            reason = item.reason or (None if item.message else "its contents were purged")
            if item.message is not None:
                (reason,) = self._receiver.deliver([item.message])
            self._state.settle(index, reason)


def run(name: str, feed: Feed, state: FeedState, stop: threading.Event) -> None:
    """Keep one feed going until `stop` is set. No error ends it: it says so, waits longer each time, tries again."""
    failures = 0
    while not stop.is_set():
        try:
            more = feed.step()
        except Exception as error:  # noqa: BLE001  # a feed that died of a surprise would be a silent one
            trouble = str(error) if isinstance(error, ReadingRoomError) else f"{type(error).__name__}: {error}"
            if not failures:
                _say(name, f"STOPPED, tries again: {trouble}")
            with contextlib.suppress(ReadingRoomError):
                state.trouble(printable(trouble))
            longest = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(failures, 16))
            failures += 1
            stop.wait(random.uniform(longest / 2, longest))  # noqa: S311  # so that two feeds do not knock together
            continue
        if failures:
            _say(name, f"goes on after {failures} failed attempts")
        failures = 0
        with contextlib.suppress(ReadingRoomError):
            if state.progress().trouble is not None:
                state.trouble(None)
        if not more:
            stop.wait(_POLL_SECONDS)


def _say(name: str, text: str) -> None:
    sys.stderr.write(f"audit feed {name}: {printable(text)}\n")
    sys.stderr.flush()


@dataclass(frozen=True, slots=True)
class FeedStatus:
    """What an operator sees of a feed. `behind`: signed records that are not settled; None where that is unknown."""

    name: str
    running: bool
    behind: int | None
    progress: Progress | None
    oldest: float | None
    """Seconds since the first of those that are behind was made."""

    @property
    def trouble(self) -> str | None:
        """What is wrong now, in one sentence, None where nothing is."""
        if not self.running:
            return "no process runs it"
        if self.progress and self.progress.trouble:
            return self.progress.trouble
        if self.oldest is not None and self.oldest > _LATE_SECONDS:
            return f"the oldest record that was not handed over is {self.oldest / 60:.0f} minutes old"
        return None


def status(log: Path, folder: Path, name: str) -> FeedStatus:
    """Of a feed whose state is in `folder`, beside it. Raises StoreUnavailable."""
    known = look(folder, name)
    progress = known[0] if known else None
    start, behind, oldest = progress.next if progress else 0, None, None
    with contextlib.suppress(ReadingRoomError), contextlib.closing(read_log(log)) as reader:
        behind = max(0, signed_size(log, reader) - start)
        if behind:
            made = datetime.fromisoformat(from_leaf(next(reader.leaves(start)).leaf)["time"])
            oldest = max(0.0, (datetime.now(UTC) - made).total_seconds())
    return FeedStatus(name, is_running(folder, name), behind, progress, oldest)
