"""How a run ended, told from what the kernel did: papermill's metadata calls the cells of a dead kernel done."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from nbclient.exceptions import CellTimeoutError, DeadKernelError
from papermill.exceptions import PapermillExecutionError


class Ending(StrEnum):
    """Stable words of rerun.json."""

    COMPLETE = "complete"
    ERROR = "error"
    ENDED_EARLY = "ended-early"
    KERNEL_DIED = "kernel-died"
    TIMEOUT = "timeout"
    NOT_STARTED = "not-started"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended, where, and in words."""

    ending: Ending
    cell: int | None
    """Number of the cell, from 1 over all cells of the executed notebook; None where it is complete."""
    text: str


def outcome_of(notebook: Mapping[str, Any], raised: BaseException | None, reached: int | None) -> Outcome:
    """Complete only if nothing was raised, every code cell ran in sequence, and none left an error.

    `reached`: number of the last cell that was sent to the kernel, from 1."""
    cells = [(i, c) for i, c in enumerate(notebook["cells"], 1) if c["cell_type"] == "code" and c["source"].strip()]
    # First what ended the run: a kernel that is stopped for being late leaves a KeyboardInterrupt as its last word.
    if isinstance(raised, CellTimeoutError):
        return Outcome(Ending.TIMEOUT, reached, f"Cell {reached} took longer than the limit.")
    if isinstance(raised, DeadKernelError):
        return Outcome(
            Ending.KERNEL_DIED, reached, f"The kernel died in cell {reached} (out of memory, a crash, or killed)."
        )
    for number, cell in cells:
        for output in cell["outputs"]:
            if output["output_type"] == "error":
                return _error(number, output)
    stopped = next((n for i, (n, c) in enumerate(cells, 1) if c["execution_count"] != i), None)
    if raised is not None and not isinstance(raised, PapermillExecutionError):
        return Outcome(Ending.NOT_STARTED, stopped, f"The run broke off: {type(raised).__name__}: {raised}")
    if raised is not None or stopped is not None:
        at = stopped or cells[-1][0]
        return Outcome(Ending.ENDED_EARLY, at, f"The run ended before cell {at} had run.")
    return Outcome(Ending.COMPLETE, None, "All cells ran in order, and none left an error.")


def _error(number: int, output: Mapping[str, Any]) -> Outcome:
    if output["ename"] == "SystemExit":
        return Outcome(Ending.ENDED_EARLY, number, f"Cell {number} ended the kernel itself (SystemExit).")
    return Outcome(Ending.ERROR, number, f"Cell {number} failed: {output['ename']}: {output['evalue']}"[:500])
