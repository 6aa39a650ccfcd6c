import pytest
from cryptography.cobblestone import Cobblestone256Decryptor
from hypothesis import given
from hypothesis import strategies as st

from readingroom_hub.crypto import keywrap
from readingroom_hub.crypto.envelope import ObjectReader, open_whole, plaintext_size, seal
from readingroom_hub.errors import IntegrityError
from readingroom_hub.model.ids import KeyId

KEY, KEY_ID, PART = bytes(range(32)), KeyId("k-" + "0" * 24), "1.2.3"
CHUNK = 16384

edges = st.sampled_from([0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 64 * CHUNK, 65 * CHUNK + 7, 130 * CHUNK])
sizes = edges | st.integers(0, 5 * CHUNK)


def plaintext(size):
    return bytes((i * 7 + i // 251) % 256 for i in range(256)) * (size // 256) + bytes(size % 256)


def reader(sealed, key=KEY, key_id=KEY_ID, part=PART):
    return ObjectReader(key, key_id, part, lambda offset, size: sealed[offset : offset + size], len(sealed))


@given(sizes)
def test_a_sealed_object_opens_whole_and_for_everybody_else(size):
    data = plaintext(size)
    sealed = seal(KEY, KEY_ID, PART, data)
    assert plaintext_size(len(sealed)) == size
    assert open_whole(KEY, KEY_ID, PART, sealed) == data
    other = Cobblestone256Decryptor(KEY, b"readingroom/1\0" + KEY_ID.encode() + b"\0" + PART.encode())
    assert other.update(sealed) + other.finalize() == data


@given(sizes, st.data())
def test_random_access_agrees_with_the_whole(size, data):
    plain = plaintext(size)
    r = reader(seal(KEY, KEY_ID, PART, plain))
    assert r.size == size
    offset = data.draw(st.integers(0, size + 5))
    length = data.draw(st.integers(0, size + 5))
    assert r.read(offset, length) == plain[offset : offset + length]
    assert r.read(0, size) == plain


def test_one_fetch_holds_about_a_mebibyte():
    plain = plaintext(200 * CHUNK)
    sealed, asked = seal(KEY, KEY_ID, PART, plain), []

    def fetch(offset, size):
        asked.append(size)
        return sealed[offset : offset + size]

    r = ObjectReader(KEY, KEY_ID, PART, fetch, len(sealed))
    assert r.read(5, 199 * CHUNK) == plain[5 : 5 + 199 * CHUNK]
    assert max(asked) <= 64 * (CHUNK + 16)
    asked.clear()
    r.read(100 * CHUNK + 3, 10)
    assert asked == [CHUNK + 16]


@given(sizes.filter(lambda n: n < 6 * CHUNK), st.data())
def test_any_flipped_bit_is_found(size, data):
    sealed = bytearray(seal(KEY, KEY_ID, PART, plaintext(size)))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(IntegrityError, match=f"{PART}.*{KEY_ID}"):
        open_whole(KEY, KEY_ID, PART, bytes(sealed))
    with pytest.raises(IntegrityError, match=f"{PART}.*{KEY_ID}"):
        reader(bytes(sealed)).read(0, size)


@given(sizes.filter(lambda n: n < 6 * CHUNK), st.data())
def test_a_cut_object_fails_before_anything_is_read(size, data):
    sealed = seal(KEY, KEY_ID, PART, plaintext(size))
    cut = sealed[: data.draw(st.integers(0, len(sealed) - 1))]
    with pytest.raises(IntegrityError):
        open_whole(KEY, KEY_ID, PART, cut)
    with pytest.raises(IntegrityError):
        reader(cut)


def test_swapped_chunks_are_found():
    sealed, n = seal(KEY, KEY_ID, PART, plaintext(3 * CHUNK + 9)), CHUNK + 16
    swapped = sealed[:56] + sealed[56 + n : 56 + 2 * n] + sealed[56 : 56 + n] + sealed[56 + 2 * n :]
    with pytest.raises(IntegrityError):
        reader(swapped).read(0, 1)
    with pytest.raises(IntegrityError):
        open_whole(KEY, KEY_ID, PART, swapped)


@pytest.mark.parametrize(
    "wrong", [{"key": bytes(32)}, {"key_id": KeyId("k-" + "1" * 24)}, {"part": "1.2.4"}, {"part": ""}]
)
def test_another_key_or_place_fails(wrong):
    sealed = seal(KEY, KEY_ID, PART, b"x" * 100)
    right = {"key": KEY, "key_id": KEY_ID, "part": PART}
    with pytest.raises(IntegrityError):
        reader(sealed, **wrong)
    with pytest.raises(IntegrityError):
        open_whole(**(right | wrong), sealed=sealed)


@pytest.mark.parametrize("size", [-1, 0, 55, 56, 71, 56 + CHUNK + 16, 56 + CHUNK + 31])
def test_a_length_that_no_object_has_is_refused(size):
    with pytest.raises(IntegrityError, match=str(size)):
        plaintext_size(size)


def test_a_store_that_returns_too_little_fails():
    sealed = seal(KEY, KEY_ID, PART, plaintext(2 * CHUNK))
    with pytest.raises(IntegrityError):
        ObjectReader(KEY, KEY_ID, PART, lambda o, n: sealed[o : o + n - 1], len(sealed))


def test_rfc_5649_vectors():
    """RFC 5649 section 6."""
    kek = bytes.fromhex("5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8")
    for key, wrapped in [
        (
            "c37b7e6492584340bed12207808941155068f738",
            "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a",
        ),
        ("466f7250617369", "afbeb0f07dfbf5419200f2ccb50bb24f"),
    ]:
        assert keywrap.wrap(kek, bytes.fromhex(key)).hex() == wrapped
        assert keywrap.unwrap(kek, bytes.fromhex(wrapped)).hex() == key


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_a_wrapped_key_opens_under_its_kek_only(kek, key):
    wrapped = keywrap.wrap(kek, key)
    assert keywrap.unwrap(kek, wrapped) == key
    with pytest.raises(IntegrityError):
        keywrap.unwrap(bytes(b ^ 1 for b in kek), wrapped)
