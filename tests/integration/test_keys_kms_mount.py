"""The mount daemon as a process, whose keys are in a key management service that goes away and comes back."""

import dataclasses
import errno
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.core.authorization import enable_iam_authentication
from moto.server import ThreadedMotoServer
from tests.support.dicom_objects import as_file, ct_image
from tests.support.fakes import MemoryAuditRepository
from tests.support.mount_process import MountProcess, mount_process, soon
from tests.support.mount_world import RESEARCHER, STEWARD, Published, World, read

from readingroom_hub import compose
from readingroom_hub.adapters.aws import client
from readingroom_hub.errors import KeyUnavailable
from readingroom_hub.model.ids import DatasetName
from readingroom_hub.ports.mounts import CONTENT
from readingroom_hub.services.institution import Institution

pytestmark = [
    pytest.mark.fuse,
    pytest.mark.filterwarnings("ignore::readingroom_hub.adapters.keys_file.DevelopmentCustodyWarning"),
]
REGION = "eu-central-1"
REFUSED = r"refused \((AccessDeniedException|403)\): look at its keys and rights"
"""The name is AWS's; moto refuses without one."""
MANUAL = Path(__file__).parents[2] / "docs/operator.md"


class Service:
    """moto as a server in this process: what it holds outlives its socket."""

    def __init__(self) -> None:
        self._server = ThreadedMotoServer("127.0.0.1", port=0)
        self._server.start()
        self.host, self.port = self._server.get_host_and_port()

    def stop(self) -> None:
        self._server.stop()

    def start_again(self) -> None:
        self._server = ThreadedMotoServer(self.host, port=self.port)
        self._server.start()


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    yield made
    made.stop()


@pytest.fixture
def room(service: Service, tmp_path: Path) -> Iterator[MountProcess]:
    keys = tmp_path / "credentials"
    keys.write_text("[default]\naws_access_key_id = daemon\naws_secret_access_key = a-secret-of-the-tests\n")
    with mount_process() as made:
        made.stop()
        made.settings = dataclasses.replace(
            made.settings,
            kms_region=REGION,
            kms_endpoint=f"http://{service.host}:{service.port}",
            kms_alias="outage",
            kms_credentials_file=keys,
        )
        made.custody = compose.custody(made.settings)
        made.start()
        yield made


def granted(room: MountProcess, dataset: str, seed: int) -> Published:
    published = room.publish(room.catalogue.projects.get("lung").id, dataset, [[50_000] * 3], seed)
    room.grant(published.version.project, published.version)
    return published


def test_an_outage_of_key_custody_stops_what_is_new_and_nothing_that_runs(room: MountProcess, service: Service) -> None:
    project = room.project("lung")
    known, other = granted(room, "lung-ct", 1), granted(room, "chest-ct", 2)
    folder = room.mounts.attach(room.session(project).id)
    first, *rest = known.plain
    assert read(folder / "data/lung-ct" / first) == known.plain[first]
    service.stop()

    for path in rest:  # the running session goes on, also in what it had not opened yet
        assert read(folder / "data/lung-ct" / path) == known.plain[path]
    new = room.mounts.attach(room.session(project).id)
    wanted = new / "data/chest-ct" / next(iter(other.plain))
    with pytest.raises(OSError) as refused:
        read(wanted)
    assert refused.value.errno == errno.EIO
    told = read(new / "data/README.txt").decode()
    assert f"{other.version.label} cannot be opened: the key management service does not answer" in told
    assert "try again in a minute" in told
    assert str(service.port) not in told
    failed = [r for r in room.records("key-unwrapped") if r["outcome"] == "failure"]
    assert {r["subject"]["version"] for r in failed} == {other.version.digest}
    assert failed[0]["reason"].startswith("key-unavailable: the key management service does not answer")
    assert read(folder / "data/lung-ct" / first) == known.plain[first]

    pid = room.pid
    service.start_again()

    def opens() -> bool:
        try:
            return read(wanted) == next(iter(other.plain.values()))
        except OSError as error:
            assert error.errno == errno.EIO  # noqa: PT017
            return False

    soon(opens, 20)
    assert sorted(p.name for p in (new / "data").iterdir()) == ["README.txt", "chest-ct", "lung-ct"]
    assert room.pid == pid


def test_a_silent_key_custody_is_asked_once_and_not_by_every_request(room: MountProcess, service: Service) -> None:
    project = room.project("lung")
    other = granted(room, "chest-ct", 3)
    folder = room.mounts.attach(room.session(project).id)
    service.stop()
    begun = time.monotonic()
    for path in [*other.plain] * 7:
        with pytest.raises(OSError):
            read(folder / "data/chest-ct" / path)
    asked = len([r for r in room.records("key-unwrapped") if r["outcome"] == "failure"])
    assert 1 <= asked <= 1 + (time.monotonic() - begun) / 2
    service.start_again()


class Rights:
    """The policies of the manual, given to users of the service's own IAM, which checks signatures and rights."""

    def __init__(self, service: Service, folder: Path) -> None:
        self._folder = folder
        root = {"aws_access_key_id": "root", "aws_secret_access_key": "root"}
        self._iam = client("iam", f"http://{service.host}:{service.port}", REGION, root, None)
        chapter = MANUAL.read_text().partition("### Rights in the key management service")[2]
        self.daemon, self.everyday = re.findall(r"```json\n(.*?)```", chapter, re.DOTALL)[:2]

    def user(self, name: str, *policies: str) -> Path:
        """Its credentials file."""
        self._iam.create_user(UserName=name)
        for n, policy in enumerate(policies):
            self._iam.put_user_policy(UserName=name, PolicyName=f"policy-{n}", PolicyDocument=policy)
        key = self._iam.create_access_key(UserName=name)["AccessKey"]
        file = self._folder / name
        secret = f"aws_access_key_id = {key['AccessKeyId']}\naws_secret_access_key = {key['SecretAccessKey']}\n"
        file.write_text(f"[default]\n{secret}")
        return file


def test_the_manual_gives_the_right_to_unwrap_to_the_mount_daemon_alone(
    room: MountProcess, service: Service, tmp_path: Path
) -> None:
    rights = Rights(service, tmp_path)
    assert json.loads(rights.daemon)["Statement"][0]["Action"] == [
        "kms:DescribeKey", "kms:Decrypt", "kms:Encrypt", "kms:ListAliases"
    ]  # fmt: skip
    assert "Decrypt" not in rights.everyday
    officer = rights.user("officer", rights.daemon, rights.everyday)
    source = tmp_path / "source"
    source.mkdir()
    for n in range(3):
        (source / f"{n}.dcm").write_bytes(as_file(ct_image(SOPInstanceUID=f"1.2.276.99.4.{n + 1}")))
    room.stop()
    room.settings = dataclasses.replace(
        room.settings,
        kms_alias="rights",
        kms_credentials_file=rights.user("everyday", rights.everyday),
        kms_mount_credentials_file=rights.user("daemon", rights.daemon),
    )
    audit, project = MemoryAuditRepository(), room.project("lung")
    with enable_iam_authentication():
        version = compose.ingest(room.settings, audit).ingest(source, project, DatasetName("chest"), STEWARD).version
        keys = compose.keys(room.settings, audit)
        assert keys.rotate(STEWARD) == "rights-kek-0002"
        assert [[v.digest for v in versions] for _, versions, _ in keys.keks()] == [[version.digest], []]
        with pytest.raises(KeyUnavailable, match=REFUSED):
            keys.rewrap(STEWARD)
        with pytest.raises(KeyUnavailable, match=REFUSED):  # and does not quietly store everything again
            compose.ingest(room.settings, audit).ingest(source, project, DatasetName("chest"), STEWARD, reuse=True)
        with pytest.raises(KeyUnavailable, match=REFUSED):
            compose.custody(room.settings, for_mount=True).rotate()

        room.grant(project, version)
        room.start()
        session = room.session(project)
        folder = room.mounts.attach(session.id) / "data/chest"
        folders = room.mounts.open_folders(session.id)  # made with a key that the service wrapped
        home = folders.home / CONTENT
        (home / "finding").write_text("kept")
        room.mounts.detach(session.id)
        assert not home.exists()
        folder = room.mounts.attach(session.id) / "data/chest"
        assert room.mounts.open_folders(session.id) == folders
        assert (home / "finding").read_text() == "kept"
        room.mounts.detach(session.id)
        folder = room.mounts.attach(session.id) / "data/chest"
        images = sorted(folder.rglob("*.dcm"))
        assert len(images) == 3
        assert all(read(path)[128:132] == b"DICM" for path in images)
        assert [r["outcome"] for r in room.records("key-unwrapped")] == ["success"]

        other = World(tmp_path / "other")
        (them := tmp_path / "them.pub").write_text(compose.sharing(other.settings, audit).institution().to_text())
        package = (
            version,
            Institution.read(them),
            tmp_path / "out",
            [STEWARD, RESEARCHER],
            STEWARD,
            lambda _n, _of: None,
        )
        with pytest.raises(KeyUnavailable, match=REFUSED):
            compose.sharing(room.settings, audit).share(*package)
        assert not (tmp_path / "out").exists()
        opening = dataclasses.replace(room.settings, kms_credentials_file=officer)
        assert compose.sharing(opening, audit).share(*package).path.exists()
        assert [v.digest for v in compose.keys(opening, audit).rewrap(STEWARD)] == [version.digest]
        receipt = keys.destroy("rights-kek-0001", [STEWARD, RESEARCHER], STEWARD)
        assert receipt["receipt"]["unreadable"] == []
        room.stop()
