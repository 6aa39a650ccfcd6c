"""The mount daemon over its control socket: one JSON object a line each way."""

import json
import socket
from pathlib import Path
from typing import Any

from readingroom_hub import errors
from readingroom_hub.errors import ReadingRoomError, StoreUnavailable
from readingroom_hub.model.ids import SessionId
from readingroom_hub.ports.mounts import Folders, Mounts

_TIMEOUT = 10.0


class SocketMounts(Mounts):
    """One connection a call: calls are rare, and a restarted daemon is found again."""

    def __init__(self, path: Path, timeout: float = _TIMEOUT) -> None:
        self._path = path
        self._timeout = timeout

    def attach(self, session: SessionId) -> Path:
        """See `Mounts`."""
        return Path(self._call({"op": "attach", "session": session}))

    def open_folders(self, session: SessionId) -> Folders:
        """See `Mounts`."""
        folders = self._call({"op": "open-folders", "session": session})
        return Folders(Path(folders["home"]), Path(folders["project"]))

    def show_home(self, session: SessionId) -> None:
        """See `Mounts`."""
        self._call({"op": "show-home", "session": session})

    def detach(self, session: SessionId) -> None:
        """See `Mounts`."""
        self._call({"op": "detach", "session": session})

    def refresh(self) -> None:
        """See `Mounts`."""
        self._call({"op": "refresh"})

    def status(self) -> dict[str, int]:
        """See `Mounts`."""
        counts: dict[str, int] = self._call({"op": "status"})
        return counts

    def _call(self, message: dict[str, str]) -> Any:
        try:
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(self._timeout)
                s.connect(str(self._path))
                s.sendall(json.dumps(message).encode() + b"\n")
                line = s.makefile("rb").readline()
            reply = json.loads(line)
        except (OSError, ValueError) as error:
            raise StoreUnavailable(
                f"the mount daemon does not answer at {self._path} ({error}): see `readingroom status`"
            ) from error
        if "error" in reply:
            kind = getattr(errors, str(reply["error"]), StoreUnavailable)
            raise kind(reply["text"]) if issubclass(kind, ReadingRoomError) else StoreUnavailable(reply["text"])
        return reply["ok"]
