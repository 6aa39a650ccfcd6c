"""What a store gives is believed only where it is what the leaf, and its place in the tree, say."""

from readingroom_hub.errors import IntegrityError
from readingroom_hub.ledger.canonical import from_leaf
from readingroom_hub.ledger.leaf import check_envelope, payload_hash
from readingroom_hub.ledger.merkle import leaf_hash
from readingroom_hub.ledger.verify import Entry


def check_leaf(entry: Entry, index: int) -> None:
    """Raises IntegrityError where the leaf is not the one that was stored at `index`."""
    if entry.idx != index or leaf_hash(entry.leaf) != entry.hash:
        raise _changed(index)


def check_contents(entry: Entry) -> None:
    """Raises IntegrityError where the contents are not those of the leaf."""
    payload = payload_hash(entry.salt or b"", entry.record or b"")
    if check_envelope(from_leaf(entry.leaf)).payload != payload:
        raise _changed(entry.idx)


def _changed(index: int) -> IntegrityError:
    return IntegrityError(f"audit record {index} was changed in the store: run `readingroom audit verify`")
