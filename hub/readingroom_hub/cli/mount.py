"""`readingroom mount`: the mount daemon, which serves each session's `/data`."""

import logging

import typer

from readingroom_hub import compose
from readingroom_hub.cli.common import AsJson, command, load, show

app = typer.Typer(no_args_is_help=True, help="The mount daemon: the only process that holds data keys.")


@app.command()
@command
def serve() -> None:
    """Serve the mounts of all open sessions until stopped."""
    from readingroom_hub.mount.service import serve as run

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    run(load())


@app.command()
@command
def status(as_json: AsJson = False) -> None:
    """Show how many sessions are served, and what they read."""
    show([compose.mounts(load()).status()], as_json, "The mount daemon serves nothing.")
