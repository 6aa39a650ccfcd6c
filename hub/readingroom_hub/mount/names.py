"""The names and attributes that one session's mount shows, and what it refuses to show."""

import errno
import time
from collections.abc import Callable
from datetime import datetime

from readingroom_hub.errors import AuditUnavailable, BadInput, IntegrityError, ReadingRoomError, StoreUnavailable
from readingroom_hub.model.dataset import DatasetVersion
from readingroom_hub.model.ids import DatasetName
from readingroom_hub.mount import messages as m
from readingroom_hub.mount import protocol as p
from readingroom_hub.mount.library import Library, Shelf
from readingroom_hub.mount.notice import text_of
from readingroom_hub.mount.tree import (
    FOLDER_PLACE,
    FOREVER,
    PLACE_BITS,
    PLACE_MASK,
    Listing,
    attributes,
    folder_ino,
    volume_of,
)
from readingroom_hub.policy.access import DenyCode, refuse_name, visible
from readingroom_hub.services.reading import Reading

README_INO, README_NAME = 2, b"README.txt"
ROOT_VALID = 1
"""Seconds for which the kernel may believe a dataset's name; changes are also announced to it at once."""
CATALOGUE_TRUST = 10.0
"""Seconds without the catalogue after which nothing is read any more: a revocation could be in it."""


class Names:
    """Folders and files of one session, by inode number and name. Raises OSError with the errno of the reply, or one of
    our errors, after recording what is to be recorded."""

    def __init__(
        self, reading: Reading, library: Library, clock: Callable[[], datetime], before_waiting: Callable[[], None]
    ) -> None:
        self._reading = reading
        self._library = library
        self._clock = clock
        self._before_waiting = before_waiting
        self._names: dict[bytes, DatasetVersion] = {}
        self._volumes: dict[int, DatasetVersion] = {}
        self.trusted_until = time.monotonic() + CATALOGUE_TRUST

    def look(self) -> tuple[set[bytes], set[int]]:
        """Take over the reading's standing. Returns names that now mean something else, and volumes that were lost.

        The caller tells the kernel."""
        standing, now = self._reading.standing, self._clock()
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

    def version(self, ino: int) -> DatasetVersion:
        """The version that an inode belongs to, where the session may look into it now."""
        if time.monotonic() > self.trusted_until:
            self._reading.refusals.note("The catalogue does not answer, so nothing is read. Try again in a minute.")
            raise OSError(errno.EAGAIN, "catalogue")
        version = self._volumes.get(ino >> PLACE_BITS)
        if version is None:
            raise OSError(errno.ENOENT, "no such inode")
        self._reading.enter(version)
        return version

    def shelf(self, ino: int) -> Shelf:
        """Tree and key of the version that an inode belongs to."""
        version = self.version(ino)
        if not self._library.has(version):
            self._before_waiting()
        try:
            return self._library.shelf(version)
        except IntegrityError as error:
            self._reading.damaged(version, "manifest", str(error))
            raise
        except AuditUnavailable as error:
            self._reading.unavailable(version.label, error)
            raise
        except StoreUnavailable as error:
            self._reading.store_failed(version, error)
            raise
        except ReadingRoomError as error:
            self._reading.refusals.note(f"{version.label} cannot be opened: {error}. Tell the operator.")
            raise

    def _root(self) -> Listing:
        entries = [(README_NAME, self._readme_attr())]
        entries += [(n, self._folder_attr(v)) for n, v in sorted(self._names.items())]
        return Listing(entries, ROOT_VALID)

    def _readme_attr(self) -> p.Attr:
        return attributes(README_INO, len(self.readme()), int(self._clock().timestamp()))

    def readme(self) -> bytes:
        """The notice as of now."""
        return text_of(self._reading.standing, self._reading.refusals, self._clock())

    @staticmethod
    def _folder_attr(version: DatasetVersion) -> p.Attr:
        return attributes(folder_ino(version), None, int(version.published_at.timestamp()))

    def _root_attr(self) -> p.Attr:
        return attributes(p.FUSE_ROOT_ID, None, int(self._reading.standing.session.opened_at.timestamp()))

    def listing(self, ino: int) -> Listing:
        """The entries of a folder."""
        if ino == p.FUSE_ROOT_ID:
            return self._root()
        listing = None if ino == README_INO else self.shelf(ino).tree.folder(ino & PLACE_MASK)
        if listing is None:
            raise OSError(errno.ENOTDIR, "no folder")
        return listing

    def lookup(self, ino: int, name: bytes) -> bytes:
        """`fuse_entry_out` of `name` in the folder `ino`."""
        if ino == p.FUSE_ROOT_ID:
            return self._lookup_root(name)
        attr = self.listing(ino).names.get(name)
        if attr is None:
            raise OSError(errno.ENOENT, "no such name")
        return m.entry_out(attr, FOREVER)

    def _lookup_root(self, name: bytes) -> bytes:
        if name == README_NAME:
            return m.entry_out(self._readme_attr(), 0)
        version = self._names.get(name)
        if version is None:
            raise OSError(self._refuse(name), "no such dataset")
        self._reading.enter(version)
        return m.entry_out(self._folder_attr(version), ROOT_VALID)

    def _refuse(self, name: bytes) -> int:
        """Record a look at a dataset that is not granted. It is ENOENT, so that nobody can probe for names; EACCES
        tells apart what the project once had."""
        try:
            text = name.decode()
            DatasetName(text.partition("@")[0])
        except (UnicodeDecodeError, BadInput):
            return errno.ENOENT  # no dataset's name: what tools look for by themselves, `.git` and the like
        decision = refuse_name(self._reading.standing, text, self._clock())
        if decision is None:
            return errno.ENOENT
        self._reading.refusals.deny(decision, text, {})
        return errno.ENOENT if decision.code == DenyCode.NOT_GRANTED else errno.EACCES

    def statfs(self) -> bytes:
        """`fuse_kstatfs`: what is visible, and nothing free."""
        blocks = sum(v.size for v in self._names.values()) // 4096 + 1
        files = sum(v.instances for v in self._names.values())
        return p.KSTATFS.pack(blocks, 0, 0, files, 0, 4096, 255, 4096)

    def attributes(self, ino: int) -> bytes:
        """`fuse_attr_out` of an inode."""
        if ino == p.FUSE_ROOT_ID:
            return m.attr_out(self._root_attr(), ROOT_VALID)
        if ino == README_INO:
            return m.attr_out(self._readme_attr(), 0)
        if ino & PLACE_MASK == FOLDER_PLACE:
            return m.attr_out(self._folder_attr(self.version(ino)), ROOT_VALID)
        attr = self.shelf(ino).tree.attr(ino & PLACE_MASK)
        if attr is None:
            raise OSError(errno.ENOENT, "no such inode")
        return m.attr_out(attr, FOREVER)
