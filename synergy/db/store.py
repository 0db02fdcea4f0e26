"""Opens transactions over all repositories: those that read, and those that write.

Why: a writer keeps all others out, so it has to be seen in the code where one is open, and nothing
may be asked of the cloud meanwhile. Must not know what is stored.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from oslo_db.exception import DBReferenceError
from sqlalchemy import Connection, Engine

from synergy.db.accounting import SqlTrusts, SqlUsage
from synergy.db.archive import SqlArchive
from synergy.db.audit import SqlAudit
from synergy.db.classes import ClassCache, Classes
from synergy.db.engine import READS, translated
from synergy.db.forecasts import SqlForecasts
from synergy.db.outbox import SqlOutbox
from synergy.db.projects import Edition, SqlProjects
from synergy.db.requests import SqlRequests
from synergy.db.rollups import SqlRollups
from synergy.db.rows import DamageLog
from synergy.db.safety import SqlSafety
from synergy.db.vault import Vault

Check = Callable[[Connection], None]


class SqlReading:
    """The repositories on one connection; see `ports.Reading`, whose types keep it from writing."""

    def __init__(
        self,
        connection: Connection,
        cache: ClassCache,
        vault: Vault,
        damage: DamageLog,
        edition: Edition,
        writes: Callable[[], None] = lambda: None,
    ) -> None:
        self._connection = connection
        self._classes = Classes(connection, cache, damage)
        self.requests = SqlRequests(connection, self._classes, vault, damage)
        self.outbox = SqlOutbox(connection)
        self.projects = SqlProjects(connection, damage, edition, writes)
        self.usage = SqlUsage(connection, damage)
        self.trusts = SqlTrusts(connection, damage)
        self.rollups = SqlRollups(connection, self._classes, damage)
        self.archive = SqlArchive(connection, self._classes, damage)
        self.safety = SqlSafety(connection)
        self.audit = SqlAudit(connection)
        self.forecasts = SqlForecasts(connection)


class SqlWriting(SqlReading):
    """The repositories on one connection; see `ports.Writing`."""

    def __init__(
        self,
        connection: Connection,
        cache: ClassCache,
        vault: Vault,
        damage: DamageLog,
        edition: Edition,
        check: Check,
    ) -> None:
        super().__init__(connection, cache, vault, damage, edition, self._writes_projects)
        self._check, self._edition, self._of_projects = check, edition, False

    def _writes_projects(self) -> None:
        if not self._of_projects:
            self._edition.begin()
        self._of_projects = True

    def over(self) -> None:
        """Note that the transaction is over."""
        if self._of_projects:
            self._edition.end()

    def commit(self) -> None:
        """Make it last. Raises Conflict or StoreUnavailable, and then nothing is written."""
        with translated():
            self._check(self._connection)
            self._connection.commit()
        self._classes.committed()


class SqlStore:
    """Opens transactions on one database; see `ports.Store`."""

    def __init__(self, engine: Engine, vault: Vault, check: Check = lambda _: None) -> None:
        """check  is called before each commit; what it raises keeps anything from being written"""
        self._check = check
        self._engine, self._vault, self._cache = engine, vault, ClassCache()
        self.damage, self._edition = DamageLog(), Edition()
        self._writes = threading.local()

    @property
    def is_writing(self) -> bool:
        """Return whether this thread has a transaction open that writes."""
        return getattr(self._writes, "open", False)

    @contextmanager
    def reading(self) -> Iterator[SqlReading]:
        """Open a transaction that reads."""
        with translated(), self._engine.connect() as connection:
            reader = connection.execution_options(**{READS: True})
            yield SqlReading(reader, self._cache, self._vault, self.damage, self._edition)

    @contextmanager
    def writing(self) -> Iterator[SqlWriting]:
        """Open a transaction that writes; an exception or a missing `commit` rolls it back."""
        with translated(), self._engine.connect() as connection:
            self._writes.open = True
            uow = SqlWriting(
                connection, self._cache, self._vault, self.damage, self._edition, self._check
            )
            try:
                yield uow
            except DBReferenceError:
                self._cache.forget()  # a class that was known may have been collected
                raise
            finally:
                self._writes.open = False
                uow.over()

    def damaged(self) -> dict[str, int]:
        """Return how many rows of each table could not be read."""
        return dict(sorted(self.damage.counts.items()))

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()
