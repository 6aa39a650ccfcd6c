"""Consistent replacement of UIDs (PS3.15 E.1.1 action U): keyed, one-to-one, below 2.25 (PS3.5 B.2)."""

import hashlib
import hmac
import uuid

from pydicom._uid_dict import UID_dictionary

# PS3.6 Table A-3: context groups, of which pydicom's dictionary lists none.
_STANDARD_PREFIX = "1.2.840.10008.6.1."


def is_standard(uid: str) -> bool:
    """Whether PS3.6 defines it (SOP class, transfer syntax, well-known frame of reference, context group)."""
    return uid in UID_dictionary or uid.startswith(_STANDARD_PREFIX)


class UIDMap:
    """The same UID gives the same new UID under one key. Under another key nothing links the two."""

    def __init__(self, secret: bytes) -> None:
        self._key = hmac.new(secret, b"uid", hashlib.sha256).digest()
        self._known: dict[str, str] = {}

    def __call__(self, uid: str) -> str:
        """The replacement; standard UIDs and empty values stay. Any text gives a valid UID."""
        uid = uid.strip(" \0")
        if not uid or is_standard(uid):
            return uid
        found = self._known.get(uid)
        if found is None:
            digest = bytearray(hmac.digest(self._key, uid.encode(errors="surrogateescape"), "sha256")[:16])
            digest[6] = digest[6] & 0x0F | 0x80  # version 8, variant RFC 9562
            digest[8] = digest[8] & 0x3F | 0x80
            if len(self._known) >= 100_000:
                self._known.clear()
            found = self._known[uid] = f"2.25.{uuid.UUID(bytes=bytes(digest)).int}"
        return found
