"""The first catalogue: projects, members, data keys, dataset versions, access grants, sessions."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "project",
        sa.Column("id", sa.String(30), primary_key=True),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("created_at", sa.String(27), nullable=False),
        sa.Column("ends_at", sa.String(27)),
    )
    op.create_table(
        "member",
        sa.Column("project", sa.String(30), sa.ForeignKey("project.id"), primary_key=True),
        sa.Column("person", sa.String(66), primary_key=True, index=True),
        sa.Column("role", sa.String(20), nullable=False),
        sa.Column("since", sa.String(27), nullable=False),
    )
    op.create_table(
        "data_key",
        sa.Column("id", sa.String(26), primary_key=True),
        sa.Column("kek", sa.Text, nullable=False),
        sa.Column("wrapped", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "dataset_version",
        sa.Column("digest", sa.String(71), primary_key=True),
        sa.Column("project", sa.String(30), sa.ForeignKey("project.id"), nullable=False),
        sa.Column("dataset", sa.String(63), nullable=False, index=True),
        sa.Column("key", sa.String(26), sa.ForeignKey("data_key.id"), nullable=False),
        sa.Column("instances", sa.Integer, nullable=False),
        sa.Column("series", sa.Integer, nullable=False),
        sa.Column("studies", sa.Integer, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("published_at", sa.String(27), nullable=False),
        sa.Column("card", sa.Text, nullable=False),
    )
    op.create_table(
        "access_grant",
        sa.Column("id", sa.String(26), primary_key=True),
        sa.Column("project", sa.String(30), sa.ForeignKey("project.id"), nullable=False, index=True),
        sa.Column("dataset", sa.String(63), nullable=False),
        sa.Column("version", sa.String(71), sa.ForeignKey("dataset_version.digest"), nullable=False),
        sa.Column("ends_at", sa.String(27), nullable=False),
        sa.Column("approved_by", sa.String(66), nullable=False),
        sa.Column("created_at", sa.String(27), nullable=False),
        sa.Column("revoked_at", sa.String(27)),
        sa.Column("revoked_by", sa.String(66)),
    )
    op.create_table(
        "session",
        sa.Column("id", sa.String(26), primary_key=True),
        sa.Column("person", sa.String(66), nullable=False),
        sa.Column("project", sa.String(30), sa.ForeignKey("project.id"), nullable=False),
        sa.Column("opened_at", sa.String(27), nullable=False),
        sa.Column("expires_at", sa.String(27), nullable=False),
        sa.Column("closed_at", sa.String(27), index=True),
    )
