"""Runs the migrations on the engine that synergy-manage opened."""

from alembic import context
from synergy.db.engine import prepare_database
from synergy.db.models import Base

with context.config.attributes["engine"].begin() as connection:
    prepare_database(connection)
    context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
