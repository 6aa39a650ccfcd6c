"""A repository that takes records of nodes over mutual TLS, and certificates for everybody."""

import contextlib
import re
import shutil
import tempfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.support.audit_process import AuditProcess, audit_process
from tests.support.receivers import Authority

from readingroom_hub.adapters.audit_client import SocketAuditRepository
from readingroom_hub.config import Settings
from readingroom_hub.ports.reception import TlsFiles


def fingerprint(cert: Path) -> str:
    """As the operator reads it off: SHA-256 of the DER form, hexadecimal."""
    return sha256(x509.load_pem_x509_certificate(cert.read_bytes()).public_bytes(Encoding.DER)).hexdigest()


class NodeWorld:
    """One repository, an authority, a list of nodes. `folder` is outside of the repository's state."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority(folder / "authority")
        self.listed = folder / "nodes"
        self.listed.write_text("")
        cert, key = self.authority.issue("repository", "localhost")
        self.settings = Settings(
            folder / "s",
            audit_listen="127.0.0.1:0",
            audit_nodes_file=self.listed,
            audit_tls_cert_file=cert,
            audit_tls_key_file=key,
            audit_tls_ca_file=self.authority.ca,
        )
        self.server: AuditProcess
        self.client: SocketAuditRepository

    @property
    def port(self) -> int:
        """Where the running repository listens."""
        return int(re.findall(r"records of nodes at 127\.0\.0\.1:(\d+)", self.server.said())[-1])

    def certificate(self, name: str, *, authority: Authority | None = None) -> TlsFiles:
        """A node's files; it is not listed yet."""
        cert, key = (authority or self.authority).issue(name, name)
        return TlsFiles(cert, key, self.authority.ca)

    def list(self, **nodes: TlsFiles) -> None:
        """Let exactly these in; an underscore in a name stands for a hyphen."""
        lines = [f"{name.replace('_', '-')} {fingerprint(tls.cert)}\n" for name, tls in nodes.items()]
        self.listed.with_suffix(".part").write_text("".join(["# NAME FINGERPRINT\n", *lines]))
        self.listed.with_suffix(".part").rename(self.listed)

    def stay(self) -> None:
        """Keep the port over a restart."""
        object.__setattr__(self.settings, "audit_listen", f"127.0.0.1:{self.port}")


@contextlib.contextmanager
def node_world() -> Iterator[NodeWorld]:
    """Running; nothing stays."""
    folder = Path(tempfile.mkdtemp(prefix="rr-"))
    try:
        world = NodeWorld(folder)
        with audit_process(folder / "s", settings=world.settings) as (world.server, world.client):
            yield world
    finally:
        shutil.rmtree(folder)
