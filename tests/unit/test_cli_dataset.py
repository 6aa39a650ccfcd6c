import json

import pytest
from tests.support.dicom_objects import PATIENT_ID, as_file, ct_image
from tests.support.fakes import MemoryAuditRepository
from typer.testing import CliRunner

from readingroom_hub import compose
from readingroom_hub.cli.audit import app as audit_app
from readingroom_hub.cli.crosswalk import app as crosswalk_app
from readingroom_hub.cli.dataset import app
from readingroom_hub.config import load
from readingroom_hub.model.audit import AuditEvent, AuditRecord
from readingroom_hub.model.ids import ProjectId

pytestmark = pytest.mark.filterwarnings("ignore::readingroom_hub.adapters.keys_file.DevelopmentCustodyWarning")


@pytest.fixture
def audit(monkeypatch, tmp_path):
    audit = MemoryAuditRepository()
    monkeypatch.setenv("READINGROOM_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("READINGROOM_APPROVALS", "command-line")
    monkeypatch.setattr(compose, "audit", lambda settings, process: audit)
    settings = load()
    settings.paths.make()
    compose.projects(settings, audit).create(ProjectId("lung"), "Lung", "Olga", None, audit.identify("a", "b", "c"))
    return audit


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "a.dcm").write_bytes(as_file(ct_image()))
    (folder / "us.dcm").write_bytes(as_file(ct_image(Modality="US", SOPInstanceUID="1.2.3")))
    (folder / "bad\x1b[31m.txt").write_text("x")
    return folder


def run(*argv):
    return CliRunner().invoke(app, [str(a) for a in argv])


def test_the_way_of_a_dataset(audit, source):
    done = run("ingest", source, "--project", "lung", "--name", "chest")
    assert done.exit_code == 0, done.output
    assert "text may be burnt in" in done.output
    assert "\x1b[31m" not in done.output
    assert "is published: 1 instances in 1 series, 2 of 3 files left out" in done.output
    again = json.loads(run("ingest", source, "--project", "lung", "--name", "chest", "--json").stdout)
    assert again["unchanged"] is True
    assert [o[0] for o in again["left_out"]] == ["bad\\x1b[31m.txt", "us.dcm"]
    listed = json.loads(run("list", "--json").stdout)
    assert [v["version"] for v in listed] == [again["version"]]
    shown = run("show", "chest").output
    assert "PS3.15 2026d" in shown
    assert "PatientName" in shown
    assert "is whole" in run("verify", "chest").output


def test_an_ingest_writes_the_report_of_what_it_did(audit, source, tmp_path):
    report = tmp_path / "report"
    argv = ["ingest", source, "--project", "lung", "--name", "chest", "--policy", "research", "--report", report]
    done = run(*argv, "--rare", 2)
    assert done.exit_code == 0, done.output
    content = json.loads((report / "report.json").read_text())
    assert content["files"] == 3
    assert content["instances"] == 2
    rows = {(r["attribute"], r["action"]): r["now"] for r in content["attributes"]}
    assert rows["PatientName", "pseudonym"][0].startswith("P-")
    assert "What was done to which attribute" in (report / "report.html").read_text()


def test_a_version_that_reuses_another_outlives_it(audit, source):
    for name in ("Sam", "Olga"):
        audit.identify("https://idp", name.lower(), name)
    command = ["ingest", source, "--project", "lung", "--name", "chest", "--json"]
    first = json.loads(run(*command).stdout)["version"]
    (source / "b.dcm").write_bytes(as_file(ct_image(SOPInstanceUID="1.2.4")))
    assert "1 instances reuse what an earlier version stored" in run(*command[:-1], "--reuse").output
    second = json.loads(run("list", "--json").stdout)[0]["version"]
    people = ["--approved-by", "sam", "--approved-by"]
    assert "name the version" in run("delete", "chest", *people, "olga").output
    assert "two different people" in run("delete", first, *people, "Sam").output
    done = run("delete", first, *people, "Olga")
    assert done.exit_code == 0, done.output
    assert f"{second} share its data key" in " ".join(done.output.split())
    assert "is whole: 2 instances" in run("verify", second).output
    assert [v["version"] for v in json.loads(run("list", "--json").stdout)] == [second]


def test_a_patient_is_found_in_the_record_by_the_studies(audit, tmp_path):
    folder = tmp_path / "people"
    folder.mkdir()
    for n in (1, 2, 3):
        image = ct_image(PatientID=f"MRN-{n % 2}", StudyInstanceUID=f"1.2.{n}", SOPInstanceUID=f"1.2.{n}.1")
        (folder / f"{n}.dcm").write_bytes(as_file(image))
    assert run("ingest", folder, "--project", "lung", "--name", "people").exit_code == 0
    version = compose.open_catalogue(load()).versions.find("people")
    instances = compose.datasets(load(), audit).manifest(version).instances
    patient = next(i.patient for i in instances if sum(j.patient == i.patient for j in instances) == 2)
    for study in {i.study for i in instances}:
        audit.append([AuditRecord(AuditEvent.READ_INTENT, subject={"study": study})])

    def query(*argv):
        return CliRunner().invoke(audit_app, ["query", "--event", "read-intent", "--json", *argv])

    assert json.loads(query("--patient", patient, "--project", "lung").stdout) == []  # those are of no project
    for study in {i.study for i in instances}:
        audit.append([AuditRecord(AuditEvent.READ_INTENT, project=ProjectId("lung"), subject={"study": study})])
    rows = json.loads(query("--patient", patient, "--project", "lung").stdout)
    assert {r["record"]["subject"]["study"] for r in rows} == {i.study for i in instances if i.patient == patient}
    (study,) = {i.study for i in instances if i.patient != patient}
    assert {r["record"]["subject"]["study"] for r in json.loads(query("--study", study).stdout)} == {study}
    assert "no dataset of project lung has a patient" in query("--patient", "nobody", "--project", "lung").output
    assert "give --patient with --project" in query("--patient", patient).output


def test_a_damaged_object_ends_with_an_error(audit, source, tmp_path):
    run("ingest", source, "--project", "lung", "--name", "chest")
    for path in (tmp_path / "state" / "objects").rglob("??/*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:-1])
    done = run("verify", "chest")
    assert done.exit_code == 1
    assert "1 damaged" in done.output


def test_nothing_taken_in_says_why(audit, source):
    (source / "a.dcm").unlink()
    done = run("ingest", source, "--project", "lung", "--name", "chest")
    assert done.exit_code == 1
    assert "not a DICOM file" in done.output
    assert "Error: nothing was taken in" in done.output


def test_the_way_back_from_the_command_line(audit, source):
    approved = ["--approved-by", "Ann", "--approved-by", "Bo"]
    for name in ("Ann", "Bo"):
        audit.identify("local", name, name)

    def way(*argv):
        return CliRunner().invoke(crosswalk_app, [*argv])

    done = way("keep", "lung", *approved)
    assert done.exit_code == 0, done.output
    assert run("ingest", source, "--project", "lung", "--name", "chest").exit_code == 0
    (pseudonym,) = {p.name for p in load().paths.crosswalks.joinpath("lung").iterdir()} - {"salt.json"}
    found = way("look-up", "lung", pseudonym, "--reason", "a finding", "--json")
    assert json.loads(found.stdout)["value"] == PATIENT_ID
    assert "say why" in way("look-up", "lung", pseudonym, "--reason", " ").output
    gone = way("destroy", "lung", *approved)
    assert "nothing leads back to 1 patients" in gone.output
    assert "has no crosswalk" in way("look-up", "lung", pseudonym, "--reason", "a finding").output
