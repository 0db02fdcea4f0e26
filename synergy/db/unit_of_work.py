"""One transaction over all repositories; leaving it without `commit` rolls back."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine

from synergy.db.accounting import SqlTrusts, SqlUsage
from synergy.db.classes import ClassCache
from synergy.db.engine import READS, translated
from synergy.db.projects import SqlProjects
from synergy.db.requests import SqlRequests
from synergy.db.vault import Vault


class SqlUnitOfWork:
    """The repositories on one connection."""

    def __init__(self, connection: Connection, classes: ClassCache, vault: Vault) -> None:
        self._connection = connection
        self.requests = SqlRequests(connection, classes, vault)
        self.projects = SqlProjects(connection)
        self.usage = SqlUsage(connection)
        self.trusts = SqlTrusts(connection)

    def commit(self) -> None:
        """Make it last. Raises Conflict or UpstreamUnavailable, and then nothing is written."""
        with translated():
            self._connection.commit()


class Store:
    """Opens units of work on one database."""

    def __init__(self, engine: Engine, vault: Vault) -> None:
        self._engine, self._vault, self._classes = engine, vault, ClassCache()

    @contextmanager
    def __call__(self, *, reads: bool = False) -> Iterator[SqlUnitOfWork]:
        """Open a transaction; an exception or a missing `commit` rolls it back."""
        with translated(), self._engine.connect() as connection:
            if reads:
                connection = connection.execution_options(**{READS: True})
            yield SqlUnitOfWork(connection, self._classes, self._vault)

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()
