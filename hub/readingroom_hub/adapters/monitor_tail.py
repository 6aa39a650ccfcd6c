"""The record for the monitor: the log's file, read behind its writer, up to what the newest checkpoint signs."""

import contextlib
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from readingroom_hub.adapters.audit_feed import signed_size
from readingroom_hub.adapters.audit_place import read_log
from readingroom_hub.adapters.audit_wire import wire_moment
from readingroom_hub.ledger.canonical import from_leaf
from readingroom_hub.ports.monitoring import RecordTail

_ALL_TIME = "9999-12-31T23:59:59.999999Z"


class LogTail(RecordTail):
    """Of the log in one folder. Hashes are not checked here: `readingroom audit verify` and the feeds do that."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def first(self, since: datetime) -> int:
        """See the port."""
        with contextlib.closing(read_log(self._folder)) as reader:
            first, end = reader.places(wire_moment(since), _ALL_TIME)
            return first if end else signed_size(self._folder, reader)

    def read(self, start: int, most: int) -> tuple[list[tuple[int, dict[str, Any]]], int]:
        """See the port."""
        with contextlib.closing(read_log(self._folder)) as reader:
            count = min(most, signed_size(self._folder, reader) - start)
            entries = list(islice(reader.entries(start), max(0, count)))
        found = [(e.idx, from_leaf(e.record)) for e in entries if e.record is not None]
        return found, entries[-1].idx + 1 if entries else start
