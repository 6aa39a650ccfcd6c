"""`readingroom`: one command line, one file a noun."""

import warnings
from importlib import import_module
from typing import Any

import typer
from rich.markup import escape
from typer.core import TyperGroup
from typer.main import get_group

from readingroom_hub.cli.common import errors

_VERBS = ("doctor", "serve", "demo")
_NOUNS = ("project", "crosswalk", "dataset", "deid", "edge", "grant", "audit", "key", "mount", "portal")


class Files(TyperGroup):
    """Loads a command's file when that command is asked for: each loads what the others would have no use for."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        # Their names are known without a file, for whoever lists them or mistypes one.
        unloaded: Any = dict.fromkeys(_VERBS + _NOUNS)
        self.commands.update(unloaded)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, or None."""
        if cmd_name in self.commands and self.commands[cmd_name] is None:
            self.commands[cmd_name] = _loaded(cmd_name)
        return super().get_command(ctx, cmd_name)


def _loaded(name: str) -> Any:
    file = import_module(f"readingroom_hub.cli.{name}")
    one = typer.Typer()
    if name in _VERBS:
        one.command(name)(getattr(file, name))
        one.callback()(lambda: None)  # a group, though it has one command
    else:
        one.add_typer(file.app, name=name)
    return get_group(one).commands[name]


app = typer.Typer(
    cls=Files,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Reading Room: researchers explore de-identified, encrypted images in notebooks, and every read is on record.",
)


@app.callback()
def _group() -> None:
    """What the command line itself is told: nothing."""


def main() -> None:
    """Entry point of the console script."""
    warnings.showwarning = _show_warning
    app()


def _show_warning(message: Warning | str, *_where: object, **_more: object) -> None:
    """Warnings here are for the person at the terminal, who has no use for a line of our code."""
    errors.print(f"[yellow]Warning:[/] {escape(str(message))}", highlight=False)


if __name__ == "__main__":
    main()
