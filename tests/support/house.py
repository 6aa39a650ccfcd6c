"""Vaults below one state folder, and servers that use them, without a mount daemon."""

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.support.fakes import MemoryAuditRepository
from tests.support.sandbox_runner import close_all, homes_of, order, run, settings

from readingroom_hub.model.ids import PersonId, ProjectId, SessionId, VaultId
from readingroom_hub.model.session import Session
from readingroom_hub.mount import mounting
from readingroom_hub.mount.homes import Homes
from readingroom_hub.mount.vaults import FSTYPE
from readingroom_hub.ports.mounts import CONTENT

LUNG = ProjectId("lung")
ROSA, OMAR = PersonId("p-" + "a" * 64), PersonId("p-" + "b" * 64)


class House:
    """Vaults below one state folder, and servers that use them."""

    def __init__(self, state: Path) -> None:
        self.settings = settings(state)
        self.audit = MemoryAuditRepository()
        self.homes = self.again()
        self.homes.start([])

    def again(self) -> Homes:
        """What a restarted mount daemon has."""
        return homes_of(self.settings, self.audit)

    def content(self, vault: VaultId) -> Path:
        """What is in an open vault."""
        return self.settings.paths.vaults / vault / "outer" / CONTENT

    def session(self, person: PersonId, project: ProjectId = LUNG) -> Session:
        now = datetime.now(UTC)
        return Session(SessionId.new(), person, project, now, now + timedelta(hours=1))

    def order(self, session: Session, script: str):
        return order(
            self.settings, [sys.executable, "-I", "-c", script], user=session.person.hub_name, session=session.id,
            project=session.project, person=session.person, homes=self.homes,
        )  # fmt: skip

    def run(self, person: PersonId, script: str) -> str:
        """What the script says in a server of its own; everything is closed again."""
        session = self.session(person)
        try:
            return run(
                self.settings, [sys.executable, "-I", "-c", script], user=person.hub_name, session=session.id,
                person=person, homes=self.homes,
            )  # fmt: skip
        finally:
            self.homes.close(session.id)

    @property
    def open_views(self) -> list[str]:
        points = mounting.mount_points(self.settings.paths.vaults, FSTYPE)
        return sorted(point.parents[1].name for point, _ in points)


@contextlib.contextmanager
def open_house() -> Iterator[House]:
    """Nothing stays mounted."""
    with tempfile.TemporaryDirectory(prefix="readingroom-homes-") as folder:
        house = House(Path(folder))
        yield house
        close_all(house.settings)
        assert house.open_views == []
        assert folder not in Path("/proc/mounts").read_text()
