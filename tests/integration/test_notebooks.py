"""The notebooks that come with Reading Room: clean as stored, and they run."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill
import pytest
from tests.support.dicom_series import VERSION, ct, phantom, write_series

from readingroom.rerun.cli import main

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


@pytest.fixture
def room(tmp_path, monkeypatch):
    """A home with the notebooks in it, and /data with one dataset."""
    data, home = tmp_path / "data", tmp_path / "home"
    write_series(data, "chest-ct-demo", list(ct(phantom(12))))
    home.mkdir()
    for path in NOTEBOOKS:
        shutil.copy(path, home)
    monkeypatch.setenv("READINGROOM_DATA", str(data))
    monkeypatch.chdir(home)
    return home


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_stored_without_outputs_and_with_clean_metadata(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    for cell in notebook.cells:
        assert set(cell.metadata) <= {"tags"}
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)
    tags = [tag for cell in notebook.cells for tag in cell.metadata.get("tags", [])]
    assert tags == ["parameters"]


def test_first_look_runs_sealed_with_a_parameter(room):
    wanted = f"chest-ct-demo@{VERSION[7:19]}"
    assert main(["01-first-look.ipynb", "--dataset", wanted, "-p", "low=-100", "--output", "first"]) == 0
    executed = nbformat.read(room / "first" / "executed.ipynb", as_version=4)
    said = "".join(o.get("text", "") for c in executed.cells if c.cell_type == "code" for o in c.outputs)
    array = phantom(12)
    inside = array[(array >= -100) & (array <= 300)]
    assert f"{inside.size} voxels from -100 to 300, mean {inside.mean(dtype=float):.6f}" in said


def test_the_reviewers_walk_through_finds_first_look_reproduced(room):
    # As its author leaves it: run in an ordinary kernel, saved with outputs.
    command = [sys.executable, "-m", "papermill", "--no-progress-bar", "01-first-look.ipynb", "01-first-look.ipynb"]
    subprocess.run(command, check=True, capture_output=True)
    papermill.execute_notebook("02-rerun.ipynb", "02-rerun.ipynb", progress_bar=False)
    report = json.loads((room / "first-look-rerun" / "rerun.json").read_text())
    assert report["outcome"]["ending"] == "complete"
    assert report["comparison"]["reproduced"] is True
    assert {c["verdict"] for c in report["comparison"]["cells"]} == {"identical"}
