"""The composition root: settings in, adapters and services out. Nothing else names an adapter."""

import signal
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from readingroom_hub.adapters import catalogue_sql
from readingroom_hub.adapters.audit_feeds import Feeds
from readingroom_hub.adapters.catalogue_tables import open_database
from readingroom_hub.adapters.vault_keys_dir import DirectoryVaultKeys
from readingroom_hub.config import Paths, Settings, running
from readingroom_hub.durable import whole_file
from readingroom_hub.errors import BadInput
from readingroom_hub.ledger.bundle import Verified, Wanted
from readingroom_hub.ledger.note import VKey
from readingroom_hub.ledger.policy import Policy
from readingroom_hub.model.ids import PersonId
from readingroom_hub.ports.catalogue import Grants, Holds, Projects, Sessions, Versions
from readingroom_hub.ports.custody import KeyCustody
from readingroom_hub.ports.forward import Forward
from readingroom_hub.ports.monitoring import AlertChannel
from readingroom_hub.ports.mounts import Mounts
from readingroom_hub.ports.objects import ObjectStore
from readingroom_hub.ports.reception import Door, Reception, TlsFiles
from readingroom_hub.ports.records import AuditRepository, AuditTrail
from readingroom_hub.ports.vaults import VaultKeys
from readingroom_hub.services.alerts import AlertBook
from readingroom_hub.services.approvals import Approvals
from readingroom_hub.services.crosswalk import Crosswalks
from readingroom_hub.services.datasets import DatasetService
from readingroom_hub.services.deletion import DeleteService
from readingroom_hub.services.grants import GrantService
from readingroom_hub.services.holds import HoldService
from readingroom_hub.services.ingest import IngestService
from readingroom_hub.services.keys import KeyService
from readingroom_hub.services.projects import ProjectService
from readingroom_hub.services.receiving import ReceiveService
from readingroom_hub.services.sessions import SessionService
from readingroom_hub.services.sharing import ShareService

if TYPE_CHECKING:
    from readingroom_hub.adapters.audit_nodes import NodeDoor
    from readingroom_hub.adapters.monitor_state import FileMemory
    from readingroom_hub.services.monitoring import Monitor


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The five doors of the catalogue."""

    projects: Projects
    versions: Versions
    grants: Grants
    sessions: Sessions
    holds: Holds


def open_catalogue(settings: Settings) -> Catalogue:
    """The catalogue of these settings, migrated to the newest form. Raises StoreUnavailable."""
    engine = open_database(settings.paths.catalogue)
    return Catalogue(
        catalogue_sql.SqlProjects(engine),
        catalogue_sql.SqlVersions(engine),
        catalogue_sql.SqlGrants(engine),
        catalogue_sql.SqlSessions(engine),
        catalogue_sql.SqlHolds(engine),
    )


def audit(settings: Settings, process: str) -> AuditRepository:
    """The audit record repository, as `process` (for example `mount-daemon`) sees it."""
    from readingroom_hub.adapters.audit_client import SocketAuditRepository

    return SocketAuditRepository(settings.paths.audit_socket, process, settings.audit_timeout_ms)


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


def purge(settings: Settings, before: datetime, reason: str, by: PersonId, approved_by: PersonId) -> None:
    """Remove contents of access records from before this time, recorded first. Raises BadInput, AuditUnavailable."""
    from readingroom_hub.adapters.audit_client import SocketAuditRepository
    from readingroom_hub.adapters.audit_index import wire_moment

    years = settings.audit_retention_years
    limit = datetime.now(UTC) - timedelta(days=366 * years)
    if before > limit:
        raise BadInput(f"access records are kept for {years} years: name a day before {limit:%Y-%m-%d}")
    client = SocketAuditRepository(settings.paths.audit_socket, "command-line", settings.audit_timeout_ms)
    client.purge(wire_moment(before), reason, by, approved_by)


def write_whole(target: Path, pieces: Iterable[bytes]) -> None:
    """Write a file whole or not at all. Raises StoreUnavailable."""
    with whole_file(target) as file:
        file.writelines(pieces)


def forget(settings: Settings, person: PersonId, reason: str, by: PersonId, approved_by: PersonId) -> None:
    """Erase the identity behind a person id; it is recorded first. Raises BadInput, AuditUnavailable."""
    from readingroom_hub.adapters.audit_client import SocketAuditRepository

    client = SocketAuditRepository(settings.paths.audit_socket, "command-line", settings.audit_timeout_ms)
    client.forget(person, reason, by, approved_by)


def serve_audit(settings: Settings) -> None:
    """Run the audit record repository in this process until it is told to stop."""
    from readingroom_hub.adapters.audit_server import serve
    from readingroom_hub.adapters.audit_witnessing import Witnessing

    paths, witnessing = settings.paths, None
    if settings.audit_policy_file is not None:
        policy = read_policy(settings.audit_policy_file)
        witnessing = Witnessing(policy, settings.audit_witness_limit_minutes * 60.0)
    seconds, url = float(settings.audit_witness_seconds), settings.audit_log_url
    door = _node_door(settings)
    serve(paths.audit, paths.keys, paths.audit_socket, witnessing, seconds, running(settings), url, door)


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


def move_audit(settings: Settings, tell: Callable[[int, int], None]) -> tuple[int, bytes]:
    """Move the audit log from its file to READINGROOM_AUDIT_LOG_URL; its size and root. Raises Conflict, BadInput."""
    from readingroom_hub.adapters.audit_move import move_log

    if not settings.audit_log_url:
        raise BadInput("set READINGROOM_AUDIT_LOG_URL to the database that the audit log moves to")
    return move_log(settings.paths.audit, settings.paths.keys, settings.audit_log_url, tell)


def audit_database(gigabytes: int) -> str:
    """The SQL that makes a database for the audit log."""
    from readingroom_hub.adapters.audit_log_schema import schema

    return schema(gigabytes)


def feeds(settings: Settings) -> Feeds:
    """Live copies of the audit record."""
    return Feeds(settings)


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


def custody(settings: Settings, *, for_mount: bool = False) -> KeyCustody:
    """Where the key-encrypting key lives, with the rights of the mount daemon or of everybody else.

    Raises BadInput where a token is named by half."""
    if settings.pkcs11_module_file is not None:
        from readingroom_hub.adapters.keys_pkcs11 import Pkcs11KeyCustody

        if settings.pkcs11_pin_file is None or not settings.pkcs11_token:
            raise BadInput(
                "READINGROOM_PKCS11_MODULE_FILE needs READINGROOM_PKCS11_TOKEN and READINGROOM_PKCS11_PIN_FILE"
            )
        module, pin = settings.pkcs11_module_file, settings.pkcs11_pin_file
        return Pkcs11KeyCustody(module, settings.pkcs11_token, pin, settings.paths.keys)
    if settings.kms_region:
        from readingroom_hub.adapters.aws import client, credentials
        from readingroom_hub.adapters.keys_kms import KmsKeyCustody

        file = (settings.kms_mount_credentials_file if for_mount else None) or settings.kms_credentials_file
        if file is None:
            raise BadInput("READINGROOM_KMS_REGION needs READINGROOM_KMS_CREDENTIALS_FILE")
        keys = credentials(file)
        kms = client("kms", settings.kms_endpoint, settings.kms_region, keys, settings.kms_ca_file)
        return KmsKeyCustody(kms, settings.kms_alias)
    from readingroom_hub.adapters.keys_file import FileKeyCustody

    return FileKeyCustody(settings.paths.keys)


def objects(settings: Settings) -> ObjectStore:
    """The object store. Raises BadInput where an S3 service is named by half."""
    if settings.s3_endpoint:
        from readingroom_hub.adapters.aws import credentials
        from readingroom_hub.adapters.objects_s3 import S3ObjectStore

        if not settings.s3_bucket or settings.s3_credentials_file is None:
            raise BadInput("READINGROOM_S3_ENDPOINT needs READINGROOM_S3_BUCKET and READINGROOM_S3_CREDENTIALS_FILE")
        keys = credentials(settings.s3_credentials_file)
        return S3ObjectStore(settings.s3_endpoint, settings.s3_bucket, settings.s3_region, keys, settings.s3_ca_file)
    from readingroom_hub.adapters.objects_dir import DirectoryObjectStore

    return DirectoryObjectStore(settings.paths.objects)


def mounts(settings: Settings) -> Mounts:
    """The mount daemon."""
    from readingroom_hub.adapters.mounts_socket import SocketMounts

    return SocketMounts(settings.paths.mount_socket)


def ingest(settings: Settings, record: AuditRepository) -> IngestService:
    """The use case of taking DICOM in."""
    c = open_catalogue(settings)
    back = crosswalks(settings, record)
    keys = custody(settings)
    return IngestService(c.projects, c.versions, objects(settings), keys, record, settings.paths.ingests, back)


def crosswalks(settings: Settings, record: AuditRepository) -> Crosswalks:
    """The use cases of the way back to patients."""
    folder = settings.paths.crosswalks
    return Crosswalks(open_catalogue(settings).projects, custody(settings), record, folder)


def datasets(settings: Settings, record: AuditRepository) -> DatasetService:
    """The use cases of published versions."""
    return DatasetService(open_catalogue(settings).versions, objects(settings), custody(settings), record)


def sharing(settings: Settings, record: AuditRepository) -> ShareService:
    """The use case of sealing a version for another institution."""
    return ShareService(open_catalogue(settings).versions, objects(settings), custody(settings), record)


def receiving(settings: Settings, record: AuditRepository) -> ReceiveService:
    """The use case of taking in another institution's package."""
    c = open_catalogue(settings)
    return ReceiveService(c.projects, c.versions, objects(settings), custody(settings), record, settings.paths.ingests)


def deletion(settings: Settings, record: AuditRepository) -> DeleteService:
    """The use case of deleting a version."""
    c = open_catalogue(settings)
    return DeleteService(c.versions, c.grants, objects(settings), custody(settings), record, settings.paths.ingests)


def keys(settings: Settings, record: AuditRepository) -> KeyService:
    """The use cases of key-encrypting keys."""
    c = open_catalogue(settings)
    return KeyService(c.versions, c.grants, custody(settings), record, vault_keys(settings))


def vault_keys(settings: Settings) -> VaultKeys:
    """The wrapped keys of home and project folders."""
    return DirectoryVaultKeys(settings.paths.vaults)


def projects(settings: Settings, record: AuditRepository) -> ProjectService:
    """The use cases of projects."""
    return ProjectService(open_catalogue(settings).projects, record)


def grants(settings: Settings, record: AuditRepository) -> GrantService:
    """The use cases of access grants."""
    c = open_catalogue(settings)
    return GrantService(c.grants, c.versions, c.projects, record, mounts(settings))


def sessions(settings: Settings, record: AuditRepository) -> SessionService:
    """The use cases of sessions."""
    c = open_catalogue(settings)
    return SessionService(c.projects, c.grants, c.sessions, c.holds, record, settings.session_hours)


def holds(settings: Settings, record: AuditRepository) -> HoldService:
    """The use cases of holds."""
    c = open_catalogue(settings)
    return HoldService(c.holds, c.sessions, record, mounts(settings))


def alerts(record: AuditRepository) -> AlertBook:
    """The use cases of alerts."""
    return AlertBook(record)


def approvals(record: AuditRepository) -> Approvals:
    """The use cases of approvals."""
    return Approvals(record)


def monitor_memory(settings: Settings) -> "FileMemory":
    """What the monitor knows over restarts."""
    from readingroom_hub.adapters.monitor_state import FileMemory

    return FileMemory(settings.paths.monitor)


def monitor(settings: Settings) -> "Monitor":
    """The monitor of these settings. Raises BadInput for a setting that cannot work."""
    from readingroom_hub.adapters.monitor_tail import LogTail
    from readingroom_hub.policy.alerts import RULES
    from readingroom_hub.services.monitoring import Monitor

    for rule in settings.monitor_suspend:
        if rule not in RULES:
            raise BadInput(f"READINGROOM_MONITOR_SUSPEND: {rule!r} is no rule; rules are {', '.join(RULES)}")
    record = audit(settings, "monitor")
    return Monitor(
        LogTail(settings.paths.audit),
        monitor_memory(settings),
        record,
        holds(settings, record),
        _alert_channels(settings),
        frozenset(settings.monitor_suspend),
        f"{settings.public_url}/services/portal/alerts",
        lambda: datetime.now(UTC),
    )


def _alert_channels(settings: Settings) -> list[AlertChannel]:
    from readingroom_hub.adapters.alert_mail import Mail
    from readingroom_hub.adapters.alert_webhook import Webhook

    s, channels = settings, list[AlertChannel]()
    if s.monitor_webhook:
        channels.append(Webhook(s.monitor_webhook, s.monitor_webhook_secret_file, s.monitor_ca_file))
    if s.monitor_smtp:
        to, login = s.monitor_mail_to, s.monitor_smtp_login_file
        channels.append(Mail(s.monitor_smtp, s.monitor_mail_from, to, login, s.monitor_ca_file))
    return channels


def serve_monitor(settings: Settings) -> None:
    """Run the monitor in this process until SIGTERM or SIGINT. Raises BadInput, Conflict where another one runs."""
    from readingroom_hub.services.monitoring import run

    made, memory, stop = monitor(settings), monitor_memory(settings), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with memory.alone():
        run(made, memory, max(1, settings.monitor_minutes) * 60.0, stop)


def edge_dimse(
    reception: Reception,
    address: tuple[str, int],
    ae_title: str,
    allowed: Sequence[str],
    associations: int,
    tls: TlsFiles | None,
    tell: Callable[[str], None],
) -> Door:
    """The edge's DICOM door, open. Raises BadInput."""
    from readingroom_hub.adapters import edge_tls
    from readingroom_hub.adapters.edge_dimse import DimseServer, Entrance

    return DimseServer(
        Entrance(*address, ae_title, allowed, associations, edge_tls.server(tls) if tls else None), reception, tell
    )


def edge_stow(
    reception: Reception,
    address: tuple[str, int],
    token: str,
    requests: int,
    tls: TlsFiles | None,
    tell: Callable[[str], None],
) -> Door:
    """The edge's web door, open. Raises BadInput."""
    from readingroom_hub.adapters import edge_tls
    from readingroom_hub.adapters.edge_stow import StowServer, WebEntrance

    return StowServer(WebEntrance(*address, token, requests, edge_tls.for_uvicorn(tls) if tls else {}), reception, tell)


def edge_forward(to: str, ae_title: str, tls: TlsFiles | None) -> Forward:
    """Who gets the edge's results: HOST:PORT/AETITLE. Raises BadInput."""
    from readingroom_hub.adapters import edge_forward, edge_tls

    receiver = edge_forward.Receiver(*edge_forward.parse(to), ae_title, edge_tls.client(tls) if tls else None)
    return edge_forward.DicomForward(receiver)
