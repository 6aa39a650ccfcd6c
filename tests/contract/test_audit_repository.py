"""The audit record repository: the in-memory stand-in, and the real one in its own process, over each store."""

import signal

import pytest
from tests.contract.audit_repository import AuditRepositoryContract
from tests.support.audit_process import audit_process
from tests.support.fakes import MemoryAuditRepository
from tests.support.postgres import postgres

from readingroom_hub.compose.repository import verify_log


class TestMemory(AuditRepositoryContract):
    @pytest.fixture
    def audit(self):
        return MemoryAuditRepository()

    @pytest.fixture
    def switch_off(self, audit):
        return lambda: setattr(audit, "available", False)


@pytest.fixture(scope="module")
def running():
    with audit_process() as (server, client):
        yield server, client
        server.stop()
        checked = verify_log(server.paths, None, None, [])
        assert [str(f) for f in checked.findings] == []


class TestSocket(AuditRepositoryContract):
    @pytest.fixture
    def audit(self, running):
        server, client = running
        if not server.paths.audit_socket.exists():
            server.start()
        return client

    @pytest.fixture
    def switch_off(self, running):
        return lambda: running[0].stop(signal.SIGTERM)


@pytest.fixture(scope="module")
def running_on_postgres():
    with postgres() as database:
        database.make_log()
        with audit_process(log_url=database.url) as (server, client):
            yield server, client
            server.stop()
            checked = verify_log(server.paths, None, None, [])
            assert [str(f) for f in checked.findings] == []


class TestPostgres(TestSocket):
    @pytest.fixture
    def running(self, running_on_postgres):
        return running_on_postgres
