"""De-identification from folder to folder, by the command line, with real worker processes."""

import fcntl
import io
import json
import resource
import signal
import subprocess
import sys
import zipfile
from collections import Counter
from contextlib import closing
from copy import deepcopy

import numpy as np
import pydicom
import pytest
from tests.support.dicom_objects import as_file, ct_image
from tests.support.heads import SAGITTAL, Head, Scan, series
from typer.testing import CliRunner

from readingroom_hub.cli.main import app
from readingroom_hub.deid import policy_file
from readingroom_hub.deid.actions import Action
from readingroom_hub.deid.faces import geometry
from readingroom_hub.deid.pixels.clean import Cleaned, Mask
from readingroom_hub.deid.pixels.verdict import Verdict
from readingroom_hub.errors import Conflict
from readingroom_hub.model.dataset import Instance
from readingroom_hub.model.ids import UID
from readingroom_hub.services import deid_folder, deid_journal, intake_files, intake_pool
from readingroom_hub.services.intake_files import LeftOut
from readingroom_hub.services.intake_pool import Sealed


def run(*argv):
    return CliRunner().invoke(app, ["deid", *map(str, argv)])


def said(*argv):
    return " ".join(run(*argv).output.split())


def instance(number, **elements):
    return as_file(ct_image(SOPInstanceUID=f"1.2.276.99.3.{number}", InstanceNumber=number, **elements))


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "in" / "Zwiebelturm_Hannelore"
    folder.mkdir(parents=True)
    (folder / "1.dcm").write_bytes(instance(1, SeriesDescription="before Okonjoreyes' scan"))
    (folder / "2.dcm").write_bytes(instance(2, PatientName="Okonjoreyes^Cornelius", PatientID="H-1", PatientAge="093Y"))
    (folder / "notes.txt").write_text("no DICOM")
    (folder / "link.dcm").symlink_to(folder / "1.dcm")
    with zipfile.ZipFile(folder / "more.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("deep/3.dcm", instance(3))
        archive.writestr("../../escape.dcm", instance(4))
        archive.writestr("bomb.dcm", bytes(1 << 24))
        archive.writestr("inner.zip", b"PK")
    return tmp_path / "in"


def test_a_folder_with_an_archive_becomes_a_folder_and_a_report(source, tmp_path):
    target, key, report = tmp_path / "out", tmp_path / "the.key", tmp_path / "report"
    done = run(source, target, "--policy", "research", "--key", key, "--report", report)
    assert done.exit_code == 0, done.output
    files = sorted(target.rglob("*.dcm"))
    assert len(files) == 3
    everything = b"".join(f.read_bytes() + str(f.relative_to(target)).encode() for f in files).lower()
    assert b"zwiebelturm" not in everything
    assert b"okonjoreyes" not in everything
    assert {pydicom.dcmread(f).get("SeriesDescription") for f in files} == {"before REMOVED' scan", None}
    content = json.loads((report / "report.json").read_text())
    assert (content["files"], content["instances"]) == (4, 3)
    reasons = {o["file"].rpartition("/")[2]: o["reason"] for o in content["left_out"]}
    assert reasons["notes.txt"] == "not a DICOM file"
    assert "link" in reasons["link.dcm"]
    assert "leads out" in reasons["escape.dcm"]
    assert "bomb" in reasons["bomb.dcm"]
    assert "archive within" in reasons["inner.zip"]
    rows = {(r["attribute"], r["action"]): r for r in content["attributes"]}
    assert rows["SeriesDescription", "clean"]["now"] == ["before REMOVED' scan"]
    assert rows["PatientAge", "cap"]["now"] == ["090Y"]
    told = json.dumps([row["now"] for row in content["attributes"]]).lower()
    assert not any(name in told for name in ("zwiebelturm", "okonjoreyes", "990417"))
    assert rows["SeriesDescription", "clean"]["why"] == "PS3.15 Table E.1-1, Clean Descriptors: C"
    assert {"attribute": "PatientAge", "value": "090Y", "patients": 1} in content["rare_values"]
    page = (report / "report.html").read_text()
    assert "<script" not in page
    assert "http" not in page
    assert key.stat().st_mode & 0o777 == 0o600
    again = tmp_path / "again"
    assert run(source, again, "--policy", "research", "--key", key).exit_code == 0
    assert [f.read_bytes() for f in sorted(again.rglob("*.dcm"))] == [f.read_bytes() for f in files]


def test_results_lie_where_no_run_takes_them_in_again(source, tmp_path):
    key = tmp_path / "the.key"
    assert "would take its own results in" in said(source, source / "out", "--key", key)
    (tmp_path / "there").mkdir()
    assert "exists" in said(source, tmp_path / "there", "--key", key)


def test_a_key_that_others_may_read_is_refused(source, tmp_path):
    key = tmp_path / "the.key"
    key.write_text("00" * 32)
    key.chmod(0o644)
    assert "chmod 600" in said(source, tmp_path / "out", "--key", key)
    key.chmod(0o600)
    key.write_text("00")
    assert "a key has 32" in said(source, tmp_path / "out", "--key", key)


def test_an_object_that_became_less_valid_is_left_out(source, tmp_path, monkeypatch):
    """A stand-in for dciodvfy, which finds one error more in objects with UIDs of this software."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "dciodvfy"
    program.write_text("#!/bin/sh\necho 'Error - always' >&2\ngrep -aq '2[.]25[.]' && echo 'Error - UID' >&2\ntrue\n")
    arguments = (source, tmp_path / "out", "--key", tmp_path / "the.key", "--dciodvfy", "--json")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert "install dicom3tools" in said(*arguments)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    program.chmod(0o755)
    content = json.loads(run(*arguments).stdout)
    assert content["instances"] == 0
    assert content["left_out_by_reason"]["less valid than before: dciodvfy finds 1 more errors"] == 3


def test_the_standard_is_shown_and_compared(tmp_path):
    assert "2026d" in run("standard").output
    other = tmp_path / "other.json"
    other.write_text("{}")
    assert "no table of PS3.15" in said("standard", "--diff", other)


def test_a_member_that_lies_about_its_size_is_left_out(tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.dcm", instance(1))
    raw = bytearray(buffer.getvalue())
    place = raw.rindex(b"PK\x01\x02") + 24
    raw[place : place + 4] = (64).to_bytes(4, "little")
    (tmp_path / "x.zip").write_bytes(raw)
    files, left_out = intake_files.find(tmp_path / "x.zip")
    assert (files, left_out) == (["x.zip!/a.dcm"], [])
    with pytest.raises(OSError, match="archive is damaged"):
        intake_files.read(tmp_path, files[0])
    (tmp_path / "y.zip").write_bytes(b"PK nothing")
    assert "cannot be read" in intake_files.find(tmp_path / "y.zip")[1][0].reason


def test_the_report_shows_what_was_masked_and_only_the_result(tmp_path):
    import base64
    import re

    import cv2
    import numpy as np
    from tests.support.burnt_in import NAME_BOX, TEXT, capture, grey

    (tmp_path / "in").mkdir()
    image = grey(harmless="")
    (tmp_path / "in" / "1.dcm").write_bytes(as_file(capture("MONOCHROME2", image[None])))
    report = tmp_path / "report"
    done = run(tmp_path / "in", tmp_path / "out", "--policy", "research", "--key", tmp_path / "key", "--report", report)
    assert done.exit_code == 0, done.output
    content = json.loads((report / "report.json").read_text())
    assert content["masked_places"] == len(content["masked"][0]["masks"]) == 1
    left, top, right, bottom = content["masked"][0]["masks"][0]["box"]
    page = (report / "report.html").read_text()
    assert TEXT not in page
    pictures = re.findall(r"data:image/png;base64,([^\"]+)", page)
    assert len(pictures) == 1
    shown = cv2.imdecode(np.frombuffer(base64.b64decode(pictures[0]), np.uint8), cv2.IMREAD_COLOR)
    assert shown.shape[:2] == image.shape
    assert tuple(shown[top, left]) == (0, 140, 255)
    x0, y0, x1, y1 = NAME_BOX
    assert len(np.unique(shown[max(y0, top + 1) : min(y1, bottom - 1), max(x0, left + 1) : min(x1, right - 1)])) == 1
    assert np.corrcoef(shown[60:160, 100:220, 0].ravel(), image[60:160, 100:220].ravel())[0, 1] > 0.999


POLICY = """
format = "readingroom-policy/1"
profile = "Basic Application Confidentiality Profile"
options = ["Clean Recognizable Visual Features"]
"""


def test_where_the_policy_says_so_faces_are_cut_from_whole_series_and_reported(tmp_path):
    """Slices in no order, a second series of the same scan with too few slices, a scout, and a head all alone."""
    source, policy, report = tmp_path / "in", tmp_path / "policy.toml", tmp_path / "report"
    source.mkdir()
    policy.write_text(POLICY)
    head = Head()
    slices = series(head, Scan(pixel=4.0, gap=4.0))
    few = series(head, Scan(*SAGITTAL, pixel=4.0, gap=12.0, slices=3), SeriesInstanceUID="1.2.276.99.9")
    for one in few:
        one.SOPInstanceUID += ".9"
    scout = deepcopy(slices[0])
    scout.SOPInstanceUID, scout.ImageType = "1.2.276.99.7.777", ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    alone = deepcopy(slices[30])
    alone.SOPInstanceUID, alone.SeriesInstanceUID, alone.FrameOfReferenceUID = "1.2.276.99.7.888", "1.2.9", "1.2.10"
    for number, one in enumerate([*slices[::2], *few, *slices[1::2]]):
        (source / f"{number:03}").write_bytes(as_file(one))
    (source / "scout").write_bytes(as_file(scout))
    (source / "alone").write_bytes(as_file(alone))
    target = tmp_path / "out"
    done = run(source, target, "--policy", policy, "--key", tmp_path / "k", "--report", report)
    assert done.exit_code == 0, done.output
    content = json.loads((report / "report.json").read_text())
    assert (content["defaced_series"], content["defaced_instances"]) == (2, len(slices) + 3)
    reasons = {o["file"]: o["reason"] for o in content["left_out"]}
    assert "only be cut from slices" in reasons["scout"]
    assert "too few" in reasons["alone"]
    assert set(reasons) == {"scout", "alone"}
    shown = cut = 0
    for path in target.rglob("*.dcm"):
        one = pydicom.dcmread(path)
        points = np.stack(np.meshgrid(np.arange(one.Rows), np.arange(one.Columns), indexing="ij"))
        frame = geometry.frames(one)[0]
        at = frame.origin + np.moveaxis(points, 0, -1) @ np.stack([frame.down, frame.right])
        values, face = one.pixel_array, head.features(at)
        assert one.RecognizableVisualFeatures == "NO"
        assert (values[head.brain(at)] > 900).all()
        shown, cut = shown + int(face.sum()), cut + int((values[face] == 24).sum())
    assert shown > 30
    assert cut > 0.95 * shown
    assert "from 2 series" in (report / "report.html").read_text()


_KILLED = """
import os, signal, sys
from pathlib import Path
from readingroom_hub.deid import policy_file
from readingroom_hub.services import deid_folder

def progress(done, _of):
    if done == 5:
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    deid_folder.run(Path(sys.argv[1]), Path(sys.argv[2]), policy_file.load("basic"), b"k" * 32, progress, 2)
"""


@pytest.fixture
def batch(tmp_path):
    folder = tmp_path / "batch"
    folder.mkdir()
    for number in range(1, 9):
        (folder / f"{number}.dcm").write_bytes(instance(number))
    (folder / "3.dcm").write_text("no DICOM")
    (folder / "5.dcm").write_bytes(instance(1, SeriesDescription="again"))
    return folder


@pytest.fixture
def killed(batch, tmp_path):
    program = tmp_path / "killed.py"
    program.write_text(_KILLED)
    target = tmp_path / "out"
    died = subprocess.run([sys.executable, program, batch, target], check=False, capture_output=True)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert not target.exists()
    return target


def finished(batch, target, **options):
    return deid_folder.run(batch, target, policy_file.load("basic"), b"k" * 32, lambda _done, _of: None, 2, **options)


def contents(folder):
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def whole(report):
    return report.content() | {"seconds": 0, "files_per_second": 0}


def test_a_killed_run_goes_on_where_it_was(batch, killed, tmp_path):
    there = {f.name: f.stat().st_ino for f in killed.with_name("out.unfinished").rglob("*.dcm")}
    assert len(there) == 3  # of four files that were done one is no DICOM
    report = finished(batch, killed)
    again = {f.name: f.stat().st_ino for f in killed.rglob("*.dcm")}
    assert {name: again[name] for name in there} == there  # not written a second time
    assert not killed.with_name("out.unfinished").exists()
    fresh = finished(batch, tmp_path / "fresh")
    assert contents(killed) == contents(tmp_path / "fresh")
    assert whole(report) == whole(fresh)
    assert {o.path: o.reason for o in report.left_out} == {
        "3.dcm": "not a DICOM file",
        "5.dcm": "an instance of the same SOP Instance UID came before",
    }


def test_a_killed_run_begins_anew_where_its_batch_is_another(batch, killed, tmp_path):
    before = {f.name: f.stat().st_ino for f in killed.with_name("out.unfinished").rglob("*.dcm")}
    (batch / "9.dcm").write_bytes(instance(9, PatientName="Okonjoreyes^Cornelius"))
    finished(batch, killed)
    after = {f.name: f.stat().st_ino for f in killed.rglob("*.dcm")}
    assert before.keys() <= after.keys()
    assert contents(killed) == contents(finished(batch, tmp_path / "fresh") and tmp_path / "fresh")


@pytest.mark.parametrize("end", [b"", b'"}\n', b'{"path": "9"}\n'])
def test_a_line_that_a_killed_run_was_writing_is_done_again(batch, killed, tmp_path, end):
    journal = killed.with_name("out.unfinished") / ".journal"
    journal.write_bytes(journal.read_bytes()[:-7] + end)
    report = finished(batch, killed)
    assert whole(report) == whole(finished(batch, tmp_path / "fresh"))
    assert contents(killed) == contents(tmp_path / "fresh")


def test_a_journal_on_a_full_disk_says_so(tmp_path):
    journal = deid_journal.Journal(tmp_path / "j", "x")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    with closing(journal):
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, limit[1]))  # a line is written in part, then nothing
        try:
            with pytest.raises(OSError, match="No space left"):
                journal.add(LeftOut("a" * 100, "why"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    again = deid_journal.Journal(tmp_path / "j", "x")
    assert again.done == []
    again.close()


def test_two_runs_into_one_target_are_refused_before_anything_is_read(batch, killed, monkeypatch):
    monkeypatch.setattr(intake_pool, "survey", None)
    with (killed.with_name("out.unfinished") / ".journal").open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Conflict, match=r"another run is writing to .*out\.unfinished"):
            finished(batch, killed)


def test_what_was_masked_is_kept_in_the_journal(tmp_path):
    pixels = Cleaned(2, 64, 96, (Mask((1, 2, 30, 12), Verdict.REGION),), ("kV 120",), b"\x89PNG")
    one = Instance(UID("1.2"), UID("1.2.3"), UID("1.2.3.4"), UID("1.2.840.10008.5.1.4.1.1.2"), "CT", 4, 99, "")
    done = Sealed(
        "b\udcff.dcm",
        one,
        b"",
        Counter({("PatientName", Action.PSEUDONYM): 1}),
        None,
        {"PatientSex": "F"},
        {("PatientName", Action.PSEUDONYM): "P-1"},
        None,
        pixels,
    )
    journal = deid_journal.Journal(tmp_path / "j", "x")
    journal.add(done)
    journal.add(LeftOut("c", "why"))
    journal.close()
    again = deid_journal.Journal(tmp_path / "j", "x")
    assert again.done == [done, LeftOut("c", "why")]
    again.close()
