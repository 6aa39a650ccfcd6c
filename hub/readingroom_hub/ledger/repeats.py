"""Records that a second process hands over: their numbers must not be missing, and nothing is stored twice."""

import uuid
from collections.abc import Iterable, Mapping

from readingroom_hub.ledger.canonical import from_leaf
from readingroom_hub.ledger.leaf import check_envelope
from readingroom_hub.ledger.seal import Sealed, Sealer
from readingroom_hub.model.audit import AuditEvent, AuditRecord


def repeats(given: Iterable[tuple[str, Sealed]], stored: Iterable[bytes], sealer: Sealer) -> Mapping[str, Sealed]:
    """By id, a record for each of `given` whose id another process's leaf among `stored` has; the last one counts.

    It takes the number that the record came with, which would look like that of a lost one. Sent again by the same
    process after a broken connection, a record has its old number, and leaves nothing. The ids are functions of what is
    repeated, so that these are stored once, too."""
    first = {envelope.id: envelope.source for envelope in (check_envelope(from_leaf(leaf)) for leaf in stored)}
    made: dict[str, Sealed] = {}
    for id, sealed in given:
        row = from_leaf(sealed.leaf)
        source = check_envelope(row).source
        if source != first[id]:
            name = f"record-repeated {id} {source.process} {source.epoch} {source.seq}"
            marker = AuditRecord(
                AuditEvent.RECORD_REPEATED, subject={"repeats": id}, id=str(uuid.uuid5(uuid.NAMESPACE_OID, name))
            )
            made[marker.id] = sealer.seal(marker.to_wire() | {"source": row["source"]})
    return made
