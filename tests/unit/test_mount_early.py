"""Decrypting the next image of a series early: when it happens, who gets it, and when it is forgotten."""

import threading

import pytest
from tests.support.mount_process import soon

from readingroom_hub.errors import IntegrityError
from readingroom_hub.mount import early as module
from readingroom_hub.mount.budget import Budget, Memory
from readingroom_hub.mount.early import Early

SERIES = "sha256:" + "a" * 64


class Room:
    """A series of images whose plaintext is their number; `slow` holds the early thread up."""

    def __init__(self, count=10):
        self.memory = Memory()
        self.left = []
        self.early = Early(Budget(self.memory), lambda: self.left.append(threading.get_ident()))
        self.count, self.made = count, []
        self.begun, self.may_go_on = threading.Event(), threading.Event()
        self.may_go_on.set()
        self.fails = None

    def make(self, place):
        def make():
            if threading.current_thread() is not threading.main_thread():
                self.begun.set()
                assert self.may_go_on.wait(20)
                if self.fails:
                    raise self.fails
            self.made.append((place, threading.current_thread() is threading.main_thread()))
            return b"%d" % place

        return make

    def read(self, place, close=True):
        following = lambda: ((SERIES, place + 1), self.make(place + 1)) if place + 1 < self.count else None  # noqa: E731
        data = self.early.open((SERIES, place), self.make(place), following)
        if close:
            self.early.closed()
        return data

    def begin(self):
        """So far nothing is expected."""
        self.read(0)
        self.read(1)

    @property
    def early_ones(self):
        return [place for place, by_reader in self.made if not by_reader]


@pytest.fixture
def room(monkeypatch):
    monkeypatch.setattr(module, "PAUSE", 0.0)
    made = Room()
    yield made
    made.may_go_on.set()
    made.early.end()


def test_who_reads_in_order_finds_the_next_image_decrypted_already(room):
    for place in range(room.count):
        assert room.read(place) == b"%d" % place
        soon(lambda: room.early._making is None)
    assert room.early_ones == list(range(3, room.count))
    assert [place for place, _ in room.made] == list(range(room.count)), "each is decrypted once"
    assert (room.memory.total, room.early.held) == (0, 0)


@pytest.mark.parametrize(
    "order",
    [[5, 4, 3, 2], [0, 2, 4, 6], [4, 4, 4, 4], [1, 2, 0, 1, 5, 6]],
    ids=["back", "every other", "the same", "pairs"],
)
def test_who_does_not_is_not_guessed_at(room, order):
    for place in order:
        room.read(place)
    assert room.early_ones == []
    assert room.early._thread is None


def test_who_goes_on_at_once_shares_nobody_s_work(room, monkeypatch):
    monkeypatch.setattr(module, "PAUSE", 3600.0)
    for place in range(room.count):
        room.read(place)
    assert room.early._thread is None


def test_who_comes_while_it_is_decrypted_waits_and_leaves_the_door(room):
    room.begin()
    room.may_go_on.clear()
    room.read(2)
    reader = threading.Thread(target=lambda: room.read(3))
    reader.start()
    soon(lambda: room.left == [reader.ident])
    room.may_go_on.set()
    reader.join(20)
    assert room.made[3] == (3, False)
    assert (3, True) not in room.made


def test_what_is_being_decrypted_when_access_ends_is_forgotten(room):
    room.begin()
    room.may_go_on.clear()
    room.read(2)
    assert room.begun.wait(20)
    room.early.drop()
    room.may_go_on.set()
    soon(lambda: room.early_ones == [3])
    assert room.read(3) == b"3"
    assert (3, True) in room.made, "the reader's own, by its own key"
    assert room.early.held == 0


def test_what_nobody_asks_for_is_counted_and_forgotten(room, monkeypatch):
    room.begin()
    room.read(2)
    soon(lambda: room.memory.total == 1)
    room.early.tidy()
    assert room.early.held == 1
    monkeypatch.setattr(module, "KEPT", -1.0)
    room.early.tidy()
    assert (room.early.held, room.memory.total) == (0, 0)


def test_what_fails_early_fails_again_for_who_opens_it(room):
    room.fails = IntegrityError("damaged")
    room.begin()
    room.read(2)
    soon(lambda: room.early._making is None)
    room.fails = None
    assert room.read(3) == b"3"
    assert (3, True) in room.made


def test_nothing_is_decrypted_after_the_end_of_a_series_or_a_session(room):
    room.read(7)
    room.read(8)
    room.read(9)
    assert room.early._thread is None
    room.early.end()
    room.begin()
    room.read(2)
    assert room.early_ones == []
