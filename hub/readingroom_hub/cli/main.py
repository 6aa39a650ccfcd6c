"""`readingroom`: one command line, one file a noun."""

import warnings

import typer
from rich.markup import escape

from readingroom_hub.cli import (
    audit,
    crosswalk,
    dataset,
    deid,
    demo,
    doctor,
    edge,
    grant,
    key,
    mount,
    portal,
    project,
    serve,
)
from readingroom_hub.cli.common import errors

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Reading Room: researchers explore de-identified, encrypted images in notebooks, and every read is on record.",
)
app.add_typer(project.app, name="project")
app.add_typer(crosswalk.app, name="crosswalk")
app.add_typer(dataset.app, name="dataset")
app.add_typer(deid.app, name="deid")
app.add_typer(edge.app, name="edge")
app.add_typer(grant.app, name="grant")
app.add_typer(audit.app, name="audit")
app.add_typer(key.app, name="key")
app.add_typer(mount.app, name="mount")
app.add_typer(portal.app, name="portal")
app.command("doctor")(doctor.doctor)
app.command("serve")(serve.serve)
app.command("demo")(demo.demo)


def main() -> None:
    """Entry point of the console script."""
    warnings.showwarning = _show_warning
    app()


def _show_warning(message: Warning | str, *_where: object, **_more: object) -> None:
    """Warnings here are for the person at the terminal, who has no use for a line of our code."""
    errors.print(f"[yellow]Warning:[/] {escape(str(message))}", highlight=False)


if __name__ == "__main__":
    main()
