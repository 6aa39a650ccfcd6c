import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.planted import holds

PLANTED = b"planted-1b2c3d4e"
MIB = 1 << 20


@given(places=st.lists(st.integers(0, 3 * MIB), max_size=3), size=st.sampled_from([0, MIB, 4 * MIB]))
def test_what_was_planted_is_found_wherever_it_lies(tmp_path_factory, places, size):
    path = tmp_path_factory.mktemp("disk") / "image"
    with path.open("wb") as file:
        for place in places:
            file.seek(place)
            file.write(PLANTED)
        file.truncate(max(size, file.tell()))
    assert holds(path, PLANTED) == (PLANTED in path.read_bytes())


@pytest.mark.parametrize("place", [MIB - 8, MIB, 2 * MIB - 1])
def test_what_lies_across_two_pieces_is_found(tmp_path, place):
    path = tmp_path / "image"
    path.write_bytes(os.urandom(place) + PLANTED + os.urandom(MIB))
    assert holds(path, PLANTED)
    assert not holds(path, PLANTED[::-1])
