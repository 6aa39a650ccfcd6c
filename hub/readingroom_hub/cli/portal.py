"""`readingroom portal`: the pages of stewards, reviewers and researchers."""

import typer

from readingroom_hub.cli.common import command, load

app = typer.Typer(no_args_is_help=True, help="The portal: reads, access grants, datasets, projects.")


@app.callback()
def _group() -> None:
    """Keep `serve` a sub-command while it is the only one."""


@app.command()
@command
def serve() -> None:
    """Serve the portal. JupyterHub starts this itself; it needs the hub's environment."""
    from readingroom_hub.jhub.portal import serve as serve_portal

    serve_portal(load())
