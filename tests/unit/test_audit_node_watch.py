"""What the repository makes of what nodes tell: silence, returns, restarts, lies."""

import pytest

from readingroom_hub.adapters.audit_head import Head, head_of
from readingroom_hub.adapters.audit_node_watch import NodeWatch
from readingroom_hub.adapters.audit_nodes import Peer
from readingroom_hub.errors import AuditUnavailable, BadInput, Denied
from readingroom_hub.ledger.record import Source
from readingroom_hub.ports.records import Found, NodeState

MINE = "mount-daemon@node-1"


class Line:
    """A node's connection, as far as the watch needs one."""

    def __init__(self, watch, node):
        self.peer, self._watch = Peer(node, "f"), watch

    def cut(self):
        self._watch.left(self)


class Desk:
    """A repository that stores in a list, with a clock of its own."""

    def __init__(self, *earlier):
        self.now, self.full, self.rows = 0.0, False, []
        self.watch = NodeWatch(self.record, lambda: ["node-1"], lambda: self.now)
        self.recall([row for desk in earlier for row in desk.rows])

    def recall(self, rows):
        found = [Found(i, r, None) for i, r in enumerate(rows)][::-1]
        self.watch.recall(lambda before: [f for f in found if before is None or f.index < before][:2], lambda _: ())

    def record(self, record):
        if self.full:
            raise AuditUnavailable("the disk is full")
        self.rows.append(record.to_wire())

    @property
    def events(self):
        return [row["event"] for row in self.rows]

    def connection(self, node="node-1"):
        return Line(self.watch, node)

    def hear(self, connection, epoch="e1", next=0, first=0, left=0, process=MINE, ended=False):
        self.watch.hear(connection, Head(process, epoch, first, next, left, ended).to_wire())

    def came(self, *numbers, epoch="e1"):
        self.watch.stored(Source(MINE, epoch, n) for n in numbers)

    @property
    def awaited(self):
        return sum(s.awaited for s in self.watch.states())


def test_what_is_announced_is_awaited_until_it_is_stored():
    desk = Desk()
    node = desk.connection()
    desk.hear(node, next=3)
    assert desk.awaited == 3
    desk.came(0, 1)
    desk.hear(node, next=2)  # an older word, overtaken
    assert desk.watch.states() == (NodeState("node-1", 1, None),)
    desk.came(2, 3)  # before its announcement
    desk.hear(node, next=4)
    assert desk.awaited == 0
    assert desk.events == ["node-connected"]


def test_a_short_break_without_debts_leaves_no_record_and_a_long_one_does():
    desk = Desk()
    for seconds in (4.0, 6.0):
        node = desk.connection()
        desk.hear(node)
        node.cut()
        assert desk.watch.states()[0].silent_since is not None
        desk.now += seconds
        desk.watch.watch()
    assert desk.events == ["node-connected", "node-disconnected"]
    assert desk.rows[-1]["outcome"] == "failure"
    desk.watch.watch()
    assert len(desk.rows) == 2


def test_a_machine_without_power_does_not_say_that_it_is_gone():
    desk = Desk()
    desk.hear(desk.connection(), next=2)
    desk.now += 19
    desk.watch.watch()
    assert desk.events == ["node-connected"]
    desk.now += 2
    desk.watch.watch()
    assert desk.events == ["node-connected", "node-disconnected"]
    assert desk.rows[-1]["subject"]["awaited"] == {"e1": [[0, 1]]}


def test_a_node_that_hands_over_without_a_pause_is_heard():
    desk = Desk()
    node = desk.connection()
    desk.hear(node)
    for _ in range(5):
        desk.now += 15
        desk.watch.heard(node)
        desk.watch.watch()
    assert desk.events == ["node-connected"]
    assert desk.watch.states()[0].silent_since is None


def test_only_a_process_that_has_handed_everything_over_tells_what_is_missing():
    desk = Desk()
    node = desk.connection()
    desk.hear(node, next=5)
    desk.came(0, 1, 3)
    node.cut()
    node = desk.connection()
    desk.hear(node, "e2", left=1)
    assert "integrity-failure" not in desk.events
    desk.came(4)
    desk.hear(node, "e2", left=0)
    assert desk.rows[-2]["subject"]["missing"] == {"e1": [[2, 2]]}
    assert desk.events[-2:] == ["integrity-failure", "node-connected"]
    assert desk.watch.missing == {"node-1": 1}
    assert desk.awaited == 0


def test_another_daemon_s_connection_is_not_taken_for_an_end():
    desk = Desk()
    one = desk.connection()
    desk.hear(one, "e1", next=5)
    desk.hear(desk.connection(), "e2")
    assert "integrity-failure" not in desk.events
    one.cut()
    desk.now += 5
    desk.hear(desk.connection(), "e2")
    assert "integrity-failure" in desk.events


def test_what_the_log_could_not_store_is_stored_later():
    desk = Desk()
    node = desk.connection()
    desk.hear(node, next=2)
    node.cut()
    before, desk.full = list(desk.events), True
    desk.hear(desk.connection(), "e2")
    desk.watch.watch()
    assert desk.events == before
    desk.full = False
    desk.watch.watch()
    assert desk.events[-2:] == ["integrity-failure", "node-connected"]


def test_the_next_repository_goes_on_where_this_one_was_stopped():
    first = Desk()
    node = first.connection()
    first.hear(node, next=5)
    first.came(0)
    first.watch.stop()
    node.cut()
    assert first.events == ["node-connected", "node-disconnected"]
    assert first.rows[-1]["reason"].startswith("repository-stops")
    second = Desk(first)
    assert second.awaited == 4
    node = second.connection()
    second.hear(node, next=6, first=1)
    second.came(1, 2, 3, 4)
    second.watch.watch()
    assert second.events == ["node-connected"]
    assert second.awaited == 1  # its own new one
    assert Desk(first, second).awaited == 0
    third = Desk(first)
    third.hear(third.connection(), "e2")
    assert third.rows[0]["subject"]["missing"] == {"e1": [[1, 4]]}


def test_a_repository_that_was_killed_learns_from_the_node_what_it_has():
    desk = Desk()
    desk.hear(desk.connection(), first=90, next=100)
    assert desk.awaited == 10


def test_a_node_is_not_believed_when_it_speaks_of_others():
    desk = Desk()
    forged = {"event": "node-disconnected", "outcome": "failure", "time": "2027-01-01T00:00:00Z", "node": {"name": "x"}}
    forged["subject"] = {"service": MINE, "node": "node-1", "awaited": {"e1": [[0, 9]]}}
    desk.recall([forged])
    assert desk.awaited == 0
    with pytest.raises(Denied, match="and not of node-2"):
        desk.hear(desk.connection("node-2"))


def test_one_connection_speaks_for_one_process():
    desk = Desk()
    node = desk.connection()
    desk.hear(node)
    for process, epoch in ((MINE, "e2"), ("other@node-1", "e1")):
        with pytest.raises(BadInput, match="one connection speaks for"):
            desk.hear(node, epoch, process=process)
    for n in range(15):
        desk.hear(desk.connection(), process=f"p{n}@node-1")
    with pytest.raises(BadInput, match="more than 16 kinds"):
        desk.hear(desk.connection(), process="p16@node-1")


def test_a_listed_node_that_nobody_heard_yet_is_said_to_be_silent():
    desk = Desk()
    (state,) = desk.watch.states()
    assert state.silent_since is not None
    node = desk.connection()
    desk.hear(node, ended=True)
    node.cut()
    assert desk.watch.states() == (NodeState("node-1", 0, None),)
    assert Desk(desk).watch.states() == (NodeState("node-1", 0, None),)


@pytest.mark.parametrize(
    "wrong",
    [{"next": -1}, {"first": 3}, {"next": 2**53}, {"left": "0"}, {"epoch": "é"}, {"epoch": ""}, {"ended": 1}],
    ids=str,
)
def test_a_head_that_cannot_be_true_is_refused(wrong):
    with pytest.raises(BadInput, match="the head of a spool"):
        head_of(Head(MINE, "e1", 0, 2, 0).to_wire() | wrong)
