"""Opens the database, checks its version, and translates what the driver raises.

Must not know tables.
"""

import logging
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from oslo_config import cfg
from oslo_db import exception as db_error
from oslo_db.sqlalchemy import enginefacade
from sqlalchemy import URL, Connection, Engine, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, StatementError

from synergy.core.errors import (
    ConfigurationInvalid,
    Conflict,
    InvalidInput,
    StoreUnavailable,
    SynergyError,
)
from synergy.db.migrations import migrations_folder, revisions
from synergy.db.sqlite import READS, open_sqlite

if TYPE_CHECKING:
    from alembic.config import Config

_OF_MYSQL: Final = ("mysql", "mariadb")
_KEY_OF_TEXTS: Final = ("projects", "domain_id", "domains", "fk_projects_domain_id")
_VERSION: Final = "alembic_version"  # where alembic keeps the revision of the tables
CHARACTERS: Final = "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"  # of MariaDB and MySQL
LOG = logging.getLogger(__name__)
__all__ = ["READS"]  # of `sqlite`, for those who open transactions
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
        help="File with the Fernet keys of stored request bodies, one per line. The first "
        "encrypts; all decrypt. Create it with: synergy-manage keys create.",
    ),
    cfg.FloatOpt(
        "sqlite_busy_s",
        default=10.0,
        min=0,
        max=600,
        help="Seconds to wait for another process that writes to the same SQLite file.",
    ),
    cfg.IntOpt(
        "keep_days",
        default=400,
        min=0,
        max=36_500,
        mutable=True,
        help="Days after which finished requests, their ledger entries, and quarantined messages "
        "are moved into the archive. Usage reports do not change. 0 keeps them for ever.",
    ),
    cfg.BoolOpt(
        "sqlite_synchronous",
        default=True,
        help="Whether SQLite flushes each commit to the disk. Turn it off for experiments only.",
    ),
)


def open_engine(conf: cfg.ConfigOpts.GroupAttr, *, create: bool = False) -> Engine:
    """Return an engine for the options of [database]. Raises ConfigurationInvalid.

    create  make a file of SQLite that is not there; nobody but `db upgrade` does
    """
    # oslo.db logs what it does not know with a traceback; `translated` says it to the caller.
    logging.getLogger("oslo_db.sqlalchemy.exc_filters").setLevel(logging.CRITICAL)
    try:
        url = make_url(conf.connection)
    except ArgumentError as error:
        raise ConfigurationInvalid(
            ["[database] connection is not a database URL such as sqlite:///synergy.sqlite"]
        ) from error
    if url.get_backend_name() == "sqlite":
        return open_sqlite(url, conf, create=create)
    context = enginefacade.transaction_context()
    if url.get_backend_name() in _OF_MYSQL:  # whatever the URL says: a lesser one refuses names
        url = url.update_query_dict({"charset": "utf8mb4"})
    context.configure(connection=url.render_as_string(hide_password=False), max_retries=0)
    try:
        engine: Engine = context.writer.get_engine()
    except ModuleNotFoundError as error:
        raise ConfigurationInvalid([missing_driver(url, error)]) from error
    except (ImportError, ArgumentError, db_error.DBError) as error:
        raise ConfigurationInvalid([f"[database] connection cannot be used: {error}"]) from error
    return engine


def missing_driver(url: URL, error: ImportError) -> str:
    """Say which Python package the driver of a URL needs, and how to get it."""
    return (
        f"[database] connection: {url.drivername} needs the Python package {error.name!r}, which "
        "is not installed: pip install 'synergy[mysql]' for mysql+pymysql, 'synergy[postgresql]' "
        "for postgresql+psycopg, or that package itself"
    )


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
        raise StoreUnavailable(_in_one_sentence(error)) from error
    except _DATA_ERRORS as error:
        raise _invalid(error) from error
    except (db_error.DBError, StatementError, sqlite3.Error) as error:
        inner = _innermost(error)
        if isinstance(inner, SynergyError):  # a value that a column's own type refused
            raise inner from error
        if _ODD_VALUE.search(_said(error)) or isinstance(inner, ValueError | TypeError):
            raise _invalid(error) from error
        raise StoreUnavailable(_in_one_sentence(error)) from error


_SENTENCES: Final = {
    "database is locked": (
        "the SQLite database is locked by another process; stop it, or give each service its own "
        "[database] connection"
    ),
    "file is not a database": (
        "the file of [database] connection is no SQLite database: correct the path, or restore the "
        "file from a backup"
    ),
    "disk image is malformed": (
        "the SQLite database is damaged: stop Synergy, and restore the file from a backup"
    ),
    **dict.fromkeys(
        (
            "database or disk is full",
            "disk I/O error",
            "No space left on device",  # PostgreSQL, and MariaDB with its own number
            "could not extend file",
            "' is full",
        ),
        "the disk of the database is full: this change was not made, those before it were; free "
        "some space there (deleting rows needs some too), and try again",
    ),
    "readonly database": (
        "the SQLite database cannot be written to: give its file and folder to who runs Synergy"
    ),
    "unable to open database file": (
        "the SQLite database cannot be opened: let who runs Synergy read and write its file and "
        "folder"
    ),
}


def _in_one_sentence(error: Exception) -> str:
    """Say what is wrong with the database, without the statement that met it."""
    text = str(error)
    known = next((said for told, said in _SENTENCES.items() if told in text), None)
    if known is not None:
        return known
    return f"database: {_said(error)}"


def _invalid(error: Exception) -> InvalidInput:
    """Return what is wrong with a value, without the statement and the other values in it."""
    said = _said(error)
    found = _COLUMN.search(said)
    column = next((name for name in found.groups() if name), "") if found else ""
    place = f"column {column.rpartition('.')[2].strip('`')}" if column else "a column"
    return InvalidInput(f"the database cannot store a value in {place}: {said}")


def _said(error: BaseException) -> str:
    """Return what the driver itself said, on one line, without the statement and its values."""
    return ascii(str(_innermost(error)).split("\n", 1)[0])[1:201].rstrip("'\"")


def _innermost(error: BaseException) -> BaseException:
    """Return what the driver, or a column's type, raised: oslo.db and SQLAlchemy both wrap it."""
    while True:
        inner = getattr(error, "inner_exception", None) or getattr(error, "orig", None)
        if not isinstance(inner, BaseException):
            return error
        error = inner


def prepare_database(engine: Engine) -> None:
    """Let the tables that migrations make keep every character, and tell ids apart as other
    databases do: a database of MariaDB or MySQL is made with the server's default, which may be
    latin1, and its usual collations do not tell U3 from u3."""
    if engine.dialect.name not in _OF_MYSQL:
        return
    name = engine.dialect.identifier_preparer.quote(str(engine.url.database))
    try:
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(f"ALTER DATABASE {name} {CHARACTERS}")
    except (db_error.DBError, StatementError) as error:
        LOG.warning("the default of the database stays: %s; its tables are converted", _said(error))


def convert_tables(connection: Connection) -> None:
    """Let the tables that are there keep every character; nothing happens where they do.

    A key of texts forbids to convert either of its ends, so it is taken away meanwhile. MariaDB
    commits each step by itself: what is missing after a crash is put back by the next try.
    """
    if connection.dialect.name not in _OF_MYSQL:
        return
    odd = connection.exec_driver_sql(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() "
        "AND table_type = 'BASE TABLE' AND table_collation <> 'utf8mb4_bin'"
    )
    tables = [str(row[0]) for row in odd.all()]
    table, column, referred, key = _KEY_OF_TEXTS
    known = {one["name"] for one in inspect(connection).get_foreign_keys(table)}
    if tables and key in known:
        connection.exec_driver_sql(f"ALTER TABLE {table} DROP FOREIGN KEY {key}")
        known.remove(key)
    for one in tables:
        quoted = connection.dialect.identifier_preparer.quote(one)
        connection.exec_driver_sql(f"ALTER TABLE {quoted} CONVERT TO {CHARACTERS}")
    if key not in known:
        connection.exec_driver_sql(
            f"ALTER TABLE {table} ADD CONSTRAINT {key} FOREIGN KEY ({column}) "
            f"REFERENCES {referred} ({column})"
        )


def _alembic(engine: Engine) -> "Config":
    from alembic.config import Config  # only an upgrade needs all of it, and it takes a while

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    config.attributes["engine"] = engine
    return config


def upgrade(engine: Engine) -> str:
    """Bring the tables to this version of Synergy, and return the revision."""
    from alembic import command

    with translated():
        check(engine, may_upgrade=True)
        command.upgrade(_alembic(engine), "head")
    return revisions()[-1]


def examine(engine: Engine) -> None:
    """Walk through a database that is a file. Raises StoreUnavailable when it is damaged."""
    if engine.dialect.name == "sqlite":
        with translated(), engine.connect() as connection:
            found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
        if found != "ok":
            raise StoreUnavailable(
                f"the SQLite database is damaged ({str(found).splitlines()[0]}): stop Synergy, and "
                "restore the file from a backup"
            )


def revision(engine: Engine) -> str:
    """Return the revision of the tables, "" where there are none. Raises StoreUnavailable."""
    with translated(), engine.connect() as connection:
        if not inspect(connection).has_table(_VERSION):
            return ""
        found = connection.execute(text(f"SELECT version_num FROM {_VERSION}"))
        return str(found.scalar() or "")


def check_writable(engine: Engine) -> None:
    """Write to the database, and take it back. Raises StoreUnavailable."""
    with translated(), engine.connect() as connection, connection.begin() as transaction:
        connection.exec_driver_sql("UPDATE leadership SET term = term")
        transaction.rollback()


def check(engine: Engine, *, may_upgrade: bool = False) -> str:
    """Return the revision of the database. Raises ConfigurationInvalid if it is not this one."""
    found = revision(engine)
    known = revisions()
    head = known[-1]
    where = engine.url.render_as_string(hide_password=True)
    if found and found not in known:
        newer = (
            f"database {where} has revision {found!r}, which is newer than this Synergy "
            f"({head!r}): install the version that made it"
        )
        raise ConfigurationInvalid([newer])
    if found != head and not may_upgrade:
        older = (
            f"database {where} has revision {found or 'none'!r}, but this Synergy needs "
            f"{head!r}: run synergy-manage db upgrade"
        )
        raise ConfigurationInvalid([older])
    return found
