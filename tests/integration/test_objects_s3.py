"""The S3 store against a real service, which refuses wrong secrets and replaces nothing."""

import contextlib
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import pytest
from tests.contract.object_store import ObjectStoreContract
from tests.support.seaweed import BUCKET, KEYS, Seaweed, seaweed
from tests.support.silent import SilentService

from readingroom_hub import compose
from readingroom_hub.adapters import aws, objects_s3
from readingroom_hub.adapters.aws import credentials
from readingroom_hub.adapters.objects_s3 import S3ObjectStore
from readingroom_hub.config import load
from readingroom_hub.errors import BadInput, StoreUnavailable

REGION = "us-east-1"


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Seaweed:
    with seaweed(tmp_path_factory.mktemp("seaweed")) as running:
        yield running


@pytest.fixture
def store(server) -> S3ObjectStore:
    """With nothing in it."""
    made = S3ObjectStore(server.endpoint, BUCKET, REGION, KEYS)
    client = boto3.session.Session(region_name=REGION, **KEYS).client("s3", endpoint_url=server.endpoint)
    for top in {o["Key"].split("/")[0] for o in client.list_objects_v2(Bucket=BUCKET).get("Contents", ())}:
        made.delete(top)
    return made


class TestS3ObjectStore(ObjectStoreContract):
    @pytest.fixture
    def store(self, store):
        return store


def test_a_wrong_secret_is_refused_and_says_so(server):
    store = S3ObjectStore(server.endpoint, BUCKET, REGION, KEYS | {"aws_secret_access_key": "guessed"})
    for call in (lambda: store.put("k/x", b"1"), lambda: store.read("k/x"), lambda: list(store.names("k"))):
        with pytest.raises(StoreUnavailable, match=r"SignatureDoesNotMatch|AccessDenied"):
            call()


def test_more_than_one_page_is_listed_and_removed(store):
    names = {f"k-1/{n:04d}" for n in range(1005)}
    for name in names:
        store.put(name, b"")
    assert set(store.names("k-1")) == names
    store.delete("k-1")
    assert list(store.names("k-1")) == []


def test_a_service_that_is_gone_is_an_error_and_is_used_again_when_it_is_back(tmp_path):
    with seaweed(tmp_path) as server:
        store = S3ObjectStore(server.endpoint, BUCKET, REGION, KEYS)
        store.put("k/x", b"kept")
        server.stop()
        with pytest.raises(StoreUnavailable, match="k/x: the S3 store does not answer"):
            store.read("k/x")
        server.start()
        assert store.read("k/x") == b"kept"


class Drip(BaseHTTPRequestHandler):
    """Promises a thousand bytes, and sends one now and then."""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        with contextlib.suppress(OSError):
            while not self.server.over.wait(0.02):
                self.wfile.write(b"x")

    def log_message(self, *_args):
        pass


def test_a_service_that_drips_is_given_up(monkeypatch):
    monkeypatch.setattr(objects_s3, "_BODY_SECONDS", 0.3)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Drip)
    server.over = threading.Event()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        store = S3ObjectStore(f"http://127.0.0.1:{server.server_port}", BUCKET, REGION, KEYS)
        with pytest.raises(StoreUnavailable, match=r"k/x: the S3 store does not answer \(\d+ bytes in"):
            store.read("k/x")
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    "ask",
    [lambda s: s.read("k/x"), lambda s: s.put("k/x", b"1"), lambda s: s.size("k/x")],
    ids=["read", "put", "size"],
)
def test_a_service_that_is_silent_is_given_up(monkeypatch, ask):
    monkeypatch.setattr(aws, "_READ_SECONDS", 0.2)
    monkeypatch.setattr(aws, "_ATTEMPTS", 2)
    with SilentService() as service:
        store = S3ObjectStore(service.endpoint, BUCKET, REGION, KEYS)
        begun = time.monotonic()
        with pytest.raises(StoreUnavailable, match=r"k/x: the S3 store does not answer .*try again in a minute"):
            ask(store)
        assert time.monotonic() - begun < 20  # the library's own limit is a minute for each attempt
        assert service.attempts() == 2


def test_settings_choose_it(tmp_path):
    file = tmp_path / "credentials"
    file.write_text("[default]\naws_access_key_id = me\naws_secret_access_key = 50%=x\n")
    settings = {"READINGROOM_S3_ENDPOINT": "http://127.0.0.1:1", "READINGROOM_S3_BUCKET": "b"}
    with pytest.raises(BadInput, match="READINGROOM_S3_CREDENTIALS_FILE"):
        compose.objects(load(settings))
    assert isinstance(compose.objects(load(settings | {"READINGROOM_S3_CREDENTIALS_FILE": str(file)})), S3ObjectStore)
    assert credentials(file) == {"aws_access_key_id": "me", "aws_secret_access_key": "50%=x"}


@pytest.mark.parametrize("text", ["", "[default]\naws_access_key_id = me\n", "no section\n"])
def test_credentials_that_lack_something_are_named(tmp_path, text):
    file = tmp_path / "credentials"
    file.write_text(text)
    with pytest.raises(BadInput, match="credentials"):
        credentials(file)
    with pytest.raises(BadInput, match="cannot be read"):
        credentials(tmp_path / "none")
