"""Audit records: what happened, to what, by whom, with which outcome. Stored as version 1 of `readingroom-audit`.

Fields are only ever appended. Event and outcome values are stored and never renamed; each event carries its DCM code
(PS3.16 CID 400) so that records map to PS3.15 A.5 messages. Identities are not in here: `person` is a commitment.
"""

import contextlib
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple, Self

from readingroom_hub.model.ids import PersonId, ProjectId, SessionId

RECORD_VERSION = 1


class AuditEvent(StrEnum):
    """Event types. The second value is the DCM code of the PS3.15 A.5 message that it maps to."""

    dcm: str

    def __new__(cls, value: str, dcm: str) -> Self:
        """Keep the DCM code beside the stored value."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.dcm = dcm
        return member

    SIGN_IN = "sign-in", "110114"
    SIGN_OUT = "sign-out", "110114"
    SESSION_OPENED = "session-opened", "110113"
    SESSION_CLOSED = "session-closed", "110113"
    READ_INTENT = "read-intent", "110103"
    """Durable upper bound, before the first byte of a series: everything in it may have been read."""
    INSTANCE_OPENED = "instance-opened", "110103"
    """An image that stays open. What was closed again a moment later is in `read-completed` alone."""
    INSTANCE_CLOSED = "instance-closed", "110103"
    """Bytes that left the daemon for one open. In logs of earlier releases only: now `read-completed` says it."""
    READ_COMPLETED = "read-completed", "110103"
    """How opens of one series under one intent ended: the exact sum after the intent's upper bound (see `Close`). The
    last one has `concluded`, the number of all: without it, all that the intent covers may have been read."""
    READ_DENIED = "read-denied", "110113"
    INGEST = "ingest", "110107"
    VERSION_PUBLISHED = "version-published", "110107"
    DATASET_SHARED = "dataset-shared", "110106"
    """Durable before a dataset version leaves for another institution; names the approvers and the recipient."""
    DATASET_RECEIVED = "dataset-received", "110107"
    """Durable before anything of another institution's package is stored."""
    VERSION_DELETED = "version-deleted", "110105"
    """Durable before a dataset version is taken out of the catalogue; names who approved it."""
    CROSSWALK_CHANGED = "crosswalk-changed", "110113"
    """A project's crosswalk is kept from now on, or destroyed; names who approved it."""
    CROSSWALK_LOOKED_UP = "crosswalk-looked-up", "110113"
    """Durable before the patient behind a pseudonym is told; says why. The patient's own number is not in it."""
    PROJECT_CREATED = "project-created", "110113"
    MEMBER_CHANGED = "member-changed", "110113"
    GRANT_ISSUED = "grant-issued", "110113"
    GRANT_REVOKED = "grant-revoked", "110113"
    GRANT_EXPIRED = "grant-expired", "110113"
    KEY_CREATED = "key-created", "110113"
    """Durable before the key of a new home or project folder is kept."""
    KEY_UNWRAPPED = "key-unwrapped", "110113"
    KEY_ROTATED = "key-rotated", "110113"
    KEY_REWRAPPED = "key-rewrapped", "110113"
    KEY_DESTROYED = "key-destroyed", "110113"
    """Durable before a key-encrypting key is destroyed; names who approved it and what becomes unreadable."""
    APPROVAL_ASKED = "approval-asked", "110113"
    """Somebody wants to do what two others must approve; says what it takes away, and why."""
    APPROVAL_GIVEN = "approval-given", "110113"
    APPROVAL_DECLINED = "approval-declined", "110113"
    INTEGRITY_FAILURE = "integrity-failure", "110113"
    CLOCK_STEPPED = "clock-step", "110113"
    """The repository's clock was set; stored before what was handed over after it."""
    SERVICE_STARTED = "service-started", "110100"
    SERVICE_STOPPED = "service-stopped", "110100"
    NODE_CONNECTED = "node-connected", "110113"
    """Another machine hands its records over, and has handed over all that was awaited, or that is known to be lost."""
    NODE_DISCONNECTED = "node-disconnected", "110113"
    """It does not, any more: as planned (success), or without its word; names the numbers that must still come."""
    CONFIGURATION = "configuration", "110113"
    RECORD_SEARCHED = "record-searched", "110101"
    RECORD_REPEATED = "record-repeated", "110113"
    """A second process handed over a record that was stored already; this takes its number, so that none is missing."""
    RECORD_PURGED = "record-purged", "110113"
    """Contents whose time is over are removed; their leaves stay."""
    PERSON_FORGOTTEN = "person-forgotten", "110113"
    """The identity behind a person id was erased; the records stay."""
    ACCESS_ALERT = "access-alert", "110113"
    """A person's day is unlike their others; `person` is whom it is about."""
    ALERT_ACKNOWLEDGED = "alert-acknowledged", "110113"
    ACCESS_SUSPENDED = "access-suspended", "110113"
    """Durable before the hold works; `person` is who is held, `by` who did it (nobody: a rule of the monitor)."""
    ACCESS_RESUMED = "access-resumed", "110113"
    REQUEST_REFUSED = "request-refused", "110113"
    """A page, API call or control message that policy refused."""


class Outcome(StrEnum):
    """How it ended (EventOutcomeIndicator 0, 4, 8)."""

    SUCCESS = "success"
    DENIED = "denied"
    FAILURE = "failure"


_drawn: list[int] = []
"""Random numbers of 80 bits, each for one id. A call to the kernel lets go of the interpreter's lock: one a record had
the threads of a busy process sleep and wake twice as often."""
os.register_at_fork(after_in_child=_drawn.clear)


def _draw() -> int:
    while True:
        with contextlib.suppress(IndexError):  # other threads take, too
            return _drawn.pop()
        block = os.urandom(10 * 256)
        _drawn.extend([int.from_bytes(block[start : start + 10]) for start in range(0, len(block), 10)])


def uuid7() -> str:
    """A time-ordered UUID (RFC 9562 version 7), which Python 3.11 does not make."""
    ms = time.time_ns() // 1_000_000
    bits = ms << 80 | 0x7 << 76 | (_draw() & ~(0xF << 76 | 0x3 << 62)) | 0x2 << 62
    text = f"{bits:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One record before it is stored. `subject` holds only strings, integers, booleans and nested maps or lists of them
    (RFC 8785 needs no float rules then): keys used so far are dataset, version, study, series, instance, instances,
    bytes, grant, intent, path, count, digest, role, closes, concluded."""

    event: AuditEvent
    outcome: Outcome = Outcome.SUCCESS
    person: PersonId | None = None
    project: ProjectId | None = None
    session: SessionId | None = None
    reason: str | None = None
    """A stable code with a sentence, where the outcome is not success."""
    subject: Mapping[str, Any] = field(default_factory=dict)
    claims: Mapping[str, str] = field(default_factory=dict)
    """What the kernel says about itself. Nobody checked it; every view shows it as a claim."""
    time: datetime = field(default_factory=lambda: datetime.now(UTC))
    id: str = field(default_factory=uuid7)

    def to_wire(self) -> dict[str, Any]:
        """The JSON object that is canonicalised, hashed and stored; empty fields are left out."""
        row: dict[str, Any] = {
            "v": RECORD_VERSION,
            "id": self.id,
            "time": self.time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "event": self.event.value,
            "dcm": self.event.dcm,
            "outcome": self.outcome.value,
        }
        optional: dict[str, Any] = {
            "person": self.person,
            "project": self.project,
            "session": self.session,
            "reason": self.reason,
            "subject": dict(self.subject),
            "claims": dict(self.claims),
        }
        return row | {k: v for k, v in optional.items() if v}


class Close(NamedTuple):
    """How one open ended. `read-completed` has a list of these under `closes`, each a list of the four values."""

    instance: str
    """SOP Instance UID."""
    bytes: int
    """Left the daemon."""
    size: int
    """Of the whole file."""
    cached: bool
    """Whether the kernel may have served up to `size` bytes by itself."""


def closes_of(event: str, subject: Mapping[str, Any]) -> list[Close]:
    """What a stored record says of ends: of a `read-completed`, or an `instance-closed` of earlier; else nothing."""
    if event == AuditEvent.READ_COMPLETED:
        return [Close(*close[:4]) for close in subject["closes"]]
    if event == AuditEvent.INSTANCE_CLOSED:
        cached = bool(subject.get("cached"))
        return [Close(subject.get("instance", ""), subject.get("bytes", 0), subject.get("size", 0), cached)]
    return []


@dataclass(frozen=True, slots=True)
class Receipt:
    """Proof that a record is durable: its place in the tree and its leaf hash (RFC 6962 section 2.1)."""

    index: int
    leaf_hash: bytes
