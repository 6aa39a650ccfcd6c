"""The composition root: settings in, adapters and services out. Nothing else names an adapter."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from readingroom_hub.adapters import catalogue_sql
from readingroom_hub.adapters.audit_feeds import Feeds
from readingroom_hub.adapters.catalogue_tables import open_database
from readingroom_hub.adapters.vault_keys_dir import DirectoryVaultKeys
from readingroom_hub.config import Settings
from readingroom_hub.errors import BadInput
from readingroom_hub.ports.catalogue import Grants, Holds, Projects, Sessions, Versions
from readingroom_hub.ports.custody import KeyCustody
from readingroom_hub.ports.mounts import Mounts
from readingroom_hub.ports.objects import ObjectStore
from readingroom_hub.ports.records import AuditRepository
from readingroom_hub.ports.vaults import VaultKeys
from readingroom_hub.services.alerts import AlertBook
from readingroom_hub.services.approvals import Approvals
from readingroom_hub.services.crosswalk import Crosswalks
from readingroom_hub.services.datasets import DatasetService
from readingroom_hub.services.deletion import DeleteService
from readingroom_hub.services.grants import GrantService
from readingroom_hub.services.holds import HoldService
from readingroom_hub.services.keys import KeyService
from readingroom_hub.services.projects import ProjectService
from readingroom_hub.services.sessions import SessionService
from readingroom_hub.services.sharing import ShareService

if TYPE_CHECKING:
    from readingroom_hub.services.ingest import IngestService
    from readingroom_hub.services.receiving import ReceiveService


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


def feeds(settings: Settings) -> Feeds:
    """Live copies of the audit record."""
    return Feeds(settings)


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


def ingest(settings: Settings, record: AuditRepository) -> "IngestService":
    """The use case of taking DICOM in."""
    # Here and not above: these two bring pydicom and NumPy, half of what a daemon's start would take.
    from readingroom_hub.services.ingest import IngestService

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


def receiving(settings: Settings, record: AuditRepository) -> "ReceiveService":
    """The use case of taking in another institution's package."""
    from readingroom_hub.services.receiving import ReceiveService

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
