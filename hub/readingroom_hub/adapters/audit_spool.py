"""A node's spool: audit records on its own disk, sealed, until the repository has them.

    lock         held by the process that uses the spool
    head         a sealed word: the files that must be there, and the sizes of those that nobody writes to any more
    00000001     a sealed chain of records, up to about a megabyte; gone once the repository has all of it
    *.damaged    what could not be opened, set aside after the repository was told

The key lies apart, so that a spool that is gone is told from one that never was. Not for use from several threads."""

import contextlib
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from readingroom_hub import locks
from readingroom_hub.adapters.audit_keys import read_secret, write_new
from readingroom_hub.crypto.chain import Chain, open_chain
from readingroom_hub.durable import make, sync, whole_file
from readingroom_hub.errors import KeyUnavailable, StoreUnavailable

KEY_FILE = "audit-spool.key"
_SECRET = 32
_ROTATE = 1 << 20
_NUMBER = re.compile(r"[0-9]{8}")


@dataclass(slots=True, eq=False)
class Parcel:
    """Records that stay together, as leaves. `file`: where it lies in the spool; None: nowhere."""

    leaves: list[bytes]
    file: int | None = None

    def sealed(self) -> bytes:
        """As one text."""
        return b"[" + b",".join(self.leaves) + b"]"


@dataclass(slots=True)
class _File:
    """One file of the spool. `waiting`: its parcels that the repository does not have."""

    size: int = 0
    waiting: set[int] = field(default_factory=set)


class Spool:
    """One process's spool, in `folder`, for the node `node`."""

    def __init__(self, folder: Path, keys: Path, node: str) -> None:
        """Open, or make, it. Raises Conflict where it is in use, KeyUnavailable, StoreUnavailable.

        What is damaged or missing does not raise: see `damage`. Then nothing of it is set aside before `settle`."""
        self.folder, self._node = folder, node
        self.damage: list[str] = []
        self.left: list[Parcel] = []
        """What an earlier process did not hand over, the oldest first."""
        self._files: dict[int, _File] = {}
        self._damaged: list[int] = []
        self._chain: Chain | None = None
        self._fd, self._current = -1, 0
        try:
            make(folder, 0o700)
            taken = f"the spool {folder} is in use by another process: only the mount daemon hands records over"
            self._lock = locks.take(folder / "lock", taken)
            try:
                self._open(keys / KEY_FILE)
            except BaseException:
                self.close()
                raise
        except OSError as error:
            raise StoreUnavailable(f"the spool {folder} cannot be used: {error.strerror}") from error

    def _open(self, key: Path) -> None:
        on_disk = {int(p.name) for p in self.folder.iterdir() if _NUMBER.fullmatch(p.name)}
        head, is_new = self.folder / "head", not key.exists()
        if is_new:
            if head.exists() or on_disk:
                raise KeyUnavailable(f"{key} is missing, and {self.folder} holds records under it: restore it")
            write_new(key, os.urandom(_SECRET))
        self._secret = read_secret(key, "the spool's key")
        listed, last = self._read_head(head, is_new)
        for number in sorted(on_disk | listed.keys()):
            if number in listed or number > last:
                self._read(number, listed.get(number))
            else:  # handed over; a kill came before it was removed
                self._path(number).unlink()
        self._current = max([last, *on_disk])
        if not self.damage:
            self._write_head()
            self._remove([n for n, f in self._files.items() if not f.waiting])

    def _read_head(self, head: Path, is_new: bool) -> tuple[dict[int, int | None], int]:
        try:
            file = head.read_bytes()
        except FileNotFoundError:
            if not is_new:
                self.damage.append(f"{head} is gone: records that this node had not handed over may be lost")
            return {}, 0
        opened = open_chain(self._secret, f"{self._node}/head", file)
        if not opened.entries:
            self.damage.append(f"{head} was changed, or is another node's: {opened.damage or 'it is cut short'}")
            return {}, 0
        found = json.loads(opened.entries[0])
        return dict(found["files"]), int(found["last"])

    def _read(self, number: int, ended: int | None) -> None:
        path, file = self._path(number), _File()
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            self.damage.append(f"{path} is gone: records that this node had not handed over are lost")
            return
        opened = open_chain(self._secret, f"{self._node}/{number}", data)
        for rows in map(json.loads, opened.entries):
            if not rows:
                continue
            parcel = Parcel([json.dumps(row).encode() for row in rows], number)
            file.waiting.add(id(parcel))
            self.left.append(parcel)
        file.size = len(data)
        self._files[number] = file
        damage = opened.damage
        if damage is None and ended is not None and len(data) != ended:
            damage = f"it was left with {ended} bytes and has {len(data)}"
        if damage:
            self.damage.append(f"{path}: {damage}; its first {len(opened.entries)} entries are whole")
            self._damaged.append(number)

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:08}"

    def _write_head(self) -> None:
        written = self._current if self._fd >= 0 else None
        files = [(n, None if n == written else f.size) for n, f in sorted(self._files.items())]
        word = json.dumps({"files": files, "last": self._current})
        chain = Chain(self._secret, f"{self._node}/head")
        with whole_file(self.folder / "head") as file:
            file.write(chain.header + chain.seal(word.encode()))

    @property
    def size(self) -> int:
        """Bytes on disk of files that hold what the repository does not have."""
        return sum(f.size for f in tuple(self._files.values()) if f.waiting)

    def write(self, parcels: Sequence[Parcel], *, durable: bool) -> None:
        """Add these; with `durable`, they and all before them are durable when this returns.

        Raises OSError, StoreUnavailable: then nothing since the last durable write counts as written."""
        if not parcels and self._fd < 0:
            return
        try:
            if self._fd < 0 or self._files[self._current].size > _ROTATE:
                self._next_file()
            assert self._chain is not None  # noqa: S101  # _next_file made it
            self._put(b"".join(self._chain.seal(p.sealed()) for p in parcels))
            if durable:
                os.fdatasync(self._fd)
        except (OSError, StoreUnavailable):
            self._end_file()  # what a failed write left is unconfirmed; the next file has a new key
            raise
        again = any(p.file is not None for p in parcels)
        for parcel in parcels:
            self._drop(parcel)
            parcel.file = self._current
            self._files[self._current].waiting.add(id(parcel))
        if again:
            self._clean()

    def _put(self, data: bytes) -> None:
        while data:
            written = os.write(self._fd, data)
            self._files[self._current].size += written
            data = data[written:]

    def _next_file(self) -> None:
        if self._fd >= 0:
            os.fdatasync(self._fd)
        self._end_file()
        number = self._current + 1
        self._chain = Chain(self._secret, f"{self._node}/{number}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._fd = os.open(self._path(number), flags, 0o600)
        self._current, self._files[number] = number, _File()
        self._put(self._chain.header)
        sync(self.folder)
        if not self.damage:
            self._write_head()

    def _end_file(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            if not self._files[self._current].waiting:
                self._remove([self._current])
        self._fd, self._chain = -1, None

    def _drop(self, parcel: Parcel) -> None:
        if parcel.file in self._files:
            self._files[parcel.file].waiting.discard(id(parcel))

    def adopt(self, left: Parcel, held: Parcel) -> None:
        """Let `held` stand for what was left."""
        if left.file in self._files:
            self._files[left.file].waiting ^= {id(left), id(held)}

    def forget(self, parcels: Sequence[Parcel]) -> None:
        """The repository has these: a file that holds nothing else is removed."""
        for parcel in parcels:
            self._drop(parcel)
        self._clean()

    def _clean(self) -> None:
        done = [n for n, f in self._files.items() if not f.waiting and (n != self._current or f.size > _ROTATE)]
        if self._current in done:
            self._end_file()
        self._remove([n for n in done if n in self._files])

    def _remove(self, numbers: list[int]) -> None:
        """Out of the head first; where the disk is too full for that, they are emptied before."""
        if not numbers or self.damage:  # while damaged, the head stays as evidence, and all that it names
            return
        gone = {n: self._files.pop(n) for n in numbers}
        try:
            try:
                self._write_head()
            except (OSError, StoreUnavailable):
                for number in numbers:
                    os.truncate(self._path(number), 0)
                self._write_head()
            for number in numbers:
                self._path(number).unlink(missing_ok=True)
        except (OSError, StoreUnavailable):
            self._files |= gone

    def settle(self) -> None:
        """The repository knows of the damage: set it aside. Raises StoreUnavailable, OSError."""
        for number in self._damaged:
            path = self._path(number)
            with contextlib.suppress(FileNotFoundError):
                path.rename(path.with_suffix(".damaged"))
            self._files.pop(number, None)
        self._damaged, self.damage = [], []
        self._write_head()

    def close(self) -> None:
        """Let another process have it. After a planned end the head says how long the newest file is, too."""
        with contextlib.suppress(OSError, StoreUnavailable):  # then it is as after a kill
            seals = self._fd >= 0 and not self.damage
            if seals:  # what the head tells of must be there after a power cut
                os.fdatasync(self._fd)
            self._end_file()
            if seals:
                self._write_head()
        self._end_file()
        os.close(self._lock)
