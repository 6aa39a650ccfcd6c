"""The edge as a real process, a sender for it, and what is left on its disk. Also a process that kills itself.

As a program: FOLDER MOMENT works off everything in FOLDER/spool and dies at the named moment."""

import io
import ipaddress
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pydicom
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pynetdicom import AE, evt

from readingroom_hub.deid import policy_file
from readingroom_hub.services import deid_folder, edge_spool
from readingroom_hub.services.edge_spool import Spool
from readingroom_hub.services.edge_studies import StudyService

ROOT = Path(__file__).parents[2]
TITLE = "READINGROOM"


class Edge:
    """One running `readingroom edge`, with its folders below `folder`."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.log = folder / f"log-{time.monotonic_ns()}"
        argv = [sys.executable, "-m", "readingroom_hub.cli.main", "edge", "--policy", "research", "--port", "0"]
        argv += ["--key", f"{folder}/key", "--spool", f"{folder}/spool", "--to", f"{folder}/out", *options]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(argv, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
        self.port = int(self.told(r"listens at \S+ port (\d+)")[1])

    def text(self) -> str:
        return self.log.read_text()

    def told(self, pattern: str, times: int = 1) -> re.Match[str]:
        """Wait until a line has been told so often."""
        deadline = time.monotonic() + 40
        while len(found := list(re.finditer(pattern, self.text()))) < times:
            assert self.process.poll() is None, self.text()
            assert time.monotonic() < deadline, f"{pattern} is not told: {self.text()}"
            time.sleep(0.05)
        return found[-1]

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End it, and wait until its workers are gone too."""
        self.process.send_signal(number)
        self.process.wait(30)
        deadline = time.monotonic() + 20
        while _session(self.process.pid):
            assert time.monotonic() < deadline, "processes outlive the edge"
            time.sleep(0.05)


@contextmanager
def edge(folder: Path, *options: str):
    folder.mkdir(exist_ok=True)
    running = Edge(folder, *options)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.kill()


@contextmanager
def association(port: int, *objects: pydicom.Dataset, title: str = "CT1", called: str = TITLE, **options):
    """An association for these objects' classes and transfer syntaxes, as a scanner opens one."""
    entity = AE(ae_title=title)
    wanted = {(str(o.SOPClassUID), str(o.file_meta.TransferSyntaxUID)) for o in objects}
    for sop_class, syntax in sorted(wanted or {("1.2.840.10008.1.1", "1.2.840.10008.1.2")}):
        entity.add_requested_context(sop_class, syntax)
    made = entity.associate("127.0.0.1", port, ae_title=called, **options)
    try:
        yield made
    finally:
        if made.is_established:
            made.release()
        if made.dul.socket and made.dul.socket.socket:  # pynetdicom leaves it open where its peer hangs up first
            made.dul.socket.socket.close()


def send(port: int, *objects: pydicom.Dataset, **options) -> list[int]:
    """The status of each C-STORE."""
    with association(port, *objects, **options) as made:
        assert made.is_established, "no association"
        return [made.send_c_store(one).Status for one in objects]


def opened(data: bytes) -> pydicom.FileDataset:
    return pydicom.dcmread(io.BytesIO(data))


@contextmanager
def archive(port: int = 0, classes=("1.2.840.10008.5.1.4.1.1.2",), statuses=()):
    """A receiver of results: its port, and the bytes of what it got, by SOP Instance UID."""
    got: dict[str, bytes] = {}
    answers = iter(statuses)

    def store(event):
        status = next(answers, 0)
        if status == 0:
            got[str(event.request.AffectedSOPInstanceUID)] = event.request.DataSet.getvalue()
        return status

    entity = AE(ae_title="ARCHIVE")
    for sop_class in classes:
        entity.add_supported_context(sop_class)
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    try:
        yield server.server_address[1], got
    finally:
        entity.shutdown()


def certificates(folder: Path) -> tuple[Path, Path, Path]:
    """Certificate and key for 127.0.0.1, for both sides, and the authority that signed it."""
    now = datetime.now(UTC)

    def signed(name, issuer, key, signer, extension, critical):
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(issuer).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(now - timedelta(1))
        builder = builder.not_valid_after(now + timedelta(1)).add_extension(extension, critical)
        return builder.sign(signer, hashes.SHA256())

    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority, subject = (x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, n)]) for n in ("authority", "edge"))
    ca = signed(authority, authority, ca_key, ca_key, x509.BasicConstraints(ca=True, path_length=0), critical=True)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    cert = signed(subject, authority, key, ca_key, names, critical=False)
    folder.mkdir()
    pem = serialization.Encoding.PEM
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "ca.crt").write_bytes(ca.public_bytes(pem))
    (folder / "edge.crt").write_bytes(cert.public_bytes(pem))
    (folder / "edge.key").write_bytes(key.private_bytes(pem, *plain))
    return folder / "edge.crt", folder / "edge.key", folder / "ca.crt"


def results(folder: Path) -> dict[str, bytes]:
    """Bytes of results by path."""
    out = folder / "out"
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


def waiting(folder: Path) -> list[str]:
    return sorted(p.name for p in (folder / "spool" / "incoming").iterdir())


def everything(folder: Path) -> bytes:
    """Every name and byte below a folder, in lower case."""
    paths = sorted(folder.rglob("*"))
    return b"\n".join(
        [str(p.relative_to(folder)).encode() + b"\n" + (p.read_bytes() if p.is_file() else b"") for p in paths]
    ).lower()


def _session(leader: int) -> list[psutil.Process]:
    found = []
    for p in psutil.process_iter():
        try:
            if os.getsid(p.pid) == leader and p.status() != psutil.STATUS_ZOMBIE:
                found.append(p)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def services(folder: Path) -> tuple[Spool, StudyService]:
    """Spool and studies, with the folders and keys that `readingroom edge` would use."""
    folder.mkdir(exist_ok=True)
    spool = Spool(folder / "spool", deid_folder.secret(folder / "key.spool"))
    policy = policy_file.load("research")
    return spool, StudyService(spool, folder / "out", policy, deid_folder.secret(folder / "key"), workers=1)


def _die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main(folder: Path, moment: str) -> None:
    spool, studies = services(folder)
    if moment == "staged":
        studies._place = _die
    elif moment == "placed":
        studies._write = _die
    elif moment == "reported":
        spool.finish = lambda study, done, again: _die() if done else None
    elif moment == "noted":
        # The record of what is done is durable, no original is removed yet.
        sync = edge_spool.sync
        edge_spool.sync = lambda f: _die() if f.name == "done" else sync(f)
    elif moment == "finished":
        spool.quarantine = _die
    for _ in studies.work_off(spool.settled(0), lambda *_: None):
        pass
    spool.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
