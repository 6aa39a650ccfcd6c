"""Bytes between a loopback port and a unix socket, through the kernel's pipes (splice(2)): no proxy dials the latter.

Two threads a connection; all time is spent in the kernel, without Python's lock."""

import fcntl
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

CONNECTIONS = 256
_STEP = 1 << 20
_PIPE = 1 << 20
_F_SETPIPE_SZ = 1031


def serve(listener: socket.socket, dial: Callable[[], socket.socket]) -> None:
    """Accept for ever, connecting each client with what `dial` gives. Ends when `listener` is closed."""
    slots = threading.BoundedSemaphore(CONNECTIONS)
    while True:
        slots.acquire()
        try:
            client, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_connect, args=(client, dial, slots), daemon=True).start()


def _connect(client: socket.socket, dial: Callable[[], socket.socket], slots: threading.BoundedSemaphore) -> None:
    try:
        with client, dial() as server:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(target=_pump, args=(server, client), daemon=True)
            back.start()
            _pump(client, server)
            back.join()
    except OSError:
        pass  # the server is gone: the client sees its connection close
    finally:
        slots.release()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Move bytes until `source` ends, then end `sink`'s input."""
    out, into = os.pipe()
    try:
        with suppress(OSError):
            _widen(into)
        while moved := os.splice(source.fileno(), into, _STEP):
            while moved:
                moved -= os.splice(out, sink.fileno(), moved)
    except OSError:
        # One side broke: end both, so that the other thread does not wait for ever.
        with suppress(OSError):
            source.shutdown(socket.SHUT_RD)
    finally:
        os.close(out)
        os.close(into)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


def _widen(pipe: int) -> None:
    fcntl.fcntl(pipe, _F_SETPIPE_SZ, _PIPE)
