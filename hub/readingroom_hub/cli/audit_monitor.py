"""`readingroom audit monitor`: unusual access, who is on hold, and what came of it."""

from typing import Annotated

import typer

from readingroom_hub import compose
from readingroom_hub.cli.common import AsJson, command, load, operator, person, record, show
from readingroom_hub.compose import monitoring

app = typer.Typer(no_args_is_help=True, help="Unusual access: alerts, what came of them, and who is on hold.")


@app.command()
@command
def serve() -> None:
    """Judge each person's days until it is stopped. `readingroom serve` runs it too."""
    settings = load()
    settings.paths.make()
    monitoring.serve(settings)


@command
def alerts(
    all: Annotated[bool, typer.Option("--all", help="Acknowledged ones too.")] = False, as_json: AsJson = False
) -> None:
    """List alerts of the last 120 days, newest first, with their reasons. Looking is itself recorded."""
    audit = record(load())
    rows = [
        {
            "alert": line.alert.id,
            "day": line.alert.day,
            "who": line.name or line.alert.person,
            "rules": ", ".join(line.alert.rules),
            "because": "; ".join(s.words for s in line.alert.signs),
            "opinion": line.alert.opinion,
            "suspended": line.suspended,
            "acknowledged": line.acknowledged_by or "",
            "note": line.note or "",
        }
        for line in compose.alerts(audit).lines(operator(audit))
        if all or line.acknowledged_by is None
    ]
    show(rows, as_json, "No alert waits.")


@app.command()
@command
def acknowledge(
    alert: Annotated[str, typer.Argument(help="The alert's id.")],
    note: Annotated[str, typer.Option(help="What came of it; it stays on the record.")],
) -> None:
    """Say what came of an alert."""
    audit = record(load())
    compose.alerts(audit).acknowledge(alert, note, operator(audit))
    typer.echo("Acknowledged, and on the record.", err=True)


@app.command()
@command
def suspend(
    who: Annotated[str, typer.Argument(help="Name, subject or person id.")],
    reason: Annotated[str, typer.Option(help="Why; it stays on the record.")],
) -> None:
    """Put a person on hold: no read and no new server, within a second, until it is lifted."""
    settings = load()
    audit = record(settings)
    held = compose.holds(settings, audit).suspend(person(audit, who), reason, operator(audit))
    typer.echo(f"{held.person} is on hold since {held.since:%Y-%m-%d %H:%M %Z}.", err=True)


@app.command()
@command
def resume(who: Annotated[str, typer.Argument(help="Name, subject or person id.")]) -> None:
    """Lift a hold; running servers read again."""
    settings = load()
    audit = record(settings)
    compose.holds(settings, audit).resume(person(audit, who), operator(audit))
    typer.echo("The hold is lifted.", err=True)
