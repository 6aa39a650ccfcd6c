"""`readingroom audit forget` and `purge`: what leaves the audit record, and only what two people approved."""

from typing import Annotated

import typer

from readingroom_hub.cli.approving import ApprovedBy, Ask, Wish
from readingroom_hub.cli.common import command, load, operator, person, record, start
from readingroom_hub.compose import repository
from readingroom_hub.model.approval import Act

Reason = Annotated[
    str,
    typer.Option(
        help="Why; it is kept for ever, so name nobody in it, neither after --ask. Needed where READINGROOM_APPROVALS "
        "is command-line; otherwise it is what the approvers read."
    ),
]


@command
def forget(
    who: Annotated[str, typer.Argument(help="Whom to erase: name, subject or person id.")],
    reason: Reason = "",
    ask: Ask = "",
    approved_by: ApprovedBy = None,
) -> None:
    """Erase who is behind a person id. The records stay, and the log verifies as before. It is recorded first."""
    settings = load()
    audit = record(settings)
    erased = person(audit, who)
    wish = Wish(Act.FORGET_PERSON, erased, [f"the name and the account of {erased}"])
    approved = wish.approved(settings, audit, ask, approved_by)
    if approved is None:
        return
    why = reason or approved.why
    repository.remover(settings).forget(erased, why, operator(audit), approved.people, approved.approval)
    typer.echo(f"{erased} is nobody's any more. Backups of the identity table still know: let them expire", err=True)


@command
def purge(
    before: Annotated[str, typer.Option(help="Only records from before this day (UTC).")],
    reason: Reason = "",
    ask: Ask = "",
    approved_by: ApprovedBy = None,
) -> None:
    """Remove the contents of access records whose time is over. Their leaves stay. It is recorded first."""
    settings = load()
    audit = record(settings)
    limit = start(before)
    repository.check_retention(settings, limit)
    moment = limit.isoformat()
    wish = Wish(Act.PURGE_RECORDS, moment, [f"contents of access records from before {moment}"])
    approved = wish.approved(settings, audit, ask, approved_by)
    if approved is None:
        return
    why = reason or approved.why
    repository.remover(settings).purge(limit, why, operator(audit), approved.people, approved.approval)
    typer.echo(f"Contents of access records from before {before} are removed", err=True)
