"""`readingroom serve`: the whole deployment of one machine."""

from rich.console import Console

from readingroom_hub.cli.common import command, load
from readingroom_hub.embedded import deployment
from readingroom_hub.sandbox import fitness


@command
def serve() -> None:
    """Start every process of this machine's Reading Room, watch them, and stop them all on Ctrl-C."""
    settings = load()
    fitness.check_required(settings)
    deployment.serve(settings, Console(stderr=True, highlight=False).print)
