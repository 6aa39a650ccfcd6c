"""Sharing as two operators do it: two command lines, two audit record repositories, one store a folder, one S3."""

import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.support.audit_process import audit_process
from tests.support.mount_world import World, make_instances
from tests.support.seaweed import BUCKET, KEYS, seaweed
from typer.testing import CliRunner

from readingroom_hub import compose
from readingroom_hub.cli.main import app
from readingroom_hub.config import load
from readingroom_hub.services import object_checks

pytestmark = pytest.mark.filterwarnings("ignore::readingroom_hub.adapters.keys_file.DevelopmentCustodyWarning")
HUB = Path(__file__).parents[2] / "hub"
CARD = json.dumps({"format": "readingroom-card/1", "profile": "PS3.15 2026d", "left_out": {}, "actions": {}})


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    """Environments of a sending and a receiving deployment; the receiving one keeps its objects in S3."""
    folder = tmp_path_factory.mktemp("sites")
    (folder / "weed").mkdir()
    with ExitStack() as stack:
        s3 = stack.enter_context(seaweed(folder / "weed"))
        credentials = folder / "s3.credentials"
        credentials.write_text("[default]\n" + "".join(f"{k} = {v}\n" for k, v in KEYS.items()))
        environments = []
        for name in ("here", "there"):
            state = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"rr-{name}-")))
            _, client = stack.enter_context(audit_process(state))
            for person in ("Sam", "Olga"):
                client.identify("https://idp", person.lower(), person)
            environments.append({"READINGROOM_STATE": str(state), "READINGROOM_APPROVALS": "command-line"})
        environments[1] |= {
            "READINGROOM_S3_ENDPOINT": s3.endpoint,
            "READINGROOM_S3_BUCKET": BUCKET,
            "READINGROOM_S3_CREDENTIALS_FILE": str(credentials),
        }
        yield environments


def run(site, *argv):
    done = CliRunner(env=site).invoke(app, [str(a) for a in argv])
    assert done.exit_code == 0, done.output
    return done.stdout


def run_by_itself(site, *argv):
    command = [sys.executable, "-m", "readingroom_hub.cli.main", *(str(a) for a in argv)]
    environment = load(site).to_environ() | {"PYTHONPATH": str(HUB)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def events(site):
    return [r["record"]["event"] for r in json.loads(run(site, "audit", "query", "--json"))]


def test_a_version_goes_from_a_folder_to_s3(sites, tmp_path, monkeypatch):
    here, there = sites
    world = World(Path(here["READINGROOM_STATE"]))
    sent = world.publish_made(world.project("nodules"), "chest-ct", make_instances(((70_000,) * 20,), 6), card=CARD)
    run(there, "project", "create", "lung", "--title", "Lung", "--owner", "Dr Owner")
    ours, theirs = tmp_path / "ours.pub", tmp_path / "theirs.pub"
    run(here, "key", "institution", ours)
    run(there, "key", "institution", theirs)
    people = ["--approved-by", "Sam", "--approved-by", "Olga"]
    made = json.loads(
        run_by_itself(here, "dataset", "share", "chest-ct", "--to", theirs, "--out", tmp_path, *people, "--json")
    )
    command = ["dataset", "receive", made[0]["file"], "--from", ours, "--project", "lung", "--name", "chest", "--json"]
    assert json.loads(run_by_itself(there, *command))[0]["digest"] == sent.version.digest
    assert json.loads(run(there, *command))[0]["unchanged"] is True
    assert "is whole" in run(there, "dataset", "verify", "chest")
    assert "dataset-shared" in events(here)
    assert {"dataset-received", "version-published"} <= set(events(there))

    # Each worker process has its own connection to the store.
    settings = load(there)
    monkeypatch.setattr(object_checks, "_WORTH", 100_000)
    monkeypatch.setattr(object_checks, "_BATCH", 3)
    catalogue, objects = compose.open_catalogue(settings), compose.objects(settings)
    with audit_process() as (_, audit):
        service = compose.datasets(settings, audit)
        version = catalogue.versions.find("chest")
        person = audit.identify("a", "b", "c")
        assert service.verify(version, person) == []
        lost = sent.manifest.instances[7]
        objects.remove(f"{version.key}/{lost.object_name}")
        assert [d.object for d in service.verify(version, person)] == [lost.instance]
    run(there, "dataset", "delete", f"chest@{version.digest.short}", *people)
    assert list(objects.names(version.key)) == []
    assert "version-deleted" in events(there)
