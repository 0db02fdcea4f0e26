"""Opens transactions over all repositories: those that read, and those that write.

Why: a writer keeps all others out, so it has to be seen in the code where one is open, and nothing
may be asked of the cloud meanwhile. Must not know what is stored.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine

from synergy.db.accounting import SqlTrusts, SqlUsage
from synergy.db.classes import ClassCache
from synergy.db.engine import READS, translated
from synergy.db.projects import SqlProjects
from synergy.db.requests import SqlRequests
from synergy.db.vault import Vault


class SqlReading:
    """The repositories on one connection; see `ports.Reading`, whose types keep it from writing."""

    def __init__(self, connection: Connection, classes: ClassCache, vault: Vault) -> None:
        self._connection = connection
        self.requests = SqlRequests(connection, classes, vault)
        self.projects = SqlProjects(connection)
        self.usage = SqlUsage(connection)
        self.trusts = SqlTrusts(connection)


class SqlWriting(SqlReading):
    """The repositories on one connection; see `ports.Writing`."""

    def commit(self) -> None:
        """Make it last. Raises Conflict or UpstreamUnavailable, and then nothing is written."""
        with translated():
            self._connection.commit()


class SqlStore:
    """Opens transactions on one database; see `ports.Store`."""

    def __init__(self, engine: Engine, vault: Vault) -> None:
        self._engine, self._vault, self._classes = engine, vault, ClassCache()
        self._writes = threading.local()

    @property
    def is_writing(self) -> bool:
        """Tell whether this thread has a transaction open that writes."""
        return getattr(self._writes, "open", False)

    @contextmanager
    def reading(self) -> Iterator[SqlReading]:
        """Open a transaction that reads."""
        with translated(), self._engine.connect() as connection:
            reader = connection.execution_options(**{READS: True})
            yield SqlReading(reader, self._classes, self._vault)

    @contextmanager
    def writing(self) -> Iterator[SqlWriting]:
        """Open a transaction that writes; an exception or a missing `commit` rolls it back."""
        with translated(), self._engine.connect() as connection:
            self._writes.open = True
            try:
                yield SqlWriting(connection, self._classes, self._vault)
            finally:
                self._writes.open = False

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()
