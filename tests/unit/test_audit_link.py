"""Posted records travel together; whoever waits for a reply takes everything before it along at once."""

import json
import queue
import socket
import threading
from pathlib import Path

import pytest

from readingroom_hub.adapters import audit_link
from readingroom_hub.adapters.audit_link import Group, Link
from readingroom_hub.adapters.audit_waiting import Waiter
from readingroom_hub.adapters.audit_wire import Frames

HOUR = 3600.0


class Peer:
    """The other end of one link: it only listens, so that no reply sets anything off."""

    def __init__(self, folder: Path) -> None:
        self.ended = threading.Event()
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(folder / "s"))
            server.listen()
            self.link = Link(folder / "s", 10, lambda _groups, _reply: None, lambda _link, _error: self.ended.set())
            self.socket, _ = server.accept()
        self.socket.settimeout(10)
        self._frames = Frames()
        self._read: list[dict] = []

    def frame(self) -> dict:
        """The next message."""
        while not self._read:
            self._read += self._frames.feed(self.socket.recv(1 << 18))
        return self._read.pop(0)

    def records(self) -> list[int]:
        """The numbers in the next message."""
        return [r["n"] for r in self.frame()["records"]]

    def post(self, n: int) -> None:
        self.link.send(Group([json.dumps({"n": n}).encode()]))


@pytest.fixture
def peer(tmp_path):
    peer = Peer(tmp_path)
    yield peer
    peer.link.close()
    assert peer.ended.wait(10)
    peer.socket.close()


@pytest.fixture
def patient(monkeypatch):
    """Posts wait for longer than this test runs."""
    monkeypatch.setattr(audit_link, "_GATHER_SECONDS", HOUR)


def test_an_append_takes_along_in_one_frame_what_was_posted_before_it(patient, peer):
    for n in range(5):
        peer.post(n)
    peer.link.send(Group([b'{"n":5}'], [Waiter()]), wake=False)
    peer.link.pump()
    assert peer.records() == list(range(6))


def test_a_call_does_not_overtake_what_was_posted_before_it(patient, peer):
    peer.post(0)
    peer.link.call("status", {}, queue.SimpleQueue())
    assert peer.records() == [0]
    assert peer.frame()["op"] == "status"


def test_many_posts_wait_for_nobody(patient, peer):
    for n in range(audit_link._GATHER_GROUPS):
        peer.post(n)
    assert peer.records() == list(range(audit_link._GATHER_GROUPS))


def test_one_post_alone_is_sent_too(peer):
    peer.post(0)
    assert peer.records() == [0]
