"""What the kernel asks of one session's mount, answered: names, attributes, opens, reads. Read only (EROFS)."""

import errno
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import count

from readingroom_hub.errors import (
    AuditUnavailable,
    BadInput,
    Denied,
    IntegrityError,
    ReadingRoomError,
    StoreUnavailable,
)
from readingroom_hub.model.dataset import DatasetVersion
from readingroom_hub.model.ids import DatasetName
from readingroom_hub.mount import protocol as p
from readingroom_hub.mount.content import Budget, Content, content_of
from readingroom_hub.mount.kernel import Payload
from readingroom_hub.mount.library import Library, Shelf
from readingroom_hub.mount.notice import text_of
from readingroom_hub.mount.tree import (
    FOLDER_PLACE,
    FOREVER,
    JSON_PLACE,
    PLACE_BITS,
    PLACE_MASK,
    Listing,
    attributes,
    dataset_json,
    folder_ino,
    volume_of,
)
from readingroom_hub.policy.access import DenyCode, refuse_name, visible
from readingroom_hub.services.reading import OpenInstance, Reading

README_INO, README_NAME = 2, b"README.txt"
ROOT_VALID = 1
"""Seconds for which the kernel may believe a dataset's name; changes are also announced to it at once."""
CATALOGUE_TRUST = 10.0
"""Seconds without the catalogue after which nothing is read any more: a revocation could be in it."""


@dataclass(slots=True)
class _Handle:
    ino: int
    opened: OpenInstance | None
    content: Content | None
    text: bytes = b""


def _errno_of(error: ReadingRoomError) -> int:
    if isinstance(error, Denied):
        return errno.EACCES
    return errno.EAGAIN if isinstance(error, AuditUnavailable) else errno.EIO


class Operations:
    """One session's file system. Every method of a request raises OSError, or an error that `handle` turns into one."""

    def __init__(self, reading: Reading, library: Library, clock: Callable[[], datetime]) -> None:
        self.reading = reading
        self._library = library
        self._clock = clock
        self._names: dict[bytes, DatasetVersion] = {}
        self._volumes: dict[int, DatasetVersion] = {}
        self._handles: dict[int, _Handle] = {}
        self._numbers = count(1)
        self._budget = Budget()
        self._opened: dict[int, set[int]] = {}
        self._lock = threading.Lock()
        self.bytes_served = 0
        self.trusted_until = time.monotonic() + CATALOGUE_TRUST
        o = p.Opcode
        self._table: Mapping[int, Callable[[int, bytes], Payload]] = {
            o.LOOKUP: self._lookup,
            o.GETATTR: self._getattr,
            o.OPEN: self._open,
            o.READ: self._read,
            o.RELEASE: self._release,
            o.OPENDIR: self._opendir,
            o.READDIR: lambda ino, body: self._readdir(ino, body, plus=False),
            o.READDIRPLUS: lambda ino, body: self._readdir(ino, body, plus=True),
            o.RELEASEDIR: lambda _ino, _body: (),
            o.STATFS: self._statfs,
            o.DESTROY: lambda _ino, _body: (),
        } | dict.fromkeys(
            (
                o.SETATTR, o.SYMLINK, o.MKNOD, o.MKDIR, o.UNLINK, o.RMDIR, o.RENAME, o.RENAME2, o.LINK, o.WRITE,
                o.SETXATTR, o.REMOVEXATTR, o.CREATE, o.FALLOCATE, o.COPY_FILE_RANGE, o.TMPFILE,
            ),
            self._read_only,
        )  # fmt: skip

    def handle(self, header: p.InHeader, body: bytes) -> Payload:
        """Answer one request. ENOSYS tells the kernel not to ask again (FLUSH, ACCESS, GETXATTR and others)."""
        act = self._table.get(header.opcode)
        if act is None:
            raise OSError(errno.ENOTTY if header.opcode == p.Opcode.IOCTL else errno.ENOSYS, "not offered")
        try:
            return act(header.nodeid, body)
        except ReadingRoomError as error:
            raise OSError(_errno_of(error), str(error)) from error

    # What is visible

    def look(self) -> tuple[set[bytes], set[int]]:
        """Take over the reading's standing. Returns names that now mean something else, and volumes that were lost.

        The caller tells the kernel; see `forgotten`."""
        standing, now = self.reading.standing, self._clock()
        names = {
            name.encode(): self._library.version(allow.grant.version) for name, allow in visible(standing, now).items()
        }
        before, self._names = self._names, names
        self._volumes |= {volume_of(v): v for v in names.values()}
        changed = {n for n in before.keys() | names.keys() if before.get(n) != names.get(n)}
        lost = {volume_of(v) for v in before.values()} - {volume_of(v) for v in names.values()}
        return changed, lost

    @property
    def versions(self) -> list[DatasetVersion]:
        """What is visible now."""
        return list(self._names.values())

    def forgotten(self, volume: int) -> set[int]:
        """Drop the plaintext of a lost volume; returns the inodes whose pages the kernel must drop too."""
        for handle in list(self._handles.values()):
            if handle.content is not None and handle.ino >> PLACE_BITS == volume:
                handle.content.drop()
                self._budget.note(handle.content)
        with self._lock:
            return self._opened.pop(volume, set())

    def close_all(self) -> None:
        """Record the end of every open that is left: the mount goes away."""
        for number in list(self._handles):
            self._end(number)

    @property
    def open_files(self) -> int:
        """Open handles."""
        return len(self._handles)

    def _version(self, ino: int) -> DatasetVersion:
        if time.monotonic() > self.trusted_until:
            self.reading.refusals.note("The catalogue does not answer, so nothing is read. Try again in a minute.")
            raise OSError(errno.EAGAIN, "catalogue")
        version = self._volumes.get(ino >> PLACE_BITS)
        if version is None:
            raise OSError(errno.ENOENT, "no such inode")
        self.reading.enter(version)
        return version

    def _shelf(self, ino: int) -> Shelf:
        version = self._version(ino)
        try:
            return self._library.shelf(version)
        except IntegrityError as error:
            self.reading.damaged(version, "manifest", str(error))
            raise
        except AuditUnavailable as error:
            self.reading.unavailable(version.label, error)
            raise
        except ReadingRoomError as error:
            self.reading.refusals.note(f"{version.label} cannot be opened: {error}. Tell the operator.")
            raise

    # Names and attributes

    def _root(self) -> Listing:
        entries = [(README_NAME, self._readme_attr())]
        entries += [(n, self._folder_attr(v)) for n, v in sorted(self._names.items())]
        return Listing(entries, ROOT_VALID)

    def _readme_attr(self) -> p.Attr:
        return attributes(README_INO, len(self._readme()), int(self._clock().timestamp()))

    def _readme(self) -> bytes:
        return text_of(self.reading.standing, self.reading.refusals, self._clock())

    @staticmethod
    def _folder_attr(version: DatasetVersion) -> p.Attr:
        return attributes(folder_ino(version), None, int(version.published_at.timestamp()))

    def _root_attr(self) -> p.Attr:
        return attributes(p.FUSE_ROOT_ID, None, int(self.reading.standing.session.opened_at.timestamp()))

    def _listing(self, ino: int) -> Listing:
        if ino == p.FUSE_ROOT_ID:
            return self._root()
        listing = None if ino == README_INO else self._shelf(ino).tree.folder(ino & PLACE_MASK)
        if listing is None:
            raise OSError(errno.ENOTDIR, "no folder")
        return listing

    def _lookup(self, ino: int, body: bytes) -> Payload:
        name = body[: body.index(b"\0")]
        if ino == p.FUSE_ROOT_ID:
            return [self._lookup_root(name)]
        attr = self._listing(ino).names.get(name)
        if attr is None:
            raise OSError(errno.ENOENT, "no such name")
        return [p.entry_out(attr, FOREVER)]

    def _lookup_root(self, name: bytes) -> bytes:
        if name == README_NAME:
            return p.entry_out(self._readme_attr(), 0)
        version = self._names.get(name)
        if version is None:
            raise OSError(self._refuse(name), "no such dataset")
        self.reading.enter(version)
        return p.entry_out(self._folder_attr(version), ROOT_VALID)

    def _refuse(self, name: bytes) -> int:
        """Record a look at a dataset that is not granted. It is ENOENT, so that nobody can probe for names; EACCES
        tells apart what the project once had."""
        try:
            text = name.decode()
            DatasetName(text.partition("@")[0])
        except (UnicodeDecodeError, BadInput):
            return errno.ENOENT  # no dataset's name: what tools look for by themselves, `.git` and the like
        decision = refuse_name(self.reading.standing, text, self._clock())
        if decision is None:
            return errno.ENOENT
        self.reading.refusals.deny(decision, text, {})
        return errno.ENOENT if decision.code == DenyCode.NOT_GRANTED else errno.EACCES

    def _getattr(self, ino: int, _body: bytes) -> Payload:
        if ino == p.FUSE_ROOT_ID:
            return [p.attr_out(self._root_attr(), ROOT_VALID)]
        if ino == README_INO:
            return [p.attr_out(self._readme_attr(), 0)]
        if ino & PLACE_MASK == FOLDER_PLACE:
            return [p.attr_out(self._folder_attr(self._version(ino)), ROOT_VALID)]
        attr = self._shelf(ino).tree.attr(ino & PLACE_MASK)
        if attr is None:
            raise OSError(errno.ENOENT, "no such inode")
        return [p.attr_out(attr, FOREVER)]

    def _opendir(self, ino: int, _body: bytes) -> Payload:
        self._listing(ino)
        return [p.OPEN_OUT.pack(0, 0, 0)]

    def _readdir(self, ino: int, body: bytes, plus: bool) -> Payload:
        asked = p.READ_IN.unpack(body)
        return [self._listing(ino).read(asked.offset, asked.size, plus)]

    def _statfs(self, _ino: int, _body: bytes) -> Payload:
        blocks = sum(v.size for v in self._names.values()) // 4096 + 1
        files = sum(v.instances for v in self._names.values())
        return [p.KSTATFS.pack(blocks, 0, 0, files, 0, 4096, 255, 4096)]

    def _read_only(self, _ino: int, _body: bytes) -> Payload:
        raise OSError(errno.EROFS, "read only")

    # Opens and reads

    def _open(self, ino: int, body: bytes) -> Payload:
        if p.OPEN_IN.unpack(body).flags & os.O_ACCMODE != os.O_RDONLY:
            raise OSError(errno.EROFS, "read only")
        number = next(self._numbers)
        if ino == README_INO:
            self._handles[number] = _Handle(ino, None, None, self._readme())
            return [p.OPEN_OUT.pack(number, p.FOPEN_DIRECT_IO, 0)]
        self._handles[number] = self._opened_handle(ino, self._shelf(ino))
        return [p.OPEN_OUT.pack(number, p.FOPEN_KEEP_CACHE, 0)]

    def _opened_handle(self, ino: int, shelf: Shelf) -> _Handle:
        if ino & PLACE_MASK == JSON_PLACE:
            return _Handle(ino, None, None, dataset_json(shelf.version))
        file = shelf.tree.file(ino & PLACE_MASK)
        if file is None:
            raise OSError(errno.EISDIR, "no file")
        try:
            opened = self.reading.open(file.series, file.instance)
        except AuditUnavailable as error:
            self.reading.unavailable(f"{shelf.version.dataset}/.../{file.instance.instance}", error)
            raise
        return _Handle(ino, opened, content_of(shelf, file.instance, self._library.objects))

    def _read(self, _ino: int, body: bytes) -> Payload:
        asked = p.READ_IN.unpack(body)
        handle = self._handles.get(asked.fh)
        if handle is None:
            raise OSError(errno.EBADF, "no such handle")
        if handle.opened is None or handle.content is None:
            if handle.ino != README_INO:
                self._version(handle.ino)
            return [handle.text[asked.offset : asked.offset + asked.size]]
        if time.monotonic() > self.trusted_until:
            self._version(handle.ino)
        return [self._instance_bytes(handle, handle.opened, handle.content, asked)]

    def _instance_bytes(self, handle: _Handle, opened: OpenInstance, content: Content, asked: p.ReadIn) -> memoryview:
        self.reading.check(opened)
        volume = handle.ino >> PLACE_BITS
        with self._lock:  # before any page can be in the kernel, so that a revocation finds it
            self._opened.setdefault(volume, set()).add(handle.ino)
        version = opened.series.version
        try:
            data = content.read(asked.offset, asked.size)
        except IntegrityError as error:
            self.reading.damaged(version, opened.instance.instance, str(error))
            raise
        except StoreUnavailable as error:
            self.reading.refusals.note(f"An image of {version.dataset} could not be read: {error}")
            raise
        except PermissionError as error:
            raise OSError(errno.EACCES, "the data key was dropped") from error
        self._budget.note(content)
        self.reading.check(opened)  # again: a revocation may have come while the store answered
        with opened.lock:
            opened.served += len(data)
        self.bytes_served += len(data)
        return data

    def _release(self, _ino: int, body: bytes) -> Payload:
        self._end(p.RELEASE_IN.unpack(body).fh)
        return ()

    def _end(self, number: int) -> None:
        handle = self._handles.pop(number, None)
        if handle is None or handle.opened is None or handle.content is None:
            return
        handle.content.drop()
        self._budget.note(handle.content)
        cached = handle.ino in self._opened.get(handle.ino >> PLACE_BITS, ())
        self.reading.close(handle.opened, cached)
