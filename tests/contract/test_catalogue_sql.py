"""The SQL catalogue, on SQLite."""

import multiprocessing
from datetime import datetime

import pytest
from tests.contract.catalogue import CatalogueContract, project

from readingroom_hub.adapters.catalogue_tables import HEAD, metadata, open_database
from readingroom_hub.compose import open_catalogue
from readingroom_hub.config import Settings
from readingroom_hub.errors import StoreUnavailable


class TestSqlCatalogue(CatalogueContract):
    @pytest.fixture
    def catalogue(self, tmp_path):
        return open_catalogue(Settings(state=tmp_path))


def _open(path):
    open_catalogue(Settings(state=path))


def test_processes_that_start_at_once_migrate_once(tmp_path):
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        pool.map(_open, [tmp_path] * 4)
    assert open_catalogue(Settings(state=tmp_path)).projects.all() == []


def test_the_newest_migration_is_the_one_that_the_code_expects_and_makes_its_tables(tmp_path):
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    engine = open_database(tmp_path / "c.sqlite")
    with engine.connect() as c:
        context = MigrationContext.configure(c)
        assert context.get_current_revision() == HEAD
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_the_file_is_private(tmp_path):
    open_catalogue(Settings(state=tmp_path / "state"))
    assert (tmp_path / "state" / "catalogue.sqlite").stat().st_mode & 0o077 == 0


def test_a_file_that_is_no_database_is_an_error_of_ours(tmp_path):
    catalogue = open_catalogue(Settings(state=tmp_path))
    catalogue.projects.create(project())
    (tmp_path / "catalogue.sqlite").write_bytes(b"not a database, but long enough to be taken for a broken one" * 100)
    with pytest.raises(StoreUnavailable):
        catalogue.projects.all()


def test_times_without_a_zone_are_refused(tmp_path):
    catalogue = open_catalogue(Settings(state=tmp_path))
    with pytest.raises(StoreUnavailable, match="time zone"):
        catalogue.sessions.close("s-" + "0" * 24, datetime(2026, 1, 1))  # noqa: DTZ001
