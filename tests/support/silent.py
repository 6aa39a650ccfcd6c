"""A service that is reached and says nothing: connections come about, requests are taken, no answer ever comes."""

import socket
from types import TracebackType
from typing import Self


class SilentService:
    """Listens on loopback. The kernel completes each connection in the backlog, so nothing need run here."""

    def __enter__(self) -> Self:
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=32)
        self._socket.setblocking(False)
        self.endpoint = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._socket.close()

    def attempts(self) -> int:
        """How many connections came since this was last asked."""
        count = 0
        while True:
            try:
                self._socket.accept()[0].close()
            except BlockingIOError:
                return count
            count += 1
