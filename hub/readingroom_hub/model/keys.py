"""Key-encrypting keys (KEKs) and their states, a subset of NIST SP 800-57 Part 1 section 7."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class KeyState(StrEnum):
    """What a KEK may still do."""

    ACTIVE = "active"
    """Wraps and unwraps. Exactly one KEK is active."""
    DEACTIVATED = "deactivated"
    """Unwraps what it wrapped before, and wraps nothing more."""
    DESTROYED = "destroyed"
    """Does nothing any more; its name is kept, so that what it had wrapped is known to be unreadable."""


@dataclass(frozen=True, slots=True)
class Kek:
    """One KEK as its custodian lists it. The key itself never leaves custody."""

    name: str
    state: KeyState
    since: datetime | None
    """When it came into this state; None where an older custodian did not note it."""
    recall_until: datetime | None = None
    """Until when its custodian's administrator can call a destroyed one back; None where nobody can."""


def destroyed(name: str, keks: Iterable[Kek]) -> bool:
    """Whether its custodian says so: silence, or a refusal to unwrap, is no such word."""
    return any(k.name == name and k.state is KeyState.DESTROYED for k in keks)
