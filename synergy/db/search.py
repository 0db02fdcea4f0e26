"""Pages of requests and of the ledger, each read by an index.

Why: a page must cost the same with a million finished requests as with a thousand. A page is
either a walk along an index that has the order of the page, or a sort of few rows: which, is
decided here and not left to a database that has no statistics. Must not know values.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Self, Unpack, cast

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    func,
    literal,
    or_,
    select,
    union_all,
)

from synergy.core.declared.filters import (
    EVENT_FILTERS,
    REQUEST_FILTERS,
    SORT_KEYS,
    EventFilters,
    Filter,
    RequestFilters,
)
from synergy.core.errors import NotFound
from synergy.core.model import State
from synergy.db.columns import Column, Query, Values
from synergy.db.models import (
    AssociationRow,
    ClassRow,
    LedgerHourRow,
    RequestRow,
    RollupProgressRow,
    StepRow,
)
from synergy.db.models.base import Base
from synergy.db.rows import texts

MAX_SORTED: Final = 10_000  # rows; more than these are read in the order of an index
_BY_STATE: Final = "ix_requests_state_seq"
_BY_PROJECT: Final = "ix_requests_project_id_state_seq"
_OF_ONE: Final = "ix_ledger_request_id"
_BY_CLASS: Final = "ix_requests_class_id"
_SERVED_TOGETHER: Final = frozenset({"states", "project_id", "user_id", "quota"})


def columns_of(table: Sequence[Filter]) -> dict[str, Column]:
    """Return the column of each filter that has one with an index of its own, by keyword."""
    return {
        one.argument: getattr(RequestRow, one.field)
        for one in table
        if one.argument not in _SERVED_TOGETHER
    }


# A filter of one column -> the column; its index has it first, then the order of arrival.
_PLAIN: Final[Mapping[str, Column]] = columns_of(REQUEST_FILTERS)
SORTED_BY: Final[Mapping[str, Column]] = {
    name: getattr(RequestRow, field) for name, field in SORT_KEYS.items()
}
_GROUPED: Final = ("state", "user_id", "project_id")  # of few values: one value after the other
_ALONG: Final[Mapping[str, Column]] = {  # sort keys with an index of their own
    name: column for name, column in SORTED_BY.items() if name not in (*_GROUPED, "received")
}


def _index_of(column: Column) -> str:
    return f"ix_requests_{column.key}_seq"


class Filters:
    """What requests are looked for by; None and () ask for nothing."""

    def __init__(self, **filters: Unpack[RequestFilters]) -> None:
        self._given: dict[str, object] = {
            name: value for name, value in filters.items() if value not in (None, (), [])
        }
        self.states: tuple[State, ...] = tuple(filters.get("states", ()))
        self.project_id = filters.get("project_id")

    def but(self, **filters: Unpack[RequestFilters]) -> Self:
        """Return the filters with some of them replaced."""
        return type(self)(**cast(RequestFilters, {**self._given, **filters}))

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return what a row has to fulfil."""
        found = [column == value for column, value in self._columns()]
        if self.states:
            found.append(RequestRow.state.in_(self.states))
        if (quota := self._given.get("quota")) is not None:
            of_kind = select(ClassRow.class_id).where(ClassRow.quota == quota)
            found.append(RequestRow.class_id.in_(of_kind))
        return found

    def value_of(self, name: str) -> object:
        """Return what a filter asks for, None for nothing."""
        return self._given.get(name)

    def plain(self) -> list[tuple[Column, object]]:
        """Return the columns with an index of their own, and what is looked for in them."""
        return [(column, self._given[n]) for n, column in _PLAIN.items() if n in self._given]

    def _columns(self) -> list[tuple[Column, object]]:
        others = ((RequestRow.project_id, "project_id"), (RequestRow.user_id, "user_id"))
        return self.plain() + [
            (column, self._given[name]) for column, name in others if name in self._given
        ]

    def drivers(self) -> Iterator[tuple[str, list[ColumnElement[bool]]]]:
        """Return each index that finds the rows of a filter, and how it is asked."""
        for column, value in self.plain():
            yield _index_of(column), [column == value]
        states = self.states or tuple(State)
        user_id, quota = self._given.get("user_id"), self._given.get("quota")
        if user_id is not None or quota is not None:
            # A class belongs to one user and one quota: neither needs an index of its own, which
            # intake would have to write.
            kinds = select(ClassRow.class_id)
            if user_id is not None:
                kinds = kinds.join(
                    AssociationRow, AssociationRow.association_id == ClassRow.association_id
                ).where(AssociationRow.user_id == user_id)
            if quota is not None:
                kinds = kinds.where(ClassRow.quota == quota)
            yield _BY_CLASS, [RequestRow.class_id.in_(kinds)]
        if self.project_id is not None:
            yield _BY_PROJECT, [
                RequestRow.project_id == self.project_id, RequestRow.state.in_(states)
            ]  # fmt: skip
        elif self.states:
            yield _BY_STATE, [RequestRow.state.in_(states)]

    def given(self) -> set[str]:
        """Return the names of the filters that ask for something."""
        return set(self._given)


@dataclass(frozen=True, kw_only=True)
class Page:
    """Which rows, in which order, behind which place, how many.

    place  (sort key, seq) of the row before the page, or None for the first page
    """

    filters: Filters = field(default_factory=Filters)
    sort_key: str = "received"
    descending: bool = False
    limit: int = 1000
    place: tuple[Any, int] | None = None
    max_sorted: int = MAX_SORTED

    def within(self, key: str, value: object, limit: int) -> Self:
        """Return the page among the rows with one value of the sort key."""
        given = cast(RequestFilters, {"states": (value,)} if key == "state" else {key: value})
        seq = self.place[1] if self.place is not None and self.place[0] == value else None
        return replace(
            self,
            filters=self.filters.but(**given),
            sort_key="received",
            limit=limit,
            place=None if seq is None else (seq, seq),
        )


class RequestPages:
    """Reads pages of requests on one connection."""

    def __init__(self, connection: Connection, columns: Sequence[Column]) -> None:
        self._connection, self._rows = connection, select(*columns)

    def place_of(
        self, request_id: str, column: Column, project_id: str | None = None
    ) -> tuple[Any, int]:
        """Return where a request is in the order of a column. Raises NotFound.

        project_id  where a request of another project is, is not told
        """
        query = select(column, RequestRow.seq).where(RequestRow.request_id == request_id)
        if project_id is not None:
            query = query.where(RequestRow.project_id == project_id)
        found = self._connection.execute(query).first()
        if found is None:
            raise NotFound(f"marker: request {request_id!r} does not exist")
        return found[0], found[1]

    def read(self, page: Page) -> list[Values]:
        """Return the rows of a page."""
        driver = self._few(page)
        if driver is not None:
            query = _ordered(self._rows.where(*page.filters.conditions()), page)
            return self._all(_along(query, driver))
        if page.sort_key in _GROUPED:
            return self._one_value_after_the_other(page)
        return self._all(self._walk(page))

    def _few(self, page: Page) -> str | None:
        """Return the index by which few enough rows are found to sort them."""
        given = page.filters.given()
        if page.sort_key == "received" and given in _SERVED_IN_ORDER:
            return None
        found = []
        for index, conditions in page.filters.drivers():
            some = _along(select(literal(1)).where(*conditions), index).limit(page.max_sorted + 1)
            count = self._connection.execute(
                select(func.count()).select_from(some.subquery())
            ).scalar_one()
            if count <= page.max_sorted:
                found.append((count, index))
        return min(found)[1] if found else None

    def _one_value_after_the_other(self, page: Page) -> list[Values]:
        rows: list[Values] = []
        for value in self._values(page):
            rows += self.read(page.within(page.sort_key, value, page.limit - len(rows)))
            if len(rows) >= page.limit:
                break
        return rows

    def _values(self, page: Page) -> list[Any]:
        """Return the values of a sort key from the place of the page on."""
        at = page.place[0] if page.place is not None else None
        if page.sort_key == "state":
            states = sorted(page.filters.states or State, reverse=page.descending)
            return [s for s in states if at is None or (s <= at if page.descending else s >= at)]
        asked = page.filters.value_of(page.sort_key)
        if asked is not None:
            return [asked]
        column = getattr(AssociationRow, page.sort_key)
        query = select(column).distinct().order_by(column.desc() if page.descending else column)
        if at is not None:
            query = query.where(column <= at if page.descending else column >= at)
        if page.filters.project_id is not None:
            query = query.where(AssociationRow.project_id == page.filters.project_id)
        return texts(self._connection.scalars(query))

    def _walk(self, page: Page) -> Query:
        """Return the statement that reads a page in the order of an index."""
        filters = page.filters
        query = _ordered(self._rows.where(*filters.conditions()), page)
        if page.sort_key in _ALONG:
            return _along(query, _index_of(_ALONG[page.sort_key]))
        for column, _ in filters.plain():
            return _along(query, _index_of(column))
        if filters.project_id is None and not filters.states:
            # In the order of arrival, which is that of the table.
            return query.with_hint(RequestRow, "NOT INDEXED", "sqlite")
        return self._merged(page)

    def _merged(self, page: Page) -> Query:
        """Each state has the order of arrival in the index: the first rows of each are merged."""
        # SELECT ... FROM requests WHERE seq IN (
        #     SELECT seq FROM (SELECT seq FROM requests WHERE state = 'QUEUED' ... LIMIT 100)
        #     UNION ALL
        #     SELECT seq FROM (SELECT seq FROM requests WHERE state = 'HELD' ... LIMIT 100)
        # ) ORDER BY seq LIMIT 100
        filters = page.filters
        index = _BY_STATE if filters.project_id is None else _BY_PROJECT
        parts = []
        for state in filters.states or tuple(State):
            conditions = filters.but(states=()).conditions()
            one = select(RequestRow.seq).where(RequestRow.state == state, *conditions)
            part = _along(_ordered(one, page), index).subquery()
            parts.append(select(part.c.seq))
        first = union_all(*parts).subquery()
        return _ordered(self._rows.where(RequestRow.seq.in_(select(first.c.seq))), page)

    def _all(self, query: Query) -> list[Values]:
        return list(self._connection.execute(query))


_SERVED_IN_ORDER: Final[tuple[set[str], ...]] = (
    set(), {"states"}, {"project_id"}, {"project_id", "states"}, *({name} for name in _PLAIN)
)  # fmt: skip


def _ordered(query: Query, page: Page) -> Query:
    by = SORTED_BY[page.sort_key]
    order = (by,) if by is RequestRow.seq else (by, RequestRow.seq)
    query = query.order_by(*(c.desc() if page.descending else c for c in order)).limit(page.limit)
    if page.place is None:
        return query
    return query.where(behind(order, page.place[-len(order) :], descending=page.descending))


def behind(
    order: Sequence[Column], place: Sequence[Any], *, descending: bool
) -> ColumnElement[bool]:
    """Return the condition that a row comes after `place` in an order of one or two columns.

    The first column alone bounds the search: an index is then entered there, which no database
    sees in the `or` below.
    """
    # changed_at >= :value AND (changed_at > :value OR (changed_at = :value AND seq > :seq))
    (column, *rest), (value, *others) = order, place
    beyond: ColumnElement[bool] = column < value if descending else column > value
    if not rest:
        return beyond
    at_least = column <= value if descending else column >= value
    equal = and_(column == value, behind(rest, others, descending=descending))
    return and_(at_least, or_(beyond, equal))


def _along(query: Query, index: str, table: type[Base] = RequestRow) -> Query:
    """Let SQLite use this index: it has no statistics to choose by."""
    return query.with_hint(table, f"INDEXED BY {index}", "sqlite")


class LedgerPages:
    """Reads pages of the ledger on one connection, in the order of its numbers."""

    def __init__(self, connection: Connection, columns: Sequence[Column]) -> None:
        self._connection, self._rows = connection, select(*columns)

    def read(self, *, limit: int, after: int, **filters: Unpack[EventFilters]) -> list[Values]:
        """Return the entries behind number `after` that fit."""
        query = self._rows.order_by(StepRow.seq).limit(limit)
        since = filters.pop("since", None)
        if since is not None:
            after = max(after, self._number_before(since))
            query = query.where(StepRow.at >= since)
        query = query.where(StepRow.seq > after)
        given: dict[str, tuple[Column, object]] = {}
        for one in EVENT_FILTERS:
            value = filters.get(one.argument)
            if value is not None:
                index = _OF_ONE if one.field == "request_id" else f"ix_ledger_{one.field}_seq"
                given[index] = getattr(StepRow, one.field), value
        query = query.where(*(column == value for column, value in given.values()))
        if given:
            query = _along(query, self._fewest(given, after), StepRow)
        return list(self._connection.execute(query))

    def _fewest(self, given: Mapping[str, tuple[Column, object]], after: int) -> str:
        """Return the index with the fewest entries; all of them have the order of the numbers."""
        if _OF_ONE in given:
            return _OF_ONE
        if len(given) == 1:
            return next(iter(given))
        counts = {}
        for index, (column, value) in given.items():
            some = select(literal(1)).where(column == value, StepRow.seq > after)
            some = _along(some, index, StepRow).limit(MAX_SORTED)
            counts[index] = self._connection.execute(
                select(func.count()).select_from(some.subquery())
            ).scalar_one()
        return min(counts, key=lambda index: counts[index])

    def _number_before(self, since: datetime) -> int:
        """Return a number before which nothing happened since: instants are not in the order of
        the numbers where a clock was set, or a fact came late."""
        hour = since.replace(minute=0, second=0, microsecond=0)
        lowest = select(func.min(LedgerHourRow.first_seq)).where(LedgerHourRow.begins_at >= hour)
        counted = self._connection.execute(select(RollupProgressRow.ledger_seq)).scalar() or 0
        first = self._connection.execute(lowest).scalar_one()
        return min(counted, first - 1) if first is not None else counted
