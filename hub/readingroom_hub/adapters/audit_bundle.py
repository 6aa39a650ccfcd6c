"""Writes the auditor's single file from a log's file: see `ledger.bundle` for its form."""

import contextlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from readingroom_hub.adapters.audit_place import read_log
from readingroom_hub.adapters.audit_proofs import provable
from readingroom_hub.adapters.audit_wire import wire_moment
from readingroom_hub.durable import whole_file
from readingroom_hub.errors import BadInput
from readingroom_hub.ledger.bundle import Header, Wanted, checkpoint_line, entry_line, last_line
from readingroom_hub.ledger.canonical import from_leaf
from readingroom_hub.ledger.leaf import CONTROL, check_envelope
from readingroom_hub.ledger.merkle import Frontier, Subtrees
from readingroom_hub.ledger.note import Checkpoint, split_note
from readingroom_hub.ledger.purges import EVENT as PURGED
from readingroom_hub.ledger.verify import Entry, Scope
from readingroom_hub.ports.log import LogView

_HISTORY = 1000
"""Records between two checkpoints of the history that goes along, but for cosigned ones, which all do."""
_FAR = "9999-12-31T23:59:59.999999Z"


def write_bundle(folder: Path, secret: bytes, wanted: Wanted, target: Path) -> tuple[int, int]:
    """Write the bundle to `target`, whole or not at all; returns how many records it shows, and of how many.

    Raises IntegrityError where the log cannot be read, BadInput for a time without records, StoreUnavailable."""
    with contextlib.closing(read_log(folder)) as reader, whole_file(target) as file:
        return _write(reader, wanted, secret, file)


def _range(reader: LogView, wanted: Wanted, size: int) -> tuple[int, int]:
    if wanted.since is None and wanted.until is None:
        return 0, size
    since = wire_moment(wanted.since) if wanted.since else ""
    first, end = reader.places(since, wire_moment(wanted.until) if wanted.until else _FAR)
    if first >= min(end, size):
        raise BadInput("the log has no record of that time")
    return first, min(end, size)


def _write(reader: LogView, wanted: Wanted, secret: bytes, file: BinaryIO) -> tuple[int, int]:
    found = provable(reader)
    if not found:
        raise BadInput("the log is empty: there is nothing to prove")
    note, size = found[0][0], found[0][1].size
    first, end = _range(reader, wanted, size)
    scope = wanted.scope(secret)
    history = _thinned(reader.checkpoints(), first, end)
    coming = next(history, None)
    before, after, shown = Frontier(), Subtrees(end), 0
    for entry in islice(reader.entries(), size):
        if entry.idx < first:
            before.append(entry.hash)
            continue
        if entry.idx == first:
            file.write(Header(first, end, before.hashes, scope).line())
        if entry.idx >= end:
            after.append(entry.hash)
            continue
        is_shown = _is_shown(scope, entry)
        shown += is_shown
        file.write(entry_line(entry, shown=is_shown))
        while coming and _size(coming) == entry.idx + 1:
            file.write(checkpoint_line(coming))
            coming = next(history, None)
    file.write(last_line(after.nodes, note))
    return shown, end - first


def _is_shown(scope: Scope, entry: Entry) -> bool:
    """Contents in scope, and purge records, without which missing contents could not be explained."""
    envelope = check_envelope(from_leaf(entry.leaf))
    if scope.belongs(envelope):
        return True
    return envelope.retention == CONTROL and entry.record is not None and from_leaf(entry.record)["event"] == PURGED


def _size(note: str) -> int:
    return Checkpoint.parse(split_note(note)[0]).size


def _thinned(notes: Iterator[str], first: int, end: int) -> Iterator[str]:
    """The checkpoints that lie in the range: cosigned ones, and one in a thousand records; never the last."""
    last = first
    for note in notes:
        body, signatures = split_note(note)
        size = Checkpoint.parse(body).size
        if first < size < end and (len(signatures) > 1 or size - last >= _HISTORY):
            last = size
            yield note
