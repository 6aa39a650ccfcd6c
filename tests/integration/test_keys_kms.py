"""Key custody in a key management service: moto as a server, which speaks AWS KMS over HTTP."""

import dataclasses
import itertools
import json
import secrets
import time
from datetime import datetime
from threading import Barrier, Thread

import pytest
from moto.server import ThreadedMotoServer
from tests.contract.key_custody import KeyCustodyContract
from tests.support.fakes import MemoryAuditRepository
from tests.support.mount_world import RESEARCHER, STEWARD, World
from tests.support.silent import SilentService
from typer.testing import CliRunner

from readingroom_hub import compose
from readingroom_hub.adapters import aws
from readingroom_hub.adapters.aws import client
from readingroom_hub.adapters.keys_kms import KmsKeyCustody
from readingroom_hub.adapters.vault_keys_dir import DirectoryVaultKeys
from readingroom_hub.cli.key import app
from readingroom_hub.config import load
from readingroom_hub.errors import BadInput, IntegrityError, KeyUnavailable
from readingroom_hub.model.ids import KeyId
from readingroom_hub.services.keys import KeyService

KEYS = {"aws_access_key_id": "hub", "aws_secret_access_key": "a-secret-of-the-tests"}
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def endpoint() -> str:
    server = ThreadedMotoServer("127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


def opened(endpoint: str, prefix: str) -> KmsKeyCustody:
    return KmsKeyCustody(client("kms", endpoint, "eu-central-1", KEYS, None), prefix)


@pytest.fixture
def prefix() -> str:
    return f"room{next(_numbers)}"


@pytest.fixture
def custody(endpoint, prefix):
    return opened(endpoint, prefix)


class TestKmsKeyCustody(KeyCustodyContract):
    @pytest.fixture
    def custody(self, endpoint, prefix):
        return opened(endpoint, prefix)

    @pytest.fixture
    def reopened(self, custody, endpoint, prefix):
        return opened(endpoint, prefix)

    def test_a_changed_wrapped_key_is_refused(self, custody):
        """A changed name of the key inside is "access denied" to moto, and "incorrect key" to AWS."""
        wrapped = custody.wrap(KeyId.new(), secrets.token_bytes(32))
        for i in range(len(wrapped.wrapped)):
            changed = bytearray(wrapped.wrapped)
            changed[i] ^= 1
            with pytest.raises(IntegrityError if i >= 37 else (IntegrityError, KeyUnavailable)):
                custody.unwrap(dataclasses.replace(wrapped, wrapped=bytes(changed)))


def test_a_wrapped_key_is_bound_to_its_id(custody):
    wrapped = custody.wrap(KeyId.new(), secrets.token_bytes(32))
    with pytest.raises(IntegrityError):
        custody.unwrap(dataclasses.replace(wrapped, id=KeyId.new()))


def test_a_service_that_hangs_is_given_up(custody, prefix, monkeypatch):
    wrapped = custody.wrap(KeyId.new(), secrets.token_bytes(32))
    monkeypatch.setattr(aws, "_READ_SECONDS", 0.2)
    monkeypatch.setattr(aws, "_ATTEMPTS", 2)
    with SilentService() as service:
        hanging = opened(service.endpoint, prefix)
        for ask in (lambda: hanging.unwrap(wrapped), lambda: hanging.wrap(KeyId.new(), b"k" * 32), hanging.current_kek):
            begun = time.monotonic()
            with pytest.raises(KeyUnavailable, match=r"does not answer \(ReadTimeoutError\); try again in a minute"):
                ask()
            assert time.monotonic() - begun < 20  # the library's own limit is a minute for each attempt
            assert service.attempts() == 2


def test_two_processes_that_come_first_share_one_key(endpoint, prefix):
    ready, names = Barrier(4), []

    def first() -> None:
        ready.wait(timeout=10)
        names.append(opened(endpoint, prefix).current_kek())

    threads = [Thread(target=first) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert names == [f"{prefix}-kek-0001"] * 4


def test_a_service_that_is_gone_says_so_and_names_what_to_do():
    away = opened("http://127.0.0.1:1", "room")
    for call in (away.current_kek, away.keks, lambda: away.derive("deid/a")):
        with pytest.raises(KeyUnavailable, match=r"does not answer.*try again"):
            call()


def test_settings_choose_it(endpoint, tmp_path):
    settings = {
        "READINGROOM_KMS_REGION": "eu-central-1",
        "READINGROOM_KMS_ENDPOINT": endpoint,
        "READINGROOM_KMS_ALIAS": "chosen",
    }
    with pytest.raises(BadInput, match="READINGROOM_KMS_CREDENTIALS_FILE"):
        compose.custody(load(settings))
    file = tmp_path / "credentials"
    file.write_text("[default]\naws_access_key_id = me\naws_secret_access_key = x\n")
    chosen = compose.custody(load(settings | {"READINGROOM_KMS_CREDENTIALS_FILE": str(file)}))
    assert chosen.current_kek() == "chosen-kek-0001"


def destroyed(endpoint, prefix, tmp_path):
    """A real catalogue whose keys are in the service, and its receipt after the first KEK's destruction."""
    world, audit = World(tmp_path), MemoryAuditRepository()
    world.custody = opened(endpoint, prefix)
    gone = world.publish(world.project("lung"), "lung-ct").version
    vaults = DirectoryVaultKeys(tmp_path / "vaults")
    keys = KeyService(world.catalogue.versions, world.catalogue.grants, world.custody, audit, vaults)
    old = world.custody.current_kek()
    keys.rotate(STEWARD)
    receipt = keys.destroy(old, [STEWARD, RESEARCHER], STEWARD)
    return keys, old, gone, receipt


def test_a_receipt_says_until_when_a_destroyed_key_can_be_called_back(endpoint, prefix, tmp_path):
    keys, old, gone, receipt = destroyed(endpoint, prefix, tmp_path)
    said = keys.check(receipt)
    assert [v["version"] for v in said["unreadable"]] == [gone.digest]
    kms = client("kms", endpoint, "eu-central-1", KEYS, None)
    about = kms.describe_key(KeyId=f"alias/{old}")["KeyMetadata"]
    assert about["KeyState"] == "PendingDeletion"
    assert said["recall"]["waiting_days"] == 7
    assert datetime.fromisoformat(said["recall"]["until"]) == about["DeletionDate"].replace(microsecond=0)
    receipt["receipt"]["recall"] = None
    with pytest.raises(IntegrityError):
        keys.check(receipt)


def test_a_key_that_was_called_back_is_told_of(endpoint, prefix, tmp_path, monkeypatch):
    keys, old, _, receipt = destroyed(endpoint, prefix, tmp_path)
    (file := tmp_path / "receipt.json").write_text(json.dumps(receipt))
    monkeypatch.setattr(compose, "keys", lambda settings, record: keys)
    monkeypatch.setattr(compose, "audit", lambda settings, process: MemoryAuditRepository())
    before = CliRunner().invoke(app, ["check", str(file)])
    assert before.exit_code == 0
    assert "Not final yet: until" in before.output
    kms = client("kms", endpoint, "eu-central-1", KEYS, None)
    key = kms.describe_key(KeyId=f"alias/{old}")["KeyMetadata"]["KeyId"]
    kms.cancel_key_deletion(KeyId=key)
    after = CliRunner().invoke(app, ["check", str(file)])
    assert after.exit_code == 1
    assert "was called back since" in after.output
    kms.enable_key(KeyId=key)
    assert keys.destroy(old, [STEWARD, RESEARCHER], STEWARD)["receipt"]["recall"]["waiting_days"] == 7
