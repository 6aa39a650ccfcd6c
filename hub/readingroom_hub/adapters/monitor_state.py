"""The monitor's memory: one JSON file, and a lock that says whether a monitor runs."""

import contextlib
import fcntl
import json
import os
import struct
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path

from readingroom_hub.durable import whole_file
from readingroom_hub.errors import Conflict
from readingroom_hub.ports.monitoring import MonitorMemory, MonitorState

_WHOLE = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
"""`struct flock` of fcntl(2): a write lock of the whole file, which the open file holds and not the process."""


class FileMemory(MonitorMemory):
    """In one folder, mode 0700."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._file = folder, folder / "state.json"

    def load(self) -> MonitorState:
        """See the port."""
        try:
            row = json.loads(self._file.read_bytes())
            return MonitorState(
                date.fromisoformat(row["judged"]) if row["judged"] else None,
                dict(row["delivered"]),
                datetime.fromisoformat(row["looked_at"]) if row["looked_at"] else None,
                row["trouble"],
                row["outlook"],
            )
        except (OSError, ValueError, KeyError, TypeError):  # it can be made anew; alerts are on the record
            return MonitorState()

    def save(self, state: MonitorState) -> None:
        """See the port."""
        row = {
            "judged": state.judged and state.judged.isoformat(),
            "delivered": state.delivered,
            "looked_at": state.looked_at and state.looked_at.isoformat(),
            "trouble": state.trouble,
            "outlook": state.outlook,
        }
        with whole_file(self._file) as file:
            file.write(json.dumps(row).encode())

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the one place of a monitor. Raises Conflict where another one runs."""
        fd = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _WHOLE)
            except OSError as error:
                raise Conflict(f"another monitor runs on {self._folder}: stop it first") from error
            yield
        finally:
            os.close(fd)

    def is_running(self) -> bool:
        """Whether a monitor holds its place. Only asks: to try the lock could turn away one that starts now."""
        try:
            fd = os.open(self._folder / "lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            (found,) = struct.unpack_from("h", fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _WHOLE))
        finally:
            os.close(fd)
        return bool(found != fcntl.F_UNLCK)
