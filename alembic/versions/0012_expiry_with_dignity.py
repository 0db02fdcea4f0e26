"""What a user is told of the end of a server, and the rule by which it may be put off."""

import sqlalchemy as sa

from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    for name, kind in (
        ("shown_end_at", sa.BigInteger()),
        ("not_before_at", sa.BigInteger()),
        ("warned_s", sa.Integer()),
    ):
        op.add_column("requests", sa.Column(name, kind, nullable=True))
    op.add_column(
        "requests", sa.Column("extensions", sa.Integer(), server_default="0", nullable=False)
    )
    for name, default in (("on_keep", "end"), ("extend_policy", "never")):
        op.add_column(
            "projects", sa.Column(name, sa.String(16), server_default=default, nullable=False)
        )
    op.add_column("projects", sa.Column("max_ttl_s", sa.Integer(), nullable=True))
    op.add_column(
        "projects", sa.Column("max_extensions", sa.Integer(), server_default="3", nullable=True)
    )
