"""Runs the migrations on the engine that synergy-manage opened, so that they can be run again.

On SQLite and PostgreSQL all steps are one transaction. MariaDB commits each step that changes a
table, so a run that was killed is repeated from the start of its migration: a step that was done
already is passed over.
"""

from typing import Any

from alembic.ddl.mysql import MySQLImpl
from sqlalchemy.exc import DBAPIError

from alembic import context
from synergy.db.engine import prepare_database
from synergy.db.models import Base

# table exists, unknown table on DROP, duplicate column, duplicate key name, nothing to DROP
DONE_ALREADY = (1050, 1051, 1060, 1061, 1091)


class Repeatable(MySQLImpl):
    """What alembic calls for MariaDB; defining it is enough."""

    __dialect__ = "mysql"

    def _exec(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super()._exec(*args, **kwargs)
        except Exception as error:
            if _code_of(error) not in DONE_ALREADY:
                raise
            return None


def _code_of(error: BaseException | None) -> int | None:
    """Return MariaDB's number of an error that SQLAlchemy or oslo.db wrapped."""
    while error is not None:
        if isinstance(error, DBAPIError):
            return int(error.orig.args[0]) if error.orig and error.orig.args else None
        error = getattr(error, "inner_exception", None) or error.__cause__
    return None


engine = context.config.attributes["engine"]
prepare_database(engine)
with engine.begin() as connection:
    context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
