"""Settings, and the only reader of the environment. One folder holds all state of the embedded deployment."""

import os
import sys
from dataclasses import dataclass, field, fields
from pathlib import Path
from urllib.parse import urlsplit

from readingroom_hub.errors import BadInput


def executable(name: str) -> str:
    """The path of a program that an installed wheel put beside this interpreter, or that is on PATH."""
    import shutil

    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if not found:
        raise BadInput(f"the program {name!r} is neither in {beside.parent} nor on PATH: run `make install`")
    return found


@dataclass(frozen=True, slots=True)
class Paths:
    """Where things lie below the state folder. All of it is mode 0700 and belongs to the trusted wing."""

    state: Path

    @property
    def catalogue(self) -> Path:
        """SQLite file of the catalogue."""
        return self.state / "catalogue.sqlite"

    @property
    def objects(self) -> Path:
        """Encrypted objects, a folder a data key."""
        return self.state / "objects"

    @property
    def ingests(self) -> Path:
        """One lock file a running ingest, named by its data key."""
        return self.state / "ingests"

    @property
    def crosswalks(self) -> Path:
        """The way back from pseudonyms to patients, sealed: a folder for each project that keeps it."""
        return self.state / "crosswalks"

    @property
    def keys(self) -> Path:
        """KEK file of development custody and the log's signing key."""
        return self.state / "keys"

    @property
    def audit(self) -> Path:
        """The audit record repository's own folder."""
        return self.state / "audit"

    @property
    def audit_spool(self) -> Path:
        """Records for a repository on another machine, until it has them."""
        return self.state / "audit-spool"

    @property
    def feeds(self) -> Path:
        """How far each feed of the audit record has come."""
        return self.state / "feeds"

    @property
    def monitor(self) -> Path:
        """How far the monitor of unusual access has come."""
        return self.state / "monitor"

    @property
    def mounts(self) -> Path:
        """One folder a session; `data` in it is the mount point."""
        return self.state / "mounts"

    @property
    def homes(self) -> Path:
        """<person's hub name>/<project>: homes in clear, from before there were vaults."""
        return self.state / "homes"

    @property
    def vaults(self) -> Path:
        """One folder an encrypted home or project folder, with its wrapped key."""
        return self.state / "vaults"

    @property
    def shared(self) -> Path:
        """<project>: folders of project members in clear, from before there were vaults."""
        return self.state / "shared"

    @property
    def hub(self) -> Path:
        """JupyterHub's database, secrets and proxy files."""
        return self.state / "hub"

    @property
    def run(self) -> Path:
        """Unix sockets."""
        return self.state / "run"

    @property
    def logs(self) -> Path:
        """One log file a process."""
        return self.state / "logs"

    @property
    def audit_socket(self) -> Path:
        """Where the audit record repository listens."""
        return self.run / "audit.sock"

    @property
    def mount_socket(self) -> Path:
        """Where the mount daemon takes control messages."""
        return self.run / "mount.sock"

    def make(self) -> None:
        """Create the folders, mode 0700."""
        for p in (
            self.state,
            self.objects,
            self.ingests,
            self.keys,
            self.audit,
            self.feeds,
            self.monitor,
            self.mounts,
            self.vaults,
            self.hub,
            self.run,
            self.logs,
        ):
            p.mkdir(mode=0o700, parents=True, exist_ok=True)


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator may set. Every field has an environment variable READINGROOM_<NAME>."""

    state: Path = Path("/var/lib/readingroom")
    public_url: str = "https://localhost:8443"
    bind_address: str = "127.0.0.1"
    """Where the edge listens at `public_url`'s port; 0.0.0.0 for every network of this machine."""
    oidc_issuer: str = ""
    oidc_client_id: str = "readingroom"
    oidc_client_secret_file: Path | None = None
    oidc_ca_file: Path | None = None
    required_amr: tuple[str, ...] = ("mfa", "otp", "hwk")
    """A sign-in counts only with at least one of these RFC 8176 values in the ID token."""
    project_group_prefix: str = "rr-project-"
    role_group_prefix: str = "rr-role-"
    session_hours: int = 12
    approvals: str = "portal"
    """Where two people approve what cannot be undone: each by themselves in the portal; or `command-line`, where
    whoever does it names them, for an institution without two data stewards who sign in."""
    audit_timeout_ms: int = 2000
    audit_log_url: str = ""
    """PostgreSQL database of the audit log, without a password in it; empty: a file of the state."""
    audit_policy_file: Path | None = None
    """Witnesses of the audit record with their addresses, and the quorum (C2SP tlog-policy)."""
    audit_retention_years: int = 6
    """Contents of access records are kept at least so long; all others for ever."""
    audit_witness_seconds: int = 10
    """Between two rounds of cosignatures."""
    audit_witness_limit_minutes: int = 60
    """Without a quorum for longer than this, no new access is given."""
    audit_listen: str = ""
    """host:port where the audit record repository takes records of other machines' mount daemons; empty: nowhere."""
    audit_nodes_file: Path | None = None
    """Which machines these are: lines NAME FINGERPRINT, one a certificate."""
    audit_tls_cert_file: Path | None = None
    audit_tls_key_file: Path | None = None
    """This machine's certificate for records between machines, and its key."""
    audit_tls_ca_file: Path | None = None
    """PEM of the only authority that the other side's certificate may come from."""
    audit_remote: str = ""
    """host:port of the repository on another machine, for a mount daemon here; empty: it is on this machine."""
    audit_node: str = ""
    """This machine's name there, which its certificate is for."""
    audit_spool_records: int = 20000
    audit_spool_mb: int = 64
    audit_spool_seconds: int = 60
    """How far the mount daemon may run ahead of the repository on another machine: records, size, age of the oldest."""
    audit_metrics_port: int = 0
    """Loopback port where Prometheus may read the audit record repository's metrics; 0: nowhere."""
    audit_feed_syslog: str = ""
    """host:port of a syslog receiver over TLS that gets copies of all audit records; empty: there is none."""
    audit_feed_fhir: str = ""
    """Address of a FHIR server that gets them as AuditEvent resources; empty: there is none."""
    audit_feed_ca_file: Path | None = None
    """PEM of the authorities that both receivers' certificates must come from; without it the machine's own."""
    audit_feed_cert_file: Path | None = None
    audit_feed_key_file: Path | None = None
    """Our certificate and its key, for receivers that ask for one."""
    audit_feed_fhir_token_file: Path | None = None
    audit_feed_metrics_port: int = 0
    """Loopback port where Prometheus may read the feeds' metrics; 0: nowhere."""
    monitor_minutes: int = 5
    """Between two looks of the monitor for unusual access; 0: there is no monitor."""
    monitor_suspend: tuple[str, ...] = ()
    """Rules that put a person on hold; none: stewards do."""
    monitor_webhook: str = ""
    """Address that gets each alert as JSON."""
    monitor_webhook_secret_file: Path | None = None
    """What signs them (HMAC-SHA-256)."""
    monitor_smtp: str = ""
    """host:port of a mail relay that takes each alert as a message."""
    monitor_smtp_login_file: Path | None = None
    """USER:PASSWORD for it."""
    monitor_mail_from: str = ""
    monitor_mail_to: tuple[str, ...] = ()
    monitor_ca_file: Path | None = None
    """PEM of the authorities of webhook and relay; without it the machine's own."""
    internal_port: int = 8481
    """The first of three loopback ports: the hub's own API, the edge's API, the portal."""
    demo_provider_port: int = 0
    """Loopback port of the demo identity provider, which the edge then serves at `oidc_issuer`; 0: there is none."""
    tls_cert_file: Path | None = None
    """PEM chain for `public_url`; where it is not given, a demo authority signs one for localhost."""
    tls_key_file: Path | None = None
    uid_range: tuple[int, int] = (300000, 365535)
    """Host user ids for sandboxes, where the hub runs as root."""
    server_memory_mb: int = 4096
    server_processes: int = 256
    server_cpu_share: int = 200
    """Per cent of one core."""
    home_size_mb: int = 10240
    session_open_files: int = 4096
    """Images that one session may hold open at once."""
    session_mb_per_minute: int = 60000
    """Megabytes of images that the mount daemon gives one session in a minute; the kernel's cache does not count."""
    pkcs11_module_file: Path | None = None
    """PKCS#11 library of the token that holds the key-encrypting keys; without it they lie in a file (development)."""
    pkcs11_token: str = ""
    """The token's label."""
    pkcs11_pin_file: Path | None = None
    kms_region: str = ""
    """Region of the AWS Key Management Service that holds the key-encrypting keys."""
    kms_endpoint: str = ""
    """URL of the service, where it is not the region's public one."""
    kms_alias: str = "readingroom"
    """Aliases of this deployment's keys begin with `alias/<this>-`."""
    kms_credentials_file: Path | None = None
    kms_mount_credentials_file: Path | None = None
    """The mount daemon's own, so that nobody else needs the right to unwrap; without it the daemon uses the other's."""
    kms_ca_file: Path | None = None
    s3_endpoint: str = ""
    """URL of the S3 service that holds the encrypted objects; without it they lie in a folder of the state."""
    s3_bucket: str = ""
    s3_region: str = "us-east-1"
    s3_credentials_file: Path | None = None
    """AWS credentials file, section `default`."""
    s3_ca_file: Path | None = None
    """PEM of the private authority that signed the service's certificate."""
    mount_metrics_port: int = 0
    """Loopback port where Prometheus may read the mount daemon's metrics; 0: nowhere."""

    paths: Paths = field(init=False)

    def __post_init__(self) -> None:
        """Derive the paths. Raises BadInput."""
        if self.approvals not in {"portal", "command-line"}:
            raise BadInput(f"READINGROOM_APPROVALS={self.approvals!r}: write portal or command-line")
        object.__setattr__(self, "paths", Paths(self.state))

    @property
    def site(self) -> str:
        """The installation's name in messages to other systems."""
        return urlsplit(self.public_url).hostname or "readingroom"

    def to_environ(self) -> dict[str, str]:
        """The environment of a process of ours: these settings, and what is harmless of the caller's."""
        mine: dict[str, str] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name != "paths" and value is not None:
                mine[f"READINGROOM_{f.name.upper()}"] = (
                    ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
                )
        passed = ("HOME", "LANG", "LC_ALL", "PATH", "TZ", "TMPDIR", "USER")
        return {k: v for k, v in os.environ.items() if k in passed} | mine  # noqa: TID251  # the one place


def running(settings: Settings) -> dict[str, str]:
    """The settings as text, for the record: none is a secret (secrets are in files, whose paths are here)."""
    named = {f.name: getattr(settings, f.name) for f in fields(settings) if f.name != "paths"}
    return {name: str(value) for name, value in named.items() if value is not None}


def _convert(name: str, text: str, default: object) -> object:
    if name.endswith("_file") or isinstance(default, Path):
        return Path(text)
    if isinstance(default, int):
        return int(text)
    if isinstance(default, tuple):
        parts = tuple(p.strip() for p in text.split(",") if p.strip())
        return tuple(int(p) for p in parts) if default and isinstance(default[0], int) else parts
    return text


def load(environ: dict[str, str] | None = None) -> Settings:
    """Settings from the environment.

    Raises BadInput naming the variable whose value cannot be used, or a READINGROOM_ variable that does not exist."""
    env = dict(os.environ) if environ is None else environ  # noqa: TID251  # the one place
    defaults = Settings()
    known = {f"READINGROOM_{n.upper()}": n for n in Settings.__dataclass_fields__ if n != "paths"}
    given: dict[str, object] = {}
    for variable, text in env.items():
        if not variable.startswith("READINGROOM_"):
            continue
        if variable not in known:
            raise BadInput(
                f"the environment variable {variable} is no setting; settings are {', '.join(sorted(known))}"
            )
        name = known[variable]
        try:
            given[name] = _convert(name, text, getattr(defaults, name))
        except ValueError as error:
            raise BadInput(f"{variable}={text!r} cannot be used: {error}") from error
    return Settings(**given)  # type: ignore[arg-type]
