"""The mount daemon, as the spawner and the grant service see it."""

from abc import ABC, abstractmethod
from pathlib import Path

from readingroom_hub.model.ids import SessionId


class Mounts(ABC):
    """Raises StoreUnavailable where the daemon does not answer."""

    @abstractmethod
    def attach(self, session: SessionId) -> Path:
        """Mount the session's view; returns the host folder *above* the mount. In it, `data` is the mount point.

        The daemon reads session, project and grants from the catalogue itself: the caller's word decides nothing.
        Attaching an attached session returns the same folder. Raises NotFound, Denied."""

    @abstractmethod
    def detach(self, session: SessionId) -> None:
        """Drop the session's keys, then unmount. Detaching an unknown session is no error."""

    @abstractmethod
    def refresh(self) -> None:
        """Re-read grants and sessions now; return once every mount obeys them (keys dropped, caches invalidated)."""

    @abstractmethod
    def status(self) -> dict[str, int]:
        """Counts for people and metrics: sessions, open_files, opens, bytes_served, reads_denied."""
