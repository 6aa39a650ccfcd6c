"""One rerun from its inputs to its report."""

import hashlib
import logging
import re
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
import papermill

from readingroom import saved, settings
from readingroom.errors import RerunRefused
from readingroom.files import DatasetCard
from readingroom.rerun import compare, parameters
from readingroom.rerun.engine import ENGINE, SealedRun
from readingroom.rerun.outcome import Ending, Outcome, outcome_of
from readingroom.rerun.report import Report

_SHORTEST_VERSION = 12


def rerun(
    notebook: Path,
    wanted: str,
    given: Mapping[str, Any],
    output: Path,
    *,
    timeout: int | None = None,
    root: Path | None = None,
) -> Report:
    """Run `notebook` on the dataset version `wanted` (NAME@VERSION) in a sealed kernel, and compare its outputs.

    Writes `output`/executed.ipynb, rerun.json, rerun.html, kernel.log, and what the notebook writes into
    `output`/files, however the run ends. `timeout`: seconds a cell. Raises RerunRefused before anything is written
    or run, where version, parameters, notebook or `output` are not what they should be."""
    root = root or settings.data_root()
    content, stored = _notebook(notebook)
    card = _checked_version(root, wanted)
    parameters.check(given, stored)
    if output.exists():
        raise RerunRefused(f"{output} is there already. Give another --output: a rerun never overwrites one.")
    output.mkdir(parents=True)
    started, clock = datetime.now(UTC), time.monotonic()
    executed, outcome = _run(content, given, output, (root / card.name).resolve(), card.name, timeout)
    if settings.pictures() == "none":
        saved.without_pictures(executed)
    # The record of what happened, whatever happened: no metadata in it claims more.
    written = _written(executed)
    (output / "executed.ipynb").write_bytes(written)
    report = Report(
        dataset=card.name,
        version=card.version,
        notebook=notebook.name,
        notebook_sha256=hashlib.sha256(content).hexdigest(),
        executed_sha256=hashlib.sha256(written).hexdigest(),
        parameters=given,
        outcome=outcome,
        cells=tuple(compare.compare(stored, executed)) if compare.has_outputs(stored) else None,
        started=started,
        seconds=time.monotonic() - clock,
    )
    report.write(output)
    return report


def _notebook(path: Path) -> tuple[bytes, Any]:
    try:
        content = path.read_bytes()
        notebook = _parsed(content)
        nbformat.validate(notebook)
    except (OSError, ValueError, nbformat.ValidationError) as error:
        raise RerunRefused(f"{path} cannot be read as a notebook: {str(error).splitlines()[0]}") from error
    language = notebook.metadata.get("kernelspec", {}).get("language", "python")
    if language != "python":
        raise RerunRefused(f"{path} is written in {language}; a sealed kernel runs Python only.")
    return content, notebook


def _parsed(content: bytes) -> Any:
    return nbformat.reads(content.decode(), as_version=4)  # type: ignore[no-untyped-call]


def _written(notebook: Any) -> bytes:
    text: str = nbformat.writes(notebook)  # type: ignore[no-untyped-call]
    return text.encode()


def _checked_version(root: Path, wanted: str) -> DatasetCard:
    name, at, version = wanted.partition("@")
    if not at or not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,62}", name):
        raise RerunRefused(f"--dataset {wanted!r} is not NAME@VERSION, for example chest-ct@3f2a91bc04de.")
    digits = version.removeprefix("sha256:")
    if not re.fullmatch(rf"[0-9a-f]{{{_SHORTEST_VERSION},64}}", digits):
        raise RerunRefused(
            f"{version!r} is not a dataset version: give at least {_SHORTEST_VERSION} hexadecimal digits."
        )
    card = DatasetCard.read(root, name)
    if card.name != name or not card.version.removeprefix("sha256:").startswith(digits):
        raise RerunRefused(
            f"/data holds {card.name}@{card.version}, but {wanted} was asked for. Ask the data steward for access to "
            "that version, then start the server again."
        )
    return card


def _run(
    content: bytes, given: Mapping[str, Any], output: Path, data: Path, name: str, timeout: int | None
) -> tuple[Any, Outcome]:
    # It warns of parameters that it cannot parse; ours are checked by the syntax tree.
    logging.getLogger("papermill").setLevel(logging.ERROR)
    # A fresh parse: papermill changes the notebook that it is given. A short path: a unix socket's name has 107 bytes.
    notebook = _parsed(content)
    with tempfile.TemporaryDirectory(prefix="rerun-", dir="/tmp") as room:
        sealed = SealedRun(data, Path(room), output.resolve() / "files", output.resolve() / "kernel.log", timeout)
        sealed.prepare(name)
        raised: Exception | None = None
        try:
            papermill.execute_notebook(
                notebook,
                None,
                parameters=dict(given),
                engine_name=ENGINE,
                kernel_name="python3",
                language="python",
                request_save_on_cell_execute=False,
                sealed=sealed,
            )
        except Exception as error:  # noqa: BLE001  however it ends is what is reported
            raised = error
    if sealed.notebook is None:
        return notebook, Outcome(Ending.NOT_STARTED, None, f"The run could not start: {raised}")
    return sealed.notebook, outcome_of(sealed.notebook, raised, sealed.reached)
