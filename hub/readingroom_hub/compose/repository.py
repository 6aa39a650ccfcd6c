"""The audit record repository, and what is made of its log."""

import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from readingroom_hub.compose import audit
from readingroom_hub.config import Paths, Settings, running
from readingroom_hub.errors import BadInput
from readingroom_hub.ledger.bundle import Verified, Wanted
from readingroom_hub.ledger.note import VKey
from readingroom_hub.ledger.policy import Policy
from readingroom_hub.ports.reception import TlsFiles
from readingroom_hub.ports.records import AuditTrail

if TYPE_CHECKING:
    from readingroom_hub.adapters.audit_client import SocketAuditRepository
    from readingroom_hub.adapters.audit_nodes import NodeDoor


def trail(settings: Settings, process: str) -> AuditTrail:
    """Where the mount daemon records: here, or for a repository on another machine, through the spool.

    Raises BadInput, Conflict, KeyUnavailable, StoreUnavailable where that cannot be used."""
    s = settings
    if not s.audit_remote:
        return audit(settings, process)
    from readingroom_hub.adapters.audit_node import Ahead, NodeAuditTrail
    from readingroom_hub.adapters.audit_node_wire import Repository, check_certificate
    from readingroom_hub.adapters.audit_spool import Spool

    if not s.audit_node:
        raise BadInput("READINGROOM_AUDIT_REMOTE needs READINGROOM_AUDIT_NODE, this machine's name")
    tls = _audit_tls(settings)
    check_certificate(tls.cert, s.audit_node)
    to = Repository(*_address("READINGROOM_AUDIT_REMOTE", s.audit_remote), tls)
    spool = Spool(s.paths.audit_spool, s.paths.keys, s.audit_node)
    ahead = Ahead(s.audit_spool_records, s.audit_spool_mb << 20, s.audit_spool_seconds)
    return NodeAuditTrail(spool, to, f"{process}@{s.audit_node}", ahead, s.audit_timeout_ms)


def check_retention(settings: Settings, before: datetime) -> None:
    """Raises BadInput where contents from before this time are still to be kept."""
    years = settings.audit_retention_years
    limit = datetime.now(UTC) - timedelta(days=366 * years)
    if before > limit:
        raise BadInput(f"access records are kept for {years} years: name a day before {limit:%Y-%m-%d}")


def remover(settings: Settings) -> "SocketAuditRepository":
    """The audit record repository for whoever erases people and purges contents."""
    from readingroom_hub.adapters.audit_client import SocketAuditRepository

    return SocketAuditRepository(settings.paths.audit_socket, "command-line", settings.audit_timeout_ms)


def status(settings: Settings) -> dict[str, Any]:
    """See SocketAuditRepository.status. Raises AuditUnavailable."""
    return remover(settings).status()


def serve(settings: Settings) -> None:
    """Run the audit record repository in this process until it is told to stop."""
    from readingroom_hub.adapters.audit_server import serve
    from readingroom_hub.adapters.audit_witnessing import Witnessing

    paths, witnessing = settings.paths, None
    if settings.audit_policy_file is not None:
        policy = read_policy(settings.audit_policy_file)
        witnessing = Witnessing(policy, settings.audit_witness_limit_minutes * 60.0)
    seconds, url = float(settings.audit_witness_seconds), settings.audit_log_url
    door, port = _node_door(settings), settings.audit_metrics_port
    serve(paths.audit, paths.keys, paths.audit_socket, witnessing, seconds, running(settings), url, door, port)


def _node_door(settings: Settings) -> "NodeDoor | None":
    if not settings.audit_listen:
        return None
    from readingroom_hub.adapters.audit_nodes import NodeDoor, Nodes

    if settings.audit_nodes_file is None:
        raise BadInput("READINGROOM_AUDIT_LISTEN needs READINGROOM_AUDIT_NODES_FILE")
    host, port = _address("READINGROOM_AUDIT_LISTEN", settings.audit_listen)
    return NodeDoor(host, port, Nodes(settings.audit_nodes_file), _audit_tls(settings))


def _audit_tls(settings: Settings) -> TlsFiles:
    cert, key, ca = settings.audit_tls_cert_file, settings.audit_tls_key_file, settings.audit_tls_ca_file
    if cert is None or key is None or ca is None:
        names = ", ".join(f"READINGROOM_AUDIT_TLS_{n}_FILE" for n in ("CERT", "KEY", "CA"))
        raise BadInput(f"records between machines need certificates on both sides: set {names}")
    return TlsFiles(cert, key, ca)


def _address(setting: str, text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise BadInput(f"{setting}={text!r}: write host:port, for example audit.example:8486")
    return host, int(port)


def move(settings: Settings, tell: Callable[[int, int], None]) -> tuple[int, bytes]:
    """Move the audit log from its file to READINGROOM_AUDIT_LOG_URL; its size and root. Raises Conflict, BadInput."""
    from readingroom_hub.adapters.audit_move import move_log

    if not settings.audit_log_url:
        raise BadInput("set READINGROOM_AUDIT_LOG_URL to the database that the audit log moves to")
    return move_log(settings.paths.audit, settings.paths.keys, settings.audit_log_url, tell)


def database_sql(gigabytes: int) -> str:
    """The SQL that makes a database for the audit log."""
    from readingroom_hub.adapters.audit_log_schema import schema

    return schema(gigabytes)


def read_policy(path: Path) -> Policy:
    """A C2SP tlog-policy file. Raises BadInput."""
    try:
        return Policy.parse(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"the policy {path} cannot be read: {error}") from error


def serve_witness(folder: Path, name: str, policy: Policy, port: int) -> None:
    """Run a witness of the policy's logs on a loopback port until it is interrupted. Raises KeyUnavailable."""
    from readingroom_hub.adapters.witness import Witness, open_cosigner
    from readingroom_hub.adapters.witness_http import WitnessServer

    signer = open_cosigner(folder, name)
    with WitnessServer(port, Witness(folder, signer, policy)) as server:
        sys.stderr.write(f"witness ready at http://127.0.0.1:{server.server_port}/\n{signer.vkey}\n")
        sys.stderr.flush()
        server.serve_forever()


def verify_log(paths: Paths, log: Path | None, policy: Policy | None, kept: Sequence[str]) -> Verified:
    """Verify a bundle, a log file or the log of `paths`, by `policy` or the key there, and by kept checkpoints."""
    from readingroom_hub.adapters.audit_keys import read_tag_secret
    from readingroom_hub.adapters.audit_offline import log_vkey, verify

    trusted = policy or Policy.of_keys([VKey.parse(log_vkey(paths.audit))])
    secret = None if log else read_tag_secret(paths.keys)
    return verify(log or paths.audit, trusted, kept, secret)


def write_bundle(settings: Settings, wanted: Wanted, target: Path) -> tuple[int, int]:
    """Write the auditor's single file; returns how many records it shows, and of how many."""
    from readingroom_hub.adapters.audit_bundle import write_bundle as write
    from readingroom_hub.adapters.audit_keys import read_tag_secret

    return write(settings.paths.audit, read_tag_secret(settings.paths.keys), wanted, target)


def write_proof(settings: Settings, index: int, target: Path) -> int:
    """Write the proof of one audit record; returns the size of its tree. Raises BadInput, StoreUnavailable."""
    from readingroom_hub.adapters.audit_proofs import write_proof as write

    return write(settings.paths.audit, index, target)


def write_tiles(settings: Settings, target: Path) -> tuple[int, int]:
    """Bring a folder of C2SP tlog-tiles up to the log; returns its sizes before and now. Raises BadInput."""
    from readingroom_hub.adapters.audit_tiles import write_tiles as write

    return write(settings.paths.audit, target)
