"""Those who receive audit feeds: a real rsyslog with TLS, and a FHIR server that takes AuditEvents and nothing else."""

import contextlib
import ipaddress
import json
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.support.fhir import check_audit_event
from tests.support.ports import free_ports

RSYSLOGD = "/usr/sbin/rsyslogd"
_SECONDS = 20.0
_CONF = """
global(workDirectory="{folder}" maxMessageSize="64k" defaultNetstreamDriver="gtls"
  defaultNetstreamDriverCAFile="{ca}" defaultNetstreamDriverCertFile="{cert}" defaultNetstreamDriverKeyFile="{key}")
main_queue(queue.type="Direct")
module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="{mode}")
template(name="raw" type="string" string="%rawmsg%\\n")
input(type="imtcp" address="127.0.0.1" port="{port}")
action(type="omfile" file="{out}" template="raw")
"""


class Authority:
    """Signs certificates for servers and clients; `ca` is its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder, self._key, self._name = folder, ec.generate_private_key(ec.SECP256R1()), self._called("authority")
        certificate = self._sign(self._name, self._key.public_key(), authority=True)
        self.ca = folder / "ca.pem"
        self.ca.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    @staticmethod
    def _called(name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])

    def _sign(self, subject, key, *, authority=False, names=()) -> x509.Certificate:
        now = datetime.now(UTC)
        built = x509.CertificateBuilder(
            self._name, subject, key, x509.random_serial_number(), now - timedelta(minutes=5), now + timedelta(days=1)
        ).add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        if names:
            built = built.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return built.sign(self._key, hashes.SHA256())

    def issue(self, name: str, *dns: str) -> tuple[Path, Path]:
        """Certificate and key files; for these names, and 127.0.0.1 where there is any."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = [x509.DNSName(d) for d in dns]
        if dns:
            names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
        certificate = self._sign(self._called(name), key.public_key(), names=names)
        cert, secret = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        cert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        secret.write_bytes(key.private_bytes(*form))
        return cert, secret


def until(condition, seconds=_SECONDS):
    """Wait for a condition, and return what it is."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)
    return found


class Rsyslog:
    """Writes each message, as it came, on a line. Takes its messages out of the socket one by one (a direct queue)."""

    def __init__(self, folder: Path, authority: Authority, *, asks_for_certificate: bool = False) -> None:
        folder.mkdir()
        self._folder, self.port, self._process = folder, free_ports(2), None  # the second is for whoever watches
        self._out = folder / "out"
        cert, key = authority.issue(f"rsyslog-{self.port}", "localhost")
        mode = "x509/certvalid" if asks_for_certificate else "anon"
        values = {"folder": folder, "ca": authority.ca, "cert": cert, "key": key, "out": self._out}
        (folder / "conf").write_text(_CONF.format(**values, port=self.port, mode=mode))

    def start(self) -> None:
        command = [RSYSLOGD, "-n", "-f", str(self._folder / "conf"), "-i", str(self._folder / "pid")]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        until(self._answers)

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self._folder / "log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(_SECONDS)
            self._process = None
            (self._folder / "pid").unlink(missing_ok=True)

    def arrived(self) -> list[bytes]:
        """What was written until now, in the order of its coming; a line that is not whole yet is left out."""
        return self._out.read_bytes().split(b"\n")[:-1] if self._out.exists() else []


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 5

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status, text = self.server.fhir.take(self.path, self.headers, body)
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        pass


class _Quiet(ThreadingHTTPServer):
    """Says nothing of clients that hang up because they do not trust it."""

    def handle_error(self, *_: object) -> None:
        pass


class FhirServer:
    """POST to /r4/AuditEvent: 201 for an AuditEvent, 400 otherwise, and what `answer` says instead, where it does."""

    def __init__(self, authority: Authority | None = None) -> None:
        self.port, self._authority, self._server = free_ports(1), authority, None
        self.answer = lambda _resource: None
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []

    def take(self, path, headers, body) -> tuple[int, bytes]:
        try:
            resource = json.loads(body)
            check_audit_event(resource)
        except ValueError as error:
            return 400, str(error).encode()
        if path != "/r4/AuditEvent" or headers["Content-Type"] != "application/fhir+json":
            return 404, b""
        status = self.answer(resource)
        if status is None:
            self.bodies.append(body)
            self.headers.append(dict(headers))
        return status or 201, b"" if status is None else b'{"resourceType":"OperationOutcome"}'

    def start(self) -> None:
        self._server = _Quiet(("127.0.0.1", self.port), _Handler)
        self._server.fhir = self
        if self._authority is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self._authority.issue("fhir", "localhost"))
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def stop(self, _number: int = signal.SIGTERM) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = None

    def arrived(self) -> list[bytes]:
        return list(self.bodies)


@contextlib.contextmanager
def running(server) -> Iterator:
    """Started, and stopped at the end."""
    try:
        server.start()
        yield server
    finally:
        server.stop(signal.SIGKILL)
