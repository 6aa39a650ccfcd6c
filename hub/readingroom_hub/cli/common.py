"""What the commands share: settings, who asks, tables, and one way to end with a sentence."""

import getpass
import json
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, time
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec, Self, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from typer.core import TyperGroup

from readingroom_hub import compose
from readingroom_hub.config import Settings, load
from readingroom_hub.errors import BadInput, ReadingRoomError
from readingroom_hub.model.ids import PersonId
from readingroom_hub.ports.records import AuditRepository

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of a table.")]

Dciodvfy = Annotated[
    bool, typer.Option("--dciodvfy", help="Leave out what dciodvfy finds less valid than before (needs dicom3tools).")
]
ReportFolder = Annotated[
    Path | None, typer.Option("--report", help="Folder for report.json and report.html; keep it with the originals.")
]
Rare = Annotated[int, typer.Option("--rare", help="Report values that fewer patients than this share.")]
errors = Console(stderr=True)


P = ParamSpec("P")
R = TypeVar("R")


def command(function: Callable[P, R]) -> Callable[P, R]:
    """Turn the errors that a user may see into one sentence on stderr and exit code 1."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except ReadingRoomError as error:
            errors.print(f"[bold red]Error:[/] {_plain(error)}", highlight=False)
            raise typer.Exit(1) from error

    return run


def _plain(error: ReadingRoomError) -> str:
    from rich.markup import escape

    return escape(str(error))


def record(settings: Settings) -> AuditRepository:
    """The audit record repository, as the command line."""
    return compose.audit(settings, "command-line")


def operator(audit: AuditRepository) -> PersonId:
    """The person at this terminal, known by the machine's own account."""
    return audit.identify("local", f"uid:{os.getuid()}", getpass.getuser())


def person(audit: AuditRepository, text: str) -> PersonId:
    """The one person that `text` (name, subject or person id) stands for. Raises BadInput."""
    found = audit.people(text)
    if len(found) != 1:
        known = ", ".join(sorted(p.name for p in audit.people(""))) or "nobody yet"
        raise BadInput(f"{text!r} stands for {len(found)} people; known people are: {known}")
    return found[0].person


def moment(text: str) -> datetime:
    """A date (meaning its end, UTC) or an ISO date and time. Raises BadInput."""
    try:
        value = datetime.fromisoformat(text)
    except ValueError as error:
        raise BadInput(f"{text!r} is no date: write 2027-03-31 or 2027-03-31T18:00") from error
    if len(text) == len("2027-03-31"):
        value = datetime.combine(value, time(23, 59, 59))
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def start(text: str) -> datetime:
    """The same, but a day means its beginning. Raises BadInput."""
    value = moment(text)
    return datetime.combine(value, datetime.min.time(), UTC) if len(text) == len("2027-03-31") else value


class RunByDefault(TyperGroup):
    """`readingroom deid SOURCE TARGET` is `readingroom deid run SOURCE TARGET`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the name of the command first, where there is none."""
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["run", *args]
        return super().parse_args(ctx, args)  # type: ignore[no-any-return,unused-ignore]


class Bar:
    """A progress bar on stderr; calling what it gives moves it."""

    def __init__(self, text: str, *, hidden: bool) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=errors, disable=hidden, transient=True)
        self._task = self._progress.add_task(text, total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def __call__(self, done: int, total: int) -> None:
        """Show that `done` of `total` are done."""
        self._progress.update(self._task, completed=done, total=total)


def show(rows: Sequence[dict[str, Any]], as_json: bool, empty: str) -> None:
    """Print rows as a table or as JSON."""
    if as_json:
        typer.echo(json.dumps(list(rows), indent=1, default=str))
        return
    if not rows:
        typer.echo(empty)
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in rows[0]:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(v) for v in row.values()))
    Console().print(table)


def _cell(value: object) -> str:
    from rich.markup import escape

    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M}"
    return "" if value is None else escape(str(value))


__all__ = [
    "AsJson",
    "Bar",
    "Dciodvfy",
    "RunByDefault",
    "command",
    "load",
    "moment",
    "operator",
    "person",
    "record",
    "show",
]
