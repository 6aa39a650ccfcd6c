"""What every Mounts must do. Subclass it; give a `world`, and `mounts` that serve it."""

import os
import subprocess
from pathlib import Path

import pytest
from tests.support.mount_world import Published, World, read

from readingroom_hub.errors import Denied, NotFound
from readingroom_hub.model.ids import SessionId
from readingroom_hub.mount.mounting import mount_points
from readingroom_hub.ports.mounts import CONTENT, HOME_IMAGE, HOME_NAME, Mounts


class MountsContract:
    @pytest.fixture
    def world(self) -> World:
        raise NotImplementedError

    @pytest.fixture
    def mounts(self) -> Mounts:
        raise NotImplementedError

    @pytest.fixture
    def lung(self, world: World) -> Published:
        return world.publish(world.project("lung"), "lung-ct")

    def test_attach_is_repeatable_and_gives_the_folder_above_the_mount(
        self, world: World, mounts: Mounts, lung: Published
    ) -> None:
        world.grant(lung.version.project, lung.version)
        session = world.session(lung.version.project)
        folder = mounts.attach(session.id)
        assert mounts.attach(session.id) == folder
        assert not os.path.ismount(folder)
        assert os.path.ismount(folder / "data")
        assert {p: read(folder / "data/lung-ct" / p) for p in lung.plain} == lung.plain

    def test_detach_takes_everything_away_and_is_repeatable(
        self, world: World, mounts: Mounts, lung: Published
    ) -> None:
        session = world.session(lung.version.project)
        folder = mounts.attach(session.id)
        for _ in range(2):
            mounts.detach(session.id)
            assert not folder.exists()
        assert mounts.status()["sessions"] == 0
        mounts.detach(SessionId.new())

    def test_folders_are_open_while_a_session_that_uses_them_is_attached(
        self, world: World, mounts: Mounts, lung: Published
    ) -> None:
        first, second = (world.session(lung.version.project) for _ in range(2))
        with pytest.raises(NotFound, match="not attached"):
            mounts.open_folders(first.id)
        for session in (first, second):
            mounts.attach(session.id)
            folders = mounts.open_folders(session.id)
            assert mounts.open_folders(session.id) == folders
        home, project = folders.home / CONTENT, folders.project / CONTENT
        for folder in (home, project):
            (folder / "finding").write_text("kept")
        mounts.detach(first.id)
        assert (project / "finding").read_text() == "kept"
        mounts.detach(second.id)
        assert not home.exists()
        assert not project.exists()
        assert not list(mount_points(world.settings.paths.vaults, "fuse.gocryptfs"))
        mounts.attach(first.id)
        assert mounts.open_folders(first.id) == folders
        assert (home / "finding").read_text() == (project / "finding").read_text() == "kept"
        mounts.detach(first.id)

    @pytest.mark.skipif(os.geteuid() != 0, reason="homes are images where the hub is root")
    def test_the_image_of_a_home_is_shown_while_its_folder_is_open(
        self, world: World, mounts: Mounts, lung: Published
    ) -> None:
        session = world.session(lung.version.project)
        with pytest.raises(NotFound, match="not attached"):
            mounts.show_home(session.id)
        mounts.attach(session.id)
        outer = mounts.open_folders(session.id).home
        mounts.show_home(session.id)
        assert not (outer / HOME_NAME).exists()
        image = outer / CONTENT / HOME_IMAGE
        with image.open("wb") as file:
            file.truncate(16 << 20)
        subprocess.run(["/sbin/mkfs.ext4", "-q", "-F", str(image)], check=True)
        for _ in range(2):
            mounts.show_home(session.id)
            assert [p for p, _ in mount_points(outer / HOME_NAME)] == [outer / HOME_NAME]
        (outer / HOME_NAME / "finding").write_text("kept")
        mounts.detach(session.id)
        assert list((outer / HOME_NAME).iterdir()) == []
        mounts.attach(session.id)
        mounts.open_folders(session.id)
        assert (outer / HOME_NAME / "finding").read_text() == "kept"
        mounts.detach(session.id)

    def test_unknown_and_ended_sessions_are_refused(self, world: World, mounts: Mounts, lung: Published) -> None:
        with pytest.raises(NotFound):
            mounts.attach(SessionId.new())
        session = world.session(lung.version.project)
        world.catalogue.sessions.close(session.id, session.opened_at)
        with pytest.raises(Denied, match="session ended"):
            mounts.attach(session.id)
        assert mounts.status()["sessions"] == 0

    def test_refresh_returns_when_grants_are_obeyed(self, world: World, mounts: Mounts, lung: Published) -> None:
        session = world.session(lung.version.project)
        data = mounts.attach(session.id) / "data"
        path: Path = data / "lung-ct" / next(iter(lung.plain))
        assert [p.name for p in data.iterdir()] == ["README.txt"]
        grant = world.grant(lung.version.project, lung.version)
        mounts.refresh()
        assert read(path) == lung.plain[next(iter(lung.plain))]
        world.revoke(grant)
        mounts.refresh()
        with pytest.raises(PermissionError):
            read(path)

    def test_status_counts(self, world: World, mounts: Mounts, lung: Published) -> None:
        world.grant(lung.version.project, lung.version)
        data = mounts.attach(world.session(lung.version.project).id) / "data"
        path, plain = next((p, d) for p, d in lung.plain.items() if d)
        with (data / "lung-ct" / path).open("rb") as file:
            file.read()
            status = mounts.status()
        want = {"sessions": 1, "open_files": 1, "opens": 1, "bytes_served": len(plain), "reads_denied": 0}
        assert status | want == status
