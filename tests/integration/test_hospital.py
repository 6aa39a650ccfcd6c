"""The demo hospital's export: it looks real, and taking it in leaves nobody's name."""

import hashlib

import numpy as np
import pydicom
import pytest
from tests.support.dicom_objects import deidentifier, read

from readingroom_hub.deid.part10 import CannotDeidentify
from readingroom_hub.deid.pixels.verdict import Verdict
from readingroom_hub.deid.table import Option
from readingroom_hub.demo import hospital, patients

PEOPLE = [patients.HARROWGATE, patients.STRANDBERG, patients.MWANGAZA, patients.KOWALCZYK]


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "hospital"
    hospital.generate(folder)
    return folder


def digest(folder):
    h = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        h.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return h.hexdigest()


def test_it_is_whole_volumes(export):
    for scan in hospital.SCANS:
        files = sorted((export / scan.folder).glob("IM????.dcm"))
        assert len(files) == scan.slices >= 60
        middle = pydicom.dcmread(files[scan.slices // 2])
        assert middle.pixel_array.shape == (scan.rows, scan.rows)
        assert np.unique(middle.pixel_array).size > 500
        heights = [pydicom.dcmread(f, stop_before_pixels=True).ImagePositionPatient[2] for f in (files[0], files[-1])]
        assert heights[1] - heights[0] == scan.step * (scan.slices - 1)


def test_it_is_the_same_every_time(export, tmp_path):
    scan = hospital.SCANS[3]
    hospital._write_scan(tmp_path, scan)
    assert digest(tmp_path / scan.folder) == digest(export / scan.folder)


def test_a_second_call_changes_nothing(export):
    before = {p: p.stat().st_mtime_ns for p in export.rglob("*")}
    hospital.generate(export)
    assert {p: p.stat().st_mtime_ns for p in export.rglob("*")} == before


def test_nobody_is_left_in_it(export):
    """Searched with the generator's own list of what it planted, not with what the de-identifier looks for."""
    planted = [patients.HOSPITAL, "Brannoc", "Ilverton", "Porthaven", "SBI-", "Wintringham", "IMG-00417", "NHS40000"]
    for p in PEOPLE:
        planted += [*p.name.split("^"), p.id, p.born, p.address, p.phone, p.day, p.accession, *p.physician.split("^")]
        planted += [*p.operator.split("^"), p.uid()]
    deidentify, left_out, names = deidentifier(), {}, set()
    for path in sorted(export.rglob("*")):
        if not path.is_file():
            continue
        try:
            done = deidentify(path.read_bytes())
        except CannotDeidentify as error:
            left_out[path.name] = str(error)
            continue
        header = done.data[: -len(read(done.data).PixelData)].decode("latin1").lower()
        assert not [word for word in planted if word.lower() in header], path
        names.add(read(done.data).PatientID)
    assert len(names) == 4
    assert left_out.keys() == {"IM0001.dcm", "NOTES.TXT", "IM0040_copy.dcm"}
    assert "burnt in" in left_out["IM0001.dcm"]


def test_the_ultrasound_is_taken_in_where_pixels_are_cleaned(export):
    (path,) = (p for p in export.rglob("IM0001.dcm") if p.parent.name == "US")
    before = read(path.read_bytes()).pixel_array
    done = deidentifier(options=frozenset({Option.CLEAN_PIXELS}))(path.read_bytes())
    after = read(done.data).pixel_array
    assert after[:40, :250].std() < before[:40, :250].std() / 10
    assert (after[50:] == before[50:]).all()
    assert {m.verdict for m in done.pixels.masks} == {Verdict.IDENTIFIER}


def test_real_files_come_from_this_machine(tmp_path):
    assert hospital.real_files(tmp_path / "real") > 50
    assert (tmp_path / "real" / "CT_small.dcm").exists()
