"""Refusals at the nodes' port, put together: whatever comes, the counts are exact and the records few."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from readingroom_hub.adapters.audit_refusals import MOST, SECONDS, Refusal, Refusals
from readingroom_hub.errors import AuditUnavailable

arrivals = st.lists(st.tuples(st.integers(0, 3 * MOST), st.floats(0, 40), st.booleans()), max_size=300)


@given(arrivals)
def test_every_refusal_is_counted_once_and_a_minute_has_few_records(arrivals):
    now, stored, full = 0.0, [], False

    def record(made):
        if full:
            raise AuditUnavailable("the disk is full")
        stored.append((now, made))

    def store(**how):
        try:
            refusals.store(record, **how)
        except AuditUnavailable:
            assert full

    refusals = Refusals(lambda: now)
    for number, pause, is_full in arrivals:
        now, full = now + pause, is_full
        address = f"10.0.0.{number}"
        refusals.see(Refusal((address,), f"tls-no-tls: {address} spoke no TLS", {"address": address}, f"{number:064x}"))
        store()
    full = False
    before_the_end = list(stored)
    store(all=True)
    assert sum(made.subject["count"] for _, made in stored) == len(arrivals)
    for start, _ in before_the_end:
        within = [made.subject["address"] for at, made in before_the_end if start <= at < start + SECONDS]
        assert len(within) <= 2 * MOST + 1
    told_apart = Counter(address for address in (made.subject["address"] for _, made in stored))
    seen = Counter(f"10.0.0.{number}" for number, _, _ in arrivals)
    assert told_apart.keys() <= seen.keys()
    assert all(len(made.subject["certificates"]) <= 8 for _, made in stored if "certificates" in made.subject)


def test_the_first_is_stored_at_once_and_what_follows_in_a_minute_as_one_sum():
    now, stored = 0.0, []

    def record(made):
        stored.append((now, made.subject["count"], made.reason))

    refusals = Refusals(lambda: now)
    for second in range(200):
        now = float(second)
        refusals.see(Refusal(("10.0.0.1",), "tls-old-tls: 10.0.0.1 offered no TLS 1.3", {"address": "10.0.0.1"}))
        refusals.store(record)
    assert [(at, count) for at, count, _ in stored] == [(0.0, 1), (60.0, 60), (120.0, 60), (180.0, 60)]
    assert stored[1][2] == "tls-old-tls: 10.0.0.1 offered no TLS 1.3; 60 times since the record before"
