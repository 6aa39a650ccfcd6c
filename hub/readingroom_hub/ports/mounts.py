"""The mount daemon, as the spawner and the grant service see it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from readingroom_hub.model.ids import SessionId


@dataclass(frozen=True, slots=True)
class Folders:
    """A session's home and project folder in clear, as host folders. Both are there; what lies in them is ours."""

    home: Path
    project: Path


class Mounts(ABC):
    """Raises StoreUnavailable where the daemon does not answer."""

    @abstractmethod
    def attach(self, session: SessionId) -> Path:
        """Mount the session's view; returns the host folder *above* the mount. In it, `data` is the mount point.

        The daemon reads session, project and grants from the catalogue itself: the caller's word decides nothing.
        Attaching an attached session returns the same folder. Raises NotFound, Denied."""

    @abstractmethod
    def open_folders(self, session: SessionId) -> Folders:
        """Open the home and the project folder of an attached session, made at first sight; they stay open until the
        last session that uses them is detached.

        Raises NotFound where it is not attached, KeyUnavailable, IntegrityError, AuditUnavailable."""

    @abstractmethod
    def detach(self, session: SessionId) -> None:
        """Drop the session's keys, then unmount, then close its folders: what runs in the session must have ended.
        Detaching an unknown session is no error."""

    @abstractmethod
    def refresh(self) -> None:
        """Re-read grants and sessions now; return once every mount obeys them (keys dropped, caches invalidated)."""

    @abstractmethod
    def status(self) -> dict[str, int]:
        """Counts for people and metrics: sessions, open_files, opens, bytes_served, reads_denied."""
