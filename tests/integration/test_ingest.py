"""Ingest over the real catalogue, object store and processes."""

import json
import os
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import psutil
import pydicom
import pytest
from pydicom.data import get_testdata_file
from tests.support.dicom_objects import as_file, ct_image
from tests.support.heads import Head, Scan, series
from tests.support.ingest_process import DATASET, DeadlyModality, open_room

from readingroom_hub.crypto.envelope import ObjectReader
from readingroom_hub.deid import policy_file
from readingroom_hub.deid.policy import TEXT_FREE, Policy
from readingroom_hub.deid.table import Option
from readingroom_hub.errors import AuditUnavailable, BadInput, NotFound, StoreUnavailable
from readingroom_hub.model.ids import DatasetName, ProjectId
from readingroom_hub.services import ingest, object_checks
from readingroom_hub.services.ingest import NothingTakenIn

ROOT = Path(__file__).parents[2]
REAL = [
    "CT_small.dcm",
    "MR_small_RLE.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_bigendian.dcm",
    "emri_small.dcm",
    "693_J2KI.dcm",
]


def write_series(folder, count=9, **elements):
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(count):
        image = ct_image(SOPInstanceUID=f"1.2.276.99.3.{n + 1}", InstanceNumber=n + 1, **elements)
        (folder / f"{n:03}.dcm").write_bytes(as_file(image))
    return folder


@pytest.fixture
def source(tmp_path):
    return write_series(tmp_path / "source" / "ZWIEBELTURM")


@pytest.fixture
def room(tmp_path):
    return open_room(tmp_path / "state")


def test_a_version_is_published_recorded_and_whole(room, source):
    seen = []
    done = room.ingest(source, progress=lambda n, total: seen.append((n, total)))
    assert (done.version.instances, done.version.series, done.version.studies) == (9, 1, 1)
    assert not done.unchanged
    assert not done.left_out
    assert seen == [(n, 9) for n in range(1, 10)]
    assert [r["event"] for r in room.audit.records] == ["ingest", "version-published"]
    assert room.audit.records[1]["subject"]["version"] == done.version.digest
    assert room.datasets.verify(done.version, room.person) == []
    assert room.versions.find("chest").digest == done.version.digest
    card = json.loads(done.version.card)
    assert card["actions"]["PatientName"] == {"pseudonym": 9}
    assert card["modalities"] == {"CT": 9}
    assert card["policy"] == policy_file.content(Policy())
    assert room.left_overs() == []


def test_faces_are_cut_from_whole_series(room, tmp_path):
    source = tmp_path / "heads"
    source.mkdir()
    slices = series(Head(), Scan(pixel=4.0, gap=4.0))
    for number, one in enumerate(slices):
        (source / f"{number}.dcm").write_bytes(as_file(one))
    done = room.ingest(source, policy=Policy(options=frozenset({Option.CLEAN_FACES})))
    card = json.loads(done.version.card)
    assert not done.left_out
    assert card["defaced_series"] == 1
    assert card["actions"]["PixelData"] == {"deface": len(slices)}
    lonely = tmp_path / "lonely"
    lonely.mkdir()
    (lonely / "1.dcm").write_bytes(as_file(slices[30]))
    with pytest.raises(NothingTakenIn, match="too few"):
        room.ingest(lonely, policy=Policy(options=frozenset({Option.CLEAN_FACES})))


def test_nothing_that_is_kept_names_the_patient(room, source):
    (source / "zwiebelturm.txt").write_text("hannelore")
    done = room.ingest(source)
    assert done.left_out[0].path == "zwiebelturm.txt"
    kept = [json.dumps(room.audit.records), done.version.card]
    for path in room.state.rglob("*"):
        kept.append(str(path.relative_to(room.state)))
        if path.is_file():
            kept.append(path.read_bytes().decode("latin1"))
    assert not [text for text in kept if "zwiebelturm" in text.lower() or "hannelore" in text.lower()]


def test_the_same_input_is_unchanged_and_other_input_is_another_version(room, source):
    first = room.ingest(source)
    again = room.ingest(source)
    assert again.unchanged
    assert again.version == first.version
    assert [r["event"] for r in room.audit.records] == ["ingest", "version-published", "ingest"]
    (source / "extra.dcm").write_bytes(as_file(ct_image()))
    other = room.ingest(source)
    assert other.version.digest != first.version.digest
    assert room.left_overs() == []


def test_real_files_read_back_through_the_object_reader(room, tmp_path):
    folder = tmp_path / "real"
    folder.mkdir()
    wanted = {}
    for name in REAL:
        wanted[name] = pydicom.dcmread(get_testdata_file(name, download=False))
        wanted[name].SOPInstanceUID = pydicom.uid.generate_uid()  # several are one image in other encodings
        wanted[name].save_as(folder / name)
    done = room.ingest(folder)
    assert not done.left_out
    manifest = room.datasets.manifest(done.version)
    custody = room.service._custody
    key = custody.unwrap(room.versions.key(done.version.key))
    found = {}
    for instance in manifest.instances:
        name = f"{done.version.key}/{instance.object_name}"
        reader = ObjectReader(
            key,
            done.version.key,
            instance.instance,
            lambda o, n, name=name: room.store.read(name, o, n),
            room.store.size(name),
        )
        ds = pydicom.dcmread(pydicom.filebase.DicomBytesIO(reader.read(0, reader.size)).parent)
        found[ds.file_meta.TransferSyntaxUID, ds.pixel_array.tobytes()] = ds  # comments in frames are blanked
        told = instance.patient, instance.rows, instance.columns, instance.frames
        assert told == (ds.PatientID, ds.Rows, ds.Columns, int(ds.get("NumberOfFrames", 1)))
        assert (instance.study_date, instance.description) == (ds.StudyDate, ds.get("SeriesDescription", ""))
    assert len(found) == len(REAL)
    for before in wanted.values():
        after = found[before.file_meta.TransferSyntaxUID, before.pixel_array.tobytes()]
        assert after.file_meta.TransferSyntaxUID == before.file_meta.TransferSyntaxUID
        assert (after.pixel_array == before.pixel_array).all()


def test_each_file_left_out_has_its_reason(room, source, tmp_path):
    whole = (source / "000.dcm").read_bytes()
    (source / "cut.dcm").write_bytes(whole[:-9])
    (source / "copy.dcm").write_bytes(whole)
    (source / "x-other.dcm").write_bytes(as_file(ct_image(SOPInstanceUID="1.2.276.99.3.1", PixelData=bytes(32))))
    (source / "link.dcm").symlink_to(tmp_path / "state")
    os.mkfifo(source / "pipe")
    done = room.ingest(source)
    reasons = {o.path: o.reason for o in done.left_out}
    assert reasons.keys() == {"cut.dcm", "copy.dcm", "x-other.dcm", "link.dcm", "pipe"}
    assert "the same instance again" in reasons["copy.dcm"]
    assert "another object" in reasons["x-other.dcm"]
    assert "cut short" in reasons["cut.dcm"]
    assert "link" in reasons["link.dcm"]
    assert done.version.instances == 9
    assert json.loads(done.version.card)["left_out"].values()


def test_nothing_to_take_in_publishes_nothing(room, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(NothingTakenIn, match="no file"):
        room.ingest(tmp_path / "empty")
    (tmp_path / "empty" / "a.txt").write_text("x")
    with pytest.raises(NothingTakenIn, match=r"not a DICOM file \(1\)") as refused:
        room.ingest(tmp_path / "empty")
    assert refused.value.left_out[0].path == "a.txt"
    assert room.versions.all() == []
    assert room.left_overs() == []
    assert [r["outcome"] for r in room.audit.records] == ["success", "failure"] * 2
    with pytest.raises(BadInput, match="not a folder"):
        room.ingest(tmp_path / "nowhere")


def test_an_unknown_project_is_refused(room, source):
    with pytest.raises(NotFound):
        room.service.ingest(source, ProjectId("nobody"), DatasetName("x"), room.person)
    assert room.left_overs() == []


def test_without_audit_nothing_is_published(room, source):
    append = room.audit.append

    def only_the_first(records):
        if records[0].event == "version-published":
            raise AuditUnavailable("it does not answer")
        return append(records)

    room.audit.append = only_the_first
    with pytest.raises(AuditUnavailable):
        room.ingest(source)
    assert room.versions.all() == []
    assert room.left_overs() == []


def test_a_full_disk_leaves_nothing(room, source):
    put, calls = room.store.put, []

    def full(name, data):
        calls.append(name)
        if len(calls) > 4:
            raise StoreUnavailable("No space left on device")
        put(name, data)

    room.store.put = full
    with pytest.raises(StoreUnavailable, match="No space"):
        room.ingest(source)
    assert room.versions.all() == []
    assert room.left_overs() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_disk_that_is_really_full_leaves_nothing_and_the_same_ingest_ends_well_later(room, source):
    objects = room.state / "objects"
    objects.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=20k,mode=0700", "tmpfs", str(objects)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this machine does not let root mount a tmpfs")
    try:
        with pytest.raises(StoreUnavailable, match="No space left on device; free or repair the store"):
            room.ingest(source)
        assert room.versions.all() == []
        assert room.left_overs() == []
        assert "version-published" not in room.audit.events()
        subprocess.run(["mount", "-o", "remount,size=32m", str(objects)], check=True)
        done = room.ingest(source)
        assert room.datasets.verify(done.version, room.person) == []
        assert room.audit.events().count("version-published") == 1
    finally:
        subprocess.run(["umount", str(objects)], check=True)


def test_with_the_clock_a_day_back_the_newest_version_is_still_the_last_one(room, source, monkeypatch):
    first = room.ingest(source).version

    class Yesterday(datetime):
        @classmethod
        def now(cls, tz=None):
            return super().now(tz) - timedelta(days=1)

    monkeypatch.setattr(ingest, "datetime", Yesterday)
    (source / "new.dcm").write_bytes(as_file(ct_image(SOPInstanceUID="1.2.276.99.9")))
    second = room.ingest(source).version
    assert second.digest != first.digest
    assert first.published_at < second.published_at
    assert room.versions.find(DATASET).digest == second.digest
    assert room.ingest(source, reuse=True).unchanged


def test_a_process_that_dies_takes_one_file_with_it(room, source):
    deadly = as_file(ct_image(SOPInstanceUID="1.2.276.99.4", Modality="NM"))
    (source / "004a-deadly.dcm").write_bytes(deadly)
    done = room.ingest(source, policy=Policy(believed=DeadlyModality({"CR"}), text_free=TEXT_FREE))
    assert done.version.instances == 9
    assert [(o.path, o.reason.split(" (")[0]) for o in done.left_out] == [
        ("004a-deadly.dcm", "its de-identification process died")
    ]


@pytest.mark.parametrize("worth", [1 << 30, 1000], ids=["one process", "all cores"])
def test_a_damaged_object_is_found_named_and_recorded(room, source, monkeypatch, worth):
    monkeypatch.setattr(object_checks, "_WORTH", worth)
    monkeypatch.setattr(object_checks, "_BATCH", 2)
    done = room.ingest(source)
    instances = room.datasets.manifest(done.version).instances
    paths = [room.state / "objects" / done.version.key / i.object_name for i in instances]
    changed = bytearray(paths[0].read_bytes())
    changed[200] ^= 4
    paths[0].write_bytes(changed)
    paths[1].unlink()
    swapped = paths[2].read_bytes()
    paths[2].write_bytes(paths[3].read_bytes())
    paths[3].write_bytes(swapped)
    seen = []
    damages = room.datasets.verify(done.version, room.person, lambda *n: seen.append(n))
    assert seen[-1] == (9, 9)
    assert {d.object for d in damages} == {i.instance for i in instances[:4]}
    records = [r for r in room.audit.records if r["event"] == "integrity-failure"]
    assert {r["subject"]["instance"] for r in records} == {i.instance for i in instances[:4]}
    (room.state / "objects" / done.version.key / "manifest").unlink()
    assert [d.object for d in room.datasets.verify(done.version, room.person)] == ["manifest"]


def start(state, source, moment):
    argv = [sys.executable, "-m", "tests.support.ingest_process", str(state), str(source), moment]
    return subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)


def processes_of(session):
    found = []
    for p in psutil.process_iter():
        try:
            if os.getsid(p.pid) == session and p.status() != psutil.STATUS_ZOMBIE:
                found.append(p)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


@pytest.mark.parametrize("moment", ["writing", "put:1", "put:5", "manifest", "record", "publish", "published"])
def test_killed_at_any_moment_the_next_ingest_ends_the_same_and_tidies_up(tmp_path, source, moment):
    state = tmp_path / "state"
    with start(state, source, moment) as killed:
        assert killed.wait(60) == -9
    deadline = time.monotonic() + 20
    while processes_of(killed.pid):
        assert time.monotonic() < deadline, "worker processes outlive the ingest"
        time.sleep(0.05)
    room = open_room(state)
    assert len(room.versions.all()) == (1 if moment == "published" else 0)
    assert room.left_overs()
    done = room.ingest(source)
    assert done.unchanged == (moment == "published")
    assert room.left_overs() == []
    assert room.datasets.verify(done.version, room.person) == []
    again = room.ingest(source)
    assert again.unchanged
    assert again.version.digest == done.version.digest


def test_two_ingests_at_once_both_end_well(tmp_path, source):
    state = tmp_path / "state"
    open_room(state).service._custody.current_kek()
    running = [start(state, source, "never") for _ in range(2)]
    answers = []
    for process in running:
        with process:
            out, _ = process.communicate(timeout=90)
        assert process.returncode == 0
        answers.append(out.split())
    room = open_room(state)
    assert answers[0][0] == answers[1][0] == room.versions.find(DATASET).digest
    assert sorted(a[1] for a in answers) == ["False", "True"]
    assert room.left_overs() == []
    assert room.datasets.verify(room.versions.find(DATASET), room.person) == []


def test_two_ingests_of_different_input_at_once_make_two_versions(tmp_path, source):
    state = tmp_path / "state"
    open_room(state).service._custody.current_kek()
    other = tmp_path / "other"
    other.mkdir()
    (other / "one.dcm").write_bytes(as_file(ct_image(SOPInstanceUID="1.2.276.99.8")))
    running = [start(state, folder, "never") for folder in (source, other)]
    made = set()
    for process in running:
        with process:
            out, _ = process.communicate(timeout=90)
        assert process.returncode == 0
        made.add(out.split()[0])
    room = open_room(state)
    assert {v.digest for v in room.versions.all()} == made
    assert len(made) == 2
    assert room.left_overs() == []
    assert [room.datasets.verify(v, room.person) for v in room.versions.all()] == [[], []]


def test_an_ingest_leaves_the_objects_of_a_running_one_alone(room, source, tmp_path):
    with room.service._locks.hold() as key_id:
        room.store.put(f"{key_id}/ab/cd", b"half of somebody's work")
        room.ingest(source)
        assert room.store.read(f"{key_id}/ab/cd") == b"half of somebody's work"
