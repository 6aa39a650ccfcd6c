"""The audit record repository: the in-memory stand-in, and the real one in its own process."""

import signal

import pytest
from tests.contract.audit_repository import AuditRepositoryContract
from tests.support.audit_process import audit_process
from tests.support.fakes import MemoryAuditRepository

from readingroom_hub.compose import verify_log


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
