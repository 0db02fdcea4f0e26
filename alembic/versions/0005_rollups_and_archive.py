"""Usage by hour and day, the archive, whose each ledger entry is, and an index for each filter."""

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from alembic import op
from synergy.db.engine import convert_tables

revision = "0005"
down_revision = "0004"

BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
Blob = sa.LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")
HOUR_US = 3_600_000_000
TERMINAL = ("DELETED", "CANCELLED", "REJECTED")


def upgrade() -> None:
    _index_the_ledger()
    _index_the_requests()
    _create_sums()
    _create_archive()
    convert_tables(op.get_bind())
    _count_what_is_there()


def _index_the_ledger() -> None:
    op.add_column(
        "ledger", sa.Column("project_id", sa.String(64), server_default="", nullable=False)
    )
    op.execute(
        "UPDATE ledger SET project_id = COALESCE((SELECT requests.project_id FROM requests "
        "WHERE requests.request_id = ledger.request_id), '')"
    )
    _index("ledger", "project_id", "seq")
    _index("ledger", "event", "seq")


def _index_the_requests() -> None:
    for name in ("project_id_state", "state_expires_at", "released_at"):
        op.drop_index(op.f(f"ix_requests_{name}"), table_name="requests")
    for columns in (
        ("class_id",),
        ("state", "seq"),
        ("project_id", "state", "seq"),
        ("server_name", "seq"),
        ("flavor", "seq"),
        ("batch_id", "seq"),
        ("queued_at", "seq"),
        ("changed_at", "seq"),
    ):
        _index("requests", *columns)
    _index("requests", "state", "expires_at", known="expires_at")
    _index("requests", "held_from", "released_at", known="held_from")
    _index("requests", "released_at", "held_from", known="released_at")


def _index(table: str, *columns: str, known: str = "") -> None:
    where = sa.text(f"{known} IS NOT NULL") if known else None
    op.create_index(
        op.f(f"ix_{table}_{'_'.join(columns)}"), table, list(columns),
        sqlite_where=where, postgresql_where=where,
    )  # fmt: skip


def _create_sums() -> None:
    op.create_table(
        "usage_series",
        sa.Column("series_id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("project_id", sa.String(64), nullable=False),
        sa.Column("user_id", sa.String(64), nullable=False),
        sa.Column("association_id", sa.Integer(), nullable=False),
        sa.Column("quota", sa.String(16), nullable=False),
        sa.Column("qos", sa.String(64), nullable=False),
        sa.Column("demand", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("series_id", name=op.f("pk_usage_series")),
        sa.UniqueConstraint("digest", name=op.f("uq_usage_series_digest")),
    )
    _index("usage_series", "project_id", "user_id")
    for table in ("usage_hours", "usage_days"):
        op.create_table(
            table,
            sa.Column("series_id", sa.Integer(), autoincrement=False, nullable=False),
            sa.Column("begins_at", sa.BigInteger(), autoincrement=False, nullable=False),
            sa.Column("running", sa.Integer(), nullable=False),
            sa.Column("started", sa.Integer(), nullable=False),
            sa.Column("held_us", sa.BigInteger(), nullable=False),
            sa.Column("weighted_us", sa.Double(), nullable=False),
            sa.PrimaryKeyConstraint("series_id", "begins_at", name=op.f(f"pk_{table}")),
            sqlite_with_rowid=False,
        )
        _index(table, "begins_at")
    op.create_table(
        "usage_spans",
        sa.Column("span_id", BigId, autoincrement=True, nullable=False),
        sa.Column("series_id", sa.Integer(), nullable=False),
        sa.Column("host", sa.String(255), nullable=True),
        sa.Column("held_from", sa.BigInteger(), nullable=False),
        sa.Column("released_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["series_id"], ["usage_series.series_id"], name=op.f("fk_usage_spans_series_id")
        ),
        sa.PrimaryKeyConstraint("span_id", name=op.f("pk_usage_spans")),
    )
    _index("usage_spans", "series_id")
    _index("usage_spans", "held_from", "released_at")
    _index("usage_spans", "released_at", "held_from")


def _create_archive() -> None:
    op.create_table(
        "growth",
        sa.Column("growth_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("rolled_until", sa.BigInteger(), nullable=True),
        sa.Column("hours_from", sa.BigInteger(), nullable=True),
        sa.Column("ledger_seq", sa.BigInteger(), nullable=False),
        sa.Column("newest_seq", sa.BigInteger(), nullable=False),
        sa.Column("purged_until", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("growth_id", name=op.f("pk_growth")),
    )
    op.create_table(
        "finished_requests",
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("state", name=op.f("pk_finished_requests")),
    )
    op.create_table(
        "ledger_hours",
        sa.Column("begins_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("begins_at", name=op.f("pk_ledger_hours")),
    )
    op.create_table(
        "archive",
        sa.Column("archive_id", BigId, autoincrement=True, nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("record", Blob, nullable=False),
        sa.PrimaryKeyConstraint("archive_id", name=op.f("pk_archive")),
        sa.UniqueConstraint("kind", "key", name=op.f("uq_archive_kind_key")),
    )
    _index("archive", "at")


def _count_what_is_there() -> None:
    """Count and index the ledger that an older version wrote; usage is summed up by the service.

    MariaDB commits each statement: what an upgrade that was cut left there is made anew.
    """
    for table in ("growth", "finished_requests", "ledger_hours"):
        op.execute(sa.table(table).delete())
    op.execute(
        "INSERT INTO growth (growth_id, ledger_seq, newest_seq) "
        "SELECT 1, COALESCE(MAX(seq), 0), COALESCE(MAX(seq), 0) FROM ledger"
    )
    requests = sa.table("requests", sa.column("state"))
    finished = sa.table("finished_requests", sa.column("state"), sa.column("count"))
    op.execute(
        finished.insert().from_select(
            ["state", "count"],
            sa.select(requests.c.state, sa.func.count())
            .where(requests.c.state.in_(TERMINAL))
            .group_by(requests.c.state),
        )
    )
    op.execute(
        "INSERT INTO ledger_hours (begins_at, first_seq) "
        f"SELECT at - at % {HOUR_US}, MIN(seq) FROM ledger GROUP BY at - at % {HOUR_US}"
    )
