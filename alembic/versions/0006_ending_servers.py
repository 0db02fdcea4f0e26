"""How far the time had come, the brake of expiry, and what is lost or gone."""

import sqlalchemy as sa

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "clock_mark",
        sa.Column("mark_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("boot_id", sa.String(64), nullable=False),
        sa.Column("monotonic_s", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("mark_id", name=op.f("pk_clock_mark")),
    )
    op.create_table(
        "expiry_brake",
        sa.Column("brake_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("since", sa.BigInteger(), nullable=False),
        sa.Column("due", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("brake_id", name=op.f("pk_expiry_brake")),
    )
    op.add_column(
        "projects", sa.Column("on_lost", sa.String(16), server_default="tell", nullable=False)
    )
    op.add_column(
        "projects", sa.Column("gone", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
