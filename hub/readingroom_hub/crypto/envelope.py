"""Sealed objects: C2SP chunked-encryption files (Cobblestone-256: AES-256-GCM, 16 KiB chunks, key commitment).

The context binds data key and part (a SOP Instance UID, or `manifest`), so that a swapped or moved object fails."""

from collections.abc import Callable

from cryptography.cobblestone import Cobblestone256Decryptor, Cobblestone256Encryptor
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import constant_time, hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from readingroom_hub.errors import IntegrityError
from readingroom_hub.model.ids import KeyId

MANIFEST_PART = "manifest"
_CHUNK, _TAG = 16384, 16
_SALT, _COMMITMENT = 24, 32
_HEADER = _SALT + _COMMITMENT
_SEALED_CHUNK = _CHUNK + _TAG
_LABEL = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM\x00"
_FETCH_CHUNKS = 64  # one fetch holds at most 1 MiB of sealed bytes, however much is asked for


def _context(key_id: KeyId, part: str) -> bytes:
    return b"readingroom/1\0" + key_id.encode() + b"\0" + part.encode()


def _damaged(key_id: KeyId, part: str) -> IntegrityError:
    return IntegrityError(
        f"object {part} under data key {key_id} is damaged: changed, cut short, moved, or sealed under another key; "
        "restore it from a backup"
    )


def seal(key: bytes, key_id: KeyId, part: str, data: bytes) -> bytes:
    """`data` sealed under the 32-byte data key, for exactly this key id and part."""
    encryptor = Cobblestone256Encryptor(key, _context(key_id, part))
    return b"".join((encryptor.update(data), encryptor.finalize()))


def open_whole(key: bytes, key_id: KeyId, part: str, sealed: bytes) -> bytes:
    """The plaintext of a whole object. Raises IntegrityError unless it is what was sealed for key id and part."""
    decryptor = Cobblestone256Decryptor(key, _context(key_id, part))
    try:
        return b"".join((decryptor.update(sealed), decryptor.finalize()))
    except InvalidTag as error:
        raise _damaged(key_id, part) from error


def plaintext_size(sealed_size: int) -> int:
    """Bytes of plaintext in an object of `sealed_size` bytes. Raises IntegrityError where no object has that size.

    The last chunk is always short of 16 KiB, and empty where the plaintext fills its chunks."""
    full, last = divmod(sealed_size - _HEADER, _SEALED_CHUNK)
    if full < 0 or last < _TAG:
        raise IntegrityError(f"no sealed object is {sealed_size} bytes long: it was cut short")
    return full * _CHUNK + last - _TAG


def sealed_size(size: int) -> int:
    """Bytes of the sealed object that holds `size` bytes of plaintext."""
    full, rest = divmod(size, _CHUNK)
    return _HEADER + full * _SEALED_CHUNK + rest + _TAG


class ObjectReader:
    """Random access to one sealed object. `fetch(offset, size)` returns sealed bytes; at most about 1 MiB at a time.

    Key commitment and last chunk are checked first, so a wrong key, a moved object and a wrong length fail here;
    every chunk is checked when it is read. All of these raise IntegrityError naming key id and part."""

    def __init__(
        self, key: bytes, key_id: KeyId, part: str, fetch: Callable[[int, int], bytes], sealed_size: int
    ) -> None:
        self._name = key_id, part
        self._fetch = fetch
        self._sealed_size = sealed_size
        try:
            self.size = plaintext_size(sealed_size)
        except IntegrityError as error:
            raise _damaged(*self._name) from error
        header = self._sealed(0, _HEADER)
        info = _LABEL + header[:_SALT] + _context(key_id, part)
        derived = HKDFExpand(hashes.SHA512(), 32 + 12 + _COMMITMENT, info).derive(key)
        if not constant_time.bytes_eq(derived[44:], header[_SALT:]):
            raise _damaged(*self._name)
        self._aead = AESGCM(derived[:32])
        self._nonce = int.from_bytes(derived[32:44])
        self._chunks(self.size // _CHUNK, 1)  # only a last chunk is short: an authentic one proves the length

    def read(self, offset: int, size: int) -> bytes:
        """Plaintext bytes [offset, offset+size), fewer at the end. Raises IntegrityError."""
        end = min(offset + size, self.size)
        if offset >= end:
            return b""
        first, last = offset // _CHUNK, (end - 1) // _CHUNK
        parts: list[bytes] = []
        for start in range(first, last + 1, _FETCH_CHUNKS):
            parts += self._chunks(start, min(_FETCH_CHUNKS, last + 1 - start))
        parts[-1] = parts[-1][: end - last * _CHUNK]
        parts[0] = parts[0][offset - first * _CHUNK :]
        return b"".join(parts)

    def _chunks(self, first: int, count: int) -> list[bytes]:
        start = _HEADER + first * _SEALED_CHUNK
        sealed = memoryview(self._sealed(start, min(count * _SEALED_CHUNK, self._sealed_size - start)))
        try:
            return [
                self._aead.decrypt(
                    (self._nonce ^ (first + i)).to_bytes(12),
                    sealed[i * _SEALED_CHUNK : (i + 1) * _SEALED_CHUNK],
                    None,
                )
                for i in range(count)
            ]
        except InvalidTag as error:
            raise _damaged(*self._name) from error

    def _sealed(self, offset: int, size: int) -> bytes:
        data = self._fetch(offset, size)
        if len(data) != size:
            raise _damaged(*self._name)
        return data
