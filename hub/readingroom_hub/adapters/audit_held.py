"""Records of a node that are under way: from a caller to the spool, and from there to the repository."""

import json
from dataclasses import dataclass

from readingroom_hub.adapters.audit_spool import Parcel
from readingroom_hub.ledger.seal import to_leaf


@dataclass(slots=True, eq=False)
class Held(Parcel):
    """A parcel under way."""

    end: int = 0
    """The number after its last record's; 0: an earlier process gave them."""
    since: float = 0.0
    """When it was recorded, by the clock that nobody can set (seconds)."""
    wanted: bool = False
    """Whether somebody waits for it to be durable."""
    durable: bool = False
    queued: bool = False
    """Whether it is on its way to the repository already."""
    confirmed: bool = False
    late: bool = False
    """Whether a caller was told no, which may turn out wrong."""

    def to_send(self) -> list[bytes]:
        """Its leaves, which say so where their caller was told no."""
        if not self.late:
            return self.leaves
        rows = [json.loads(leaf) for leaf in self.leaves]
        return [to_leaf(row | {"source": row["source"] | {"late": True}}) for row in rows]
