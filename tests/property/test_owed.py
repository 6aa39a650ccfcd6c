"""Numbers that are owed, against a set of them."""

from hypothesis import given
from hypothesis import strategies as st

from readingroom_hub.ledger.owed import Owed, spelled

steps = st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=40)


@given(start=st.integers(0, 5), steps=steps)
def test_it_owes_what_was_announced_or_jumped_over_and_has_not_come(start, steps):
    owed, known, came = Owed(end=start), start, set()
    for announces, number in steps:
        if announces:
            owed.announce(number)
            known = max(known, number)
        else:
            owed.came(number)
            known = max(known, number + 1)
            came.add(number)
        wanted = [n for n in range(start, known) if n not in came]
        assert [n for first, end in owed.ranges for n in range(first, end)] == wanted
        assert owed.count == len(wanted)
        assert owed.end == known
        assert all(owed.any_before(n) is (min(wanted, default=n) < n) for n in range(known + 1))
        assert all(a[1] < b[0] for a, b in zip(owed.ranges, owed.ranges[1:], strict=False))  # as few ranges as can be
        again = Owed(owed.ranges)
        assert again.ranges == owed.ranges


def test_an_announcement_without_bound_costs_nothing():
    owed = Owed()
    owed.announce(2**53 - 1)
    owed.came(5)
    assert owed.count == 2**53 - 2
    assert spelled(owed.ranges) == f"0 to 4, 6 to {2**53 - 2}"
    assert spelled([(3, 4)]) == "3"
