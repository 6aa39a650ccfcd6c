"""What one person alone may not do."""

from collections.abc import Collection

from readingroom_hub.errors import BadInput
from readingroom_hub.model.ids import PersonId


def two_people(approved_by: Collection[PersonId], refusal: str) -> list[PersonId]:
    """Who approved, each once, in one order. Raises BadInput with the sentence `refusal` unless they are two."""
    approvers = sorted(set(approved_by))
    if len(approvers) < 2:
        raise BadInput(refusal)
    return approvers
