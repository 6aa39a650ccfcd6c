"""Verification and export of a log from its files alone: no server, nothing written to the log.

An export is JSON lines: {"index", "leaf_hash", "record"} in order, then {"checkpoint"}. The record stands there as the
very bytes of its leaf, so an export verifies like the log itself."""

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from readingroom_hub.adapters.audit_index import INDEX_FILE, index_finding
from readingroom_hub.adapters.audit_keys import VKEY_FILE
from readingroom_hub.adapters.audit_log import LOG_FILE, LogReader
from readingroom_hub.errors import BadInput, IntegrityError, StoreUnavailable
from readingroom_hub.ledger.canonical import MAX_LEAF, canonical
from readingroom_hub.ledger.note import VKey
from readingroom_hub.ledger.record import Finding
from readingroom_hub.ledger.verify import LogVerifier

_SQLITE = b"SQLite format 3\0"
_MAX_LINE = 2 * MAX_LEAF
_FINDINGS_KEPT = 100


@dataclass(frozen=True, slots=True)
class Verified:
    """What a verification saw: records, their root, and the first findings, the first bad record first."""

    size: int
    root: bytes
    findings: list[Finding]


def log_vkey(folder: Path) -> str:
    """The public key beside the log. Raises BadInput where there is none."""
    try:
        return (folder / VKEY_FILE).read_text().strip()
    except OSError as error:
        raise BadInput(f"there is no audit log in {folder}: name one with --log and --key") from error


def verify(log: Path, vkeys: Sequence[str], kept: Sequence[str] = ()) -> Verified:
    """Check a log file or an export against public keys, and against checkpoints kept elsewhere.

    An index beside a log file is checked too. Raises BadInput for a file or key that cannot be used."""
    keys = [VKey.parse(v) for v in vkeys]
    verifier = LogVerifier(keys)
    with contextlib.ExitStack() as stack:
        entries, checkpoints = _open(log, stack)
        findings: list[Finding] = []
        try:
            findings.extend(islice(verifier.findings(entries, checkpoints, kept), _FINDINGS_KEPT))
        except IntegrityError as error:
            findings.append(Finding(verifier.size, "it cannot be read", "a whole file", str(error)))
    if not findings and log.name == LOG_FILE and log.with_name(INDEX_FILE).exists():
        different = index_finding(log.parent)
        findings += [different] if different else []
    return Verified(verifier.size, verifier.root, findings)


def _open(log: Path, stack: contextlib.ExitStack) -> tuple[Iterable[tuple[int, bytes, bytes]], Iterable[str]]:
    try:
        file = stack.enter_context(log.open("rb"))
        is_database = file.read(len(_SQLITE)) == _SQLITE
    except OSError as error:
        raise BadInput(f"the log {log} cannot be read: {error.strerror}") from error
    if not is_database:
        return _exported(file), [_last_checkpoint(file, log)]
    reader = LogReader(log)
    stack.callback(reader.close)
    return reader.entries(), reader.checkpoints()


def _last_checkpoint(file: BinaryIO, log: Path) -> str:
    file.seek(max(0, file.seek(0, os.SEEK_END) - _MAX_LINE))
    lines = file.read().splitlines()
    with contextlib.suppress(ValueError, TypeError, KeyError):
        return str(json.loads(lines[-1])["checkpoint"]) if lines else ""
    raise BadInput(f"{log} is neither an audit log nor a whole export: its last line holds no checkpoint")


def _exported(file: BinaryIO) -> Iterator[tuple[int, bytes, bytes]]:
    file.seek(0)
    place = 0
    while line := file.readline(_MAX_LINE):
        row = _row(line, place)
        if "checkpoint" in row:
            return
        place += 1
        try:
            yield row["index"], canonical(row["record"]), bytes.fromhex(row["leaf_hash"])
        except (KeyError, TypeError, ValueError, BadInput) as error:
            raise IntegrityError(f"line {place} of the export is not a record: {error}") from error


def _row(line: bytes, place: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise IntegrityError(f"line {place + 1} of the export is not JSON: {error}") from error
    if not isinstance(row, dict):
        raise IntegrityError(f"line {place + 1} of the export is no JSON object")
    return row


def export(folder: Path, target: Path | None) -> int:
    """Write the log in `folder` to `target` (whole or not at all) or stdout; returns how many records it has.

    Raises IntegrityError where the log cannot be read, StoreUnavailable where the target cannot be written."""
    reader = LogReader(folder / LOG_FILE)
    try:
        if target is None:
            return _write(reader, sys.stdout.buffer)
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123  # mode
                size = _write(reader, file)
                file.flush()
                os.fsync(file.fileno())
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise StoreUnavailable(f"the export to {target or 'stdout'} failed: {error.strerror}") from error
    finally:
        reader.close()
    return size


def _write(reader: LogReader, file: BinaryIO) -> int:
    size = 0
    for index, leaf, hash in reader.entries():
        file.write(b'{"index":%d,"leaf_hash":"%s","record":%s}\n' % (index, hash.hex().encode(), leaf))
        size = index + 1
    file.write(json.dumps({"checkpoint": reader.newest()}).encode() + b"\n")
    return size
