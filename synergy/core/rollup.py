"""Chooses what a usage report reads: daily sums, hourly sums, or the spans themselves.

Why: with daily sums a year of a million servers is 365 rows per series, but both ends of the period
may lie within an hour and must be exact. Must not know where the sums are kept or what usage costs.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import groupby, pairwise
from typing import Final

HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)


class Level(StrEnum):
    """The source of a part of a report."""

    SPANS = "spans"  # exact at any instant
    HOURS = "hours"
    DAYS = "days"
    PRORATED = "prorated"  # a part of a day whose spans were purged


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A time range that is read from one level; `whole` means that it belongs to one period."""

    level: Level
    begin: datetime
    end: datetime
    whole: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How far the sums reach.

    rolled_until  hours and days that end by then are summed up; None: none are
    hours_from    hourly sums before are deleted, daily sums are kept
    purged_until  spans that ended before are deleted
    """

    rolled_until: datetime | None
    hours_from: datetime | None
    purged_until: datetime | None = None


def hour_of(at: datetime) -> datetime:
    """Return the beginning of the hour of an instant."""
    return at.replace(minute=0, second=0, microsecond=0)


def day_of(at: datetime) -> datetime:
    """Return the beginning of the UTC day of an instant."""
    return hour_of(at).replace(hour=0)


def parts_of(periods: Iterable[tuple[datetime, datetime]], coverage: Coverage) -> list[Part]:
    """Return the parts of consecutive periods. Adjacent parts that are read from hours, or from
    days, are merged, so that a year is one query."""
    every = [part for begin, end in periods for part in _parts(begin, end, coverage)]
    found: list[Part] = []
    for level, run in groupby(every, key=lambda part: part.level):
        members = list(run)
        if level in (Level.HOURS, Level.DAYS) and _consecutive(members):
            first, last = members[0], members[-1]
            found.append(replace(first, end=last.end, whole=len(members) == 1))
        else:
            found += members
    return found


def _consecutive(parts: list[Part]) -> bool:
    return all(one.end == other.begin for one, other in pairwise(parts))


def _parts(begin: datetime, end: datetime, coverage: Coverage) -> Iterator[Part]:
    first, last = _after(begin, DAY), day_of(_rolled(end, coverage, begin))
    if first >= last:
        yield from _by_hours(begin, end, coverage)
        return
    yield from _by_hours(begin, first, coverage)
    yield Part(level=Level.DAYS, begin=first, end=last)
    yield from _by_hours(last, end, coverage)


def _by_hours(begin: datetime, end: datetime, coverage: Coverage) -> Iterator[Part]:
    first, last = _after(begin, HOUR), hour_of(_rolled(end, coverage, begin))
    if first >= last or coverage.hours_from is None or first < coverage.hours_from:
        yield from _by_spans(begin, end, coverage)
        return
    yield from _by_spans(begin, first, coverage)
    yield Part(level=Level.HOURS, begin=first, end=last)
    yield from _by_spans(last, end, coverage)


def _by_spans(begin: datetime, end: datetime, coverage: Coverage) -> Iterator[Part]:
    if begin >= end:
        return
    purged = coverage.purged_until is not None and begin < coverage.purged_until
    yield Part(level=Level.PRORATED if purged else Level.SPANS, begin=begin, end=end)


def _rolled(end: datetime, coverage: Coverage, otherwise: datetime) -> datetime:
    return otherwise if coverage.rolled_until is None else min(end, coverage.rolled_until)


def _after(at: datetime, unit: timedelta) -> datetime:
    """Return the first start of an hour or a day at or after an instant."""
    begins = day_of(at) if unit == DAY else hour_of(at)
    return begins if begins == at else begins + unit


def next_bucket(
    rolled_until: datetime, until: datetime, hours_from: datetime
) -> tuple[datetime, datetime] | None:
    """Return the hour to sum up next, or the day where hourly sums are not kept; None when all
    before `until` is done."""
    day_end = day_of(rolled_until) + DAY
    if day_end <= min(until, hours_from):
        return rolled_until, day_end
    end = hour_of(rolled_until) + HOUR
    return (rolled_until, end) if end <= until else None
