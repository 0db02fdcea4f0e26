"""The tables, typed.

Instants are integers, microseconds since the epoch in UTC: the same order and no rounding on
SQLite, MariaDB and PostgreSQL. Resource vectors are JSON texts with sorted keys. Must not know how
rows become values.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, cast

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    ColumnElement,
    Dialect,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    and_,
    false,
    text,
    true,
    type_coerce,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedColumn, mapped_column
from sqlalchemy.types import TypeEngine

from synergy.core.audit import AuditOutcome
from synergy.core.declared import kinds
from synergy.core.declared.fields import Setting
from synergy.core.declared.filters import REQUEST_FILTERS, SORT_KEYS
from synergy.core.declared.settings import PROJECT_SETTINGS, USER_SETTINGS
from synergy.core.errors import InvalidInput
from synergy.core.ids import as_stored
from synergy.core.lifecycle import Event
from synergy.core.model import Handover, OnPrivateFull, QuotaKind, Resources, State
from synergy.core.reasons import Reason

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
PARENT_SHARES: Final = 2**31 - 1
LATEST: Final = datetime(3000, 1, 1, tzinfo=UTC)
LATEST_US: Final = (LATEST - EPOCH) // timedelta(microseconds=1)
LONGEST_PROSE: Final = 8000  # four bytes a character fit a TEXT of MariaDB twice
ODD: Final = re.compile("[\0\ud800-\udfff]")  # what a text column of some database refuses
MICROSECOND: Final = timedelta(microseconds=1)
# Columns of words that their migrations made shorter than 32 characters.
_SHORTER: Final = {"on_private_full": 16, "on_build_failure": 16, "on_lost": 16}
BigId = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers only INTEGER keys itself


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What a column holds that Synergy never wrote; never leaves db/."""

    shown: str


class Careful(TypeDecorator[Any]):
    """A column whose values are made of what the database gives; what cannot be made one becomes
    Unreadable, since an exception would end the reading of all other rows."""

    impl: type[TypeEngine[Any]] = String
    cache_ok = True
    value_types: tuple[type, ...]

    def result_processor(self, dialect: Dialect, coltype: Any) -> Callable[[Any], Any] | None:
        process = super().result_processor(dialect, coltype)

        def read(value: Any) -> Any:
            try:
                return process(value) if process is not None else value
            except Exception:  # noqa: BLE001 - whatever lies there, the other rows are read
                return Unreadable(ascii(value)[:60])

        return read


class Instant(Careful):
    """An aware UTC datetime, stored as microseconds since the epoch."""

    impl = BigInteger
    cache_ok = True
    value_types = (datetime,)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else (value - EPOCH) // MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if type(value) is not int or not 0 <= value < LATEST_US:
            raise ValueError(value)
        return EPOCH + timedelta(microseconds=value)


def is_instant(column: Any) -> ColumnElement[bool]:
    """Return the condition that a column holds an instant: SQLite compares text and whatever else
    lies there too, and a sum or a bound over one damaged row would be wrong for all."""
    return type_coerce(column, Instant).between(EPOCH, LATEST)


def is_after(column: Any, at: Any) -> ColumnElement[bool]:
    """Return the condition that a column holds an instant after another: `is_instant` with one
    lower bound, since of two SQLite searches an index by either, and so by the whole column."""
    instant = type_coerce(column, Instant)
    return and_(instant > at, instant <= LATEST)


class Vector(Careful):
    """A resource vector, stored as JSON text; None is "no limit"."""

    impl = Text
    cache_ok = True
    value_types = (Resources,)

    def process_bind_param(self, value: Resources | None, dialect: Dialect) -> str | None:
        return None if value is None else json.dumps(dict(value.amounts), sort_keys=True)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Resources | None:
        return None if value is None else Resources.limit(json.loads(value))


class Word(Careful):
    """A member of a StrEnum, stored as its text."""

    impl = String
    cache_ok = True

    def __init__(self, kind: type[StrEnum], length: int) -> None:
        super().__init__(length)
        self.kind = kind

    @property
    def value_types(self) -> tuple[type, ...]:  # type: ignore[override]
        """The enum itself."""
        return (self.kind,)

    def process_bind_param(self, value: StrEnum | None, dialect: Dialect) -> str | None:
        return None if value is None else self.kind(value).value

    def process_result_value(self, value: str | None, dialect: Dialect) -> StrEnum | None:
        return None if value is None else self.kind(value)


class Document(Careful):
    """A JSON document."""

    impl = JSON
    cache_ok = True
    value_types = (dict, list)


class Flag(Careful):
    """True or false."""

    impl = Boolean
    cache_ok = True
    value_types = (bool,)

    def process_result_value(self, value: Any, dialect: Dialect) -> bool | None:
        return value if value is None else bool(value)


class Sealed(Careful):
    """An encrypted message."""

    impl = LargeBinary
    cache_ok = True
    value_types = (bytes,)

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        large = mysql.LONGBLOB() if dialect.name in ("mysql", "mariadb") else LargeBinary()
        return dialect.type_descriptor(large)


class Shares(TypeDecorator[int]):
    """Raw shares; `parent`, None, is stored as Slurm stores it."""

    impl = Integer
    cache_ok = True
    value_types = (int,)

    def process_bind_param(self, value: int | None, dialect: Dialect) -> int:
        return PARENT_SHARES if value is None else value

    def process_result_value(self, value: int | None, dialect: Dialect) -> int | None:
        return None if value == PARENT_SHARES else value


class Key(TypeDecorator[str]):
    """An id: never cut, so what does not fit its column is refused, on every database alike."""

    impl = String
    cache_ok = True
    value_types = (str,)

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self.longest = length

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is not None and (len(value) > self.longest or "\0" in value):
            raise InvalidInput(
                f"an id of {len(value)} characters, {value[:60]!a}, cannot be stored: it must "
                f"have at most {self.longest}, and no NUL"
            )
        return value

    def coerce_compared_value(self, op: Any, value: Any) -> TypeEngine[Any]:
        """Return the type of what this column is compared with."""
        return Sought()


class Sought(TypeDecorator[str]):
    """An id that is looked for: one that could not be stored is in no row, and no error."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else ODD.sub("\ufffd", value)


class SoughtServer(Sought):
    """The uuid of a server that is looked for, in whatever spelling."""

    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return super().process_bind_param(None if value is None else as_stored(value), dialect)


class ServerId(Key):
    """The uuid of a server: whoever names it, in whatever spelling, means the stored one."""

    cache_ok = True

    def __init__(self) -> None:
        super().__init__(36)

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return super().process_bind_param(None if value is None else as_stored(value), dialect)

    def coerce_compared_value(self, op: Any, value: Any) -> TypeEngine[Any]:
        """Return the type of what this column is compared with."""
        return SoughtServer()


class Label(TypeDecorator[str]):
    """A name that only people read: cut to its column, without what a database cannot keep."""

    impl = String
    cache_ok = True
    value_types = (str,)

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self.longest = length

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else ODD.sub("\ufffd", value[: self.longest])


class Prose(TypeDecorator[str]):
    """A reason that people read, of any length, cut like a name."""

    impl = Text
    cache_ok = True
    value_types = (str,)

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return None if value is None else ODD.sub("\ufffd", value[:LONGEST_PROSE])


class Base(DeclarativeBase):
    """Root of the tables; constraints have names, so that migrations can drop them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def _of_servers(given: str, *columns: str) -> Index:
    """Return an index on the rows where the instant `given` is known, where a database can."""
    known = text(f"{given} IS NOT NULL")
    return Index(None, *columns, sqlite_where=known, postgresql_where=known)


def column_of(kind: kinds.Kind, *, length: int = 32) -> MappedColumn[Any]:
    """Return the column that keeps the values of a kind; a migration makes it in the database.

    length  of the words of a choice
    """
    found: Any
    match kinds.plain(kind):
        case kinds.Number():
            found = Integer
        case kinds.Flag():
            found = Flag
        case kinds.Shares():
            found = Shares
        case kinds.Amounts():
            found = Vector
        case kinds.Text(longest):
            found = Label(longest)
        case kinds.Choice(among):
            found = Word(cast(type[StrEnum], among), length)
        case other:
            raise TypeError(f"no column keeps a {other}")
    return mapped_column(found, nullable=isinstance(kind, kinds.OrNone))


def _add_settings(row: type[Base], settings: Sequence[Setting]) -> None:
    for one in settings:
        setattr(row, one.name, column_of(one.kind, length=_SHORTER.get(one.name, 32)))


class DomainRow(Base):
    __tablename__ = "domains"
    domain_id: Mapped[str] = mapped_column(Key(64), primary_key=True)
    name: Mapped[str] = mapped_column(Label(255))
    raw_shares: Mapped[int | None]
    borrow_limit: Mapped[Resources | None] = mapped_column(Vector)
    lend_limit: Mapped[Resources | None] = mapped_column(Vector)


class ProjectRow(Base):
    __tablename__ = "projects"
    project_id: Mapped[str] = mapped_column(Key(64), primary_key=True)
    name: Mapped[str] = mapped_column(Label(255))
    domain_id: Mapped[str] = mapped_column(Key(64), ForeignKey("domains.domain_id"))
    parent_id: Mapped[str | None] = mapped_column(Key(64))
    nova_quota: Mapped[dict[str, Any]] = mapped_column(Document)
    handover: Mapped[Handover] = mapped_column(Word(Handover, 16))
    gone: Mapped[bool] = mapped_column(Flag, server_default=false())
    generation: Mapped[int] = mapped_column(default=0)


_add_settings(ProjectRow, PROJECT_SETTINGS)


class AssociationRow(Base):
    __tablename__ = "associations"
    __table_args__ = (UniqueConstraint("project_id", "user_id"),)
    association_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    project_id: Mapped[str] = mapped_column(Key(64))
    user_id: Mapped[str] = mapped_column(Key(64))
    user_name: Mapped[str] = mapped_column(Label(255))
    active: Mapped[bool] = mapped_column(Flag, server_default=true())


_add_settings(AssociationRow, USER_SETTINGS)


class ClassRow(Base):
    __tablename__ = "request_classes"
    class_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    association_id: Mapped[int] = mapped_column(ForeignKey("associations.association_id"))
    demand: Mapped[Resources] = mapped_column(Vector)
    quota: Mapped[QuotaKind] = mapped_column(Word(QuotaKind, 16))
    on_private_full: Mapped[OnPrivateFull] = mapped_column(Word(OnPrivateFull, 16))
    qos: Mapped[str] = mapped_column(Key(64))
    nice: Mapped[int]
    ttl_s: Mapped[int] = mapped_column(server_default="0")
    constraints: Mapped[list[Any]] = mapped_column(Document)


# What requests are filtered and sorted by, apart from what indexes of several columns serve.
_WITH_AN_INDEX: Final = tuple(
    field
    for field in dict.fromkeys([*(one.field for one in REQUEST_FILTERS), *SORT_KEYS.values()])
    if field not in ("project_id", "user_id", "state", "quota", "seq")
)


class RequestRow(Base):
    __tablename__ = "requests"
    __table_args__ = (
        Index(None, "state", "class_id", "queued_at", "request_id", "retry_at"),
        # Each published filter and sort key has its index; see db.search. Those on instants that
        # only a server has leave out what waits, so that intake does not write them.
        Index(None, "class_id"),  # a class goes once no row refers to it
        Index(None, "state", "seq"),
        Index(None, "project_id", "state", "seq"),
        *(Index(None, field, "seq") for field in _WITH_AN_INDEX),
        _of_servers("expires_at", "state", "expires_at"),
        _of_servers("held_from", "held_from", "released_at"),
        _of_servers("released_at", "released_at", "held_from"),
    )
    seq: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    request_id: Mapped[str] = mapped_column(ServerId(), unique=True)
    class_id: Mapped[int] = mapped_column(ForeignKey("request_classes.class_id"))
    batch_id: Mapped[str | None] = mapped_column(Key(64))
    project_id: Mapped[str] = mapped_column(Key(64))
    user_id: Mapped[str] = mapped_column(Key(64))
    server_name: Mapped[str] = mapped_column(Label(255))
    flavor: Mapped[str] = mapped_column(Key(255))
    state: Mapped[State] = mapped_column(Word(State, 16))
    queued_at: Mapped[datetime] = mapped_column(Instant)
    changed_at: Mapped[datetime] = mapped_column(Instant)
    ttl_s: Mapped[int]
    held_from: Mapped[datetime | None] = mapped_column(Instant)
    released_at: Mapped[datetime | None] = mapped_column(Instant)
    active_at: Mapped[datetime | None] = mapped_column(Instant)
    expires_at: Mapped[datetime | None] = mapped_column(Instant)
    retry_at: Mapped[datetime | None] = mapped_column(Instant)
    attempts: Mapped[int] = mapped_column(default=0)
    host: Mapped[str | None] = mapped_column(Key(255))
    reason: Mapped[Reason | None] = mapped_column(Word(Reason, 32))
    why: Mapped[str] = mapped_column(Prose, default="")
    generation: Mapped[int] = mapped_column(default=0)


class BodyRow(Base):
    """A request's message, compressed and encrypted; gone once the conductor has it."""

    __tablename__ = "request_bodies"
    request_id: Mapped[str] = mapped_column(ServerId(), primary_key=True)
    sealed: Mapped[bytes] = mapped_column(Sealed)


class StepRow(Base):
    """The ledger: append-only. The project is repeated, so that its part is read without a join."""

    __tablename__ = "ledger"
    __table_args__ = (Index(None, "project_id", "seq"), Index(None, "event", "seq"))
    seq: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    request_id: Mapped[str] = mapped_column(ServerId(), index=True)
    project_id: Mapped[str] = mapped_column(Key(64), server_default="")
    at: Mapped[datetime] = mapped_column(Instant)
    from_state: Mapped[State] = mapped_column(Word(State, 16))
    to_state: Mapped[State] = mapped_column(Word(State, 16))
    event: Mapped[Event] = mapped_column(Word(Event, 32))
    round_id: Mapped[str | None] = mapped_column(Key(36))
    why: Mapped[str] = mapped_column(Prose)


class AuditRow(Base):
    """Who changed what through the API: written before the change, settled after it."""

    __tablename__ = "audit"
    __table_args__ = (
        Index(None, "user_id", "seq"),
        Index(None, "project_id", "seq"),
        Index(None, "operation", "seq"),
        Index(None, "outcome", "seq"),
        Index(None, "at"),
    )
    seq: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    at: Mapped[datetime] = mapped_column(Instant)
    request_id: Mapped[str] = mapped_column(Label(64))
    user_id: Mapped[str | None] = mapped_column(Label(64))
    user_name: Mapped[str | None] = mapped_column(Label(255))
    project_id: Mapped[str | None] = mapped_column(Label(64))
    roles: Mapped[list[Any]] = mapped_column(Document)
    address: Mapped[str] = mapped_column(Label(64))
    operation: Mapped[str] = mapped_column(Label(64))
    target: Mapped[str] = mapped_column(Label(1024))
    asked: Mapped[dict[str, Any]] = mapped_column(Document)
    before: Mapped[dict[str, Any] | None] = mapped_column(Document)
    after: Mapped[dict[str, Any] | None] = mapped_column(Document)
    outcome: Mapped[AuditOutcome] = mapped_column(Word(AuditOutcome, 16))
    status: Mapped[int | None]
    why: Mapped[str] = mapped_column(Prose)


class QuarantineRow(Base):
    """Messages that are not what Nova sends, kept for a person."""

    __tablename__ = "quarantine"
    message_id: Mapped[str] = mapped_column(Key(64), primary_key=True)
    at: Mapped[datetime] = mapped_column(Instant)
    why: Mapped[str] = mapped_column(Prose)
    sealed: Mapped[bytes] = mapped_column(Sealed)


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


class TrustRow(Base):
    __tablename__ = "trusts"
    trust_id: Mapped[str] = mapped_column(Key(64), primary_key=True)
    project_id: Mapped[str] = mapped_column(Key(64))
    user_id: Mapped[str] = mapped_column(Key(64))


class TrustIntentRow(Base):
    """A trust is being made; Keystone may have it already although nobody here knows its id."""

    __tablename__ = "trust_intents"
    project_id: Mapped[str] = mapped_column(Key(64), primary_key=True)
    user_id: Mapped[str] = mapped_column(Key(64), primary_key=True)


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


class GrowthRow(Base):
    """The one row of how far the sums over the requests and their ledger have come.

    rolled_until  every day before it is in usage_days
    hours_from    every hour between it and rolled_until is in usage_hours
    ledger_seq    the ledger is counted up to this number: finished_requests, ledger_hours
    newest_seq    what the newest number was in the last pass; it is counted in the next
    purged_until  of what ended before, only usage_days are left
    """

    __tablename__ = "growth"
    growth_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    rolled_until: Mapped[datetime | None] = mapped_column(Instant)
    hours_from: Mapped[datetime | None] = mapped_column(Instant)
    ledger_seq: Mapped[int] = mapped_column(BigInteger)
    newest_seq: Mapped[int] = mapped_column(BigInteger)
    purged_until: Mapped[datetime | None] = mapped_column(Instant)


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


class ArchiveRow(Base):
    """A record that nothing works with any longer: its rows as compressed JSON; see db.archive."""

    __tablename__ = "archive"
    __table_args__ = (UniqueConstraint("kind", "key"),)
    archive_id: Mapped[int] = mapped_column(BigId, primary_key=True, autoincrement=True)
    kind: Mapped[str] = mapped_column(String(32))
    key: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime] = mapped_column(Instant, index=True)
    record: Mapped[bytes] = mapped_column(Sealed)


class ClockMarkRow(Base):
    """The one row that tells a start how far the time had come; see `core.clockwatch.Mark`."""

    __tablename__ = "clock_mark"
    mark_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[datetime] = mapped_column(Instant)
    boot_id: Mapped[str] = mapped_column(Key(64))
    monotonic_s: Mapped[float] = mapped_column(Double)


class ExpiryBrakeRow(Base):
    """The one row that is there while nothing is ended until a person says so."""

    __tablename__ = "expiry_brake"
    brake_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    since: Mapped[datetime] = mapped_column(Instant)
    due: Mapped[int]


class LeadershipRow(Base):
    """Who acts on this database; one row for each name, kept when nobody does.

    machine, started  tell whether the process still lives, for who asks on the same machine
    sealing_key       fingerprint of the key that it seals with
    """

    __tablename__ = "leadership"
    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    term: Mapped[int] = mapped_column(BigInteger)
    holder: Mapped[str] = mapped_column(String(36))
    role: Mapped[str] = mapped_column(String(64))
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int] = mapped_column(BigInteger)
    machine: Mapped[str] = mapped_column(String(64))
    started: Mapped[int] = mapped_column(BigInteger)
    since: Mapped[datetime] = mapped_column(Instant)
    beat_at: Mapped[datetime] = mapped_column(Instant)
    sealing_key: Mapped[str] = mapped_column(String(16))
