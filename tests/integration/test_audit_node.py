"""A node's records: durable in its spool, handed over in order, once; and a node that may go no further ahead."""

import os
import shutil
import subprocess
import threading
import time
from contextlib import closing

import pytest
from tests.support.node_world import node_world
from tests.support.nodes import Cutter, Node, a_record, arrived, stored
from tests.support.receivers import until

from readingroom_hub.adapters.audit_node import Ahead
from readingroom_hub.adapters.audit_node_wire import check_certificate
from readingroom_hub.adapters.audit_spool import Spool
from readingroom_hub.compose.repository import verify_log
from readingroom_hub.errors import AuditUnavailable, BadInput, Conflict, KeyUnavailable
from readingroom_hub.model.ids import PersonId

is_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small tmpfs")


@pytest.fixture(scope="module")
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


@pytest.fixture
def away(world, node):
    """No way to the repository; the test gets what opens it."""
    with closing(Cutter(world.port, 0)) as network:
        node.port = network.port
        yield lambda: setattr(network, "most", 1 << 30)


def test_while_the_repository_is_away_records_are_durable_here_and_come_in_order_afterwards(world, node):
    world.server.stop()
    with node.running() as trail:
        records = [a_record(person=PersonId("p-" + "a" * 64)) for _ in range(50)]
        for record in records[:40]:
            assert trail.append([record]) == []
        for record in records[40:]:
            trail.post(record)
        spooled = b"".join(p.read_bytes() for p in node.spool.iterdir())
        assert b"read-intent" not in spooled  # sealed: whoever takes the disk away learns nothing
        assert b"a" * 64 not in spooled
        world.server.start()
        rows = arrived(world, [r.id for r in records])
        assert [r["id"] for r in rows] == [r.id for r in records]
        assert [r["source"]["seq"] for r in rows] == list(range(50))
        assert {r["node"]["name"] for r in rows} == {"node-1"}
        assert all(r["node"]["waited_ms"] >= 100 and abs(r["node"]["skew_ms"]) < 5000 for r in rows)
        trail.flush()
    assert Spool(node.spool, node.folder / "keys", "node-1").left == [] or len(node.files()) == 1


def test_what_a_process_left_the_next_one_hands_over(world, node, away):
    records = [a_record() for _ in range(30)]
    with node.running() as trail:
        trail.append(records[:10])
        trail.append(records[10:])
    away()
    with node.running() as trail:
        last = a_record()
        trail.append([last])
        rows = arrived(world, [r.id for r in [*records, last]])
        assert [r["id"] for r in rows] == [r.id for r in [*records, last]]


def test_a_big_spool_is_many_files_and_they_go_away(world, node, away):
    records = [a_record(subject={"filler": "x" * 40_000}) for _ in range(60)]
    with node.running() as trail:
        for record in records:
            trail.append([record])
        assert len(node.files()) >= 2
        away()
        arrived(world, [r.id for r in records])
        until(lambda: len(node.files()) <= 1)


@pytest.mark.parametrize(
    ("ahead", "says"),
    [
        (Ahead(5, 64 << 20, 3600), "5 audit records wait"),
        (Ahead(1000, 2000, 3600), "bytes of audit records wait"),
        (Ahead(1000, 64 << 20, 0), "audit records wait for the repository for"),
    ],
    ids=["records", "bytes", "age"],
)
def test_a_node_goes_only_so_far_ahead_and_then_refuses_until_the_repository_answers(world, node, away, ahead, says):
    with node.running(ahead, timeout_ms=1500) as trail:
        taken = []

        def run():
            for _ in range(50):
                record = a_record()
                trail.append([record])
                taken.append(record.id)

        with pytest.raises(AuditUnavailable, match=f"no further ahead: .*{says}"):
            run()
        with pytest.raises(AuditUnavailable, match="no further ahead"):
            trail.post(a_record())
        assert taken
        away()
        arrived(world, taken)
        until(lambda: _taken(trail))


def _taken(trail):
    try:
        trail.append([a_record()])
    except AuditUnavailable:
        return False
    return True


def test_the_age_counts_over_a_restart(world, node, away):
    with node.running() as trail:
        trail.append([a_record()])
    refused = pytest.raises(AuditUnavailable, match="no further ahead")
    with node.running(Ahead(1000, 64 << 20, 0), timeout_ms=200) as trail, refused:
        trail.append([a_record()])
    away()


def test_a_node_that_is_not_listed_fails_closed_and_goes_on_when_it_is(world, node):
    world.list()
    with node.running(Ahead(3, 64 << 20, 3600)) as trail:
        ids = []
        for _ in range(3):
            ids.append(a_record())
            trail.append([ids[-1]])
        until(lambda: trail._sender.trouble)
        with pytest.raises(AuditUnavailable, match="is not in the repository's list of nodes: ask its operator"):
            trail.append([a_record()])
        world.list(node_1=node.tls)
        arrived(world, [r.id for r in ids])
        until(lambda: _taken(trail))


def test_a_repository_of_another_authority_gets_nothing(world, node, tmp_path):
    from tests.support.receivers import Authority

    strange = Authority(tmp_path / "other")
    node.tls = type(node.tls)(node.tls.cert, node.tls.key, strange.ca)
    with node.running() as trail:
        record = a_record()
        trail.append([record])
        until(lambda: "CERTIFICATE_VERIFY_FAILED" in trail._sender.trouble)
    assert record.id not in stored(world)


def test_a_record_that_is_tried_again_keeps_its_number(world, node):
    with node.running() as trail:
        record, other = a_record(), a_record()
        trail.append([record])
        trail.append([record])
        trail.append([record, other])
        rows = arrived(world, [record.id, other.id])
    assert [r["source"]["seq"] for r in rows] == [0, 1]


def test_many_threads_share_it(world, node):
    with node.running() as trail:
        done = []

        def work():
            for _ in range(25):
                record, more = a_record(), a_record()
                trail.append([record])
                trail.post(more)
                done.extend([record.id, more.id])

        threads = [threading.Thread(target=work) for _ in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        trail.flush()
        rows = arrived(world, done)
    assert [r["source"]["seq"] for r in rows] == list(range(400))


def test_a_connection_that_is_cut_in_the_middle_loses_nothing_and_stores_nothing_twice(world, node):
    records = [a_record(subject={"filler": "x" * 500}) for _ in range(200)]
    with closing(Cutter(world.port, 5000)) as network:
        node.port = network.port
        with node.running() as trail:
            for record in records[:100]:
                trail.append([record])
            for record in records[100:]:
                trail.post(record)
            until(lambda: network.cuts >= 6)
            network.most = 1 << 30
            rows = arrived(world, [r.id for r in records])
    assert [r["id"] for r in rows] == [r.id for r in records]


def test_a_network_that_takes_nothing_holds_up_nobody(world, node):
    """Not the big frame that is half out, nor the words that say what must still come, which queue up behind it."""
    with closing(Cutter(world.port, 1 << 30)) as network:
        node.port = network.port
        with node.running() as trail:
            first, big = a_record(), [a_record(subject={"filler": "x" * 60_000}) for _ in range(100)]
            trail.append([first])
            arrived(world, [first.id])
            network.flows.clear()
            trail.append(big)
            wire = trail._sender._wire
            until(lambda: wire._unsent)  # the kernel has no room for more
            more = [a_record() for _ in range(50)]
            for record in more:
                trail.append([record])  # within a second each, or this raises
            network.flows.set()
            rows = arrived(world, [r.id for r in [*big, *more]])
    assert [r["id"] for r in rows] == [r.id for r in [*big, *more]]


def test_kill_9_between_spool_and_sending_loses_nothing_that_was_confirmed(world, node):
    """Killed four times, every other time while there is no way; then one process hands all of it over."""
    confirmed = []
    for turn in range(4):
        node.port = world.port if turn % 2 else 1
        confirmed += node.killed(after=8 + turn)
    node.port = world.port
    assert all(len(id) == 36 for id in confirmed)
    with node.running() as trail:
        arrived(world, confirmed)
        trail.append([a_record()])


@is_root
def test_a_full_disk_refuses_while_the_repository_is_away_and_only_then(world, node, away):
    node.spool.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k,mode=0700", "tmpfs", str(node.spool)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let root mount a tmpfs")
    try:
        with node.running(timeout_ms=2000) as trail:
            taken = []

            def fill():
                for _ in range(50):
                    record = a_record(subject={"filler": "x" * 30_000})
                    trail.append([record])
                    taken.append(record.id)

            with pytest.raises(AuditUnavailable, match="No space left"):
                fill()
            refused = a_record()
            with pytest.raises(AuditUnavailable, match="No space left"):
                trail.append([refused])
            away()
            rows = arrived(world, [*taken, refused.id])
            assert rows[-1]["source"]["late"] is True  # its caller was told no
            record = a_record()
            trail.append([record])  # again, without hands
            arrived(world, [record.id])
    finally:
        subprocess.run(["umount", str(node.spool)], check=True)


@is_root
def test_a_hung_disk_refuses_in_time_and_needs_no_hands_afterwards(world, node, tmp_path):
    image = tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(8 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    node.spool.mkdir()
    if subprocess.run(["mount", "-o", "loop", image, node.spool], capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let root mount a file as a disk")
    try:
        with node.running(timeout_ms=1500) as trail:
            trail.append([a_record()])
            record = a_record()
            subprocess.run(["fsfreeze", "-f", node.spool], check=True)
            try:
                with pytest.raises(AuditUnavailable, match=r"did not confirm within 1\.5 s"):
                    trail.append([record])
            finally:
                subprocess.run(["fsfreeze", "-u", node.spool], check=True)
            until(lambda: _taken(trail))
            (row,) = arrived(world, [record.id])
            assert row["source"]["late"] is True
    finally:
        subprocess.run(["umount", str(node.spool)], check=True)


def spooled(node, count=5):
    """So many records in the spool of a process that has ended, and no way to the repository."""
    records = [a_record() for _ in range(count)]
    with node.running() as trail:
        for record in records:
            trail.append([record])
    return [r.id for r in records]


def flipped(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-10])


ATTACKS = {
    "an older file cut short": lambda node: cut_short(node.files()[0]),
    "the newest file cut short": lambda node: cut_short(node.files()[-1]),
    "edited": lambda node: flipped(node.files()[-1]),
    "one file removed": lambda node: node.files()[-1].unlink(),
    "head removed": lambda node: (node.spool / "head").unlink(),
    "head edited": lambda node: flipped(node.spool / "head"),
    "all of it removed": lambda node: shutil.rmtree(node.spool),
    "records of another file added": lambda node: node.files()[-1].write_bytes(node.files()[-1].read_bytes() * 2),
}


@pytest.mark.parametrize("how", ATTACKS)
def test_a_spool_that_was_changed_is_seen_and_nothing_is_read_before_the_repository_knows(world, node, away, how):
    ids = spooled(node) + spooled(node)
    assert len(node.files()) == 2
    ATTACKS[how](node)
    for _ in range(2):  # a restart is no way around
        refused = pytest.raises(AuditUnavailable, match="its audit spool was damaged, and the repository does not know")
        with node.running(timeout_ms=200) as trail, refused:
            trail.append([a_record()])
    away()
    with node.running(timeout_ms=10_000) as trail:
        record = a_record()
        trail.append([record])
        arrived(world, [record.id])
    damage = [r for r in stored(world).values() if "spool-damaged" in r.get("reason", "")]
    assert damage[-1]["event"] == "integrity-failure"
    assert damage[-1]["node"]["name"] == "node-1"
    assert str(node.spool) in damage[-1]["reason"]
    lost = [id for id in ids if id not in stored(world)]
    assert bool(lost) is ("head" not in how and "added" not in how)  # seen, not healed
    with node.running() as trail:  # and told once
        again = a_record()
        trail.append([again])
        arrived(world, [again.id])
    assert len([r for r in stored(world).values() if "spool-damaged" in r.get("reason", "")]) == len(damage)


def test_after_a_kill_a_cut_off_end_is_not_seen_here(world, node):
    """The limit: who can write to a killed daemon's spool can take its newest, unsent records away, as a crash can."""
    node.port = 1
    ids = node.killed(after=6)
    node.port = world.port
    (file,) = node.files()
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with node.running() as trail:
        record = a_record()
        trail.append([record])
        arrived(world, [ids[0], record.id])
    assert ids[-1] not in stored(world)


def test_a_spool_says_nothing_at_another_node(world, node, away):
    ids = spooled(node)
    other = Node(world, "node-2")  # whose way is open
    world.list(node_1=node.tls, node_2=other.tls)
    shutil.copytree(node.spool, other.spool)
    with pytest.raises(KeyUnavailable, match="restore it"):
        Spool(other.spool, other.folder / "keys", "node-2")
    shutil.copy(node.folder / "keys" / "audit-spool.key", other.folder / "keys")  # and the key with it
    away()
    with other.running(timeout_ms=10_000) as trail:
        record = a_record()
        trail.append([record])
        arrived(world, [record.id])
    assert not set(ids) & stored(world).keys()
    with pytest.raises(BadInput, match="is for node-2, and this node is node-1"):
        check_certificate(other.tls.cert, "node-1")
    shutil.rmtree(other.spool)
    shutil.copytree(node.spool, other.spool)
    with other.running(called="node-1") as trail:  # past that check: the repository knows whose certificate it is
        until(lambda: "and not of node-2" in trail._sender.trouble)
    assert not set(ids) & stored(world).keys()
    with node.running():
        arrived(world, ids)


def test_a_clock_that_is_wrong_is_told_from_records_that_wait(world, node):
    hour = 3600 * 10**9
    with node.running(clock=lambda: time.time_ns() - hour) as trail:
        record = a_record()
        trail.append([record])
        (row,) = arrived(world, [record.id])
    assert row["node"]["skew_ms"] == pytest.approx(3_600_000, abs=5000)


def test_two_processes_cannot_share_a_spool(node):
    with node.running(), pytest.raises(Conflict, match="in use by another process"):
        Spool(node.spool, node.folder / "keys", "node-1")
