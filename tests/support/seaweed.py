"""A real S3 service, SeaweedFS from a wheel, on loopback."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from tests.support.ports import free_ports

KEYS = {"aws_access_key_id": "readingroom", "aws_secret_access_key": "a-secret-of-the-tests"}
BUCKET = "objects"
_SECONDS = 60


class Seaweed:
    """`stop` and `start` as often as wanted; what was stored stays."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._first = free_ports(10)
        self.endpoint = f"http://127.0.0.1:{self._first}"
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "data").mkdir()
        everything = ["Admin", "Read", "Write", "List", "Tagging"]
        key = {"accessKey": KEYS["aws_access_key_id"], "secretKey": KEYS["aws_secret_access_key"]}
        identities = [{"name": "hub", "credentials": [key], "actions": everything}]
        (folder / "s3.json").write_text(json.dumps({"identities": identities}))

    def start(self) -> None:
        names = ["s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc"]
        names += ["filer.port", "filer.port.grpc"]
        ports = [f"-{name}={self._first + n}" for n, name in enumerate(names)]
        command = [str(Path(sys.executable).with_name("weed")), "-logtostderr", "server", "-ip=127.0.0.1", *ports]
        command += ["-ip.bind=127.0.0.1", f"-dir={self._folder / 'data'}", "-s3", f"-s3.config={self._folder}/s3.json"]
        command += ["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false", "-volume.max=20"]
        command += ["-master.volumeSizeLimitMB=64"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder, start_new_session=True)
        self._wait()

    def _wait(self) -> None:
        config = Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 1})
        session = boto3.session.Session(region_name="us-east-1", **KEYS)
        client = session.client("s3", endpoint_url=self.endpoint, config=config)
        deadline = time.monotonic() + _SECONDS
        while True:
            try:
                if BUCKET not in {b["Name"] for b in client.list_buckets()["Buckets"]}:
                    client.create_bucket(Bucket=BUCKET)
                client.put_object(Bucket=BUCKET, Key="ready", Body=b"1")
                client.delete_object(Bucket=BUCKET, Key="ready")
            except (BotoCoreError, ClientError):
                assert self._process is not None
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise RuntimeError((self._folder / "log").read_text()[-4000:]) from None
                time.sleep(0.1)
            else:
                return

    def stop(self) -> None:
        """It takes SIGTERM slowly; its group goes at once."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@contextlib.contextmanager
def seaweed(folder: Path) -> Iterator[Seaweed]:
    """Running, with an empty bucket `BUCKET`."""
    server = Seaweed(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
