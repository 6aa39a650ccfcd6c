import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from readingroom_hub.crypto import hpke
from readingroom_hub.errors import BadInput, IntegrityError

SEED = bytes(range(32))
PUBLIC = hpke.public_of(SEED)


def test_keys_are_those_of_the_published_vector():
    # The first vector of draft-connolly-cfrg-xwing-kem, appendix C: 32-byte seed, 1216-byte public key.
    seed = bytes.fromhex("7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26")
    public = hpke.public_of(seed)
    assert public.hex().startswith("e2236b35a8c24b39b10aa1323a96a919a2ced88400633a7b07131713fc14b2b5b19cfc3d")
    assert public.hex().endswith("859edb06eff389b27dce59844570216223593d4ba32d9abac8cd049040ef6534")
    assert (len(public), hashlib.sha256(public).hexdigest()[:16]) == (1216, "2e816deebcd76c5c")


@given(st.binary(max_size=64), st.binary(max_size=200))
@settings(max_examples=25, deadline=None)
def test_what_is_sealed_opens_for_its_key_and_info(secret, info):
    sealed = hpke.seal(PUBLIC, secret, info)
    assert len(sealed) == 1120 + len(secret) + 16
    assert hpke.open_sealed(SEED, sealed, info) == secret
    assert hpke.seal(PUBLIC, secret, info) != sealed


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_anything_else_does_not_open(data):
    sealed = hpke.seal(PUBLIC, b"k" * 32, b"info")
    place, bit = data.draw(st.integers(0, len(sealed) - 1)), 1 << data.draw(st.integers(0, 7))
    changed = sealed[:place] + bytes([sealed[place] ^ bit]) + sealed[place + 1 :]
    for seed, text, info in (
        (SEED, changed, b"info"),
        (SEED, sealed, b"inf0"),
        (SEED[::-1], sealed, b"info"),
        (SEED, sealed[:place], b"info"),
        (SEED, sealed + b"\0", b"info"),
    ):
        with pytest.raises(IntegrityError):
            hpke.open_sealed(seed, text, info)


@pytest.mark.parametrize(
    "public", [b"", PUBLIC[:-1], PUBLIC + b"\0", b"\xff" * 1216], ids=["none", "short", "long", "odd"]
)
def test_what_is_no_public_key_is_refused(public):
    with pytest.raises(BadInput):
        hpke.check_public(public)
