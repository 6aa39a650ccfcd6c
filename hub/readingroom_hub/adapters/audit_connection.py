"""One client's connection to the audit record repository: who it is, frames in, replies out."""

import asyncio
import os
import socket
import struct
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from readingroom_hub.adapters.audit_nodes import Peer, UnknownNode
from readingroom_hub.adapters.audit_wire import Frames, error_fields, message
from readingroom_hub.errors import BadInput, Denied

if TYPE_CHECKING:
    from readingroom_hub.adapters.audit_server import AuditServer

_UCRED = struct.Struct("3i")


def this_machine(transport: asyncio.Transport) -> Peer:
    """Lets in root and our own user only (SO_PEERCRED: the kernel's word). Raises Denied."""
    peer: socket.socket = transport.get_extra_info("socket")
    pid, uid, _ = _UCRED.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    if uid not in {0, os.geteuid()}:
        raise Denied(f"process {pid} of user {uid} may not use the audit record repository")
    return Peer()


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, server: "AuditServer", admit: Callable[[asyncio.Transport], Peer]) -> None:
        self._server = server
        self._admit = admit
        self._frames = Frames()
        self._transport: asyncio.Transport | None = None
        self.peer = Peer()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Let in who may come; tell a node why it may not."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # a stream server makes no other
        try:
            self.peer = self._admit(transport)
        except UnknownNode as error:
            self._server.refuse(error)
            transport.write(message(0, **error_fields(error)))
            transport.close()
        except Denied as error:
            sys.stderr.write(f"audit record repository: refused: {error}\n")
            transport.abort()
        else:
            self._transport = transport
            self._server.connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Hand over whole messages; a stream that is out of step is cut."""
        if self._transport is None:
            return
        try:
            for request in self._frames.feed(data):
                self._server.take(self, request)
        except BadInput as error:
            sys.stderr.write(f"audit record repository: cut a connection: {error}\n")
            self.close()

    def connection_lost(self, _exc: Exception | None) -> None:
        """Forget the client."""
        self._server.left(self)
        self._transport = None

    def reply(self, n: int, **fields: object) -> None:
        """Answer request `n`, if the client is still there."""
        if self._transport:
            self._transport.write(message(n, **fields))

    def cut(self) -> None:
        """Hang up at once, and take nothing more that is under way."""
        transport, self._transport = self._transport, None
        if transport:
            transport.abort()

    def close(self) -> None:
        """Send what is left, then hang up."""
        if self._transport:
            self._transport.close()
