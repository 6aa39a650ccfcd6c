"""The audit log in a PostgreSQL that is reached over TLS, as the manual says: certificate, name, password file."""

import contextlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.support.audit_process import audit_process
from tests.support.ports import free_ports
from tests.support.postgres import postgres
from tests.support.receivers import Authority
from typer.testing import CliRunner

from readingroom_hub.adapters.audit_log_postgres import PostgresAuditLog, PostgresLogReader
from readingroom_hub.cli.audit import app
from readingroom_hub.errors import AuditUnavailable
from readingroom_hub.ledger.note import Signer
from readingroom_hub.model.audit import AuditEvent, AuditRecord

SIGNER = Signer("host/log", Ed25519PrivateKey.from_private_bytes(b"1" * 32))
ACCESS = b"""
local all all trust
hostssl readingroom_audit readingroom_audit 127.0.0.1/32 scram-sha-256
"""

BY_CERTIFICATE = ACCESS.replace(b"scram-sha-256", b"cert")


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls") / "authority")


@pytest.fixture(scope="module")
def server(authority):
    with postgres() as made:
        made.stop()
        made.port = free_ports(1)
        made.own("pg_hba.conf", ACCESS)
        listen(made, authority)
        made.make_log()
        with made.superuser() as connection:
            connection.execute("ALTER ROLE readingroom_audit PASSWORD 'a secret'")
        yield made


def listen(server, authority=None, name="localhost", clients=None):
    """With a certificate of this authority for this name, and for clients of an authority; without one in the clear."""
    server.stop()
    options = ["-h", "127.0.0.1"]
    if authority:
        cert, key = authority.issue("postgresql", name)
        server.own("server.crt", cert.read_bytes())
        server.own("server.key", key.read_bytes())
        server.own("clients.crt", (clients or authority).ca.read_bytes())
        options += ["-c", "ssl=on", "-c", "ssl_ca_file=clients.crt"]
    server.start(*options)


@pytest.fixture
def url(server, authority, tmp_path):
    passfile = tmp_path / "pgpass"
    passfile.write_text("localhost:*:*:readingroom_audit:a secret\n")
    passfile.chmod(0o600)
    where = f"postgresql://readingroom_audit@localhost:{server.port}/readingroom_audit"
    return f"{where}?sslmode=verify-full&sslrootcert={authority.ca}&passfile={passfile}"


def refused(url, tmp_path):
    """What the repository and a reader of its log say."""
    said = []
    for attempt in (lambda: PostgresLogReader(url), lambda: PostgresAuditLog(tmp_path, SIGNER, url)):
        with pytest.raises(AuditUnavailable) as caught:
            attempt()
        said.append(str(caught.value))
    assert not any("a secret" in text for text in said)
    return " ".join(said)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """A start waits 45 seconds for its database: here it does not come."""
    monkeypatch.setattr("readingroom_hub.adapters.audit_log_postgres._START_SECONDS", 0.0)


def test_the_whole_repository_works_over_tls(server, url):
    with audit_process(log_url=url) as (process, client):
        client.append([AuditRecord(AuditEvent.READ_INTENT) for _ in range(50)])
        with server.superuser() as connection:
            sql = """SELECT DISTINCT s.ssl, s.version FROM pg_stat_ssl AS s JOIN pg_stat_activity USING(pid)
                WHERE usename = 'readingroom_audit'"""
            assert connection.execute(sql).fetchall() == [(True, "TLSv1.3")]
        env = {"READINGROOM_STATE": str(process.paths.state), "COLUMNS": "250"}
        checked = CliRunner().invoke(app, ["verify"], env=env)
        assert checked.exit_code == 0, checked.output


def test_a_server_that_nobody_vouches_for_gets_no_record(server, authority, url, tmp_path):
    listen(server, Authority(tmp_path / "other"))
    with contextlib.ExitStack() as after:
        after.callback(listen, server, authority)
        assert refused(url, tmp_path).count("SSL error: ") == 2  # its words differ between releases of OpenSSL


def test_a_server_of_another_name_gets_no_record(server, authority, url, tmp_path):
    listen(server, authority, "elsewhere.example")
    with contextlib.ExitStack() as after:
        after.callback(listen, server, authority)
        assert refused(url, tmp_path).count('does not match host name "localhost"') == 2


def test_a_server_without_tls_gets_no_record(server, authority, url, tmp_path):
    server.own("pg_hba.conf", ACCESS.replace(b"hostssl", b"host"))
    listen(server)
    with contextlib.ExitStack() as after:
        after.callback(listen, server, authority)
        after.callback(server.own, "pg_hba.conf", ACCESS)
        assert refused(url, tmp_path).count("server does not support SSL") == 2


def test_a_client_without_tls_is_not_let_in(server, url, tmp_path):
    assert refused(url.replace("verify-full", "disable"), tmp_path).count("no encryption") == 2


@pytest.fixture
def clients(server, authority, tmp_path):
    """The server lets in whom this other authority calls readingroom_audit, and asks for no password."""
    made = Authority(tmp_path / "clients")
    server.own("pg_hba.conf", BY_CERTIFICATE)
    listen(server, authority, clients=made)
    yield made
    server.own("pg_hba.conf", ACCESS)
    listen(server, authority)


def with_certificate(url, issuer, name="readingroom_audit"):
    cert, key = issuer.issue(name)
    key.chmod(0o600)
    return f"{url.partition('&passfile')[0]}&sslcert={cert}&sslkey={key}"


def test_the_whole_repository_works_with_a_certificate_instead_of_a_password(server, clients, url):
    server.empty_log()
    with audit_process(log_url=with_certificate(url, clients)) as (_, client):
        client.append([AuditRecord(AuditEvent.READ_INTENT) for _ in range(50)])
        with server.superuser() as connection:
            sql = """SELECT DISTINCT s.client_dn FROM pg_stat_ssl AS s JOIN pg_stat_activity USING(pid)
                WHERE usename = 'readingroom_audit'"""
            assert connection.execute(sql).fetchall() == [("/CN=readingroom_audit",)]


def test_a_client_without_a_certificate_is_not_let_in(clients, url, tmp_path):
    assert refused(url, tmp_path).count("requires a valid client certificate") == 2


def test_a_certificate_of_another_name_is_not_let_in(clients, url, tmp_path):
    assert refused(with_certificate(url, clients, "postgres"), tmp_path).count("authentication failed") == 2


@pytest.mark.usefixtures("clients")
def test_a_certificate_of_another_authority_is_not_let_in(authority, url, tmp_path):
    assert refused(with_certificate(url, authority), tmp_path).count("SSL error: ") == 2
