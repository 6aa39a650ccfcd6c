"""What several of these tests stand on."""

import pytest
from tests.support.postgres import postgres


@pytest.fixture(scope="module")
def log_server():
    """A real PostgreSQL for audit logs."""
    with postgres() as running:
        running.make_log()
        yield running


@pytest.fixture
def database(log_server):
    """With an empty log."""
    log_server.empty_log()
    return log_server
