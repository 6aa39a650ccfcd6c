"""One FUSE connection: negotiate, take requests on a few threads, answer, notify. The kernel's side is
`fs/fuse/dev.c`; the messages are in `protocol`."""

import errno
import logging
import os
import struct
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from readingroom_hub.errors import SystemUnfit
from readingroom_hub.mount import messages as m
from readingroom_hub.mount import mounting
from readingroom_hub.mount import protocol as p
from readingroom_hub.mount.door import Door

THREADS: Final = 4
"""Of one session: one that waits for the object store or the audit repository leaves others for listings."""
MAX_READAHEAD: Final = 1 << 20
MAX_PAGES: Final = 256
_log = logging.getLogger(__name__)

Payload = Sequence[bytes | memoryview]
Handler = Callable[[p.InHeader, bytes], Payload]
"""Takes header and body; returns the payload of the reply, or raises OSError with the errno of the reply."""

_SILENT = frozenset({p.Opcode.FORGET, p.Opcode.BATCH_FORGET, p.Opcode.INTERRUPT})
"""Requests that have no reply. An interrupted request is simply finished: none waits for long."""


class Connection:
    """A mounted connection. Its own threads answer it; nobody else may touch the mount from this process."""

    def __init__(self, target: Path, handler: Handler, door: Door) -> None:
        """Mount on `target` and serve. `handler` leaves the `door` before it waits. Raises SystemUnfit."""
        self._target = target
        self._handler = handler
        self._door = door
        self._fd = mounting.mount_fuse(target)
        self._notify_lock = threading.Lock()
        self._serving = THREADS
        try:
            self._negotiate()
        except BaseException:
            mounting.unmount(target)
            os.close(self._fd)
            raise
        self._threads = [
            threading.Thread(target=self._serve, name=f"fuse-{target.parent.name}-{i}", daemon=True)
            for i in range(THREADS)
        ]
        for thread in self._threads:
            thread.start()
        for point, device in mounting.mount_points(target):
            if point == target:
                mounting.set_readahead(device, MAX_READAHEAD // 1024)

    def _negotiate(self) -> None:
        request = os.read(self._fd, p.FUSE_MIN_READ_BUFFER)
        header = p.IN_HEADER.unpack(request)
        asked = p.INIT_IN.unpack(request, p.IN_HEADER.size)
        if header.opcode != p.Opcode.INIT or (asked.major, asked.minor) < (p.FUSE_KERNEL_VERSION, p.FUSE_OLDEST_MINOR):
            raise SystemUnfit(f"the kernel speaks FUSE {asked.major}.{asked.minor}: Linux 5.4 or later is needed")
        os.writev(self._fd, m.reply(header.unique, [m.init_out(asked, MAX_READAHEAD, MAX_PAGES, 64)]))

    def _serve(self) -> None:
        while self._take_requests():
            pass
        with self._notify_lock:
            self._serving -= 1
            if not self._serving:
                os.close(self._fd)

    def _take_requests(self) -> bool:
        """Answer requests until this thread has left the door; False once there are none any more."""
        door = self._door
        door.enter()
        try:
            return self._at_the_door()
        finally:
            door.leave()

    def _at_the_door(self) -> bool:
        is_ours = self._door.is_ours
        fd, read, handler = self._fd, os.read, self._handler
        unpack, head = p.IN_HEADER.unpack, p.IN_HEADER.size
        while is_ours():
            try:
                request = read(fd, p.FUSE_MIN_READ_BUFFER)
            except OSError as error:
                if error.errno in {errno.EINTR, errno.EAGAIN, errno.ENOENT}:  # ENOENT: interrupted before we took it
                    continue
                return False  # ENODEV: unmounted or aborted
            header = unpack(request)
            if header.opcode in _SILENT:
                continue
            self._answer(header, request[head:], handler)
        return True

    def _answer(self, header: p.InHeader, body: bytes, handler: Handler) -> None:
        try:
            pieces = m.reply(header.unique, handler(header, body))
        except OSError as error:
            pieces = m.reply(header.unique, error=error.errno or errno.EIO)
        except struct.error:
            pieces = m.reply(header.unique, error=errno.EINVAL)
        except Exception:  # noqa: BLE001  # whatever went wrong: an error for one reader, never a hang
            _log.exception("request %s failed", header)
            pieces = m.reply(header.unique, error=errno.EIO)
        with suppress(OSError):  # ENOENT: the asker is gone
            os.writev(self._fd, pieces)

    def forget_pages(self, ino: int) -> None:
        """Have the kernel drop every cached page of `ino`; waits for reads of it that are under way."""
        self._notify(m.inval_inode(ino))

    def forget_name(self, parent: int, name: bytes) -> None:
        """Have the kernel ask again for `name` and for everything below it."""
        self._notify(m.inval_entry(parent, name))

    def _notify(self, message: bytes) -> None:
        # Never on a serving thread: the kernel may hold the inode's lock until another request is answered.
        with self._notify_lock:
            if self._serving:
                with suppress(OSError):  # ENOENT: the kernel does not know it (any more)
                    os.write(self._fd, message)

    def close(self) -> None:
        """Unmount; waiting requests fail, serving threads end (not as root: once the last user has left)."""
        mounting.unmount(self._target)
        if os.geteuid() == 0:
            for thread in self._threads:
                thread.join(timeout=1)
