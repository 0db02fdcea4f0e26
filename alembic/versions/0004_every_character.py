"""Keep every character, tell ids apart by case, and hold resource vectors of any length.

Ids of servers that an earlier version stored in another spelling become the usual one.
"""

import sqlalchemy as sa

from alembic import op
from synergy.core.ids import uuid_of
from synergy.db.engine import convert_tables

revision = "0004"
down_revision = "0003"

_VECTORS = (
    ("domains", "borrow_limit", True),
    ("domains", "lend_limit", True),
    ("projects", "private", False),
    ("projects", "borrow_limit", True),
    ("projects", "lend_limit", True),
    ("request_classes", "demand", False),
)


def upgrade() -> None:
    connection = op.get_bind()
    convert_tables(connection)
    if connection.dialect.name != "sqlite":  # which knows no lengths
        for table, column, nullable in _VECTORS:
            op.alter_column(
                table,
                column,
                type_=sa.Text(),
                existing_type=sa.String(1024),
                existing_nullable=nullable,
            )
    _spell(connection)


def _spell(connection: sa.Connection) -> None:
    requests = sa.table("requests", sa.column("request_id", sa.String))
    odd = sa.select(requests.c.request_id).where(
        sa.or_(
            requests.c.request_id != sa.func.lower(requests.c.request_id),
            sa.func.length(requests.c.request_id) != 36,
        )
    )
    known = sa.select(requests.c.request_id)
    for request_id in connection.scalars(odd).all():
        usual = uuid_of(str(request_id))
        if usual is None or connection.execute(known.where(requests.c.request_id == usual)).first():
            continue
        for name in ("requests", "request_bodies", "ledger"):
            table = sa.table(name, sa.column("request_id", sa.String))
            connection.execute(
                table.update().where(table.c.request_id == request_id).values(request_id=usual)
            )
