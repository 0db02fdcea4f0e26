"""Which edition of the usage sums a table holds, so that what was read of them can be kept."""

import sqlalchemy as sa

from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.add_column(
        "growth", sa.Column("edition", sa.BigInteger(), server_default="0", nullable=False)
    )
