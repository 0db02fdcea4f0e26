"""Usage that fades without being written, in periods too; priorities of associations; lifetimes."""

import sqlalchemy as sa

from alembic import op

revision = "0002"
down_revision = "0001"

FADING = -1  # the bucket of usage that fades all the time


def upgrade() -> None:
    op.create_table(
        "usage_amounts",
        sa.Column("association_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("bucket", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("amount", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["association_id"],
            ["associations.association_id"],
            name=op.f("fk_usage_amounts_association_id"),
        ),
        sa.PrimaryKeyConstraint("association_id", "bucket", name=op.f("pk_usage_amounts")),
    )
    op.create_table(
        "usage_state",
        sa.Column("state_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("left_factor", sa.Double(), nullable=False),
        sa.Column("charged_at", sa.BigInteger(), nullable=True),
        sa.Column("reset_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("state_id", name=op.f("pk_usage_state")),
    )
    # "usage" is a reserved word of MariaDB, so it has to be quoted where that is done.
    usage = sa.table("usage", sa.column("association_id"), sa.column("raw_usage"))
    amounts = sa.table(
        "usage_amounts", sa.column("association_id"), sa.column("bucket"), sa.column("amount")
    )
    # What was moved and dropped by a run that was killed on MariaDB is not moved again.
    tables = sa.inspect(op.get_bind()).get_table_names()
    if "usage" in tables:
        op.execute(amounts.delete())
        op.execute(
            amounts.insert().from_select(
                ["association_id", "bucket", "amount"],
                sa.select(usage.c.association_id, sa.literal(FADING), usage.c.raw_usage),
            )
        )
        op.drop_table("usage")
    if "marks" in tables:
        op.execute("DELETE FROM usage_state")
        op.execute(
            "INSERT INTO usage_state (state_id, left_factor, charged_at) "
            "SELECT 1, 1.0, at FROM marks WHERE name = 'usage_charged'"
        )
        op.drop_table("marks")
    op.add_column("projects", sa.Column("priority", sa.Integer(), nullable=True))
    op.add_column("associations", sa.Column("priority", sa.Integer(), nullable=True))
    op.add_column(
        "associations",
        sa.Column("active", sa.Boolean(), server_default=sa.true(), nullable=False),
    )
    op.add_column(
        "request_classes", sa.Column("ttl_s", sa.Integer(), server_default="0", nullable=False)
    )
