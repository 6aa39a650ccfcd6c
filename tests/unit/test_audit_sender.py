"""How a node's records and the head of its spool go out: on two connections, and which of them is heard when."""

import threading

import pytest

from readingroom_hub.adapters import audit_sender
from readingroom_hub.adapters.audit_held import Held
from readingroom_hub.adapters.audit_sender import Sender


class Line:
    """A connection that writes down what it is given."""

    made: list["Line"]

    def __init__(self, to):
        self.told, self.broken = [], ""
        self.made.append(self)

    def ask(self, head):
        self.told.append(("ask", head.next))

    def say(self, head):
        self.told.append(("say", head.next))

    def hand_over(self, leaves, sent_ms):
        self.told.append(("records", len(leaves)))

    def close(self):
        self.told.append("closed")


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    made = Clock()
    monkeypatch.setattr(audit_sender, "time", made)
    return made


@pytest.fixture
def sender(monkeypatch, clock):
    Line.made = []
    monkeypatch.setattr(audit_sender, "Wire", Line)
    return Sender(None, ("mount-daemon@node-1", "e1"), threading.Condition(), lambda batch: None, lambda: 0)


def hand_over(sender, end):
    held = Held([b"{}"], end=end)
    sender.out.append(held)
    sender._turn([held])


def test_nothing_comes_back_on_the_connection_for_heads(sender):
    sender._turn([])
    sender.tell(3)
    hand_over(sender, 3)
    records, heads = Line.made
    assert records.told == [("ask", 0), ("records", 1)]
    assert heads.told == [("say", 0), ("say", 3)]


def test_a_stream_of_records_that_nobody_waits_for_leaves_no_connection_silent(sender, clock):
    sender._turn([])
    for end in range(1, 13):
        clock.now += 1
        hand_over(sender, end)
    _, heads = Line.made
    assert heads.told == [("say", 0), ("say", 5), ("say", 10)]


def test_where_heads_do_not_get_through_both_connections_are_made_anew(sender):
    sender._turn([])
    Line.made[1].broken = "the network is gone"
    with pytest.raises(ConnectionError, match="the network is gone"):
        hand_over(sender, 1)
    sender._hang_up()
    assert all(line.told[-1] == "closed" for line in Line.made)
    sender.tell(2)  # nobody hears it now
    sender._turn([])
    assert Line.made[3].told == [("say", 2)]
