"""What the commands share that cannot be undone: they ask for approval, or prove that they have it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from readingroom_hub import compose
from readingroom_hub.cli.common import operator, person
from readingroom_hub.config import Settings
from readingroom_hub.errors import BadInput
from readingroom_hub.model.approval import Act
from readingroom_hub.model.ids import ApprovalId, PersonId
from readingroom_hub.ports.records import AuditRepository

Ask = Annotated[str, typer.Option("--ask", help="Why: asks two data stewards to approve it in the portal.")]
ApprovedBy = Annotated[
    list[str] | None,
    typer.Option(help="Who approved it, twice; only where READINGROOM_APPROVALS is command-line."),
]


@dataclass(frozen=True, slots=True)
class Approved:
    """Who approved, by which approval of theirs, and why; None and nothing: they were named at this terminal."""

    people: list[PersonId]
    approval: ApprovalId | None
    why: str


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody at this terminal wants to do, and what is lost by it, or given away, a line each."""

    act: Act
    target: str
    concerns: Sequence[str]

    def approved(
        self, settings: Settings, audit: AuditRepository, ask: str, named: Sequence[str] | None
    ) -> Approved | None:
        """By whom; None where it was only asked for, which was said.

        Raises BadInput; Denied, recorded, where it is not approved."""
        if settings.approvals == "command-line":
            if ask:
                raise BadInput("approvers are named here, with --approved-by: READINGROOM_APPROVALS is command-line")
            return Approved([person(audit, text) for text in named or ()], None, "")
        approvals, by = compose.approvals(audit), operator(audit)
        if named:
            raise approvals.refuse(
                self.act, self.target, "those who approve this do so themselves, in the portal: ask them with --ask", by
            )  # fmt: skip
        if not ask:
            found = approvals.approved(self.act, self.target, self.concerns, by)
            return Approved(list(found.given_by), found.id, found.why)
        asked = approvals.ask(self.act, self.target, self.concerns, ask, by)
        page = f"{settings.public_url}/services/portal/approvals/{asked.id}"
        typer.echo(
            f"Asked for. Two data stewards must approve it at {page}\nThen run this again without --ask, before "
            f"{asked.until:%Y-%m-%d %H:%M} UTC. Nothing was changed."
        )
        return None
