"""A demo authority and its certificate for localhost (RFC 5280), for when the operator gives no certificate."""

import contextlib
import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from readingroom_hub.config import Settings
from readingroom_hub.errors import BadInput
from readingroom_hub.jhub.stored import write_private

VALID_FOR = timedelta(days=365)
RENEW_BEFORE = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class ServerTls:
    """What the edge serves with, and what its callers must trust; `ca` is None for a certificate of the operator's."""

    cert: Path
    key: Path
    ca: Path | None


def server_tls(settings: Settings) -> ServerTls:
    """The operator's certificate, or a demo one below the state folder, made or renewed where needed.

    Raises BadInput where only one of certificate and key is given, or a file is missing."""
    if settings.tls_cert_file and settings.tls_key_file:
        for path in (settings.tls_cert_file, settings.tls_key_file):
            if not path.is_file():
                raise BadInput(f"the TLS file {path} does not exist")
        return ServerTls(settings.tls_cert_file, settings.tls_key_file, None)
    if settings.tls_cert_file or settings.tls_key_file:
        raise BadInput("set both READINGROOM_TLS_CERT_FILE and READINGROOM_TLS_KEY_FILE, or neither")
    folder = settings.paths.hub / "tls"
    tls = ServerTls(folder / "server.crt", folder / "server.key", folder / "ca.crt")
    if not _is_fresh(tls.cert):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make(tls, folder / "ca.crt")
    return tls


def _is_fresh(cert: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return x509.load_pem_x509_certificate(cert.read_bytes()).not_valid_after_utc > datetime.now(UTC) + RENEW_BEFORE
    return False


def _make(tls: ServerTls, ca: Path) -> None:
    """A new authority with every certificate: its key is forgotten at once, so nobody can sign with it later."""
    ca_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Reading Room demo authority")])
    ca_cert = (
        _builder(ca_name, ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(sign_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    server_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    server_cert = (
        _builder(server_name, ca_name, server_key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    write_private(tls.key, server_key.private_bytes(pem, form, plain))
    write_private(ca, ca_cert.public_bytes(pem))
    write_private(tls.cert, server_cert.public_bytes(pem) + ca_cert.public_bytes(pem))


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return x509.CertificateBuilder(
        issuer, subject, key, x509.random_serial_number(), now - timedelta(minutes=5), now + VALID_FOR
    )


def _key_usage(sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )
