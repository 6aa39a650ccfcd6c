"""Whose access is suspended."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "hold",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("person", sa.String(66), nullable=False),
        sa.Column("since", sa.String(27), nullable=False),
        sa.Column("by", sa.String(66)),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("alert", sa.String(36)),
        sa.Column("lifted_at", sa.String(27)),
        sa.Column("lifted_by", sa.String(66)),
    )
    op.create_index("ix_hold_lifted_at", "hold", ["lifted_at"])
