"""Failed builds, the number of private servers, and trusts that are being made."""

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
    op.create_table(
        "trust_intents",
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("project_id", "user_id", name=op.f("pk_trust_intents")),
    )
