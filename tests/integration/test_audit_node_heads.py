"""What a node's spool held is known at the repository before anybody relies on it: cutting its end off is seen."""

import shutil
import signal
import tempfile
from pathlib import Path

import pytest
from tests.support.node_world import node_world
from tests.support.nodes import Node, a_record, arrived, stored
from tests.support.receivers import until

from readingroom_hub.adapters.audit_spool import Spool
from readingroom_hub.compose.repository import verify_log


@pytest.fixture
def world():
    with node_world() as running:
        running.stay()
        yield running
        running.server.stop()
        assert verify_log(running.server.paths, None, None, []).findings == []


@pytest.fixture
def node(world):
    made = Node(world, "node-1")
    world.list(node_1=made.tls)
    return made


def events(world, *names):
    return [r for r in stored(world).values() if r["event"] in names]


def missing(world):
    return [r for r in events(world, "integrity-failure") if r["reason"].startswith("records-missing")]


def cut_to(node, kept):
    """Let the newest file hold its first `kept` entries only: a whole number of them, as a crash may leave it."""
    (file,) = node.files()
    data, at = file.read_bytes(), 52
    for _ in range(kept):
        at += 4 + int.from_bytes(data[at : at + 4])
    assert at < len(data)
    file.write_bytes(data[:at])


def in_spool(node):
    """What the next process would find there, and say of it. In a copy, since to look at it seals its length."""
    with tempfile.TemporaryDirectory(dir=node.folder) as folder:
        shutil.copytree(node.spool, copy := Path(folder) / "spool")
        spool = Spool(copy, node.folder / "keys", "node-1")
        spool.close()
        return sum(len(p.leaves) for p in spool.left), spool.damage


@pytest.mark.parametrize("repository", ["runs on", "is restarted", "is killed when the node's end is on record"])
def test_the_newest_end_of_a_killed_node_s_spool_cannot_be_cut_off_unseen(world, node, repository):
    ids = node.killed(after=6, gathers=True)
    until(lambda: events(world, "node-disconnected"))
    if repository != "runs on":
        world.server.stop(signal.SIGTERM if repository == "is restarted" else signal.SIGKILL)
    whole, damage = in_spool(node)
    assert whole >= len(ids)
    assert damage == []
    cut_to(node, 3)
    left, damage = in_spool(node)
    assert left < whole
    assert damage == []  # the attack works on the spool: nothing on the node tells
    if repository != "runs on":
        world.server.start()
    (gone,) = events(world, "node-disconnected")
    (epoch,) = gone["subject"]["awaited"]
    ((first, last),) = gone["subject"]["awaited"][epoch]
    assert first == 0
    assert last + 1 >= len(ids)
    assert gone["outcome"] == "failure"
    with node.running() as trail:
        record = a_record()
        trail.append([record])
        arrived(world, [ids[0], record.id])
        (found,) = until(lambda: missing(world))
    assert ids[-1] not in stored(world)
    assert found["subject"]["node"] == "node-1"
    assert found["subject"]["missing"] == {epoch: [[left, last]]}
    assert found["subject"]["count"] == last + 1 - left
    assert f"numbers {left} to {last} of its epoch {epoch}" in found["reason"]
    assert found["source"]["process"] == "audit-repository"


def test_a_node_that_was_killed_and_not_robbed_is_found_to_be_whole(world, node):
    ids = node.killed(after=6, gathers=True)
    until(lambda: events(world, "node-disconnected"))
    with node.running():
        arrived(world, ids)
        until(lambda: len(events(world, "node-connected")) == 2)
    assert missing(world) == []
    assert [r["event"] for r in events(world, "node-connected", "node-disconnected")] == [
        "node-connected",
        "node-disconnected",
        "node-connected",
    ]


def test_a_planned_end_is_told_from_a_node_that_is_gone(world, node):
    with node.running() as trail:
        trail.append([a_record()])
        trail.flush()
    (end,) = until(lambda: events(world, "node-disconnected"))
    assert end["outcome"] == "success"
    assert end["subject"] == {"service": "mount-daemon@node-1", "node": "node-1", "awaited": {}, "count": 0}


def test_a_machine_that_is_retired_with_records_in_its_spool_leaves_a_finding(world, node):
    ids = node.killed(after=6, gathers=True)
    until(lambda: events(world, "node-disconnected"))
    world.list()
    (found,) = until(lambda: missing(world))
    assert found["subject"]["count"] >= len(ids)
    assert "node-1 is not in the list of nodes any more" in found["reason"]
