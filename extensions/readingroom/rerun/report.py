"""The rerun's report: rerun.json (format readingroom-rerun/1) for programs, rerun.html for people."""

import hashlib
import html
import importlib.metadata
import json
import platform
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from readingroom.rerun import compare, seal
from readingroom.rerun.compare import CellVerdict
from readingroom.rerun.outcome import Ending, Outcome

FORMAT = "readingroom-rerun/1"


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that one rerun observed. It is a claim of the server in which it ran, and says so."""

    dataset: str
    version: str
    notebook: str
    notebook_sha256: str
    executed_sha256: str
    parameters: Mapping[str, Any]
    outcome: Outcome
    cells: tuple[CellVerdict, ...] | None
    """None where the notebook came without stored outputs."""
    started: datetime
    seconds: float

    @property
    def complete(self) -> bool:
        """Whether the notebook ran to its end."""
        return self.outcome.ending is Ending.COMPLETE

    def summary(self) -> str:
        """The result in one sentence or two."""
        if self.cells is None:
            return f"{self.outcome.text} The notebook holds no stored outputs, so nothing could be compared."
        counts = Counter(c.verdict.value for c in self.cells)
        return f"{self.outcome.text} Outputs: {', '.join(f'{n} {v}' for v, n in counts.items()) or 'none'}."

    def to_json(self) -> dict[str, Any]:
        """As rerun.json holds it."""
        return {
            "format": FORMAT,
            "attested": False,
            "dataset": self.dataset,
            "version": self.version,
            "notebook": self.notebook,
            "notebook_sha256": self.notebook_sha256,
            "executed_sha256": self.executed_sha256,
            "parameters": dict(self.parameters),
            "environment": _environment(),
            "seal": _seal(),
            "outcome": asdict(self.outcome),
            "comparison": None if self.cells is None else self._comparison(self.cells),
            "tolerances": {
                "relative": compare.RTOL,
                "absolute": compare.ATOL,
                "pixel_levels": compare.PIXEL_LEVELS,
                "pixel_share": compare.PIXEL_SHARE,
            },
            "started": self.started.isoformat(),
            "seconds": round(self.seconds, 3),
        }

    def _comparison(self, cells: tuple[CellVerdict, ...]) -> dict[str, Any]:
        return {
            "verdict": compare.worst([c.verdict for c in cells]).value,
            "reproduced": self.complete and compare.reproduced(cells),
            "cells": [asdict(c) for c in cells],
        }

    def write(self, folder: Path) -> None:
        """Write rerun.json and rerun.html into `folder`."""
        data = self.to_json()
        (folder / "rerun.json").write_text(json.dumps(data, indent=2, sort_keys=True) + "\n", "utf-8")
        (folder / "rerun.html").write_text(_page(self, data), "utf-8")


def _environment() -> dict[str, Any]:
    packages = sorted({f"{d.name}=={d.version}".lower() for d in importlib.metadata.distributions()})
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "packages_sha256": hashlib.sha256("\n".join(packages).encode()).hexdigest(),
        "packages": packages,
    }


def _seal() -> dict[str, str]:
    abi = seal.landlock_abi()
    return {
        "network": "refused: only unix stream sockets, and no connection from the notebook, so it cannot reach the hub",
        "environment": "a fixed list of variables; no token",
        "files": f"Landlock ABI {abi}: this dataset, the system read-only, its own working folder"
        if abi
        else "NOT sealed: this Linux has no Landlock, so the notebook could read all files of its server",
    }


_STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid GrayText }
code { overflow-wrap: anywhere }
h1 { font-size: 1.5rem }
h2 { font-size: 1.15rem; margin-top: 2rem }
"""


def _page(report: Report, data: Mapping[str, Any]) -> str:
    facts = [
        ("Dataset version", f"{report.dataset}@{report.version}"),
        ("Notebook", report.notebook),
        ("Notebook SHA-256", report.notebook_sha256),
        ("Executed notebook SHA-256", report.executed_sha256),
        ("Parameters", json.dumps(dict(report.parameters))),
        ("Started", report.started.isoformat(timespec="seconds")),
        ("Seconds", f"{report.seconds:.1f}"),
        ("Python", data["environment"]["python"]),
        ("Packages SHA-256", data["environment"]["packages_sha256"]),
        *((f"Seal: {name}", text) for name, text in data["seal"].items()),
        *((f"Tolerance: {name}", str(value)) for name, value in data["tolerances"].items()),
    ]
    title = html.escape(f"Rerun of {report.notebook}")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        f"<h1>{title}</h1><p>{html.escape(report.summary())}</p>"
        "<p>This report was made inside a notebook server. The hub has not attested it.</p>"
        f"<h2>Cells</h2>{_cells(report)}<h2>What was run</h2>{_table(('', ''), facts)}</html>\n"
    )


def _cells(report: Report) -> str:
    if report.cells is None:
        return "<p>The notebook came without stored outputs: nothing to compare.</p>"
    return _table(("cell", "verdict", "reason"), [(str(c.cell), c.verdict.value, c.reason) for c in report.cells])


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    top = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in head)
    body = "".join("<tr>" + "".join(f"<td><code>{html.escape(c)}</code></td>" for c in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
