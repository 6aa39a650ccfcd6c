"""Who waits for one reply: each is woken by the one before it, and nobody who leaves the line holds up the rest."""

import threading

import pytest

from readingroom_hub.adapters.audit_waiting import Waiter
from readingroom_hub.errors import AuditUnavailable


def lined_up(count, error=None):
    waiters = [Waiter() for _ in range(count)]
    for waiter in waiters:
        waiter.expect()
    assert all(w.answer(error) for w in waiters)
    Waiter.line_up(waiters)
    return waiters


def test_each_wakes_the_next_and_nobody_is_woken_before():
    first, second, third = lined_up(3)
    assert not second.wait(0)
    first.wake()
    assert not third.wait(0)
    assert first.wait(0)
    assert second.wait(0)
    assert third.wait(0)


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_who_leaves_the_line_lets_the_others_go_on(gone):
    waiters = lined_up(4)
    assert waiters[gone].leave()  # it was settled, so its caller may go on
    waiters[0].wake()
    assert all(w.wait(0) for w in waiters if w is not waiters[gone])


def test_who_left_before_the_answer_is_in_no_line():
    waiter = Waiter()
    waiter.expect()
    assert not waiter.leave()
    assert not waiter.answer(None)


def test_who_waits_for_two_parts_is_woken_by_the_last_or_by_the_first_failure():
    patient, failed = Waiter(), Waiter()
    for waiter in (patient, patient, failed, failed):
        waiter.expect()
    assert [patient.answer(None), patient.answer(None)] == [False, True]
    error = AuditUnavailable("no room")
    assert [failed.answer(error), failed.answer(None)] == [True, False]
    assert failed.error is error


def test_many_who_lose_patience_just_then_leave_nobody_behind():
    lock, left = threading.Lock(), []

    def wait(waiter, seconds):
        woken = waiter.wait(seconds)
        if not woken:
            with lock:
                woken = waiter.leave()
        left.append(woken)

    for turn in range(20):
        waiters = [Waiter() for _ in range(16)]
        for waiter in waiters:
            waiter.expect()
        patience = [0.001 * (n * 7 % 5) if n % 3 else 30 for n in range(16)]
        threads = [threading.Thread(target=wait, args=given) for given in zip(waiters, patience, strict=True)]
        for thread in threads:
            thread.start()
        if turn % 2:
            threads[1].join()  # one at least has left
        with lock:
            woken = [w for w in waiters if w.answer(None)]
            Waiter.line_up(woken)
        woken[0].wake()
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()
    assert len(left) == 320
