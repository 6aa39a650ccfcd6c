"""The leaf of a record: an envelope that stays for ever, over a salted hash of contents that may be withheld or purged.

The envelope names nobody and nothing: id, time, source, retention class, the salted hash, and three tags. A tag says to
the holder of one project's (person's, study's) key that a record belongs to it, and to everybody else nothing: so one
project can be proven whole without showing another one's contents."""

from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from hmac import digest
from typing import Any, NamedTuple

from readingroom_hub.errors import BadInput
from readingroom_hub.ledger.record import Source, check_time, source_of

LEAF_VERSION = 1
SALT_LENGTH = 16
TAG_LENGTH = 16
_PAYLOAD = b"readingroom-payload/1\0"
_TAG = b"readingroom-tag/1\0"
KINDS = ("person", "project", "study")
"""What the tags stand for, in their order."""
ACCESS, CONTROL = "access", "control"
"""Retention classes. `access` may be purged when its time is over, `control` never."""
_HEX = frozenset("0123456789abcdef")


class Envelope(NamedTuple):
    """A parsed leaf."""

    id: str
    time: str
    retention: str
    payload: str
    source: Source
    tags: tuple[str, ...]


def payload_hash(salt: bytes, record: bytes) -> str:
    """What the envelope says of the contents, hexadecimal. Without the salt, contents cannot be guessed and tried."""
    return sha256(_PAYLOAD + salt + record).hexdigest()


@lru_cache(4096)
def scope_key(secret: bytes, kind: str, value: str) -> bytes:
    """The key to all tags of one person, project or study: 32 bytes, HMAC-SHA-256 under the log's tag secret."""
    return digest(secret, _TAG + kind.encode() + b"\0" + value.encode(), "sha256")


def tag(key: bytes, id: str) -> str:
    """The tag of record `id` under a scope's key (32 bytes), hexadecimal."""
    return sha256(key + id.encode()).hexdigest()[: 2 * TAG_LENGTH]


def scope_values(row: Mapping[str, Any]) -> tuple[str | None, ...]:
    """The person, project and study of a record, in the order of `KINDS`."""
    subject = row.get("subject")
    study = subject.get("study") if isinstance(subject, dict) else None
    return tuple([v if isinstance(v, str) else None for v in (row.get("person"), row.get("project"), study)])


def _is_hex(value: object, length: int) -> bool:
    return type(value) is str and len(value) == length and _HEX.issuperset(value)


def check_envelope(row: Mapping[str, Any]) -> Envelope:
    """Raises BadInput naming the field of a leaf that is missing or of the wrong kind."""
    if row.get("v") != LEAF_VERSION:
        raise BadInput(f"the leaf is of version {row.get('v')!r:.20}, this program knows version {LEAF_VERSION}")
    id, time, retention, payload, tags = (row.get(k) for k in ("id", "time", "class", "payload", "tags"))
    if type(id) is not str or type(time) is not str or retention not in {ACCESS, CONTROL}:
        raise BadInput(f"the leaf's id, time or class is {(id, time, retention)!r:.120}")
    check_time(time)
    if not _is_hex(payload, 64) or type(tags) is not list or len(tags) != len(KINDS):
        raise BadInput("the leaf has no hash of its contents, or not three tags")
    if not all(_is_hex(t, 2 * TAG_LENGTH) for t in tags):
        raise BadInput(f"the leaf's tags are {tags!r:.120}")
    return Envelope(id, time, str(retention), str(payload), source_of(row), tuple(tags))
