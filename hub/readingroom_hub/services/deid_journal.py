"""What an interrupted run from folder to folder had done: one JSON line a file, in the order in which files are taken.

Results are not flushed one by one, so the journal holds for this start of the machine only: after a power failure the
run begins anew."""

import base64
import errno
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from readingroom_hub import locks
from readingroom_hub.deid import policy_file
from readingroom_hub.deid.actions import Action
from readingroom_hub.deid.part10 import IMPLEMENTATION_NAME
from readingroom_hub.deid.pixels.clean import Cleaned, Mask
from readingroom_hub.deid.pixels.verdict import Verdict
from readingroom_hub.deid.policy import Policy
from readingroom_hub.model.dataset import instance_of
from readingroom_hub.services.intake_files import LeftOut, fingerprint
from readingroom_hub.services.intake_pool import Sealed

FORMAT = "readingroom-deid-journal/1"
_NAME = ".journal"
_BOOT = Path("/proc/sys/kernel/random/boot_id")
Row = dict[str, Any]


def about(source: Path, files: Iterable[str], policy: Policy, key: bytes, validator: str) -> str:
    """What a run depends on, as one digest: where it is the same, so are the results."""
    digest = hashlib.sha256(FORMAT.encode())
    told = IMPLEMENTATION_NAME, _BOOT.read_text("ascii"), json.dumps(policy_file.content(policy), sort_keys=True)
    for part in (*told, hashlib.sha256(key).hexdigest(), validator, str(source.resolve())):
        digest.update(part.encode(errors="surrogateescape") + b"\0")
    for path in files:
        digest.update(f"{path}\0{fingerprint(source, path)}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()


class Journal:
    """The journal of one run, in the folder that its results are collected in. Nobody else writes there meanwhile."""

    def __init__(self, folder: Path, about: str) -> None:
        """Take the folder, made where there is none; what another run left in it goes.

        Raises Conflict where a run is at work in it, and OSError."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        taken = f"another run is writing to {folder}: wait for it, or give another target"
        self._file = os.fdopen(locks.take(folder / _NAME, taken), "r+b", 0)
        self._folder = folder
        self.done = self._read(about)
        """What was done before, in order."""
        if not self.done:
            self._begin(about)

    def add(self, result: Sealed | LeftOut) -> None:
        """One more file is done; its result is in its place. Raises OSError."""
        line = json.dumps(_row(result)).encode() + b"\n"
        if self._file.write(line) != len(line):  # what a disk does that is nearly full
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def finish(self) -> None:
        """The run is whole: the folder holds results alone from here on."""
        (self._folder / _NAME).unlink()
        self.close()

    def close(self) -> None:
        """Let others take the folder."""
        self._file.close()

    def _read(self, about: str) -> list[Sealed | LeftOut]:
        head, *rows = self._file.read().split(b"\n")
        if head != _head(about):
            return []
        done: list[Sealed | LeftOut] = []
        size = len(head) + 1
        for row in rows[:-1]:  # behind the last line's end nothing stands, or the line that a killed run was writing
            try:
                done.append(_result(json.loads(row)))
            except (ValueError, KeyError, TypeError):
                break
            size += len(row) + 1
        self._end_at(size)
        return done

    def _begin(self, about: str) -> None:
        for entry in self._folder.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.name != _NAME:
                entry.unlink()
        self._end_at(0)
        self._file.write(_head(about) + b"\n")

    def _end_at(self, size: int) -> None:
        self._file.truncate(size)
        self._file.seek(size)


def _head(about: str) -> bytes:
    return json.dumps({"format": FORMAT, "about": about}).encode()


def _row(result: Sealed | LeftOut) -> Row:
    if isinstance(result, LeftOut):
        return {"path": result.path, "reason": result.reason}
    pixels = result.pixels
    return {
        "path": result.path,
        "instance": asdict(result.instance),
        "actions": [(*key, n) for key, n in result.actions.items()],
        "told": result.told,
        "samples": [(*key, text) for key, text in result.samples.items()],
        "pixels": None
        if pixels is None
        else {
            "frames": pixels.frames,
            "rows": pixels.rows,
            "columns": pixels.columns,
            "masks": [(m.box, m.verdict.value) for m in pixels.masks],
            "kept": pixels.kept,
            "thumbnail": base64.b64encode(pixels.thumbnail).decode("ascii"),
        },
    }


def _result(row: Row) -> Sealed | LeftOut:
    if "reason" in row:
        return LeftOut(row["path"], row["reason"])
    return Sealed(
        row["path"],
        instance_of(row["instance"]),
        b"",
        Counter({(keyword, Action(action)): n for keyword, action, n in row["actions"]}),
        None,
        row["told"],
        {(keyword, Action(action)): text for keyword, action, text in row["samples"]},
        None,
        row["pixels"] and _cleaned(row["pixels"]),
    )


def _cleaned(row: Row) -> Cleaned:
    masks = tuple(Mask((b[0], b[1], b[2], b[3]), Verdict(verdict)) for b, verdict in row["masks"])
    thumbnail = base64.b64decode(row["thumbnail"])
    return Cleaned(row["frames"], row["rows"], row["columns"], masks, tuple(row["kept"]), thumbnail)
