"""Opens the database, checks its version, and translates what the driver raises.

Must not know tables.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from oslo_config import cfg
from oslo_db import exception as db_error
from oslo_db.sqlalchemy import enginefacade
from oslo_db.sqlalchemy.exc_filters import register_engine
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.exc import ArgumentError, StatementError
from sqlalchemy.pool import QueuePool

from alembic import command
from synergy.core.errors import (
    ConfigurationInvalid,
    Conflict,
    InvalidInput,
    SynergyError,
    UpstreamUnavailable,
)
from synergy.db.migrations import migrations_folder

READS: Final = "synergy_reads"  # execution option of a transaction that does not write
CHARACTERS: Final = "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"  # of MariaDB and MySQL
LOG = logging.getLogger(__name__)
DATABASE_OPTIONS = (
    cfg.StrOpt(
        "connection",
        secret=True,
        default="sqlite:///synergy.sqlite",
        help="SQLAlchemy URL of the database, such as sqlite:////var/lib/synergy/synergy.sqlite "
        "or mysql+pymysql://synergy:PASSWORD@db/synergy.",
    ),
    cfg.StrOpt(
        "keys_file",
        default="synergy.keys",
        help="File with the Fernet keys that seal stored request bodies, one in a line, the first "
        "of which seals. Make it with: synergy-manage keys create.",
    ),
    cfg.FloatOpt(
        "sqlite_busy_s",
        default=10.0,
        min=0,
        max=600,
        help="Seconds to wait for another process that writes to the same SQLite file.",
    ),
    cfg.BoolOpt(
        "sqlite_synchronous",
        default=True,
        help="Let SQLite flush each commit to the disk. Only experiments turn it off.",
    ),
)


def open_engine(conf: Any) -> Engine:
    """Return an engine for the options of [database]. Raises ConfigurationInvalid."""
    try:
        url = make_url(conf.connection)
    except ArgumentError as error:
        raise ConfigurationInvalid(
            ["[database] connection is not a database URL such as sqlite:///synergy.sqlite"]
        ) from error
    sqlite = url.get_backend_name() == "sqlite"
    if sqlite and url.database and not Path(url.database).absolute().parent.is_dir():
        raise ConfigurationInvalid(
            [f"[database] connection: the folder of {url.database} does not exist; make it first"]
        )
    if sqlite:
        return _open_sqlite(url, conf)
    context = enginefacade.transaction_context()
    context.configure(connection=conf.connection, max_retries=0)
    try:
        engine: Engine = context.writer.get_engine()
    except (ImportError, ArgumentError, db_error.DBError) as error:
        raise ConfigurationInvalid([f"[database] connection cannot be used: {error}"]) from error
    return engine


class _WithHints(SQLiteCompiler):
    """Writes the hints of a statement, INDEXED BY, which SQLAlchemy leaves out for SQLite."""

    def get_from_hint_text(self, table: Any, text: str | None) -> str | None:
        return text


def _open_sqlite(url: URL, conf: Any) -> Engine:
    """Readers beside one writer (WAL), and transactions that take the write lock at once.

    oslo.db opens SQLite anew for every transaction, which costs more than the transaction: only
    its translation of errors is used.
    """
    engine = create_engine(url, poolclass=QueuePool, pool_size=16)
    engine.dialect.statement_compiler = _WithHints
    register_engine(engine)

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # BEGIN is said below
        connection.execute(f"PRAGMA busy_timeout = {int(conf.sqlite_busy_s * 1000)}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if conf.sqlite_synchronous else 'OFF'}")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        reads = connection.get_execution_options().get(READS)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


_DATA_ERRORS: Final = (
    db_error.DBDataError,
    db_error.DBConstraintError,
    db_error.DBInvalidUnicodeParameter,
)
_ODD_VALUE: Final = re.compile(  # what drivers say of one value, and oslo.db does not tell apart
    r"Data too long|Incorrect \w+ value|Out of range value|cannot be null|not-null constraint|"
    r"NOT NULL constraint|value too long|out of range|NUL .0x00|invalid byte sequence|"
    r"has no equivalent|datatype mismatch|too large to convert|invalid input syntax|"
    r"Illegal mix of collations"
)
_COLUMN: Final = re.compile(r"(?:for|in) column [`'\"]?([\w.`]+)|column [\"']([\w.]+)[\"']|"
                            r"constraint failed: ([\w.]+)")  # fmt: skip


@contextmanager
def translated() -> Iterator[None]:
    """Turn the database's exceptions into Synergy's.

    What is the fault of a value is InvalidInput, and concerns the item that holds it; what is
    another writer's doing is Conflict; everything else is the database's own trouble.
    """
    try:
        yield
    except (db_error.DBDuplicateEntry, db_error.DBReferenceError) as error:
        raise Conflict(f"the database refused a row: {_said(error)}") from error
    except (db_error.DBDeadlock, db_error.DBConnectionError) as error:
        raise UpstreamUnavailable(f"database: {error}") from error
    except _DATA_ERRORS as error:
        raise _invalid(error) from error
    except (db_error.DBError, StatementError) as error:
        inner = getattr(error, "inner_exception", None) or getattr(error, "orig", None) or error
        if isinstance(inner, SynergyError):  # a value that a column's own type refused
            raise inner from error
        if _ODD_VALUE.search(_said(error)) or isinstance(inner, ValueError | TypeError):
            raise _invalid(error) from error
        if "database is locked" in str(error):
            raise UpstreamUnavailable(
                "the SQLite database is locked by another process; stop it, or give each service "
                "its own [database] connection"
            ) from error
        raise UpstreamUnavailable(f"database: {error}") from error


def _invalid(error: Exception) -> InvalidInput:
    """Return what is wrong with a value, without the statement and the other values in it."""
    said = _said(error)
    found = _COLUMN.search(said)
    column = next((name for name in found.groups() if name), "") if found else ""
    place = f"column {column.strip('`')}" if column else "a column"
    return InvalidInput(f"the database cannot store a value in {place}: {said}")


def _said(error: Exception) -> str:
    inner = getattr(error, "inner_exception", None) or getattr(error, "orig", None) or error
    return ascii(str(getattr(inner, "orig", None) or inner).split("\n", 1)[0])[1:201].rstrip("'\"")


def prepare_database(connection: Connection) -> None:
    """Let the tables that migrations make keep every character, and tell ids apart as other
    databases do: a database of MariaDB or MySQL is made with the server's default, which may be
    latin1, and its usual collations do not tell U3 from u3."""
    if connection.dialect.name not in ("mysql", "mariadb"):
        return
    name = connection.dialect.identifier_preparer.quote(str(connection.engine.url.database))
    try:
        with connection.begin_nested():
            connection.exec_driver_sql(f"ALTER DATABASE {name} {CHARACTERS}")
    except (db_error.DBError, StatementError) as error:
        LOG.warning("the default of the database stays: %s; its tables are converted", _said(error))


def convert_tables(connection: Connection) -> None:
    """Let the tables that are there keep every character; nothing happens where they do."""
    if connection.dialect.name not in ("mysql", "mariadb"):
        return
    odd = connection.exec_driver_sql(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() "
        "AND table_type = 'BASE TABLE' AND table_collation <> 'utf8mb4_bin'"
    )
    tables = [str(row[0]) for row in odd.all()]
    quote = connection.dialect.identifier_preparer.quote
    connection.exec_driver_sql("SET FOREIGN_KEY_CHECKS = 0")  # both sides of a key are converted
    try:
        for table in tables:
            connection.exec_driver_sql(f"ALTER TABLE {quote(table)} CONVERT TO {CHARACTERS}")
    finally:
        connection.exec_driver_sql("SET FOREIGN_KEY_CHECKS = 1")


def _alembic(engine: Engine) -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    config.attributes["engine"] = engine
    return config


def upgrade(engine: Engine) -> str:
    """Bring the tables to this version of Synergy, and return the revision."""
    with translated():
        check(engine, may_upgrade=True)
        command.upgrade(_alembic(engine), "head")
    return _head(engine)


def _head(engine: Engine) -> str:
    return ScriptDirectory.from_config(_alembic(engine)).get_current_head() or ""


def check(engine: Engine, *, may_upgrade: bool = False) -> str:
    """Return the revision of the database. Raises ConfigurationInvalid if it is not this one."""
    with translated(), engine.connect() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    script, head = ScriptDirectory.from_config(_alembic(engine)), _head(engine)
    where = engine.url.render_as_string(hide_password=True)
    if found is not None:
        try:
            script.get_revision(found)
        except CommandError as error:
            newer = (
                f"database {where} has revision {found!r}, which is newer than this Synergy "
                f"({head!r}): install the version that made it"
            )
            raise ConfigurationInvalid([newer]) from error
    if found != head and not may_upgrade:
        older = (
            f"database {where} has revision {found or 'none'!r}, but this Synergy needs "
            f"{head!r}: run synergy-manage db upgrade"
        )
        raise ConfigurationInvalid([older])
    return found or ""
