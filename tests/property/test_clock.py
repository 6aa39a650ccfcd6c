"""Steps of the wall clock are told, each once; nothing else is. What ended by it does not begin anew."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from readingroom_hub.ledger.clock import LIMIT_MS, Clocks, StepWatch
from readingroom_hub.mount.clock import SteadyClock

MS = 1_000_000
START = Clocks(1_800_000_000_000 * MS, 12_345 * MS)
pauses = st.integers(0, 10**9)
small = st.integers(-(LIMIT_MS * MS // 2) + 1, LIMIT_MS * MS // 2 - 1)
steps = st.integers(LIMIT_MS, 10**12).flatmap(lambda ms: st.sampled_from([ms, -ms]))


@given(st.lists(st.tuples(pauses, small), max_size=30))
def test_time_that_passes_and_a_reading_that_is_off_by_less_than_the_limit_are_no_step(moments):
    watch, boot = StepWatch(START), START.boot
    for pause, off in moments:
        boot += pause * MS
        assert watch.see(Clocks(START.wall + boot - START.boot + off, boot)) is None


@given(st.lists(st.tuples(pauses, st.none() | steps), max_size=30))
def test_each_step_is_told_once_with_its_size(moments):
    watch, offset, boot = StepWatch(START), START.wall - START.boot, START.boot
    for pause, step in moments:
        boot, offset = boot + pause * MS, offset + (step or 0) * MS
        assert watch.see(Clocks(boot + offset, boot)) == step
        assert watch.see(Clocks(boot + offset, boot)) is None


@given(st.integers(1, LIMIT_MS - 1), st.sampled_from([1, -1]))
def test_many_steps_below_the_limit_are_told_together(size, sign):
    watch, offsets = StepWatch(START), [n * size * sign * MS for n in range(1, 3 * LIMIT_MS // size + 2)]
    told = [watch.see(Clocks(START.wall + offset, START.boot)) for offset in offsets]
    seen = [t for t in told if t is not None]
    assert seen
    assert all(LIMIT_MS <= t * sign < LIMIT_MS + size for t in seen)
    assert abs(sum(seen)) > 2 * LIMIT_MS


@given(st.lists(st.tuples(st.integers(0, 10**12), st.integers(-(10**14), 10**14)), max_size=20))
def test_the_steady_clock_never_runs_slower_than_time_and_takes_steps_forward(steps):
    """Each step: how much time passes, and by how much the machine's clock is set then. Nanoseconds."""
    boot, wall = 0, 10**18
    clock = SteadyClock(lambda: wall, lambda: boot)
    before = clock()
    for passes, is_set in steps:
        boot, wall = boot + passes, wall + passes + is_set
        now = clock()
        assert now >= before
        assert now - before >= timedelta(microseconds=passes // 1000 - 2)  # of rounding
        assert now >= datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=wall // 1000 - 2)
        before = now
