"""Dataset versions that some session reads: their data keys in memory, and their trees, shared by all sessions."""

import ctypes
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from readingroom_hub.errors import AuditUnavailable, IntegrityError, KeyUnavailable, NotFound, StoreUnavailable
from readingroom_hub.model.audit import AuditEvent, AuditRecord, Outcome
from readingroom_hub.model.dataset import DatasetVersion
from readingroom_hub.model.ids import VersionDigest
from readingroom_hub.mount.budget import Memory
from readingroom_hub.mount.tree import Tree
from readingroom_hub.ports.catalogue import Versions
from readingroom_hub.ports.custody import KeyCustody
from readingroom_hub.ports.objects import ObjectStore
from readingroom_hub.ports.records import AuditTrail
from readingroom_hub.services import manifests

RETRY_DAMAGED = 30.0
"""Seconds after which a version whose manifest was damaged is tried again: it may have been restored."""
RETRY_UNAVAILABLE = 2.0
"""Seconds after which key custody or a store that did not answer is asked for a version again. Until then nobody waits
for it: a mount has few threads, and what is readable must stay so."""


class DataKey:
    """32 bytes in one buffer that is overwritten when nobody needs it any more (best effort: libraries copy)."""

    def __init__(self, secret: bytes) -> None:
        self._buffer: bytearray | None = bytearray(secret)

    def secret(self) -> bytes:
        """The key. Raises PermissionError once it was dropped: a read that was under way during a revocation."""
        buffer = self._buffer
        if buffer is None:
            raise PermissionError("the data key was dropped")
        return bytes(buffer)

    def drop(self) -> None:
        """Overwrite it."""
        buffer, self._buffer = self._buffer, None
        if buffer is not None:
            ctypes.memset((ctypes.c_char * len(buffer)).from_buffer(buffer), 0, len(buffer))


@dataclass(frozen=True, slots=True)
class Shelf:
    """One version, ready to read."""

    version: DatasetVersion
    key: DataKey
    tree: Tree


class Library:
    """Unwraps a version's key at its first use, records that, and drops it with the last session that needs it."""

    def __init__(self, versions: Versions, objects: ObjectStore, custody: KeyCustody, audit: AuditTrail) -> None:
        self._versions = versions
        self.objects = objects
        self.memory = Memory()
        self._custody = custody
        self._audit = audit
        self._known: dict[VersionDigest, DatasetVersion] = {}
        self._shelves: dict[VersionDigest, Shelf] = {}
        self._failed: dict[VersionDigest, tuple[float, IntegrityError | KeyUnavailable | StoreUnavailable]] = {}
        self._locks: dict[VersionDigest, threading.Lock] = {}
        self._lock = threading.Lock()
        self._needed: frozenset[VersionDigest] = frozenset()

    def version(self, digest: VersionDigest) -> DatasetVersion:
        """As the catalogue has it. Raises NotFound, StoreUnavailable."""
        known = self._known.get(digest)
        if known is None:
            known = self._known[digest] = self._versions.get(digest)
        return known

    def has(self, version: DatasetVersion) -> bool:
        """Whether `shelf` answers without waiting for anybody."""
        return version.digest in self._shelves

    def shelf(self, version: DatasetVersion) -> Shelf:
        """Key and tree of one version, made at first use.

        Raises IntegrityError (damaged manifest), KeyUnavailable, AuditUnavailable, StoreUnavailable; PermissionError
        where no session needs the version any more."""
        shelf = self._shelves.get(version.digest)
        if shelf is not None:
            return shelf
        with self._lock:
            lock = self._locks.setdefault(version.digest, threading.Lock())
        with lock:
            shelf = self._shelves.get(version.digest)
            if shelf is None:
                shelf = self._load_checked(version)
                with self._lock:
                    if version.digest not in self._needed:  # revoked while it was loaded
                        shelf.key.drop()
                        raise PermissionError(f"{version.label} is not granted to any session")
                    self._shelves[version.digest] = shelf
            return shelf

    def _load_checked(self, version: DatasetVersion) -> Shelf:
        """Load; what failed is not unwrapped again (and recorded again) at every request."""
        until, error = self._failed.get(version.digest, (0.0, None))
        if error is not None and time.monotonic() < until:
            raise error
        try:
            return self._load(version)
        except (IntegrityError, KeyUnavailable, StoreUnavailable) as error:
            wait = RETRY_DAMAGED if isinstance(error, IntegrityError) else RETRY_UNAVAILABLE
            self._failed[version.digest] = time.monotonic() + wait, error
            raise

    def _load(self, version: DatasetVersion) -> Shelf:
        wrapped = self._versions.key(version.key)
        subject = {"dataset": version.dataset, "version": version.digest}
        self._audit.append([AuditRecord(AuditEvent.KEY_UNWRAPPED, project=version.project, subject=subject)])
        try:
            key = DataKey(self._custody.unwrap(wrapped))
        except KeyUnavailable as error:
            failed = AuditRecord(
                AuditEvent.KEY_UNWRAPPED, Outcome.FAILURE, project=version.project, reason=f"key-unavailable: {error}",
                subject=subject,
            )  # fmt: skip
            with suppress(AuditUnavailable):  # nothing was released, and the attempt is on the record
                self._audit.append([failed])
            raise
        try:
            return Shelf(version, key, Tree(version, manifests.load(self.objects, version, key.secret())))
        except NotFound as error:
            key.drop()
            raise IntegrityError(f"the manifest of {version.label} is missing") from error
        except BaseException:
            key.drop()
            raise

    def keep(self, needed: Iterable[VersionDigest]) -> None:
        """Drop the keys and trees of all other versions, which may be deleted, and come again with another key."""
        with self._lock:
            self._needed = frozenset(needed)
            self._known = {digest: v for digest, v in self._known.items() if digest in self._needed}
            for digest in [d for d in self._shelves if d not in self._needed]:
                self._shelves.pop(digest).key.drop()

    @property
    def keys(self) -> int:
        """How many data keys are in memory."""
        return len(self._shelves)
