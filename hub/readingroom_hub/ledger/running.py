"""What a service runs with, as a record: made at each start."""

from collections.abc import Mapping
from hashlib import sha256

from readingroom_hub.ledger.seal import to_leaf
from readingroom_hub.model.audit import AuditEvent, AuditRecord


def configuration(settings: Mapping[str, str]) -> AuditRecord:
    """The record of these settings, none of which is a secret, and of their digest."""
    values = dict(settings)
    digest = f"sha256:{sha256(to_leaf(values)).hexdigest()}"
    return AuditRecord(AuditEvent.CONFIGURATION, subject={"digest": digest, "settings": values})
