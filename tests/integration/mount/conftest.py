"""A mount daemon in this process, on a real FUSE mount, and one dataset."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.mount_world import MountedWorld as Room
from tests.support.mount_world import Published, mounted_world


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    with mounted_world(tmp_path / "state") as made:
        yield made


@pytest.fixture
def lung(room: Room) -> Published:
    return room.publish(room.project("lung"), "lung-ct")


@pytest.fixture
def data(room: Room, lung: Published) -> Path:
    room.grant(lung.version.project, lung.version)
    return room.attach(room.session(lung.version.project))
