"""The mount daemon's control socket: one JSON object a line each way, from our own user or root only (SO_PEERCRED)."""

import json
import logging
import os
import socket
import socketserver
import struct
from pathlib import Path
from typing import Any

from readingroom_hub.errors import BadInput, Denied, ReadingRoomError
from readingroom_hub.model.ids import SessionId
from readingroom_hub.ports.mounts import Mounts

_LINE = 4096
_log = logging.getLogger(__name__)


def answer(mounts: Mounts, request: Any) -> Any:
    """Do what one message asks. Raises BadInput for a message of another form, and what `mounts` raises."""
    match request:
        case {"op": "attach", "session": str(session)}:
            return str(mounts.attach(SessionId(session)))
        case {"op": "open-folders", "session": str(session)}:
            folders = mounts.open_folders(SessionId(session))
            return {"home": str(folders.home), "project": str(folders.project)}
        case {"op": "show-home", "session": str(session)}:
            return mounts.show_home(SessionId(session))
        case {"op": "detach", "session": str(session)}:
            return mounts.detach(SessionId(session))
        case {"op": "refresh"}:
            return mounts.refresh()
        case {"op": "status"}:
            return mounts.status()
        case _:
            raise BadInput(
                "a control message is one of attach, open-folders, show-home, detach (with a session), refresh, status"
            )


class _Request(socketserver.StreamRequestHandler):
    server: "ControlServer"

    def handle(self) -> None:
        """Answer messages until the peer closes."""
        while line := self.rfile.readline(_LINE):
            try:
                self._check_peer()
                reply = {"ok": answer(self.server.mounts, _parse(line))}
            except ReadingRoomError as error:
                reply = {"error": type(error).__name__, "text": str(error)}
            except Exception:  # noqa: BLE001  # one bad message must not end the service
                _log.exception("a control message failed")
                reply = {"error": "StoreUnavailable", "text": "the mount daemon failed; its log says why"}
            self.wfile.write(json.dumps(reply).encode() + b"\n")

    def _check_peer(self) -> None:
        """`struct ucred`: pid, uid, gid (unix(7))."""
        _, uid, _ = struct.unpack("=iII", self.connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid not in {0, os.geteuid()}:
            raise Denied("only the hub's own user may give orders to the mount daemon")


def _parse(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise BadInput("a control message is one line of JSON") from error


class ControlServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Listens on `path`, mode 0600. A socket that a killed daemon left is replaced."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, path: Path, mounts: Mounts) -> None:
        self.mounts = mounts
        path.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            super().__init__(str(path), _Request)
        finally:
            os.umask(before)
