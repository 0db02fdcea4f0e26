"""When requests were said to start, to be held against what came true."""

import sqlalchemy as sa

from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.create_table(
        "forecasts",
        sa.Column(
            "forecast_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("request_id", sa.String(36), nullable=False),
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("p50_s", sa.Double(), nullable=True),
        sa.Column("p90_s", sa.Double(), nullable=True),
        sa.Column("bound_s", sa.Double(), nullable=True),
        sa.Column("horizon", sa.Integer(), nullable=False),
        sa.Column("size", sa.Double(), nullable=False),
        sa.Column("raw_p50_s", sa.Double(), nullable=True),
        sa.Column("raw_p90_s", sa.Double(), nullable=True),
        sa.Column("past_p50_s", sa.Double(), nullable=False),
        sa.Column("past_p90_s", sa.Double(), nullable=False),
        sa.Column("settled_at", sa.BigInteger(), nullable=True),
        sa.Column("wait_s", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("forecast_id", name=op.f("pk_forecasts")),
        sa.UniqueConstraint("request_id", name=op.f("uq_forecasts_request_id")),
    )
    for columns in (("settled_at", "forecast_id"), ("project_id", "settled_at", "forecast_id")):
        op.create_index(op.f(f"ix_forecasts_{'_'.join(columns)}"), "forecasts", list(columns))
