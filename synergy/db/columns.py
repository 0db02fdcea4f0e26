"""The types of columns: what a value is in the database, and what is refused, cut or unreadable.

Instants are integers, microseconds since the epoch in UTC: the same order and no rounding on
SQLite, MariaDB and PostgreSQL. Resource vectors are JSON texts with sorted keys. Must not know any
table.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, cast

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    ColumnElement,
    Dialect,
    Integer,
    LargeBinary,
    Select,
    String,
    Text,
    TypeDecorator,
    and_,
    type_coerce,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import InstrumentedAttribute, MappedColumn, mapped_column
from sqlalchemy.types import TypeEngine

from synergy.core.declared import kinds
from synergy.core.declared.fields import Setting
from synergy.core.errors import InvalidInput
from synergy.core.ids import as_stored
from synergy.core.model import Resources

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
PARENT_SHARES: Final = 2**31 - 1
LATEST: Final = datetime(3000, 1, 1, tzinfo=UTC)
LATEST_US: Final = (LATEST - EPOCH) // timedelta(microseconds=1)
LONGEST_PROSE: Final = 8000  # four bytes a character fit a TEXT of MariaDB twice
ODD: Final = re.compile("[\0\ud800-\udfff]")  # what a text column of some database refuses
MICROSECOND: Final = timedelta(microseconds=1)
BigId = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers only INTEGER keys itself


Column = InstrumentedAttribute[Any]
Values = Sequence[Any]  # of one row: `rows.RowReader` looks at them before anything is made of them
Query = Select[Any]


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

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        return value

    def result_processor(
        self, dialect: Dialect, coltype: object
    ) -> Callable[[object], object] | None:
        # Every value of every row passes here: the one of SQLAlchemy would be two calls more.
        inner = self.impl_instance.result_processor(dialect, coltype)
        value_of = self.process_result_value

        def read(value: object) -> object:
            try:
                return value_of(value if inner is None else inner(value), dialect)
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


def is_instant(column: ColumnElement[Any] | Column) -> ColumnElement[bool]:
    """Return the condition that a column holds an instant: SQLite compares text and whatever else
    lies there too, and a sum or a bound over one damaged row would be wrong for all."""
    return type_coerce(column, Instant).between(EPOCH, LATEST)


def is_after(column: Column, at: object) -> ColumnElement[bool]:
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

    def process_result_value(self, value: object, dialect: Dialect) -> bool | None:
        return None if value is None else bool(value)


class Sealed(Careful):
    """An encrypted message."""

    impl = LargeBinary
    cache_ok = True
    value_types = (bytes,)

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
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

    def coerce_compared_value(self, op: object, value: object) -> "Sought":
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
    """The uuid of a server: anyone who names it, in whatever spelling, means the stored one."""

    cache_ok = True

    def __init__(self) -> None:
        super().__init__(36)

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return super().process_bind_param(None if value is None else as_stored(value), dialect)

    def coerce_compared_value(self, op: object, value: object) -> "Sought":
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


def add_settings(
    row: type, settings: Iterable[Setting], *, lengths: Mapping[str, int] = MappingProxyType({})
) -> None:
    """Give a table the columns of settings.

    lengths  of the words of choices, by name, where they are not 32
    """
    for one in settings:
        setattr(row, one.name, column_of(one.kind, length=lengths.get(one.name, 32)))
