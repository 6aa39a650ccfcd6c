"""Whether a project's saved notebooks may keep pictures."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("project", sa.Column("pictures", sa.Boolean, nullable=False, server_default=sa.true()))
