"""Which part of the rule manages a project; empty for one that was added by hand."""

import sqlalchemy as sa

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("projects", sa.Column("rule", sa.String(255), nullable=False, server_default=""))
