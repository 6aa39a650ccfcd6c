"""The Mounts port: the mount daemon itself, and the same over its control socket, in a process of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.mounts import MountsContract
from tests.support.fakes import MemoryAuditRepository
from tests.support.mount_process import MountProcess, mount_process
from tests.support.mount_world import World

from readingroom_hub import compose
from readingroom_hub.errors import StoreUnavailable
from readingroom_hub.mount.daemon import MountDaemon
from readingroom_hub.mount.homes import Homes
from readingroom_hub.mount.library import Library
from readingroom_hub.mount.vaults import Vaults
from readingroom_hub.ports.mounts import Mounts

pytestmark = pytest.mark.fuse


class TestMountDaemon(MountsContract):
    @pytest.fixture
    def world(self, tmp_path: Path) -> World:
        return World(tmp_path / "state")

    @pytest.fixture
    def mounts(self, world: World) -> Iterator[Mounts]:
        c, audit = world.catalogue, MemoryAuditRepository()
        library = Library(c.versions, world.objects, world.custody, audit)
        paths = world.settings.paths
        vaults = Vaults(paths.vaults, compose.vault_keys(world.settings), world.custody)
        daemon = MountDaemon(
            paths.mounts, c.projects, c.grants, c.sessions, c.holds, library, audit,
            homes=Homes(paths.vaults, vaults, audit),
        )  # fmt: skip
        daemon.start()
        yield daemon
        daemon.stop()


class TestSocketMounts(MountsContract):
    @pytest.fixture
    def world(self) -> Iterator[MountProcess]:
        with mount_process() as made:
            yield made

    @pytest.fixture
    def mounts(self, world: MountProcess) -> Mounts:
        return world.mounts

    def test_a_daemon_that_is_gone_is_said_to_be(self, world: MountProcess, mounts: Mounts) -> None:
        world.stop()
        for call in (mounts.refresh, mounts.status):
            with pytest.raises(StoreUnavailable, match="does not answer"):
                call()
