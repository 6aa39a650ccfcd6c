"""The head of a node's spool, as the node tells it: which of its numbers the repository must get to see.

It is told when the spool has the records and before anybody relies on them, so that whoever cuts the spool's end off
later takes away what is known to have been there."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from readingroom_hub.errors import BadInput

BEAT_SECONDS = 5.0
"""A node that has nothing to hand over is heard this often."""
_FAR = 2**53
"""No whole number from here on is exact in JSON (RFC 8785)."""
_EPOCH = re.compile(r"[0-9a-zA-Z-]{1,64}")


@dataclass(frozen=True, slots=True)
class Head:
    """Numbers are those of the records of this epoch of this process."""

    process: str
    epoch: str
    first: int
    """The repository has confirmed every number before it."""
    next: int
    """Every number before it is durable in the spool, or with the repository."""
    left: int
    """Records of earlier epochs that the repository has not confirmed: with 0, none of those is in the spool."""
    ended: bool = False
    """Whether nothing follows: the process ends as planned."""

    def to_wire(self) -> dict[str, object]:
        """As fields of a request."""
        return {name: getattr(self, name) for name in _KINDS}  # `asdict` takes several times as long


_KINDS = {"process": str, "epoch": str, "first": int, "next": int, "left": int, "ended": bool}


def head_of(row: Mapping[str, Any]) -> Head:
    """Parse `to_wire`. Raises BadInput."""
    for name, kind in _KINDS.items():
        if type(row.get(name)) is not kind:
            raise BadInput(f"the head of a spool has {name} = {row.get(name)!r:.40}: run the same release everywhere")
    head = Head(**{name: row[name] for name in _KINDS})
    in_order = 0 <= head.first <= head.next < _FAR and 0 <= head.left < _FAR
    if not in_order or not _EPOCH.fullmatch(head.epoch) or len(head.process) > 200:
        raise BadInput(f"the head of a spool, {head!r:.200}, cannot be true")
    return head
