"""The monitor's memory: one JSON file, and a lock that says whether a monitor runs."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path

from readingroom_hub.adapters.audit_bundle import whole_file
from readingroom_hub.errors import Conflict
from readingroom_hub.ports.monitoring import MonitorMemory, MonitorState


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
        """Hold the one place of a monitor. Raises Conflict where another one runs. flock(2)."""
        fd = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Conflict(f"another monitor runs on {self._folder}: stop it first") from error
            yield
        finally:
            os.close(fd)

    def is_running(self) -> bool:
        """Whether a monitor holds its place."""
        try:
            with self.alone():
                return False
        except Conflict:
            return True
