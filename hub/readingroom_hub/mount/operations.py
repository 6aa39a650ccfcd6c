"""What the kernel asks of one session's mount, answered: names, attributes, opens, reads. Read only (EROFS)."""

import errno
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import count

from readingroom_hub.errors import AuditUnavailable, Denied, IntegrityError, ReadingRoomError, StoreUnavailable
from readingroom_hub.mount import protocol as p
from readingroom_hub.mount.ahead import ReadAhead
from readingroom_hub.mount.budget import Budget
from readingroom_hub.mount.content import Content, content_of
from readingroom_hub.mount.early import Early
from readingroom_hub.mount.kernel import Payload
from readingroom_hub.mount.library import Library, Shelf
from readingroom_hub.mount.limits import Allowance, Limits, OverLimit
from readingroom_hub.mount.metrics import timed
from readingroom_hub.mount.names import README_INO, Names
from readingroom_hub.mount.tree import PLACE_BITS, PLACE_MASK
from readingroom_hub.services.reading import OpenInstance, Reading

_WRITES = (
    p.Opcode.SETATTR,
    p.Opcode.SYMLINK,
    p.Opcode.MKNOD,
    p.Opcode.MKDIR,
    p.Opcode.UNLINK,
    p.Opcode.RMDIR,
    p.Opcode.RENAME,
    p.Opcode.RENAME2,
    p.Opcode.LINK,
    p.Opcode.WRITE,
    p.Opcode.SETXATTR,
    p.Opcode.REMOVEXATTR,
    p.Opcode.CREATE,
    p.Opcode.FALLOCATE,
    p.Opcode.COPY_FILE_RANGE,
    p.Opcode.TMPFILE,
)


@dataclass(slots=True)
class _Handle:
    ino: int
    opened: OpenInstance | None = None
    content: Content | None = None
    """From the first read on: the kernel asks for nothing that it has in its cache."""
    text: bytes = b""


def _errno_of(error: ReadingRoomError | OSError) -> int:
    if isinstance(error, OSError):
        return error.errno or errno.EACCES  # a PermissionError without a number: a key that was dropped meanwhile
    if isinstance(error, Denied):
        return errno.EACCES
    if isinstance(error, StoreUnavailable):
        return errno.ETIMEDOUT
    return errno.EAGAIN if isinstance(error, AuditUnavailable) else errno.EIO


def _read_only(_ino: int, _body: bytes) -> Payload:
    raise OSError(errno.EROFS, "read only")


class Operations:
    """One session's file system. Every method of a request raises OSError, or an error that `handle` turns into one."""

    def __init__(
        self,
        reading: Reading,
        library: Library,
        clock: Callable[[], datetime],
        limits: Limits,
        before_waiting: Callable[[], None],
    ) -> None:
        self.reading = reading
        self.names = Names(reading, library, clock, before_waiting)
        self._handles: dict[int, _Handle] = {}
        self._numbers = count(1)
        self._budget = Budget(library.memory)
        self.early = Early(self._budget, before_waiting)
        self._ahead = ReadAhead(library.objects, before_waiting)
        self._opened: dict[int, set[int]] = {}
        self._lock = threading.Lock()
        self._allowance = Allowance(limits)
        self.bytes_served = 0
        self.opens = 0
        self._table = self._make_table()

    def _make_table(self) -> dict[int, Callable[[int, bytes], Payload]]:
        o, names = p.Opcode, self.names
        table: dict[int, Callable[[int, bytes], Payload]] = {
            o.LOOKUP: lambda ino, body: [names.lookup(ino, body[: body.index(b"\0")])],
            o.GETATTR: lambda ino, _body: [names.attributes(ino)],
            o.STATFS: lambda _ino, _body: [names.statfs()],
            o.OPENDIR: self._opendir,
            o.READDIR: lambda ino, body: self._readdir(ino, body, plus=False),
            o.READDIRPLUS: lambda ino, body: self._readdir(ino, body, plus=True),
            o.RELEASEDIR: lambda _ino, _body: (),
            o.OPEN: timed("open", self._open),
            o.READ: timed("read", self._read),
            o.RELEASE: self._release,
            o.DESTROY: lambda _ino, _body: (),
        }
        return table | dict.fromkeys(_WRITES, _read_only)

    def handle(self, header: p.InHeader, body: bytes) -> Payload:
        """Answer one request. ENOSYS tells the kernel not to ask again (FLUSH, ACCESS, GETXATTR and others)."""
        act = self._table.get(header.opcode)
        if act is None:
            raise OSError(errno.ENOTTY if header.opcode == p.Opcode.IOCTL else errno.ENOSYS, "not offered")
        try:
            return act(header.nodeid, body)
        except OverLimit as error:
            self.reading.refusals.deny(error.deny, f"limit:{error.deny.code}", {})
            raise
        except (ReadingRoomError, OSError) as error:
            number = _errno_of(error)
            if number == errno.EAGAIN and header.opcode == p.Opcode.READ:
                number = errno.ETIMEDOUT  # EAGAIN would mean "no more for now", and some programs go on with less
            raise OSError(number, str(error)) from error

    def forgotten(self, volume: int) -> set[int]:
        """Drop the plaintext of a lost volume; returns the inodes whose pages the kernel must drop too."""
        for handle in list(self._handles.values()):
            if handle.content is not None and handle.ino >> PLACE_BITS == volume:
                handle.content.drop()
                self._budget.note(handle.content)
        self.early.drop()
        with self._lock:
            return self._opened.pop(volume, set())

    def close_all(self) -> None:
        """Record the end of every open that is left: the mount goes away."""
        for number in list(self._handles):
            self._end(number)
        self.early.end()
        self._budget.end()

    @property
    def open_files(self) -> int:
        """Open handles."""
        return len(self._handles)

    def _opendir(self, ino: int, _body: bytes) -> Payload:
        self.names.listing(ino)
        return [p.OPEN_OUT.pack(0, 0, 0)]

    def _readdir(self, ino: int, body: bytes, plus: bool) -> Payload:
        asked = p.READ_IN.unpack(body)
        return [self.names.listing(ino).read(asked.offset, asked.size, plus)]

    def _open(self, ino: int, body: bytes) -> Payload:
        if p.OPEN_IN.unpack(body).flags & os.O_ACCMODE != os.O_RDONLY:
            raise OSError(errno.EROFS, "read only")
        number = next(self._numbers)
        if ino == README_INO:
            self._handles[number] = _Handle(ino, text=self.names.readme())
            return [p.OPEN_OUT.pack(number, p.FOPEN_DIRECT_IO, 0)]
        self._allowance.open(len(self._handles))
        self._handles[number] = self._opened_handle(ino, self.names.shelf(ino))
        return [p.OPEN_OUT.pack(number, p.FOPEN_KEEP_CACHE, 0)]

    def _opened_handle(self, ino: int, shelf: Shelf) -> _Handle:
        place = ino & PLACE_MASK
        text = shelf.tree.text(place)
        if text is not None:
            if text.table:
                self.reading.open_index(shelf.version, text.table, len(text.data))
            return _Handle(ino, text=text.data)
        file = shelf.tree.file(place)
        if file is None:
            raise OSError(errno.EISDIR, "no file")
        try:
            opened = self.reading.open(file.series, file.instance)
        except AuditUnavailable as error:
            self.reading.unavailable(f"{shelf.version.dataset}/.../{file.instance.instance}", error)
            raise
        self.opens += 1
        return _Handle(ino, opened)

    def _read(self, _ino: int, body: bytes) -> Payload:
        asked = p.READ_IN.unpack(body)
        handle = self._handles.get(asked.fh)
        if handle is None:
            raise OSError(errno.EBADF, "no such handle")
        if handle.opened is None:
            if handle.ino != README_INO:
                self.names.version(handle.ino)
                self._note_pages(handle.ino)
            return [memoryview(handle.text)[asked.offset : asked.offset + asked.size]]
        if time.monotonic() > self.names.trusted_until:
            self.names.version(handle.ino)
        return [self._instance_bytes(handle, handle.opened, asked)]

    def _instance_bytes(self, handle: _Handle, opened: OpenInstance, asked: p.ReadIn) -> memoryview:
        self.reading.check(opened)
        self._allowance.take(asked.size)
        self._note_pages(handle.ino)
        content = handle.content or self._content(handle)
        version = opened.series.version
        try:
            data = content.read(asked.offset, asked.size)
        except IntegrityError as error:
            self.reading.damaged(version, opened.instance.instance, str(error))
            raise
        except StoreUnavailable as error:
            self.reading.store_failed(version, error)
            raise
        self._budget.note(content)
        self.reading.check(opened)  # again: a revocation may have come while the store answered
        with opened.lock:
            opened.served += len(data)
        self.bytes_served += len(data)
        return data

    def _note_pages(self, ino: int) -> None:
        """Before any page of it can be in the kernel, so that a revocation finds it."""
        with self._lock:
            self._opened.setdefault(ino >> PLACE_BITS, set()).add(ino)

    def _content(self, handle: _Handle) -> Content:
        """One for all who read through this handle at once."""
        shelf, place = self.names.shelf(handle.ino), handle.ino & PLACE_MASK
        file = shelf.tree.file(place)
        if file is None:
            raise OSError(errno.EBADF, "no such file")
        made = content_of(shelf, place, file, self._ahead, self.early)
        with self._lock:
            handle.content = handle.content or made
            return handle.content

    def _release(self, _ino: int, body: bytes) -> Payload:
        self._end(p.RELEASE_IN.unpack(body).fh)
        return ()

    def _end(self, number: int) -> None:
        handle = self._handles.pop(number, None)
        if handle is None or handle.opened is None:
            return
        if handle.content is not None:
            handle.content.drop()
            self._budget.note(handle.content)
            self.early.closed()
        cached = handle.ino in self._opened.get(handle.ino >> PLACE_BITS, ())
        self.reading.close(handle.opened, cached)
