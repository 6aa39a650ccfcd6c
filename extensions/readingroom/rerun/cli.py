"""`readingroom-rerun`: what a reviewer types."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from readingroom.errors import ReadingRoomError
from readingroom.rerun import parameters

COMPLETE, FAILED, REFUSED = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a notebook again. Returns 0 complete, 1 ran but failed, 2 refused."""
    asked = _parser().parse_args(arguments)
    output = asked.output or Path(f"{asked.notebook.stem}-rerun")
    try:
        given = parameters.parsed(asked.parameter)
        # Late, so that --help and a mistyped parameter answer at once.
        from readingroom.rerun.run import rerun

        report = rerun(asked.notebook, asked.dataset, given, output, timeout=asked.timeout)
    except ReadingRoomError as error:
        sys.stderr.write(f"Refused: {error}\n")
        return REFUSED
    sys.stdout.write(f"{report.summary()}\nReport: {output / 'rerun.html'}\n")
    return COMPLETE if report.complete else FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="readingroom-rerun",
        description="Run a notebook again on a dataset version, without network or tokens, and compare its outputs.",
        epilog="Exit status: 0 the notebook ran to its end, 1 it did not, 2 the rerun was refused.",
    )
    parser.add_argument("notebook", type=Path, help="the notebook, with the outputs that its author stored")
    parser.add_argument("--dataset", required=True, metavar="NAME@VERSION", help="the dataset version to run on")
    parser.add_argument(
        "-p", "--parameter", action="append", default=[], metavar="NAME=VALUE", help="a parameter; may be repeated"
    )
    parser.add_argument("--output", type=Path, help="a new folder for the report (default: NOTEBOOK-rerun)")
    parser.add_argument("--timeout", type=int, metavar="SECONDS", help="the longest that one cell may take")
    return parser


if __name__ == "__main__":
    sys.exit(main())
