"""Canonical leaves, tree and proofs against independent definitions."""

import json
from hashlib import sha256

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from readingroom_hub.errors import BadInput
from readingroom_hub.ledger.canonical import MAX_LEAF, canonical, from_leaf
from readingroom_hub.ledger.leaf import scope_key
from readingroom_hub.ledger.leaf import tag as scope_tag
from readingroom_hub.ledger.merkle import (
    Nodes,
    consistency_path,
    consistency_proof,
    inclusion_path,
    inclusion_proof,
    is_consistent,
    is_included,
    leaf_hash,
    root_of,
)
from readingroom_hub.ledger.note import Checkpoint
from readingroom_hub.ledger.seal import Sealer, to_leaf
from readingroom_hub.model.audit import Outcome
from readingroom_hub.model.ids import PersonId

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
keys = st.text(st.characters(max_codepoint=127), max_size=8)
values = st.recursive(
    texts | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(keys, values, max_size=6))
def test_a_leaf_is_what_rfc8785_makes_of_it_and_comes_back(row):
    leaf = to_leaf(row)
    assert leaf == rfc8785.dumps(row) == canonical(row)
    assert from_leaf(leaf) == row


def test_every_character_and_kinds_of_text_are_encoded_alike():
    every = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x10FFFF, 7)]))
    for text in (every[start : start + 5000] for start in range(0, len(every), 5000)):
        row = {"a": text, text[:128] if text.isascii() else "b": PersonId("p-" + "0" * 64), "c": Outcome.DENIED}
        assert to_leaf(row) == canonical(row) == rfc8785.dumps(json.loads(canonical(row)))


def test_records_sealed_together_share_no_salt_and_no_tag_that_stands_for_nothing():
    rows = [
        {"id": f"{n}", "time": "2026-01-01T00:00:00Z", "event": "sign-in", "source": {"seq": n}} | known
        for n, known in enumerate([{}, {"project": "lung"}, {}])
    ]
    random = b"".join(bytes([n]) * 16 for n in range(12))
    asked: list[int] = []
    sealer = Sealer(b"s" * 32, lambda length: asked.append(length) or random[:length])
    sealed = sealer.seal_all(rows)
    assert asked == [len(random)]
    tags = [tag for one in sealed for tag in from_leaf(one.leaf)["tags"]]
    (meant,) = {scope_tag(scope_key(b"s" * 32, "project", "lung"), "1")} & set(tags)
    drawn = [one.salt.hex() for one in sealed] + [tag for tag in tags if tag != meant]
    assert len(drawn) == len(set(drawn)) == 11
    assert {bytes.fromhex(text)[:1] * 16 for text in drawn} == {bytes.fromhex(text) for text in drawn}
    places = iter(range(0, 192, 64))
    one_by_one = Sealer(b"s" * 32, lambda length: (start := next(places), random[start : start + length])[1])
    assert [one_by_one.seal(row) for row in rows] == sealed


@given(st.dictionaries(keys, values, min_size=1, max_size=6), st.sampled_from([" ", "\n"]))
def test_another_spelling_of_a_leaf_is_refused(row, space):
    with pytest.raises(BadInput):
        from_leaf(to_leaf(row) + space.encode())
    with pytest.raises(BadInput):
        from_leaf(json.dumps(row, separators=(", ", ":"), indent=1).encode())


@pytest.mark.parametrize(
    "bad",
    [1.5, None, 2**53, b"x", {"ä": 1}, {1: 2}, {"a": [float("nan")]}, "\ud800", "x" * MAX_LEAF, {"a": {"b": None}}],
)
def test_what_a_leaf_cannot_hold_is_refused(bad):
    with pytest.raises(BadInput):
        to_leaf({"subject": bad})


def test_nesting_has_an_end():
    deep: dict[str, object] = {}
    for _ in range(20):
        deep = {"a": deep}
    with pytest.raises(BadInput, match="nested too deep"):
        to_leaf(deep)


@pytest.mark.parametrize(
    "leaf", [b"", b"[]", b'{"a":1,"a":1}', b'{"b":1,"a":1}', b'{"a":1.0}', b"\xff", b"[" * 100_000]
)
def test_a_leaf_is_read_strictly(leaf):
    with pytest.raises(BadInput):
        from_leaf(leaf)


def mth(leaves):
    """RFC 6962 section 2.1, word for word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\0" + leaves[0]).digest()
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return sha256(b"\1" + mth(leaves[:k]) + mth(leaves[k:])).digest()


trees = st.integers(0, 70).map(lambda n: [bytes([i]) for i in range(n)])


@given(trees)
def test_the_root_is_the_recursive_definition(leaves):
    assert root_of([leaf_hash(leaf) for leaf in leaves]) == mth(leaves)


@given(st.integers(1, 70), st.data())
def test_inclusion_is_proven_for_the_right_leaf_only(size, data):
    hashes = [leaf_hash(bytes([i])) for i in range(size)]
    index = data.draw(st.integers(0, size - 1))
    proof, root = inclusion_proof(hashes, index), root_of(hashes)
    assert is_included(hashes[index], index, size, proof, root)
    assert not is_included(leaf_hash(b"other"), index, size, proof, root)
    assert not is_included(hashes[index], index, size, [*proof, root], root)
    assert not is_included(hashes[index], index, size, proof, sha256(root).digest())
    other = data.draw(st.integers(0, size - 1))
    assert is_included(hashes[index], other, size, proof, root) == (other == index)
    for place in range(len(proof)):
        changed = [sha256(h).digest() if i == place else h for i, h in enumerate(proof)]
        assert not is_included(hashes[index], index, size, changed, root)


@given(st.integers(0, 70), st.data())
def test_consistency_is_proven_for_the_right_past_only(size, data):
    hashes = [leaf_hash(bytes([i])) for i in range(size)]
    old = data.draw(st.integers(0, size))
    proof, root, past = consistency_proof(hashes, old), root_of(hashes), root_of(hashes[:old])
    assert is_consistent(old, size, past, root, proof)
    assert not is_consistent(old, size, sha256(past).digest(), root, proof)
    assert not is_consistent(old, size, past, root, [*proof, root])
    for place in range(len(proof)):
        changed = [sha256(h).digest() if i == place else h for i, h in enumerate(proof)]
        assert not is_consistent(old, size, past, root, changed)


@given(st.from_regex(r"[a-z./-]{1,40}", fullmatch=True), st.integers(0, 2**63), st.binary(min_size=32, max_size=32))
def test_a_checkpoint_comes_back(origin, size, root):
    state = Checkpoint(origin, size, root)
    assert Checkpoint.parse(state.body()) == state


@given(st.integers(1, 1300), st.data())
@settings(max_examples=40, deadline=None)
def test_kept_subtrees_give_the_same_proofs_and_read_few_leaves(size, data):
    hashes = [leaf_hash(n.to_bytes(4, "big")) for n in range(size)]
    nodes, read = Nodes(), []
    kept = data.draw(st.integers(0, size // Nodes.LEAVES))
    for n in range(kept):
        nodes.append(hashes[n * Nodes.LEAVES : (n + 1) * Nodes.LEAVES])

    def root(start, end):
        def some(a, b):
            read.extend(range(a, b))
            return hashes[a:b]

        return nodes.root(start, end, some)

    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size))
    assert inclusion_path(root, index, size) == inclusion_proof(hashes, index)
    assert consistency_path(root, old, size) == consistency_proof(hashes, old)
    read.clear()
    assert root(0, size) == root_of(hashes)
    assert read == list(range(kept * Nodes.LEAVES, size))
    with pytest.raises(IndexError):
        nodes.append(hashes[:255])
