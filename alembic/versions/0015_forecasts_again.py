"""More than one forecast of a request, and the round that each was made after."""

import sqlalchemy as sa

from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.add_column("forecasts", sa.Column("round_id", sa.String(36), nullable=True))
    # The new index goes first: MariaDB has no moment then at which a request is found by none.
    columns = ["request_id", "forecast_id"]
    op.create_index(op.f("ix_forecasts_request_id_forecast_id"), "forecasts", columns)
    with op.batch_alter_table("forecasts") as table:
        table.drop_constraint(op.f("uq_forecasts_request_id"), type_="unique")
