"""The plaintext of open instances: small objects whole, large ones in windows; memory is bounded either way."""

from collections import OrderedDict
from collections.abc import Callable, Sequence

from readingroom_hub.crypto.envelope import ObjectReader, open_whole
from readingroom_hub.errors import IntegrityError, NotFound
from readingroom_hub.model.dataset import Instance
from readingroom_hub.mount.ahead import Piece, ReadAhead
from readingroom_hub.mount.door import Turn
from readingroom_hub.mount.early import Early, Make, Where
from readingroom_hub.mount.library import Shelf
from readingroom_hub.mount.tree import File

WHOLE = 8 << 20
"""Objects up to this size are decrypted in one native call, which is two to three times as fast as chunk by chunk."""
WINDOW = 1 << 20
_WINDOWS = 8
AHEAD = 2


class SmallContent:
    """An instance that is decrypted whole at its first read, or early."""

    def __init__(self, shelf: Shelf, place: int, file: File, store: ReadAhead, early: Early) -> None:
        self._shelf = shelf
        self._place = place
        self._instance = file.instance
        self._store = store
        self._early = early
        self._data: bytes | None = None
        self._lock = Turn(store.before_waiting)

    def read(self, offset: int, size: int) -> memoryview:
        """Bytes [offset, offset+size). Raises IntegrityError, StoreUnavailable, PermissionError."""
        data = self._data
        if data is None:
            with self._lock:
                data = self._data
                if data is None:
                    data = self._data = self._early.open(self._where, self._decrypt, self._next)
        if offset + size >= len(data):
            self._data = None  # the last byte is in the kernel's cache now: asking again is rare
        return memoryview(data)[offset : offset + size]

    @property
    def _where(self) -> Where:
        return self._shelf.version.digest, self._place

    def _next(self) -> tuple[Where, Make] | None:
        """The next instance in the order of the folder."""
        for file in self._shelf.tree.following(self._place, 1):
            if file.instance.size <= WHOLE:
                content = SmallContent(self._shelf, self._place + 1, file, self._store, self._early)
                return content._where, content._decrypt
        return None

    def _decrypt(self) -> bytes:
        version, instance = self._shelf.version, self._instance
        sealed = _stored(self._store, (f"{version.key}/{instance.object_name}", 0, None), self._following)
        data = open_whole(self._shelf.key.secret(), version.key, instance.instance, sealed)
        _check_size(instance, len(data))
        return data

    def _following(self) -> list[Piece]:
        """The next instances in the order of the folder."""
        files = self._shelf.tree.following(self._place, AHEAD)
        key = self._shelf.version.key
        return [(f"{key}/{f.instance.object_name}", 0, None) for f in files if f.instance.size <= WHOLE]

    @property
    def held(self) -> int:
        """Bytes of plaintext in memory."""
        return 0 if self._data is None else len(self._data)

    def drop(self) -> None:
        """Forget the plaintext."""
        self._data = None

    shed = drop


class LargeContent:
    """An instance that is decrypted in windows of 1 MiB, of which the last few are kept."""

    def __init__(self, shelf: Shelf, file: File, store: ReadAhead) -> None:
        self._shelf = shelf
        self._instance = file.instance
        self._store = store
        self._reader: ObjectReader | None = None
        self._windows: OrderedDict[int, bytes] = OrderedDict()
        self._lock = Turn(store.before_waiting)

    def read(self, offset: int, size: int) -> memoryview:
        """Bytes [offset, offset+size). Raises IntegrityError, StoreUnavailable, PermissionError."""
        self._shelf.key.secret()  # a dropped key ends reading, though the reader holds a derived one
        end = min(offset + size, self._instance.size)
        if offset >= end:
            return memoryview(b"")
        first, last = offset // WINDOW, (end - 1) // WINDOW
        parts = [self._window(i) for i in range(first, last + 1)]
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        return memoryview(data)[offset - first * WINDOW : end - first * WINDOW]

    def _window(self, index: int) -> bytes:
        with self._lock:
            data = self._windows.get(index)
            if data is None:
                if self._reader is None:
                    self._reader = self._open()
                data = self._windows[index] = self._reader.read(index * WINDOW, WINDOW)
                if len(self._windows) > _WINDOWS:
                    self._windows.popitem(last=False)
            else:
                self._windows.move_to_end(index)
            return data

    def _open(self) -> ObjectReader:
        version, instance = self._shelf.version, self._instance
        name = f"{version.key}/{instance.object_name}"

        size = _stored_size(self._store, name)

        def fetch(offset: int, length: int) -> bytes:
            ends = [offset + length * i for i in range(1, AHEAD + 1)]
            following = [(name, at, min(length, size - at)) for at in ends if at < size]
            return _stored(self._store, (name, offset, length), lambda: following)

        reader = ObjectReader(self._shelf.key.secret(), version.key, instance.instance, fetch, size)
        _check_size(instance, reader.size)
        return reader

    @property
    def held(self) -> int:
        """Bytes of plaintext in memory."""
        return len(self._windows) * WINDOW

    def drop(self) -> None:
        """Forget plaintext and derived key."""
        with self._lock:
            self._windows.clear()
            self._reader = None

    def shed(self) -> None:
        """Forget the plaintext, unless a read is under way, which may wait for the store."""
        if self._lock.acquire(blocking=False):
            try:
                self._windows.clear()
            finally:
                self._lock.release()


Content = SmallContent | LargeContent


def content_of(shelf: Shelf, place: int, file: File, store: ReadAhead, early: Early) -> Content:
    """The way to read one instance. Nothing is fetched for it before its first read, unless it was expected."""
    if file.instance.size <= WHOLE:
        return SmallContent(shelf, place, file, store, early)
    return LargeContent(shelf, file, store)


def _missing(name: str) -> IntegrityError:
    return IntegrityError(f"object {name} is missing from the object store; restore it from a backup")


def _stored(store: ReadAhead, piece: Piece, following: Callable[[], Sequence[Piece]]) -> bytes:
    try:
        return store.read(piece, following)
    except NotFound as error:
        raise _missing(piece[0]) from error


def _stored_size(store: ReadAhead, name: str) -> int:
    try:
        return store.size(name)
    except NotFound as error:
        raise _missing(name) from error


def _check_size(instance: Instance, found: int) -> None:
    if found != instance.size:
        raise IntegrityError(
            f"object of {instance.instance} holds {found} bytes where its manifest says {instance.size}"
        )
