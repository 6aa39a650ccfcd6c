"""A data key sealed for another institution: HPKE (RFC 9180), base mode, one message a key.

The suite is KEM 0x647A, HKDF-SHA256, AES-256-GCM. The KEM is the hybrid of ML-KEM-768 and X25519 that was published as
X-Wing (draft-connolly-cfrg-xwing-kem) and is MLKEM768-X25519 in draft-ietf-hpke-pq and in section 4.2 of
draft-irtf-cfrg-concrete-hybrid-kems: who breaks one of the two alone opens nothing. Key forms are those of the drafts:
a seed of 32 bytes for the private key, 1184 bytes of ML-KEM and then 32 of X25519 for the public one."""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from readingroom_hub.errors import BadInput, IntegrityError

SUITE = "MLKEM768-X25519, HKDF-SHA256, AES-256-GCM"
_MLKEM_PUBLIC = 1184
_MLKEM_SEED, _X25519 = 64, 32
_SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def _private(seed: bytes) -> tuple[MLKEM768PrivateKey, X25519PrivateKey]:
    """Both halves from the 32-byte seed (`expandDecapsulationKey` of the X-Wing draft, section 5.2)."""
    shake = hashes.Hash(hashes.SHAKE256(_MLKEM_SEED + _X25519))
    shake.update(seed)
    expanded = shake.finalize()
    mlkem = MLKEM768PrivateKey.from_seed_bytes(expanded[:_MLKEM_SEED])
    return mlkem, X25519PrivateKey.from_private_bytes(expanded[_MLKEM_SEED:])


def public_of(seed: bytes) -> bytes:
    """The public key of a 32-byte seed."""
    mlkem, x25519 = _private(seed)
    return mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()


def check_public(public: bytes) -> None:
    """Raises BadInput where `public` is no public key of this suite."""
    _public(public)


def seal(public: bytes, secret: bytes, info: bytes) -> bytes:
    """Encapsulated key and ciphertext of `secret`, which only the holder of the seed opens, and with `info` only.

    Raises BadInput for what is no public key."""
    return _SUITE.encrypt(secret, _public(public), info)


def open_sealed(seed: bytes, sealed: bytes, info: bytes) -> bytes:
    """What was sealed. Raises IntegrityError where anything differs: the key, a byte, or `info`."""
    try:
        return _SUITE.decrypt(sealed, MLKEM768X25519PrivateKey(*_private(seed)), info)
    except (InvalidTag, ValueError) as error:
        raise IntegrityError("the sealed data key was changed, or was sealed for another key") from error


def _public(public: bytes) -> MLKEM768X25519PublicKey:
    try:
        mlkem = MLKEM768PublicKey.from_public_bytes(public[:_MLKEM_PUBLIC])
        return MLKEM768X25519PublicKey(mlkem, X25519PublicKey.from_public_bytes(public[_MLKEM_PUBLIC:]))
    except ValueError as error:
        raise BadInput(f"{len(public)} bytes are no public key of {SUITE}") from error
