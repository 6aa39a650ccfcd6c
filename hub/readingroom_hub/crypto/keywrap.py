"""Key wrapping with AES-KWP (NIST SP 800-38F, RFC 5649)."""

from cryptography.hazmat.primitives import keywrap

from readingroom_hub.errors import IntegrityError


def wrap(kek: bytes, data_key: bytes) -> bytes:
    """`data_key` wrapped under the 32-byte key-encrypting key: 40 bytes for a key of 32."""
    return keywrap.aes_key_wrap_with_padding(kek, data_key)


def unwrap(kek: bytes, wrapped: bytes) -> bytes:
    """The data key. Raises IntegrityError where the wrapped form was changed, or another KEK wrapped it."""
    try:
        return keywrap.aes_key_unwrap_with_padding(kek, wrapped)
    except keywrap.InvalidUnwrap as error:
        raise IntegrityError("the wrapped data key was changed, or another key-encrypting key wrapped it") from error
