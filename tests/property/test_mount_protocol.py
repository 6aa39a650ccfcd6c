"""The FUSE layouts: round trips, the sizes of the C header, and what the kernel reads out of a listing."""

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from readingroom_hub.mount import messages as m
from readingroom_hub.mount import protocol as p
from readingroom_hub.mount.tree import Listing, attributes

_RANGES = {"B": (0, 2**8 - 1), "H": (0, 2**16 - 1), "I": (0, 2**32 - 1), "Q": (0, 2**64 - 1)}
_RANGES |= {"i": (-(2**31), 2**31 - 1), "q": (-(2**63), 2**63 - 1)}

LAYOUTS: dict[str, tuple[Any, type, int]] = {
    "fuse_in_header": (p.IN_HEADER, p.InHeader, 40),
    "fuse_out_header": (p.OUT_HEADER, p.OutHeader, 16),
    "fuse_init_in": (p.INIT_IN, p.InitIn, 16),
    "fuse_init_out": (p.INIT_OUT, p.InitOut, 64),
    "fuse_attr": (p.ATTR, p.Attr, 88),
    "fuse_entry_out": (p.ENTRY_HEAD, p.EntryHead, 128 - 88),
    "fuse_attr_out": (p.ATTR_HEAD, p.AttrHead, 104 - 88),
    "fuse_open_in": (p.OPEN_IN, p.OpenIn, 8),
    "fuse_open_out": (p.OPEN_OUT, p.OpenOut, 16),
    "fuse_read_in": (p.READ_IN, p.ReadIn, 40),
    "fuse_release_in": (p.RELEASE_IN, p.ReleaseIn, 24),
    "fuse_kstatfs": (p.KSTATFS, p.Kstatfs, 80),
    "fuse_dirent": (p.DIRENT_HEAD, p.DirentHead, 24),
    "fuse_notify_inval_inode_out": (p.INVAL_INODE_OUT, p.InvalInodeOut, 24),
    "fuse_notify_inval_entry_out": (p.INVAL_ENTRY_HEAD, p.InvalEntryHead, 16),
}
"""Name in fuse.h -> layout, tuple, size that the C compiler gives it (see also the test against the header)."""


def _fields(layout: Any) -> list[str]:
    out: list[str] = []
    number = ""
    for c in layout._struct.format.lstrip("="):
        if c.isdigit():
            number += c
        elif c == "x":
            number = ""
        else:
            out += [c] * int(number or 1)
            number = ""
    return out


@pytest.mark.parametrize("name", LAYOUTS)
@given(data=st.data())
def test_every_layout_comes_back_as_it_went(name: str, data: st.DataObject) -> None:
    layout, kind, size = LAYOUTS[name]
    values = kind(*(data.draw(st.integers(*_RANGES[c])) for c in _fields(layout)))
    packed = layout.pack(*values)
    assert len(packed) == size == layout.size
    assert layout.unpack(b"12" + packed, 2) == values
    with pytest.raises(struct.error):
        layout.unpack(packed[:-1])


@given(st.integers(1, 2**63), st.lists(st.binary(max_size=50), max_size=4), st.integers(1, 133))
def test_a_reply_says_how_long_it_is(unique: int, payload: list[bytes], error: int) -> None:
    good = b"".join(m.reply(unique, payload))
    assert p.OUT_HEADER.unpack(good) == (len(good), 0, unique)
    assert good[p.OUT_HEADER.size :] == b"".join(payload)
    bad = b"".join(m.reply(unique, payload, error))
    assert p.OUT_HEADER.unpack(bad) == (p.OUT_HEADER.size, -error, unique)
    assert len(bad) == p.OUT_HEADER.size


@given(st.integers(0, 2**64 - 1), st.binary(min_size=1, max_size=255))
def test_notifications_have_no_unique_number(ino: int, name: bytes) -> None:
    for message, code in (
        (m.inval_inode(ino), p.FUSE_NOTIFY_INVAL_INODE),
        (m.inval_entry(ino, name), p.FUSE_NOTIFY_INVAL_ENTRY),
    ):
        assert p.OUT_HEADER.unpack(message) == (len(message), code, 0)
    assert m.inval_entry(ino, name).endswith(name + b"\0")


@given(st.lists(st.binary(min_size=1, max_size=255), unique=True, max_size=60), st.integers(300, 5000), st.booleans())
def test_a_listing_read_in_pieces_is_the_listing(names: list[bytes], size: int, plus: bool) -> None:
    """As the kernel does: go on from the `off` of the last entry that it got."""
    size = max(size, 600 if plus else 300)
    entries = [(n, attributes(i, i if i % 2 else None, 0)) for i, n in enumerate(names, 10)]
    listing = Listing(entries)
    found: list[tuple[bytes, int]] = []
    offset = 0
    while data := listing.read(offset, size, plus):
        assert len(data) <= size
        at = 0
        while at < len(data):
            if plus:
                assert p.ATTR.unpack(data, at + p.ENTRY_HEAD.size).ino == p.ENTRY_HEAD.unpack(data, at).nodeid
                at += p.ENTRY_HEAD.size + p.ATTR.size
            head = p.DIRENT_HEAD.unpack(data, at)
            name = data[at + p.DIRENT_HEAD.size :][: head.namelen]
            found.append((name, head.ino))
            offset = head.off
            at += p.DIRENT_HEAD.size + head.namelen + (-head.namelen % 8)
    assert found == [(n, a.ino) for n, a in entries]


def test_flags_are_those_of_both_sides() -> None:
    asked = p.InitIn(7, 45, 131072, int(p.InitFlag.MAX_PAGES | p.InitFlag.ASYNC_READ) | 1 << 16)
    answer = p.INIT_OUT.unpack(m.init_out(asked, 1 << 20, 256, 64))
    assert answer.flags == int(p.InitFlag.MAX_PAGES | p.InitFlag.ASYNC_READ)
    assert (answer.max_readahead, answer.max_pages) == (131072, 256)
