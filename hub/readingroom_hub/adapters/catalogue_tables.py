"""The catalogue's tables, for SQLite and PostgreSQL alike, and how its database is opened and brought up to date."""

import fcntl
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Dialect,
    Engine,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    inspect,
    text,
    true,
)
from sqlalchemy.types import TypeDecorator

HEAD = "0003"
"""The newest revision in `migrations/versions`; a test holds it to what Alembic finds there."""


class Moment(TypeDecorator[datetime]):
    """An aware UTC datetime as fixed-width ISO text, which sorts as time does in every database."""

    impl = String(27)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Refuse naive datetimes: they would be somebody's local time."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Back to an aware datetime."""
        return None if value is None else datetime.fromisoformat(value)


metadata = MetaData()

projects = Table(
    "project",
    metadata,
    Column("id", String(30), primary_key=True),
    Column("title", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("ends_at", Moment),
    Column("pictures", Boolean, nullable=False, server_default=true()),
)
members = Table(
    "member",
    metadata,
    Column("project", ForeignKey("project.id"), primary_key=True),
    Column("person", String(66), primary_key=True, index=True),
    Column("role", String(20), nullable=False),
    Column("since", Moment, nullable=False),
)
keys = Table(
    "data_key",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("kek", Text, nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
)
versions = Table(
    "dataset_version",
    metadata,
    Column("digest", String(71), primary_key=True),
    Column("project", ForeignKey("project.id"), nullable=False),
    Column("dataset", String(63), nullable=False, index=True),
    Column("key", ForeignKey("data_key.id"), nullable=False),
    Column("instances", Integer, nullable=False),
    Column("series", Integer, nullable=False),
    Column("studies", Integer, nullable=False),
    Column("size", Integer, nullable=False),
    Column("published_at", Moment, nullable=False),
    Column("card", Text, nullable=False),
)
grants = Table(
    "access_grant",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("project", ForeignKey("project.id"), nullable=False, index=True),
    Column("dataset", String(63), nullable=False),
    Column("version", ForeignKey("dataset_version.digest"), nullable=False),
    Column("ends_at", Moment, nullable=False),
    Column("approved_by", String(66), nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("revoked_at", Moment),
    Column("revoked_by", String(66)),
)
sessions = Table(
    "session",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("person", String(66), nullable=False),
    Column("project", ForeignKey("project.id"), nullable=False),
    Column("opened_at", Moment, nullable=False),
    Column("expires_at", Moment, nullable=False),
    Column("closed_at", Moment, index=True),
)
holds = Table(
    "hold",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("person", String(66), nullable=False),
    Column("since", Moment, nullable=False),
    Column("by", String(66)),
    Column("reason", Text, nullable=False),
    Column("alert", String(36)),
    Column("lifted_at", Moment, index=True),
    Column("lifted_by", String(66)),
)


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # The rollback journal rather than WAL: SQLite before 3.51.3, which Python brings, can lose committed WAL writes
    # when several processes have the file open. The catalogue is written a few times a minute.
    for pragma in ("journal_mode=DELETE", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000"):
        connection.execute(f"PRAGMA {pragma}")


def open_database(file: Path) -> Engine:
    """An engine on the SQLite file, made and migrated where needed; one process at a time migrates."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    file.touch(mode=0o600, exist_ok=True)
    engine = create_engine(f"sqlite:///{file}")
    event.listen(engine, "connect", _prepare_sqlite)
    if _revision(engine) != HEAD:
        with file.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _revision(engine) != HEAD:
                migrate(engine)
    return engine


def _revision(engine: Engine) -> str | None:
    if not inspect(engine).has_table("alembic_version"):
        return None
    with engine.connect() as c:
        return c.execute(text("SELECT version_num FROM alembic_version")).scalar()


def migrate(engine: Engine) -> None:
    """Bring the database to the newest revision (Alembic)."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(resources.files("readingroom_hub.adapters") / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
