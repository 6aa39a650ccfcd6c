"""`readingroom demo`: a working Reading Room on this machine, or a proof that it works."""

from pathlib import Path
from typing import Annotated

import segno
import typer
from rich.console import Console
from rich.panel import Panel

from readingroom_hub.cli.common import command
from readingroom_hub.demo.identity import DemoPerson
from readingroom_hub.demo.room import DemoRoom, Step, demo_settings
from readingroom_hub.embedded.deployment import stop_on_signals, watch_until_signalled

console = Console(highlight=False)


@command
def demo(
    check: Annotated[
        bool, typer.Option("--check", help="Walk the whole path in a headless browser, then stop.")
    ] = False,
    state: Annotated[Path, typer.Option(help="Where the demo keeps its data.")] = Path(".state"),
    port: Annotated[int, typer.Option(help="Where the browser finds it; next to it, the identity provider.")] = 8443,
) -> None:
    """Start a Reading Room with demo people and demo data; Ctrl-C stops everything."""
    settings = demo_settings(state / ("check" if check else "demo"), port)
    if check:
        from readingroom_hub.demo.check import check as run_check

        raise typer.Exit(0 if run_check(settings, Path.cwd(), console) else 1)
    room = DemoRoom(settings, _print_step, lambda text: console.print(f"[yellow]![/] {text}"))
    with stop_on_signals() as stop:
        try:
            room.start()
            _print_welcome(room)
            watch_until_signalled(room.supervisor, stop)
        finally:
            console.print("Stopping: servers, mounts, processes")
            room.stop()


def _print_step(step: Step) -> None:
    console.print(f"[green]✓[/] {step.name} [dim]{step.seconds:.1f} s[/]")


def _print_welcome(room: DemoRoom) -> None:
    console.print()
    for person, task in (
        ("rosa", "researcher: start the project chest-ct and open 01-first-look.ipynb"),
        ("sam", "data steward: see who read what, give and take access"),
        ("sonja", "data steward, too: some things take two"),
        ("rita", "reviewer: rerun Rosa's notebook, see 02-rerun.ipynb"),
        ("noah", "researcher in another project: cannot see chest-ct"),
    ):
        _print_person(room.person(person), task)
    console.print(
        Panel(
            f"Open [bold]{room.settings.public_url}[/] and sign in (the certificate is the demo's own: accept it).\n"
            "The command line shares the demo's state; for example:\n"
            f"  READINGROOM_STATE={room.settings.state} .venv/bin/readingroom audit query --limit 20\n"
            f"  READINGROOM_STATE={room.settings.state} .venv/bin/readingroom audit verify\n"
            "Ctrl-C stops everything; the data stays for the next start.",
            title="Reading Room is ready",
        )
    )


def _print_person(person: DemoPerson, task: str) -> None:
    console.print(f"[bold]{person.user_name}[/]  {task}")
    console.print(f"  password     {person.password}")
    console.print(f"  TOTP secret  {person.totp_base32}")
    if person.user_name in {"rosa", "sam", "rita"}:
        segno.make(person.otpauth_uri, error="l").terminal(border=2, compact=True)
