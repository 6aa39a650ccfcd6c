"""`readingroom doctor`: whether this machine can keep what Reading Room promises."""

import json
from dataclasses import asdict

import typer
from rich.console import Console
from rich.markup import escape

from readingroom_hub.cli.common import AsJson, command, load
from readingroom_hub.sandbox.fitness import Check, Level, examine

_STYLE = {Level.OK: "green", Level.ADVICE: "yellow", Level.MISSING: "bold red"}


@command
def doctor(as_json: AsJson = False) -> None:
    """Examine this machine: a sentence for each check, and a remedy where one is needed.

    Ends with 1 where something required is missing."""
    found = list(examine(load()))
    if as_json:
        typer.echo(json.dumps([asdict(check) for check in found], indent=1))
    else:
        _show(found)
    if any(check.level is Level.MISSING for check in found):
        raise typer.Exit(1)


def _show(found: list[Check]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for check in found:
        console.print(f"[{_STYLE[check.level]}]{check.level.value:8}[/] {check.name}: {escape(check.sentence)}.")
        if check.remedy:
            console.print(f"         Remedy: {escape(check.remedy)}.")
