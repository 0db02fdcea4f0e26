"""Makes values of rows, and sets aside the rows that hold what Synergy never wrote.

Why: a row that a hand, a disk or another version spoilt must not stop the reading of all others.
Must not know what a row means.
"""

import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Generic, TypeVar

from sqlalchemy import BigInteger, Double

from synergy.core.ids import uuid_of
from synergy.db.columns import Column, Unreadable, Values

LOG = logging.getLogger(__name__)
T = TypeVar("T")
V = TypeVar("V")
_MAX_NOTED: Final = 10_000  # rows of which it is known that they were told of
_SHOWN: Final = 60
_SIGNED: Final = frozenset({"nice", "priority", "bucket"})  # numbers that may be negative
_MAX: Final = {"association_id": 10_000_000}  # columns of numbers are as long as the largest
_UUIDS: Final = frozenset({"request_id"})


class Damaged(Exception):
    """A row cannot be read; the text says which column holds what."""


def texts(values: Iterable[object]) -> list[str]:
    """Return the ids among what a column of ids holds: SQLite keeps other kinds of values there
    too, and a question about one of those would end with an error for all."""
    return [value for value in values if isinstance(value, str)]


class DamageLog:
    """Reports each damaged row once, and counts them by table."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._noted: dict[tuple[str, str], str] = {}

    def note(self, table: str, key: object, why: str) -> None:
        """Note that a row is set aside."""
        place = table, _short(key)
        if place in self._noted or len(self._noted) >= _MAX_NOTED:
            return
        self._noted[place] = why
        self.counts[table] += 1
        LOG.error("row %s of table %s is damaged and skipped: %s", place[1], table, why)

    def of(self, table: str) -> dict[str, str]:
        """Return why rows of a table were set aside, by key."""
        return {key: why for (name, key), why in list(self._noted.items()) if name == table}


class RowReader(Generic[T]):
    """Makes values of the rows of one query: its columns, in order, and what they become.

    `make` may raise Damaged too. The first column names a row to people.
    """

    def __init__(self, columns: Sequence[Column], make: Callable[[Values], T]) -> None:
        self._make = make
        self._table = str(columns[0].class_.__tablename__)
        self._wanted = [(column.key, _types_of(column)) for column in columns]
        names = [column.key for column in columns]
        self._bounds = [
            (place, names[place], *_bounds_of(columns[place]))
            for place, (_, kinds) in enumerate(self._wanted)
            if int in kinds
        ]
        self._uuids = [place for place, name in enumerate(names) if name in _UUIDS]
        self._good: set[tuple[type, ...]] = set()

    def one(self, row: Values) -> T:
        """Return the value of a row. Raises Damaged."""
        self._check(row)
        return self._make(row)

    def all(self, rows: Iterable[Values], damage: DamageLog) -> list[T]:
        """Return the values of the rows that can be read."""
        return self.all_made(rows, damage, self._make)

    def all_made(
        self, rows: Iterable[Values], damage: DamageLog, make: Callable[[Values], V]
    ) -> list[V]:
        """Return what `make` makes of the rows that can be read."""
        found = []
        for row in rows:
            try:
                self._check(row)
                found.append(make(row))
            except Damaged as error:
                damage.note(self._table, row[0], str(error))
        return found

    def _check(self, row: Values) -> None:
        kinds = tuple(map(type, row))
        if kinds not in self._good:  # few combinations of types are good, and all rows repeat them
            for (name, wanted), value in zip(self._wanted, row, strict=True):
                if not isinstance(value, wanted):
                    raise Damaged(f"{name} is {_short(value)}")
            self._good.add(kinds)
        for place, name, minimum, maximum in self._bounds:
            value = row[place]
            if value is not None and not minimum <= value <= maximum:
                raise Damaged(f"{name} is {_short(value)}")
        for place in self._uuids:
            if uuid_of(row[place]) != row[place]:
                raise Damaged(f"{self._wanted[place][0]} is {_short(row[place])}")


def _bounds_of(column: Column) -> tuple[float, float]:
    """Return what a number may be, which SQLite does not bound by itself."""
    if isinstance(column.type, Double):
        return 0.0, sys.float_info.max
    maximum = 2**63 - 1 if isinstance(column.type, BigInteger) else 2**31 - 1
    return -maximum if column.key in _SIGNED else 0, _MAX.get(column.key, maximum)


def _types_of(column: Column) -> tuple[type, ...]:
    kind = column.type
    wanted = getattr(kind, "value_types", None) or (kind.python_type,)
    if float in wanted:
        wanted = (*wanted, int)
    return (
        (*wanted, type(None)) if column.nullable or kind.__class__.__name__ == "Shares" else wanted
    )


def _short(value: object) -> str:
    if isinstance(value, Unreadable):
        return value.shown
    text = ascii(value) if not isinstance(value, str) else ascii(value[:_SHOWN])[1:-1]
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
