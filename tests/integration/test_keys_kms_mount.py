"""The mount daemon as a process, whose keys are in a key management service that goes away and comes back."""

import dataclasses
import errno
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer
from tests.support.mount_process import MountProcess, mount_process
from tests.support.mount_world import Published, read

from readingroom_hub import compose

pytestmark = pytest.mark.fuse


class Service:
    """moto as a server in this process: what it holds outlives its socket."""

    def __init__(self) -> None:
        self._server = ThreadedMotoServer("127.0.0.1", port=0)
        self._server.start()
        self.host, self.port = self._server.get_host_and_port()

    def stop(self) -> None:
        self._server.stop()

    def start_again(self) -> None:
        self._server = ThreadedMotoServer(self.host, port=self.port)
        self._server.start()


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    yield made
    made.stop()


@pytest.fixture
def room(service: Service, tmp_path: Path) -> Iterator[MountProcess]:
    keys = tmp_path / "credentials"
    keys.write_text("[default]\naws_access_key_id = daemon\naws_secret_access_key = a-secret-of-the-tests\n")
    with mount_process() as made:
        made.stop()
        made.settings = dataclasses.replace(
            made.settings,
            kms_region="eu-central-1",
            kms_endpoint=f"http://{service.host}:{service.port}",
            kms_alias="outage",
            kms_credentials_file=keys,
        )
        made.custody = compose.custody(made.settings)
        made.start()
        yield made


def granted(room: MountProcess, dataset: str, seed: int) -> Published:
    published = room.publish(room.catalogue.projects.get("lung").id, dataset, [[50_000] * 3], seed)
    room.grant(published.version.project, published.version)
    return published


def soon(condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


def test_an_outage_of_key_custody_stops_what_is_new_and_nothing_that_runs(room: MountProcess, service: Service) -> None:
    project = room.project("lung")
    known, other = granted(room, "lung-ct", 1), granted(room, "chest-ct", 2)
    folder = room.mounts.attach(room.session(project).id)
    first, *rest = known.plain
    assert read(folder / "data/lung-ct" / first) == known.plain[first]
    service.stop()

    for path in rest:  # the running session goes on, also in what it had not opened yet
        assert read(folder / "data/lung-ct" / path) == known.plain[path]
    new = room.mounts.attach(room.session(project).id)
    wanted = new / "data/chest-ct" / next(iter(other.plain))
    with pytest.raises(OSError) as refused:
        read(wanted)
    assert refused.value.errno == errno.EIO
    told = read(new / "data/README.txt").decode()
    assert f"{other.version.label} cannot be opened: the key management service does not answer" in told
    assert "try again in a minute" in told
    assert str(service.port) not in told
    failed = [r for r in room.records("key-unwrapped") if r["outcome"] == "failure"]
    assert {r["subject"]["version"] for r in failed} == {other.version.digest}
    assert failed[0]["reason"].startswith("key-unavailable: the key management service does not answer")
    assert read(folder / "data/lung-ct" / first) == known.plain[first]

    pid = room.pid
    service.start_again()

    def opens() -> bool:
        try:
            return read(wanted) == next(iter(other.plain.values()))
        except OSError as error:
            assert error.errno == errno.EIO  # noqa: PT017
            return False

    soon(opens)
    assert sorted(p.name for p in (new / "data").iterdir()) == ["README.txt", "chest-ct", "lung-ct"]
    assert room.pid == pid


def test_a_silent_key_custody_is_asked_once_and_not_by_every_request(room: MountProcess, service: Service) -> None:
    project = room.project("lung")
    other = granted(room, "chest-ct", 3)
    folder = room.mounts.attach(room.session(project).id)
    service.stop()
    begun = time.monotonic()
    for path in [*other.plain] * 7:
        with pytest.raises(OSError):
            read(folder / "data/chest-ct" / path)
    asked = len([r for r in room.records("key-unwrapped") if r["outcome"] == "failure"])
    assert 1 <= asked <= 1 + (time.monotonic() - begun) / 2
    service.start_again()
