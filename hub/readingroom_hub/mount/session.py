"""One attached session: its reads, its file system, its connection, and how a withdrawal reaches the kernel."""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from readingroom_hub.model.ids import SessionId, VersionDigest
from readingroom_hub.mount import mounting
from readingroom_hub.mount import protocol as p
from readingroom_hub.mount.door import Door
from readingroom_hub.mount.kernel import Connection
from readingroom_hub.mount.library import Library
from readingroom_hub.mount.limits import Limits
from readingroom_hub.mount.names import CATALOGUE_TRUST
from readingroom_hub.mount.operations import Operations
from readingroom_hub.policy.access import Standing
from readingroom_hub.ports.records import AuditTrail
from readingroom_hub.services.reading import Reading

_log = logging.getLogger(__name__)


class AttachedSession:
    """Made by mounting; `end` undoes it."""

    def __init__(
        self,
        folder: Path,
        standing: Standing,
        library: Library,
        audit: AuditTrail,
        clock: Callable[[], datetime],
        limits: Limits,
    ) -> None:
        """Mount `folder`/data. Raises SystemUnfit."""
        self.folder = folder
        self._clock = clock
        door = Door()
        self._reading = Reading(standing, audit, clock, door.leave)
        self._operations = Operations(self._reading, library, clock, limits, door.leave)
        self._operations.names.look()
        self._withdrawing = threading.Lock()
        point = folder / "data"
        mounting.unmount(point)
        for made, mode in ((folder, 0o711), (point, 0o755)):  # fusermount3 wants the point writable by us
            made.mkdir(exist_ok=True)
            made.chmod(mode)  # whatever umask this daemon was started with
        self._connection = Connection(point, self._operations.handle, door)

    @property
    def id(self) -> SessionId:
        """Whose mount it is."""
        return self._reading.standing.session.id

    @property
    def standing(self) -> Standing:
        """What decisions are made from."""
        return self._reading.standing

    @property
    def versions(self) -> set[VersionDigest]:
        """Dataset versions whose keys this session needs."""
        return {v.digest for v in self._operations.names.versions}

    def counts(self) -> dict[str, int]:
        """For `Mounts.status`."""
        return {
            "open_files": self._operations.open_files,
            "opens": self._operations.opens,
            "bytes_served": self._operations.bytes_served,
            "reads_denied": self._reading.refusals.denied,
        }

    def obey(self, standing: Standing) -> threading.Thread | None:
        """Decide from `standing` from now on. Where access was lost, returns a started thread that has the kernel
        forget; the caller waits for it as long as it can afford, since a hung read may hold it up."""
        self._operations.names.trusted_until = time.monotonic() + CATALOGUE_TRUST
        if standing != self._reading.standing:
            self._reading.standing = standing
        changed, lost = self._operations.names.look()
        if not changed and not lost:
            return None
        thread = threading.Thread(target=self._forget, args=(changed, lost), name=f"forget-{self.id}", daemon=True)
        thread.start()
        return thread

    def _forget(self, changed: set[bytes], lost: set[int]) -> None:
        with self._withdrawing:
            for name in changed:
                self._connection.forget_name(p.FUSE_ROOT_ID, name)
            for volume in lost:
                for ino in self._operations.forgotten(volume):
                    self._connection.forget_pages(ino)

    def tell(self, sentences: Iterable[str]) -> None:
        """Have the session's user read them in the notice."""
        for sentence in sentences:
            self._reading.refusals.note(sentence)

    def settle(self) -> None:
        """Hand over what waits for the audit record repository."""
        self._reading.settle()
        self._operations.early.tidy()

    def end(self, keep_folder: bool = False) -> None:
        """Refuse everything, drop cached pages, unmount, record the ends of what was open.

        `keep_folder`: a server that still runs is bound to the folder, and finds its data there again."""
        standing = self._reading.standing
        now = self._clock()
        forgetting = self.obey(replace(standing, session=replace(standing.session, closed_at=now)))
        if forgetting is not None:
            forgetting.join(timeout=1)
        self._connection.close()
        self._operations.close_all()
        self._reading.settle(last=True)
        if not keep_folder:
            remove_folder(self.folder)


def remove_folder(folder: Path) -> None:
    """Take away the folder of a session whose mount is gone."""
    for empty in (folder / "data", folder):
        try:
            empty.rmdir()
        except FileNotFoundError:
            continue
        except OSError as error:
            _log.warning("%s is left behind: %s", empty, error.strerror)
