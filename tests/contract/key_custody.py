"""What every KeyCustody must do. Give a `custody` fixture, and `reopened`: the same keys, opened anew."""

import dataclasses
import secrets

import pytest

from readingroom_hub.errors import Conflict, IntegrityError, KeyUnavailable
from readingroom_hub.model.ids import KeyId
from readingroom_hub.model.keys import KeyState
from readingroom_hub.ports.custody import KeyCustody


class KeyCustodyContract:
    @pytest.fixture
    def custody(self) -> KeyCustody:
        raise NotImplementedError

    @pytest.fixture
    def reopened(self, custody) -> KeyCustody:
        raise NotImplementedError

    def test_a_wrapped_key_comes_back(self, custody):
        data_key, key_id = secrets.token_bytes(32), KeyId.new()
        wrapped = custody.wrap(key_id, data_key)
        assert wrapped.id == key_id
        assert wrapped.kek == custody.current_kek()
        assert data_key not in wrapped.wrapped
        assert custody.unwrap(wrapped) == data_key

    def test_keys_outlive_the_process(self, custody, reopened):
        data_key = secrets.token_bytes(32)
        wrapped = custody.wrap(KeyId.new(), data_key)
        assert reopened.unwrap(wrapped) == data_key
        assert reopened.derive("deid/x") == custody.derive("deid/x")
        assert reopened.current_kek() == custody.current_kek()

    def test_a_changed_wrapped_key_is_refused(self, custody):
        wrapped = custody.wrap(KeyId.new(), secrets.token_bytes(32))
        for i in range(len(wrapped.wrapped)):
            changed = bytearray(wrapped.wrapped)
            changed[i] ^= 1
            with pytest.raises(IntegrityError):
                custody.unwrap(dataclasses.replace(wrapped, wrapped=bytes(changed)))

    @pytest.mark.parametrize("wrapped_bytes", [b"", b"short", bytes(24)])
    def test_a_cut_wrapped_key_is_refused(self, custody, wrapped_bytes):
        wrapped = custody.wrap(KeyId.new(), secrets.token_bytes(32))
        with pytest.raises(IntegrityError):
            custody.unwrap(dataclasses.replace(wrapped, wrapped=wrapped_bytes))

    def test_a_missing_kek_is_unavailable(self, custody):
        wrapped = custody.wrap(KeyId.new(), secrets.token_bytes(32))
        with pytest.raises(KeyUnavailable, match="nobody-has-it"):
            custody.unwrap(dataclasses.replace(wrapped, kek="nobody-has-it"))

    def test_rotation_wraps_anew_and_unwraps_what_was_wrapped(self, custody, reopened):
        data_key, first = secrets.token_bytes(32), custody.current_kek()
        wrapped = custody.wrap(KeyId.new(), data_key)
        second = custody.rotate()
        assert reopened.current_kek() == second != first
        assert reopened.unwrap(wrapped) == data_key
        assert custody.wrap(wrapped.id, data_key).kek == second
        assert [(k.name, k.state) for k in reopened.keks()] == [
            (first, KeyState.DEACTIVATED),
            (second, KeyState.ACTIVE),
        ]

    def test_what_a_destroyed_kek_wrapped_is_gone_and_the_rest_is_not(self, custody, reopened):
        data_key, secret = secrets.token_bytes(32), custody.derive("deid/a")
        wrapped = custody.wrap(KeyId.new(), data_key)
        custody.rotate()
        kept = custody.wrap(KeyId.new(), data_key)
        for _ in range(2):
            custody.destroy(wrapped.kek)
        for each in (custody, reopened):
            with pytest.raises(KeyUnavailable, match="was destroyed on"):
                each.unwrap(wrapped)
            assert each.unwrap(kept) == data_key
            assert each.derive("deid/a") == secret
        assert [k.state for k in custody.keks()] == [KeyState.DESTROYED, KeyState.ACTIVE]

    def test_the_active_kek_is_not_destroyed(self, custody):
        wrapped = custody.wrap(KeyId.new(), bytes(32))
        with pytest.raises(Conflict, match="is active"):
            custody.destroy(wrapped.kek)
        with pytest.raises(KeyUnavailable, match="nobody-has-it"):
            custody.destroy("nobody-has-it")
        assert custody.unwrap(wrapped) == bytes(32)

    def test_derived_secrets_differ_by_purpose(self, custody):
        a, b = custody.derive("deid/a"), custody.derive("deid/b")
        assert len(a) == len(b) == 32
        assert a != b
        assert a == custody.derive("deid/a")
