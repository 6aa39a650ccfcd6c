"""The tree against the reference vectors of RFC 6962's Certificate Transparency implementations."""

import pytest

from readingroom_hub.ledger.merkle import (
    EMPTY_ROOT,
    Frontier,
    inclusion_proof,
    is_consistent,
    is_included,
    leaf_hash,
    root_of,
)

LEAVES = [
    bytes.fromhex(h)
    for h in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


@pytest.mark.parametrize("size", range(1, 9))
def test_reference_roots(size):
    assert root_of([leaf_hash(leaf) for leaf in LEAVES[:size]]).hex() == ROOTS[size - 1]


def test_the_empty_tree():
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert Frontier().root() == EMPTY_ROOT


def test_a_copy_of_the_frontier_leaves_the_original_alone():
    frontier = Frontier()
    frontier.append(leaf_hash(b"a"))
    before = frontier.root()
    frontier.copy().append(leaf_hash(b"b"))
    assert (frontier.size, frontier.root()) == (1, before)


def test_a_place_outside_the_tree_has_no_proof():
    with pytest.raises(IndexError, match="record 2 is not in a tree of 2"):
        inclusion_proof([leaf_hash(b"a"), leaf_hash(b"b")], 2)
    assert not is_included(leaf_hash(b"a"), 2, 2, [], EMPTY_ROOT)
    assert not is_consistent(3, 2, EMPTY_ROOT, EMPTY_ROOT, [])


def test_an_inner_node_does_not_pass_for_a_leaf():
    hashes = [leaf_hash(leaf) for leaf in LEAVES[:2]]
    forged = hashes[0] + hashes[1]
    assert leaf_hash(forged) != root_of(hashes)
