"""The tables of what was used, and of the sums over it that are kept.

Must not know how usage fades or what is charged.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Double, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from synergy.core.model import QuotaKind, Resources, State
from synergy.db.columns import BigId, Instant, Key, Vector, Word
from synergy.db.models.base import Base


class UsageRow(Base):
    """Usage of an association, in a bucket of `core.usage.History`."""

    __tablename__ = "usage_amounts"
    association_id: Mapped[int] = mapped_column(
        ForeignKey("associations.association_id"), primary_key=True, autoincrement=False
    )
    bucket: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    amount: Mapped[float] = mapped_column(Double)  # billed TRES-seconds, not faded yet


class UsageStateRow(Base):
    """The one row of what holds for all usage."""

    __tablename__ = "usage_state"
    state_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    left_factor: Mapped[float] = mapped_column(Double)
    charged_at: Mapped[datetime | None] = mapped_column(Instant)
    reset_at: Mapped[datetime | None] = mapped_column(Instant)


class SeriesRow(Base):
    """What usage is summed up by: who, on which quota, of which size.

    user_id ""  the whole project: a report that does not ask for users reads these
    """

    __tablename__ = "usage_series"
    __table_args__ = (Index(None, "project_id", "user_id"),)
    series_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    project_id: Mapped[str] = mapped_column(Key(64))
    user_id: Mapped[str] = mapped_column(Key(64))
    association_id: Mapped[int]  # 0 for the whole project
    quota: Mapped[QuotaKind] = mapped_column(Word(QuotaKind, 16))
    qos: Mapped[str] = mapped_column(String(64))
    demand: Mapped[Resources] = mapped_column(Vector)


class _Rolled:
    """The columns of a series in one hour or day.

    running      servers that held quota when it began
    started      servers that claimed quota in it
    held_us      microseconds of both in it, together
    weighted_us  the same, each server's multiplied by its host's factor
    """

    __table_args__: Any = ({"sqlite_with_rowid": False},)
    series_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    begins_at: Mapped[datetime] = mapped_column(
        Instant, primary_key=True, autoincrement=False, index=True
    )
    running: Mapped[int]
    started: Mapped[int]
    held_us: Mapped[int] = mapped_column(BigInteger)
    weighted_us: Mapped[float] = mapped_column(Double)


class HourRow(_Rolled, Base):
    __tablename__ = "usage_hours"


class DayRow(_Rolled, Base):
    __tablename__ = "usage_days"


class SpanRow(Base):
    """A time in which a server held quota that its request no longer tells of: it was parked or
    resized since, or its request is archived."""

    __tablename__ = "usage_spans"
    __table_args__ = (
        Index(None, "held_from", "released_at"),
        Index(None, "released_at", "held_from"),
    )
    span_id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    series_id: Mapped[int] = mapped_column(ForeignKey("usage_series.series_id"), index=True)
    host: Mapped[str | None] = mapped_column(Key(255))
    held_from: Mapped[datetime] = mapped_column(Instant)
    released_at: Mapped[datetime] = mapped_column(Instant)


class RollupProgressRow(Base):
    """The one row of how far the sums over the requests and their ledger have come.

    rolled_until  every day before it is in usage_days
    hours_from    every hour between it and rolled_until is in usage_hours
    ledger_seq    the ledger is counted up to this number: finished_requests, ledger_hours
    newest_seq    what the newest number was in the last pass; it is counted in the next
    purged_until  of what ended before, only usage_days are left
    edition       how often sums were written, or taken back: of one edition they are the same
    """

    __tablename__ = "growth"
    growth_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    rolled_until: Mapped[datetime | None] = mapped_column(Instant)
    hours_from: Mapped[datetime | None] = mapped_column(Instant)
    ledger_seq: Mapped[int] = mapped_column(BigInteger)
    newest_seq: Mapped[int] = mapped_column(BigInteger)
    purged_until: Mapped[datetime | None] = mapped_column(Instant)
    edition: Mapped[int] = mapped_column(BigInteger, server_default="0")


class FinishedRow(Base):
    """How many requests ended in a state since the beginning, archived ones included."""

    __tablename__ = "finished_requests"
    state: Mapped[State] = mapped_column(Word(State, 16), primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)


class LedgerHourRow(Base):
    """The lowest number of the ledger's entries of an hour: from where to look for an instant."""

    __tablename__ = "ledger_hours"
    begins_at: Mapped[datetime] = mapped_column(Instant, primary_key=True, autoincrement=False)
    first_seq: Mapped[int] = mapped_column(BigInteger)
