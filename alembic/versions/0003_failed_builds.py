"""What becomes of a server whose build failed, and how many servers a private quota holds."""

import sqlalchemy as sa

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column(
        "projects",
        sa.Column("on_build_failure", sa.String(16), server_default="keep", nullable=False),
    )
    op.add_column("projects", sa.Column("max_private_servers", sa.Integer(), nullable=True))
