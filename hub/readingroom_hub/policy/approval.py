"""What one person alone may not do."""

from collections.abc import Collection

from readingroom_hub.errors import BadInput
from readingroom_hub.model.dataset import DatasetVersion
from readingroom_hub.model.ids import ApprovalId, PersonId


def two_people(approved_by: Collection[PersonId], refusal: str) -> list[PersonId]:
    """Who approved, each once, in one order. Raises BadInput with the sentence `refusal` unless they are two."""
    approvers = sorted(set(approved_by))
    if len(approvers) < 2:
        raise BadInput(refusal)
    return approvers


def approved_as(approvers: Collection[PersonId], approval: ApprovalId | None) -> dict[str, object]:
    """For the subject of what they approved: who, and by which approval of theirs. None: somebody named them."""
    return {"approved_by": list(approvers)} | ({"approval": approval} if approval else {})


def described(version: DatasetVersion) -> str:
    """A version as those who approve what becomes of it read it."""
    return f"{version.label}: {version.instances} images of project {version.project}"
