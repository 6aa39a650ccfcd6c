"""The log as static files for other people's monitors and witnesses (C2SP tlog-tiles): checkpoint, tiles, entries.

An entry is the leaf, which stays for ever: envelope and salted hash, never contents. Files below a checkpoint are whole
and durable before it is; running it again goes on where the last run came to, however that ended."""

import contextlib
import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from readingroom_hub.adapters.audit_checks import check_leaf
from readingroom_hub.adapters.audit_place import read_log
from readingroom_hub.adapters.audit_proofs import provable
from readingroom_hub.durable import make, whole_file
from readingroom_hub.errors import BadInput, IntegrityError
from readingroom_hub.ledger.merkle import Frontier, root_of
from readingroom_hub.ledger.note import Checkpoint, split_note
from readingroom_hub.ledger.verify import Entry
from readingroom_hub.ports.log import LogView

WIDTH = 256
"""Hashes in a full tile."""
_HASH = 32


def write_tiles(folder: Path, target: Path) -> tuple[int, int]:
    """Bring the files in `target` up to the log in `folder`; returns the sizes before and now.

    Raises BadInput for an empty log, IntegrityError where `target` holds another log's files, StoreUnavailable."""
    with contextlib.closing(read_log(folder)) as reader:
        return export(reader, target)


def export(reader: LogView, target: Path) -> tuple[int, int]:
    """As `write_tiles`, of a view of the log."""
    old = _published(target)
    note, new = _newest(reader, old.size if old else 0)
    if old and (old.origin != new.origin or old.size > new.size):
        raise IntegrityError(f"{target} holds {old.size} records of {old.origin}, the log {new.size} of {new.origin}")
    start = old.size if old else 0
    if start < new.size:
        make(target)
        _write_entries(reader, target, start, new.size)
        _write_upper(target, start, new.size)
    if _root(target, new.size) != new.root:
        raise IntegrityError(f"the files in {target} are not those of this log: export to a new folder, then compare")
    with whole_file(target / "checkpoint") as file:
        file.write(note.encode())
    _remove_partial(target, start, new.size)
    return start, new.size


def _published(target: Path) -> Checkpoint | None:
    try:
        note = (target / "checkpoint").read_text()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{target / 'checkpoint'} cannot be read: {error}") from error
    return Checkpoint.parse(split_note(note)[0])


def _newest(reader: LogView, least: int) -> tuple[str, Checkpoint]:
    """What witnesses have seen proves more, unless more than that was published already."""
    found = provable(reader)
    if not found:
        raise BadInput("the log is empty: there is nothing to export")
    return next((f for f in found if f[1].size >= least), found[-1])


def tile_path(level: int | str, index: int, width: int = WIDTH) -> str:
    """`tile/<L>/<N>[.p/<W>]`; level "entries" for the entries."""
    parts = [f"{index % 1000:03}"]
    while index := index // 1000:
        parts.insert(0, f"x{index % 1000:03}")
    return f"tile/{level}/{'/'.join(parts)}" + ("" if width == WIDTH else f".p/{width}")


def _spans(start: int, size: int) -> Iterator[tuple[int, int]]:
    """Index and width of each tile that a level gets or changes when it grows from `start` to `size` hashes."""
    for index in range(start // WIDTH, -(-size // WIDTH)):
        yield index, min(WIDTH, size - index * WIDTH)


def _write(path: Path, data: bytes) -> None:
    make(path.parent)
    with whole_file(path) as file:
        file.write(data)


def _write_entries(reader: LogView, target: Path, start: int, size: int) -> None:
    first = start // WIDTH * WIDTH
    entries = reader.leaves(first)
    for index, width in _spans(start, size):
        some = list(islice(entries, width))
        if len(some) != width:
            raise IntegrityError(f"the log ends within the records from {index * WIDTH} on: run `audit verify`")
        checked = [_checked(e, index * WIDTH + n) for n, e in enumerate(some)]
        _write(target / tile_path("entries", index, width), b"".join(len(e).to_bytes(2) + e for e, _ in checked))
        _write(target / tile_path(0, index, width), b"".join(h for _, h in checked))


def _checked(entry: Entry, index: int) -> tuple[bytes, bytes]:
    check_leaf(entry, index)
    if len(entry.leaf) >= 1 << 16:
        raise IntegrityError(f"audit record {index} has a leaf of {len(entry.leaf)} bytes, an entry may have 65535")
    return entry.leaf, entry.hash


def _write_upper(target: Path, start: int, size: int) -> None:
    """Each hash of a level is the root of a full tile below (never of a partial one)."""
    level = 1
    while size := size // WIDTH:
        start //= WIDTH
        for index, width in _spans(start, size):
            below = range(index * WIDTH, index * WIDTH + width)
            hashes = [root_of(_hashes(target, level - 1, i, WIDTH)) for i in below]
            _write(target / tile_path(level, index, width), b"".join(hashes))
        level += 1


def _hashes(target: Path, level: int, index: int, width: int) -> list[bytes]:
    path = target / tile_path(level, index, width)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise IntegrityError(f"{path} cannot be read: {error.strerror}. Export to a new folder") from error
    return [data[i : i + _HASH] for i in range(0, len(data), _HASH)]


def _edge(size: int) -> Iterator[tuple[int, int, int]]:
    """Level, index and width of the partial tiles of a tree, lowest level first."""
    level = 0
    while size:
        if size % WIDTH:
            yield level, size // WIDTH, size % WIDTH
        size, level = size // WIDTH, level + 1


def _root(target: Path, size: int) -> bytes:
    frontier = Frontier()
    for level, index, width in reversed(list(_edge(size))):
        for hash in _hashes(target, level, index, width):
            frontier.append_subtree(8 * level, hash)
    return frontier.root()


def _remove_partial(target: Path, start: int, size: int) -> None:
    """Partial tiles whose full one is there now are not asked for any more."""
    for level, index, width in _edge(start):
        if size >> 8 * level >= (index + 1) * WIDTH:
            for kind in (level, "entries") if level == 0 else (level,):
                shutil.rmtree((target / tile_path(kind, index, width)).parent, ignore_errors=True)
