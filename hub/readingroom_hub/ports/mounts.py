"""The mount daemon, as the spawner and the grant service see it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from readingroom_hub.model.ids import SessionId

CONTENT = Path("view", "content")
"""Below a vault's outer folder: what lies in it, in clear, while it is open. No folder while it is not."""
HOME_NAME = "researcher"
"""Below the outer folder of a home's vault: the home itself. A mount point where homes are images, else a link."""

HOME_IMAGE = "home.ext4"
"""Below CONTENT, where the hub is root: the image of the home."""


@dataclass(frozen=True, slots=True)
class Folders:
    """The outer folders of a session's two vaults, on the host. Servers bind these, read only, and see what is mounted
    below them, now or later: so a view that was lost comes back to them. Nothing of ours is ever written there."""

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
    def show_home(self, session: SessionId) -> None:
        """Mount the image of the home that `open_folders` opened, where its server sees it; done there already, or no
        image, is no error. As long as the folders are open, whatever of them is lost is mounted again.

        Raises NotFound where the session is not attached, SystemUnfit where the image cannot be mounted,
        StoreUnavailable where it cannot be read now."""

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
