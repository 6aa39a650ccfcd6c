"""`readingroom grant`: give a project access to a dataset version, and take it away in seconds."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from readingroom_hub import compose
from readingroom_hub.cli.common import AsJson, command, load, moment, operator, person, record, show
from readingroom_hub.model.grant import Grant
from readingroom_hub.model.ids import GrantId, ProjectId

app = typer.Typer(no_args_is_help=True, help="Access grants: who may read which dataset version, until when.")


@app.command()
@command
def add(
    project: Annotated[str, typer.Argument(help="The project whose members get access.")],
    version: Annotated[str, typer.Argument(help="NAME (newest version), NAME@DIGITS or the full digest.")],
    until: Annotated[str, typer.Option(help="The last day, for example 2027-03-31.")],
    approved_by: Annotated[str, typer.Option(help="Who approved it; the person at this terminal if left out.")] = "",
) -> None:
    """Give a project's members access to a dataset version."""
    settings = load()
    audit = record(settings)
    approver = person(audit, approved_by) if approved_by else operator(audit)
    grant = compose.grants(settings, audit).issue(ProjectId(project), version, moment(until), approver)
    label = f"{grant.dataset}@{grant.version.short}"
    typer.echo(f"Grant {grant.id}: {project} reads {label} until {grant.ends_at:%Y-%m-%d %H:%M %Z}.")


@app.command()
@command
def revoke(grant: Annotated[str, typer.Argument(help="The grant's id, from `readingroom grant list`.")]) -> None:
    """Withdraw access now; running notebooks lose it within a second."""
    settings = load()
    audit = record(settings)
    revoked = compose.grants(settings, audit).revoke(GrantId(grant), operator(audit))
    typer.echo(f"Withdrawn: {revoked.project} no longer reads {revoked.dataset}@{revoked.version.short}.")


def _state(grant: Grant, now: datetime) -> str:
    if grant.revoked_at is not None:
        return "revoked"
    return "current" if grant.is_current(now) else "ended"


@app.command("list")
@command
def list_(
    project: Annotated[str, typer.Option(help="Only this project's.")] = "",
    current: Annotated[bool, typer.Option("--current", help="Only those that give access now.")] = False,
    as_json: AsJson = False,
) -> None:
    """List access grants, newest first."""
    now = datetime.now(UTC)
    found = compose.open_catalogue(load()).grants.all(ProjectId(project) if project else None)
    rows = [
        {
            "grant": g.id,
            "project": g.project,
            "dataset": f"{g.dataset}@{g.version.short}",
            "state": _state(g, now),
            "until": g.ends_at,
            "created": g.created_at,
            "revoked": g.revoked_at,
        }
        for g in found
        if not current or g.is_current(now)
    ]
    show(rows, as_json, "There is no access grant.")
