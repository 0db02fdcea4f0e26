"""How far notifications were sent, and the reason of each step in the ledger."""

import sqlalchemy as sa

from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.create_table(
        "outbox",
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_outbox")),
    )
    op.add_column("ledger", sa.Column("reason", sa.String(32), nullable=True))
