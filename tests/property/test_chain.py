"""A sealed chain gives back what was sealed, or says which entry is not."""

import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given, settings
from hypothesis import strategies as st

from readingroom_hub.crypto.chain import HEADER, Chain, open_chain

SECRET, NAME = b"s" * 32, "node-1/3"
entries = st.lists(st.binary(max_size=60), max_size=8)


def sealed(data, secret=SECRET, name=NAME):
    chain = Chain(secret, name)
    return [chain.header, *(chain.seal(d) for d in data)]


@given(entries)
def test_what_was_sealed_comes_back(data):
    opened = open_chain(SECRET, NAME, b"".join(sealed(data)))
    assert (opened.entries, opened.damage) == (data, None)


@given(entries, st.data())
def test_a_file_cut_anywhere_holds_the_whole_entries_before(data, draw):
    parts = sealed(data)
    file = b"".join(parts)
    cut = draw.draw(st.integers(0, len(file)))
    opened = open_chain(SECRET, NAME, file[:cut])
    ends = [sum(map(len, parts[: n + 1])) for n in range(1, len(parts))]
    assert (opened.entries, opened.damage) == (data[: sum(e <= cut for e in ends)], None)
    assert open_chain(SECRET, NAME, file + bytes(9)) == open_chain(SECRET, NAME, file)  # zeros of a crash
    assert open_chain(SECRET, NAME, file[:cut] + bytes(len(file) - cut + 16)) == opened


@settings(max_examples=200)
@given(st.lists(st.binary(max_size=60), min_size=1, max_size=6), st.data())
def test_one_changed_bit_is_never_read_as_data(data, draw):
    file = bytearray(b"".join(sealed(data)))
    file[draw.draw(st.integers(0, len(file) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
    opened = open_chain(SECRET, NAME, bytes(file))
    assert opened.entries == data[: len(opened.entries)]
    assert len(opened.entries) < len(data)


@given(st.lists(st.binary(max_size=60), min_size=2, max_size=6, unique=True), st.data())
def test_entries_cannot_change_places_nor_be_left_out_nor_come_twice(data, draw):
    header, *parts = sealed(data)
    i, j = sorted(draw.draw(st.lists(st.integers(0, len(parts) - 1), min_size=2, max_size=2, unique=True)))
    swapped = parts[:]
    swapped[i], swapped[j] = parts[j], parts[i]
    for forged, good in ((swapped, i), (parts[:i] + parts[i + 1 :], i), (parts[: j + 1] + parts[j:], j + 1)):
        opened = open_chain(SECRET, NAME, header + b"".join(forged))
        assert opened.entries == data[:good]
        assert f"entry {good} was changed" in opened.damage


@pytest.mark.parametrize(("secret", "name"), [(b"t" * 32, NAME), (SECRET, "node-2/3"), (SECRET, "node-1/4")])
def test_another_key_or_name_opens_nothing(secret, name):
    opened = open_chain(secret, name, b"".join(sealed([b"x"])))
    assert opened.entries == []
    assert opened.damage


def test_the_same_data_never_looks_the_same_and_an_entry_of_another_file_does_not_fit():
    one, two = sealed([b"x", b"y"]), sealed([b"x", b"y"])
    assert one[1] != two[1]
    assert open_chain(SECRET, NAME, one[0] + two[1]).damage
    with pytest.raises(InvalidTag):
        Chain(SECRET, NAME, one[0][HEADER - 32 :]).open(two[1])
