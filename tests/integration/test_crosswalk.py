"""The way back from pseudonyms: only where it is wanted, sealed, on record, and gone for good when it is destroyed."""

import json

import pytest
from tests.support.dicom_objects import PATIENT_ID, as_file, ct_image
from tests.support.ingest_process import PROJECT, open_room

from readingroom_hub.errors import AuditUnavailable, BadInput, Conflict, IntegrityError, NotFound
from readingroom_hub.services.crosswalk import Original


@pytest.fixture
def room(tmp_path):
    return open_room(tmp_path / "state")


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    for n in (1, 2):
        (folder / f"{n}.dcm").write_bytes(as_file(ct_image(SOPInstanceUID=f"1.2.276.99.3.{n}")))
    nameless = ct_image(SOPInstanceUID="1.2.276.99.4", PatientID="", PatientName="Quastenflosser^Kunigunde")
    (folder / "3.dcm").write_bytes(as_file(nameless))
    return folder


@pytest.fixture
def people(room):
    return [room.audit.identify("local", f"uid:{n}", f"Approver {n}") for n in (1, 2)]


@pytest.fixture
def pseudonyms(room, source, people):
    room.crosswalks.keep(PROJECT, people, room.person)
    version = room.ingest(source).version
    return sorted({i.patient for i in room.datasets.manifest(version).instances})


def folder(room):
    return room.state / "crosswalks" / PROJECT


def test_nothing_is_kept_unless_two_people_want_it(room, source, people):
    assert room.ingest(source).version.instances == 3
    assert not folder(room).exists()
    with pytest.raises(BadInput, match="two different people"):
        room.crosswalks.keep(PROJECT, [people[0]] * 2, room.person)
    assert not room.crosswalks.kept(PROJECT)
    with pytest.raises(NotFound, match="has no crosswalk"):
        room.crosswalks.look_up(PROJECT, "P-0123456789ABCDEF", "why not", room.person)


def test_a_look_up_tells_who_it_is_and_is_on_record_first(room, pseudonyms):
    found = [room.crosswalks.look_up(PROJECT, p, "an incidental finding", room.person) for p in pseudonyms]
    assert {(f.keyword, f.value) for f in found} == {
        ("PatientID", PATIENT_ID), ("PatientName", "Quastenflosser^Kunigunde")
    }  # fmt: skip
    last = room.audit.records[-1]
    assert (last["event"], last["person"]) == ("crosswalk-looked-up", room.person)
    assert last["subject"] == {"patient": pseudonyms[-1], "purpose": "an incidental finding"}
    room.audit.available = False
    with pytest.raises(AuditUnavailable):
        room.crosswalks.look_up(PROJECT, pseudonyms[0], "an incidental finding", room.person)


def test_nothing_in_the_files_or_the_record_names_a_patient(room, pseudonyms):
    assert {p.name for p in folder(room).iterdir()} == {*pseudonyms, "salt.json"}
    everything = b"".join(p.read_bytes() for p in folder(room).iterdir()) + json.dumps(room.audit.records).encode()
    assert PATIENT_ID.encode() not in everything
    assert b"quastenflosser" not in everything.lower()
    assert {p.stat().st_mode & 0o777 for p in folder(room).iterdir()} == {0o600}


def test_taking_in_again_adds_those_from_before(room, source, people):
    before = room.ingest(source).version
    room.crosswalks.keep(PROJECT, people, room.person)
    with pytest.raises(Conflict, match="has a crosswalk already"):
        room.crosswalks.keep(PROJECT, people, room.person)
    again = room.ingest(source)
    assert again.unchanged
    for instance in room.datasets.manifest(before).instances:
        assert room.crosswalks.look_up(PROJECT, instance.patient, "a finding", room.person).value


def test_what_is_destroyed_is_gone_also_from_a_copy_of_the_entries(room, pseudonyms, people):
    kept = {p: (folder(room) / p).read_bytes() for p in pseudonyms}
    with pytest.raises(BadInput, match="two different people"):
        room.crosswalks.destroy(PROJECT, people[:1], room.person)
    assert room.crosswalks.destroy(PROJECT, people, room.person) == 2
    assert not folder(room).exists()
    room.crosswalks.keep(PROJECT, people, room.person)
    for name, data in kept.items():
        (folder(room) / name).write_bytes(data)
        with pytest.raises(IntegrityError):
            room.crosswalks.look_up(PROJECT, name, "a finding", room.person)
    last = room.audit.records[-1]
    assert (last["event"], last["outcome"]) == ("crosswalk-looked-up", "failure")


def test_an_entry_under_another_name_is_refused(room, pseudonyms):
    one, other = (folder(room) / p for p in pseudonyms)
    other.write_bytes(one.read_bytes())
    with pytest.raises(IntegrityError):
        room.crosswalks.look_up(PROJECT, other.name, "a finding", room.person)


@pytest.mark.parametrize(
    "pseudonym", ["", "../salt.json", "salt.json", "P-0123", "p-0123456789abcdef", "P-0123456789ABCDEF/"]
)
def test_only_a_pseudonym_is_looked_up(room, pseudonyms, pseudonym):
    with pytest.raises(BadInput, match="is no pseudonym"):
        room.crosswalks.look_up(PROJECT, pseudonym, "a finding", room.person)
    with pytest.raises(BadInput, match="say why"):
        room.crosswalks.look_up(PROJECT, pseudonyms[0], "  ", room.person)


def test_a_full_disk_leaves_no_half_an_entry(room, pseudonyms, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(Exception, match="cannot be written: No space left"):
        room.crosswalks.add(PROJECT, [Original("P-0123456789ABCDEF", "PatientID", "1")])
    assert {p.name for p in folder(room).iterdir()} == {*pseudonyms, "salt.json"}
