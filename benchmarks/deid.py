"""How fast files are de-identified beside dicognito and dicom-anonymizer, what burnt-in text costs, a bench's scores.

    python benchmarks/deid.py [--json FILE] [--rounds N] [--slices N] [--series FOLDER] [--bench FOLDER]

The tools are installed, pinned, into a virtual environment that goes away again. All sides de-identify the same CT
series from folder to folder, in turn; figures are medians. Ours is the whole of `readingroom deid`: all cores, a survey
of the batch, the search of every result; the peers are libraries of one process and run as one. All times have the
start of processes in them. `one-process` is ours on one core. `--series` takes a folder of files instead of made ones.
`--bench` is a folder with `input/`, `key/` and `score.py`, which gets the results of the shipped research policy.
`ratio` says how many times better ours is."""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.data import get_testdata_file

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support.burnt_in import capture, grey
from tests.support.dicom_objects import as_file

from readingroom_hub.deid import part10, policy_file
from readingroom_hub.deid.pixels import ocr
from readingroom_hub.deid.pixels.clean import clean
from readingroom_hub.deid.policy import Policy
from readingroom_hub.services import deid_folder

_SIDE = 512
_READ = "import pathlib, sys, pydicom\nsource, target = map(pathlib.Path, sys.argv[1:])\n"
_LOOP = """
for path in sorted(source.iterdir()):
    one(path, target / path.name)
"""
_DICOGNITO = """
from dicognito.anonymizer import Anonymizer
anonymizer = Anonymizer()
def one(path, to):
    ds = pydicom.dcmread(path)
    anonymizer.anonymize(ds)
    ds.save_as(to)
"""
_DICOM_ANONYMIZER = """
from dicomanonymizer import anonymize_dicom_file
def one(path, to):
    anonymize_dicom_file(str(path), str(to))
"""
PEERS = {
    "dicognito": ("dicognito==0.19.0", _DICOGNITO),
    "dicom-anonymizer": ("dicom-anonymizer==2.1.0", _DICOM_ANONYMIZER),
}


def row(measure: str, unit: str, ours: float, peer: float, peer_name: str, better: str) -> dict[str, Any]:
    ratio = ours / peer if better == "more" else peer / ours
    return {
        "measure": measure, "unit": unit, "ours": round(ours, 3), "peer": round(peer, 3), "peer_name": peer_name,
        "ratio": round(ratio, 2),
    }  # fmt: skip


def make_series(folder: Path, slices: int) -> None:
    """A CT series: the header of a real scanner's image that comes with pydicom, pixels of noise, planted names."""
    folder.mkdir()
    generator = np.random.default_rng(3)
    ds = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    ds.Rows = ds.Columns = _SIDE
    ds.ReferringPhysicianName, ds.StudyDescription = "Probst^Ada^^Dr", "CT head, seen by Dr Probst"
    ds.InstitutionName, ds.AccessionNumber, ds.SeriesDescription = "Klinik am Zwinger", "A99117755", "Axial 1 mm"
    for number in range(slices):
        ds.PixelData = generator.integers(0, 2000, (_SIDE, _SIDE), dtype="<i2").tobytes()
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.276.99.20200101.3.{number + 1}"
        ds.InstanceNumber = number
        ds.save_as(folder / f"{number:04d}.dcm")


def ours(source: Path, target: Path, workers: int | None) -> float:
    start = time.perf_counter()
    report = deid_folder.run(source, target, policy_file.load("basic"), b"k" * 32, lambda _d, _n: None, workers)
    if report.left_out:
        raise SystemExit(f"left out: {report.left_out}")
    return time.perf_counter() - start


def peers_installed(folder: Path) -> tuple[Path, list[str]]:
    python = folder / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    there = []
    for name, (requirement, _) in PEERS.items():
        if subprocess.run([*pip, requirement], check=False).returncode:
            print(f"{requirement} cannot be installed: its row is left out", file=sys.stderr)
        else:
            there.append(name)
    return python, there


def speed_rows(folder: Path, rounds: int, slices: int, series: Path | None) -> list[dict[str, Any]]:
    source = folder / "series"
    if series:
        source.mkdir()
        for number, path in enumerate(p for p in sorted(series.rglob("*")) if p.is_file()):
            shutil.copyfile(path, source / f"{number:05d}.dcm")
    else:
        make_series(source, slices)
    slices = len(list(source.iterdir()))
    python, peers = peers_installed(folder)
    seconds: dict[str, list[float]] = {name: [] for name in ("ours", "ours-one-process", *peers)}
    for _ in range(rounds):
        for side, times in seconds.items():
            target = folder / "out"
            if side in PEERS:
                target.mkdir()
                code = _READ + PEERS[side][1] + _LOOP
                command = [str(python), "-W", "ignore", "-c", code, str(source), str(target)]
                start = time.perf_counter()
                subprocess.run(command, check=True, capture_output=True)
                times.append(time.perf_counter() - start)
            else:
                times.append(ours(source, target, None if side == "ours" else 1))
            shutil.rmtree(target)
    speed = {side: slices / statistics.median(times) for side, times in seconds.items()}
    rows = [row(f"files-per-second-vs-{p}", "files/s", speed["ours"], speed[p], PEERS[p][0], "more") for p in peers]
    return [
        *rows,
        row("files-per-second-vs-one-process", "files/s", speed["ours"], speed["ours-one-process"], "ours", "more"),
    ]


def ocr_row(rounds: int) -> dict[str, Any]:
    """One 640x400 frame with two lines: found, read, masked, encoded, compared, looked at again; RapidOCR reads it."""
    frame = np.kron(grey(), np.ones((2, 2), "u1"))
    data = as_file(capture("MONOCHROME2", frame[None]))
    image = np.repeat(frame[..., None], 3, axis=-1)
    ocr.lines(image)
    mine, theirs = [], []
    for _ in range(rounds):
        start = time.perf_counter()
        _, cleaned = clean(part10.read(data), Policy())
        mine.append(time.perf_counter() - start)
        if not cleaned.masks:
            raise SystemExit("the name was not masked")
        start = time.perf_counter()
        ocr.lines(image)
        theirs.append(time.perf_counter() - start)
    pair = statistics.median(mine), statistics.median(theirs)
    return row("ocr-seconds-per-frame", "s", *pair, "rapidocr, read once", "less")


def bench_rows(folder: Path, bench: Path) -> list[dict[str, Any]]:
    """Percent of facts, as the bench's own scorer counts them; the peer is what could be had."""
    start = time.perf_counter()
    key = b"k" * 32
    report = deid_folder.run(bench / "input", folder / "bench", policy_file.load("research"), key, lambda _d, _n: None)
    seconds = time.perf_counter() - start
    command = [sys.executable, str(bench / "score.py"), "--bench", str(bench), "--out", str(folder / "bench")]
    command += ["--json", str(folder / "score.json"), *([] if shutil.which("dciodvfy") else ["--no-dciodvfy"])]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    score = json.loads((folder / "score.json").read_text())

    def percent(measure: str, right: int, of: int) -> dict[str, Any]:
        return row(measure, f"% of {of}", 100 * right / max(1, of), 100, "all", "more")

    named = {"phi.burned": "burnt-in-removed", "keep.harmless_pixel_text": "harmless-text-kept"}
    named["keep.pixels_outside_boxes"] = "frames-unchanged-outside"
    return [
        percent("bench-identifiers-removed", *score["phi"]),
        percent("bench-facts-kept", *score["keep"]),
        *(percent(f"bench-{name}", *score["cats"][key]) for key, name in named.items() if key in score["cats"]),
        percent("bench-files-out", score["paired"], score["n_in"]),
        row("bench-files-per-second", "files/s", report.files / seconds, report.files / seconds, "ours", "more"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slices", type=int, default=1000)
    parser.add_argument("--series", type=Path)
    parser.add_argument("--bench", type=Path)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="rrb-"))
    try:
        rows = [*speed_rows(folder, options.rounds, options.slices, options.series), ocr_row(options.rounds)]
        if options.bench:
            rows += bench_rows(folder, options.bench)
    finally:
        shutil.rmtree(folder)
    for r in rows:
        print(f"{r['measure']:36} {r['ours']:>10} {r['peer']:>10} {r['unit']:8} {r['peer_name']:10} x{r['ratio']}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
