"""`readingroom audit feed`: copies of the audit record, sent live to other systems."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from readingroom_hub import compose
from readingroom_hub.cli.common import AsJson, command, load, show
from readingroom_hub.errors import BadInput

app = typer.Typer(no_args_is_help=True, help="Copies of the audit record, sent live to other systems.")


@app.command()
@command
def serve() -> None:
    """Send every record to the receivers of the settings, until it is stopped. `readingroom serve` runs it too."""
    settings = load()
    settings.paths.make()
    compose.feeds(settings).serve()


@app.command()
@command
def status(as_json: AsJson = False) -> None:
    """How far each feed has come, what keeps it from going on, what was refused. Ends with 1 where one has trouble."""
    found = compose.feeds(load()).status()
    rows = [
        {
            "feed": s.name,
            "running": s.running,
            "behind": s.behind,
            "oldest_seconds": None if s.oldest is None else round(s.oldest),
            "sent": s.progress.sent if s.progress else 0,
            "purged": s.progress.purged if s.progress else 0,
            "refused": s.progress.refused if s.progress else 0,
            "trouble": s.trouble or "",
            "since": (s.progress.since if s.progress and s.running else "") or "",
        }
        for s in found
    ]
    show(rows, as_json, "No feed is set.")
    if any(s.trouble for s in found):
        raise typer.Exit(1)


@app.command()
@command
def refused(name: Annotated[str, typer.Argument(help="syslog or fhir")]) -> None:
    """List what the receiver refused for ever: index, reason and time, a JSON line each."""
    for row in compose.feeds(load()).refused(name):
        typer.echo(json.dumps(asdict(row)))


@app.command()
@command
def again(name: Annotated[str, typer.Argument(help="syslog or fhir")]) -> None:
    """Have the running feed send what was refused once more, after its receiver was put right."""
    count = compose.feeds(load()).again(name)
    if not count:
        raise BadInput(f"the feed {name!r} has no refused record")
    typer.echo(f"{count} records are sent once more", err=True)
