"""Opens the database, checks its version, and translates what the driver raises.

Must not know tables.
"""

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
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import QueuePool

from alembic import command
from synergy.core.errors import ConfigurationInvalid, Conflict, UpstreamUnavailable
from synergy.db.migrations import migrations_folder

READS: Final = "synergy_reads"  # execution option of a transaction that does not write
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


def _open_sqlite(url: URL, conf: Any) -> Engine:
    """Readers beside one writer (WAL), and transactions that take the write lock at once.

    oslo.db opens SQLite anew for every transaction, which costs more than the transaction: only
    its translation of errors is used.
    """
    engine = create_engine(url, poolclass=QueuePool, pool_size=16)
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


@contextmanager
def translated() -> Iterator[None]:
    """Turn the database's exceptions into Synergy's."""
    try:
        yield
    except (db_error.DBDuplicateEntry, db_error.DBReferenceError) as error:
        raise Conflict(f"the database refused a row: {error}") from error
    except (db_error.DBDeadlock, db_error.DBConnectionError) as error:
        raise UpstreamUnavailable(f"database: {error}") from error
    except (db_error.DBError, DBAPIError) as error:
        if "database is locked" in str(error):
            raise UpstreamUnavailable(
                "the SQLite database is locked by another process; stop it, or give each service "
                "its own [database] connection"
            ) from error
        raise UpstreamUnavailable(f"database: {error}") from error


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
