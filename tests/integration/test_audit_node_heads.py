"""What a node's spool held is known at the repository before anybody relies on it: cutting its end off is seen."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.request import urlopen

import pytest
from tests.support.node_world import node_world
from tests.support.nodes import Node, a_record, arrived, stored
from tests.support.ports import free_ports
from tests.support.receivers import until

from readingroom_hub.adapters.audit_head import Head
from readingroom_hub.adapters.audit_node_wire import Repository, Wire
from readingroom_hub.adapters.audit_spool import Spool
from readingroom_hub.compose.repository import verify_log
from readingroom_hub.ledger.seal import to_leaf
from readingroom_hub.ports.records import Filter
from readingroom_hub.sandbox.fitness import Level, examine


@pytest.fixture
def world():
    with node_world() as running:
        running.stay()
        object.__setattr__(running.settings, "audit_metrics_port", free_ports(1))
        running.server.stop()
        running.server.start()
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
    file = node.files()[-1]
    data, at = file.read_bytes(), 52
    for _ in range(kept):
        at += 4 + int.from_bytes(data[at : at + 4])
    assert at < len(data)
    file.write_bytes(data[:at])


def in_spool(node):
    """What the next process would find there, and say of it. In a copy, since to look at it seals its length."""
    with tempfile.TemporaryDirectory(dir=node.folder) as folder:
        for part in ("spool", "keys"):
            shutil.copytree(node.folder / part, Path(folder) / part)
        spool = Spool(Path(folder) / "spool", Path(folder) / "keys", "node-1")
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
    assert f"mount-daemon@node-1 recorded as {left} to {last} of its epoch {epoch} was durable" in found["reason"]
    assert found["source"]["process"] == "audit-repository"


@pytest.mark.parametrize("how", ["an older copy of the spool is restored", "spool and keys are removed"])
def test_a_spool_that_is_exchanged_with_all_that_belongs_to_it_is_missed(world, node, how):
    with node.running() as trail:
        trail.append([a_record()])
        until(lambda: trail.behind()[0] == 0)
    shutil.copytree(node.spool, older := node.folder / "older")
    ids = node.killed(after=6, gathers=True)
    until(lambda: events(world, "node-disconnected")[-1]["subject"]["awaited"])
    (epoch,) = events(world, "node-disconnected")[-1]["subject"]["awaited"]
    shutil.rmtree(node.spool)
    if how == "spool and keys are removed":
        shutil.rmtree(node.folder / "keys")
        (node.folder / "keys").mkdir()
        node.spool.mkdir(mode=0o700)
    else:
        older.rename(node.spool)
    _, damage = in_spool(node)
    assert damage == []  # the attack works on the spool
    with node.running():
        (found,) = until(lambda: missing(world))
    assert found["subject"]["count"] >= len(ids)
    assert list(found["subject"]["missing"]) == [epoch]
    assert not set(ids) & stored(world).keys()


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


def test_a_record_that_is_dropped_on_its_way_is_missed_without_a_check_of_the_log(world, node):
    """By the daemon's own hand: it announces three, and hands over the first and the last."""
    leaves = [
        to_leaf(a_record().to_wire() | {"source": {"process": "mount-daemon@node-1", "epoch": "e1", "seq": seq}})
        for seq in range(3)
    ]
    for epoch, given in (("e1", leaves[::2]), ("e2", leaves[1:2])):
        with contextlib.closing(Wire(Repository("localhost", node.port, node.tls))) as wire:
            head = Head("mount-daemon@node-1", epoch, first=0, next=3 if epoch == "e1" else 0, left=0)
            wire.ask(head)
            if epoch == "e1":
                wire.hand_over(given, 0)
                continue
            (found,) = until(lambda wire=wire, head=head: wire.ask(head) or missing(world))
            assert found["subject"]["missing"] == {"e1": [[1, 1]]}
            wire.hand_over(given, 0)  # it was there all the time: the finding stays, and the record, too


def test_a_machine_that_is_retired_with_records_in_its_spool_leaves_a_finding(world, node):
    ids = node.killed(after=6, gathers=True)
    until(lambda: events(world, "node-disconnected"))
    world.list()
    (found,) = until(lambda: missing(world))
    assert found["subject"]["count"] >= len(ids)
    assert "node-1 is not in the list of nodes any more" in found["reason"]


def metric(world, name):
    with urlopen(f"http://127.0.0.1:{world.settings.audit_metrics_port}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    wanted = f'readingroom_audit_node_{name}{{node="node-1"}}'
    return next(float(line.split()[1]) for line in lines if line.startswith(wanted))


def command(world, *argv):
    """What the command line says, and complains of."""
    program = [sys.executable, "-c", "from readingroom_hub.cli.audit import app; app()"]
    environ = world.settings.to_environ() | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([*program, *argv], env=environ, capture_output=True, text=True, check=True)
    return done.stdout, done.stderr


def test_who_searches_is_told_what_is_not_in_the_answer(world, node):
    """In each of the ways in which the record is asked: a node that is heard, one that is gone, one that was robbed."""
    until(lambda: world.client.status()["nodes"])
    (never,) = world.client.search(Filter(limit=1), None).nodes
    assert never.node == "node-1"
    assert never.silent_since is not None
    with node.running() as trail:
        trail.append([a_record()])
        until(lambda: not world.client.search(Filter(limit=1), None).nodes)
        assert metric(world, "silent_seconds") == 0
    ids = node.killed(after=6, gathers=True)
    until(lambda: events(world, "node-disconnected")[-1]["outcome"] == "failure")
    (gone,) = world.client.search(Filter(limit=1), None).nodes
    assert gone.awaited >= len(ids)
    assert world.client.status()["nodes"] == (gone,)
    assert metric(world, "awaited") == gone.awaited
    assert metric(world, "silent_seconds") > 0
    (check,) = (c for c in examine(world.settings) if c.name == "nodes")
    assert (check.level, check.sentence) == (Level.ADVICE, str(gone))
    said, _ = command(world, "status", "--json")
    assert json.loads(said)["nodes"][0]["awaited"] == gone.awaited
    sentence = f"{gone.awaited} records that it announced by then, and what was read there since, are not in here yet."
    for argv in (("query",), ("export", str(node.folder / "out")), ("bundle", str(node.folder / "all"))):
        _, complaint = command(world, *argv)
        assert f"node-1 has not been heard since {gone.silent_since:%Y-%m-%d %H:%M} UTC: {sentence}" in complaint
    cut_to(node, 3)
    with node.running():
        until(lambda: missing(world))
        assert metric(world, "missing_total") == missing(world)[0]["subject"]["count"]
        until(lambda: not world.client.search(Filter(limit=1), None).nodes)
        said, _ = command(world, "status")
        assert "node-1" in said
