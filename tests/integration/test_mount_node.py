"""A real mount daemon that records at a repository on another machine: real FUSE, real TLS, a real spool."""

import contextlib
import dataclasses
import os
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.mount_process import MountProcess, soon
from tests.support.mount_world import Published, read
from tests.support.node_world import NodeWorld, node_world
from tests.support.ports import free_ports
from tests.support.receivers import Authority

from readingroom_hub.compose import repository
from readingroom_hub.compose.repository import verify_log
from readingroom_hub.config import Settings
from readingroom_hub.errors import BadInput
from readingroom_hub.mount import mounting

pytestmark = pytest.mark.fuse


class Room(MountProcess):
    """Its daemon is the node `node-1`. Catalogue, objects and keys are shared, as a node's are by its network."""

    def __init__(self, world: NodeWorld) -> None:
        world.stay()
        super().__init__(world.server, world.client)
        tls = world.certificate("node-1")
        world.list(node_1=tls)
        self.settings = dataclasses.replace(
            self.settings,
            audit_remote=f"localhost:{world.port}",
            audit_node="node-1",
            audit_tls_cert_file=tls.cert,
            audit_tls_key_file=tls.key,
            audit_tls_ca_file=tls.ca,
            audit_spool_seconds=2,
            mount_metrics_port=free_ports(1),
        )

    def has_all(self) -> bool:
        """Whether the node is heard, and nothing of it is awaited."""
        return not any(node.is_behind for node in self.client.status()["nodes"])

    def metric(self, name: str) -> float:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{self.settings.mount_metrics_port}/metrics", timeout=5
        ) as answer:
            lines = answer.read().decode().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


@pytest.fixture
def room() -> Iterator[Room]:
    with node_world() as world:
        made = Room(world)
        try:
            made.start()
            yield made
        finally:
            made.stop(signal.SIGKILL)
            for point, _ in sorted(mounting.mount_points(world.folder), reverse=True):
                mounting.unmount(point)


@pytest.fixture
def lung(room: Room) -> Published:
    published = room.publish(room.project("lung"), "lung-ct", [[5000], [6000], [7000], [8000]])
    room.grant(published.version.project, published.version)
    return published


def opens(path: Path) -> bool:
    with contextlib.suppress(BlockingIOError):
        return bool(read(path))
    return False


def test_reads_go_on_without_the_repository_up_to_the_limit_and_all_of_them_come_on_record(
    room: Room, lung: Published
) -> None:
    folder = room.mounts.attach(room.session(lung.version.project).id)
    first, second, third, fourth = (folder / "data/lung-ct" / p for p in lung.plain)
    assert read(first) == lung.plain[next(iter(lung.plain))]
    soon(lambda: len(room.records("read-intent")) == 1)
    room.audit_server.stop(signal.SIGKILL)
    assert opens(second)  # its intent is durable on the node
    assert room.metric("readingroom_mount_audit_records") >= 1
    soon(lambda: room.metric("readingroom_mount_audit_seconds") > 0.5)
    soon(lambda: not opens(third) and not opens(fourth))  # the oldest waits for two seconds: no further
    assert b"may go no further ahead: audit records wait for the repository" in read(folder / "data/README.txt")
    room.stop(signal.SIGKILL)
    mounting.unmount(folder)
    room.audit_server.start()
    room.start()
    soon(lambda: opens(fourth))
    soon(lambda: Path(fourth).stem in {end["instance"] for end in room.ends()})
    assert {Path(first).stem, Path(second).stem} < {end["instance"] for end in room.ends()}
    intents = room.records("read-intent")
    read_series = {i.series for i in lung.manifest.instances[:2]}
    assert read_series <= {r["subject"]["series"] for r in intents}
    assert {r["source"]["process"] for r in intents} == {"mount-daemon@node-1"}
    assert {r["node"]["name"] for r in intents} == {"node-1"}
    settings = [r["subject"]["settings"] for r in room.records("configuration") if "node" in r]
    assert {s["audit_spool_seconds"] for s in settings} == {"2"}
    room.stop()
    assert room.records("service-stopped")[-1]["source"]["process"] == "mount-daemon@node-1"
    room.audit_server.stop()
    assert verify_log(room.audit_server.paths, None, None, []).findings == []


def test_a_read_whose_record_is_cut_out_of_a_killed_daemon_s_spool_is_missed(room: Room, lung: Published) -> None:
    """The real thing: image bytes are out, the daemon is killed, the newest end of its spool is cut off."""
    session, robbed = room.session(lung.version.project).id, 0
    for path, plain in lung.plain.items():
        folder = room.mounts.attach(session)
        soon(room.has_all)
        before, spool = len(room.records("read-intent")), room.settings.paths.audit_spool
        newest = max(p for p in spool.iterdir() if p.name.isdigit())
        size = newest.stat().st_size
        assert read(folder / "data/lung-ct" / path) == plain
        room.stop(signal.SIGKILL)
        assert newest.stat().st_size > size
        os.truncate(newest, size)
        mounting.unmount(folder)
        room.start()
        soon(room.has_all)
        if len(room.records("read-intent")) == before:  # else it was sent before the kill came
            robbed += 1
            assert len(room.records("integrity-failure")) == robbed
    assert robbed
    assert all(r["reason"].startswith("records-missing") for r in room.records("integrity-failure"))


def test_a_node_that_is_set_up_by_half_is_told_what_is_missing(tmp_path: Path) -> None:
    cert, key = (authority := Authority(tmp_path / "authority")).issue("node-1", "node-1")
    whole = Settings(
        tmp_path / "state",
        audit_remote="localhost:1",
        audit_node="node-1",
        audit_tls_cert_file=cert,
        audit_tls_key_file=key,
        audit_tls_ca_file=authority.ca,
    )
    for changed, says in (
        ({"audit_node": "node-2"}, "is for node-1, and this node is node-2"),
        ({"audit_node": ""}, "needs READINGROOM_AUDIT_NODE"),
        ({"audit_tls_ca_file": None}, "certificates on both sides: set READINGROOM_AUDIT_TLS_CERT_FILE"),
        ({"audit_remote": "localhost"}, "write host:port"),
    ):
        with pytest.raises(BadInput, match=says):
            repository.trail(dataclasses.replace(whole, **changed), "mount-daemon")
