"""Opens SQLite: readers beside one writer, and a file that must stay the one that was opened.

Why: a database file that is missing, or another one than a moment ago, must be noticed before
anything is acknowledged that would be written into nothing. Must not know tables.
"""

from pathlib import Path
from typing import Any, Final

from oslo_config import cfg
from oslo_db.sqlalchemy.exc_filters import register_engine
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.pool import QueuePool

from synergy.core.errors import ConfigurationInvalid, StoreUnavailable

READS: Final = "synergy_reads"  # execution option of a transaction that does not write


class _File:
    """The file of an SQLite database: which one was opened, and whether it is there still."""

    def __init__(self, path: Path, *, create: bool) -> None:
        self._path, self._create = path, create
        self._opened: tuple[int, int] | None = None

    def before_connect(self) -> None:
        """Let no connection make an empty file in the place of one that is gone."""
        if self._opened is not None:
            self.check()
        elif self._path.exists():
            self._check_names()
        elif not self._create:
            raise StoreUnavailable(
                f"database file {self._path} does not exist: run synergy-manage db upgrade, or "
                "correct [database] connection"
            )

    def _check_names(self) -> None:
        """Let nobody open the file by a second name: the log of SQLite lies beside the name, so
        who uses the other name would neither see nor lock what this one does, and damage it."""
        names = self._path.stat().st_nlink
        if names > 1:
            raise StoreUnavailable(
                f"database file {self._path} has {names} names (hard links), by which it could be "
                "damaged: remove the others (find -samefile lists them), or copy the file instead"
            )

    def connected(self) -> None:
        if self._opened is None:
            self._opened = self._identity()

    def check(self) -> None:
        """Raise StoreUnavailable when the file was deleted or replaced since it was opened."""
        found = self._identity()
        if found == self._opened:
            return
        what = "is gone" if found is None else "was replaced by another file"
        raise StoreUnavailable(
            f"database file {self._path} {what} while it was in use, and nothing is written: stop "
            "Synergy, put the right file in its place, and start it again"
        )

    def _identity(self) -> tuple[int, int] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino


class _WithHints(SQLiteCompiler):
    """Writes the hints of a statement, INDEXED BY, which SQLAlchemy leaves out for SQLite."""

    def get_from_hint_text(self, table: Any, text: str | None) -> str | None:
        return text


def open_sqlite(url: URL, conf: cfg.ConfigOpts.GroupAttr, *, create: bool) -> Engine:
    """Return an engine with WAL, whose transactions take the write lock at once.

    oslo.db opens SQLite again for every transaction, which costs more than the transaction: only
    its translation of errors is used. Raises ConfigurationInvalid.
    """
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise ConfigurationInvalid(
            ["[database] connection names no file: it must be like sqlite:///synergy.sqlite"]
        )
    path = Path(url.database).absolute()
    if not path.parent.is_dir():
        raise ConfigurationInvalid(
            [f"[database] connection: the folder of {url.database} does not exist; make it first"]
        )
    if path.is_dir():
        raise ConfigurationInvalid([f"[database] connection: {url.database} is a folder"])
    engine = create_engine(url, poolclass=QueuePool, pool_size=16)
    engine.dialect.statement_compiler = _WithHints
    register_engine(engine)
    file = _File(path, create=create)

    @event.listens_for(engine, "do_connect")
    def connecting(*_: object) -> None:
        file.before_connect()

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: object) -> None:
        file.connected()
        connection.isolation_level = None  # BEGIN is said below
        connection.execute(f"PRAGMA busy_timeout = {int(conf.sqlite_busy_s * 1000)}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if conf.sqlite_synchronous else 'OFF'}")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        file.check()
        reads = connection.get_execution_options().get(READS)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine
