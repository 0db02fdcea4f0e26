"""The statements that usage is read with, each made once.

Why: SQLAlchemy works out what a statement is (its parts, its key in the cache of compiled ones) as
long as the statement lives; to make it again for each report takes longer than SQLite's answer.
Must not know what is done with the rows.
"""

from datetime import timedelta
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Executable,
    bindparam,
    case,
    func,
    or_,
    select,
    type_coerce,
)

from synergy.core.lifecycle import HOLDS_QUOTA
from synergy.core.model import State
from synergy.core.rollup import Level
from synergy.db.columns import Instant, is_after, is_instant
from synergy.db.models import DayRow, HourRow, RequestRow, SeriesRow, SpanRow

TABLES: Final[dict[Level, Any]] = {Level.HOURS: HourRow, Level.DAYS: DayRow}
LENGTHS: Final = {Level.HOURS: timedelta(hours=1), Level.DAYS: timedelta(days=1)}
SERIES: Final = (
    SeriesRow.project_id, SeriesRow.user_id, SeriesRow.association_id, SeriesRow.quota,
    SeriesRow.qos, SeriesRow.demand,
)  # fmt: skip
# `lifecycle.holds_quota`, so that the index on the state is used.
HOLDING: Final = (
    RequestRow.state.in_([*HOLDS_QUOTA, State.ERROR]),
    or_(RequestRow.state != State.ERROR, RequestRow.host.is_not(None)),
)
_BEGIN: Final = bindparam("begin", type_=Instant)
_END: Final = bindparam("end", type_=Instant)
_OF_REQUEST: Final = (
    RequestRow.project_id, RequestRow.user_id, RequestRow.class_id, RequestRow.host
)  # fmt: skip


def _amounts(table: Any) -> tuple[Any, ...]:
    """Return (running, started, held_us) of the spans of a table between two instants."""
    # SUM(MIN(released_at or :end, :end) - MAX(held_from, :begin)), in the SQL of every database
    until = case(
        (table.released_at.is_(None), _END),
        (table.released_at > _END, _END),
        else_=table.released_at,
    )
    since = case((table.held_from < _BEGIN, _BEGIN), else_=table.held_from)
    running = func.sum(case((table.held_from < _BEGIN, 1), else_=0))
    held_us = func.sum(type_coerce(until, BigInteger) - type_coerce(since, BigInteger))
    return running, func.count(), held_us


def _of_project(column: Any, one_project: bool) -> list[ColumnElement[bool]]:
    return [column == bindparam("project_id")] if one_project else []


@cache
def open_spans(*, one_project: bool) -> Executable:
    """Return the statement of what is held now: (project, user, class, host, running, started,
    held_us). All statements of spans take `begin` and `end`, and `project_id` where it is one."""
    return (
        select(*_OF_REQUEST, *_amounts(RequestRow))
        .where(*HOLDING, RequestRow.held_from < _END)
        .where(*_of_project(RequestRow.project_id, one_project))
        .group_by(*_OF_REQUEST)
    )


@cache
def closed_spans(hint: str, *, one_project: bool) -> Executable:
    """Return the statement of what requests held last, as `open_spans`."""
    return (
        select(*_OF_REQUEST, *_amounts(RequestRow))
        .where(is_after(RequestRow.released_at, _BEGIN), RequestRow.held_from < _END)
        .where(*_of_project(RequestRow.project_id, one_project))
        .group_by(*_OF_REQUEST)
        .with_hint(RequestRow, hint, "sqlite")
    )


@cache
def earlier_spans(hint: str, *, one_project: bool) -> Executable:
    """Return the statement of what no request tells any longer: (series_id, its columns, host,
    running, started, held_us)."""
    return (
        select(SpanRow.series_id, *SERIES, SpanRow.host, *_amounts(SpanRow))
        .join(SeriesRow, SeriesRow.series_id == SpanRow.series_id)
        .where(is_after(SpanRow.released_at, _BEGIN), SpanRow.held_from < _END)
        .where(*_of_project(SeriesRow.project_id, one_project))
        .group_by(SpanRow.series_id, *SERIES, SpanRow.host)
        .with_hint(SpanRow, hint, "sqlite")
    )


@cache
def bounds(table: Any) -> Executable:
    """Return the statement of the first claim and the last release of a table of spans."""
    return select(
        select(func.min(table.held_from)).where(is_instant(table.held_from)).scalar_subquery(),
        select(func.max(table.released_at)).where(is_instant(table.released_at)).scalar_subquery(),
    )


@cache
def series(*, of_users: bool, one_project: bool) -> Executable:
    """Return the statement of the series of users or of whole projects."""
    kind = SeriesRow.user_id != "" if of_users else SeriesRow.user_id == ""
    return (
        select(SeriesRow.series_id, *SERIES)
        .where(kind)
        .where(*_of_project(SeriesRow.project_id, one_project))
    )


@cache
def lines(level: Level, *, summed: bool, by_series: bool) -> Executable:
    """Return the statement of sums between `begin` and `end`: (series_id, begins_at, running,
    started, held_us, weighted_us).

    summed     one row for each series, as if the time were one bucket
    by_series  only those of the ids in `series_ids`
    """
    table = TABLES[level]
    amounts = (table.started, table.held_us, table.weighted_us)
    between = _between(table, by_series=by_series)
    if not summed:
        return select(table.series_id, table.begins_at, table.running, *amounts).where(*between)
    return (
        select(table.series_id, _BEGIN, _running(table), *(func.sum(one) for one in amounts))
        .where(*between, *_can_be_added_up(table))
        .group_by(table.series_id)
    )


@cache
def added_up(level: Level, *, summed: bool) -> Executable:
    """Return the statement of sums over the series in `series_ids`: (begins_at, running, started,
    held_us, weighted_us)."""
    # SELECT begins_at, SUM(running), SUM(started), SUM(held_us), SUM(weighted_us) FROM days
    # WHERE begins_at >= :begin AND begins_at < :end AND series_id IN (...) GROUP BY begins_at
    table = TABLES[level]
    sums = [func.sum(one) for one in (table.started, table.held_us, table.weighted_us)]
    conditions = (*_between(table, by_series=True), *_can_be_added_up(table))
    if summed:
        return select(_BEGIN, _running(table), *sums).where(*conditions).having(func.count() > 0)
    return (
        select(table.begins_at, func.sum(table.running), *sums)
        .where(*conditions)
        .group_by(table.begins_at)
        .having(func.count() > 0)
    )


def _running(table: Any) -> Any:
    return func.sum(case((table.begins_at == _BEGIN, table.running), else_=0))


def _between(table: Any, *, by_series: bool) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = [table.begins_at >= _BEGIN, table.begins_at < _END]
    if by_series:
        found.append(table.series_id.in_(bindparam("series_ids", expanding=True)))
    return found


def _can_be_added_up(table: Any) -> list[ColumnElement[bool]]:
    """Return the conditions that a row holds numbers: SQLite keeps other things there too, and one
    of them would spoil or end the sum over all rows."""
    maximum = (
        (table.running, 2**31 - 1), (table.started, 2**31 - 1), (table.held_us, 2**59),
        (table.weighted_us, 1e300),
    )  # fmt: skip
    return [column.between(0, largest) for column, largest in maximum]
