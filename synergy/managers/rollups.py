"""Sums usage up by hour and day, and counts the ledger, a small step at a time.

Why: reports and metrics must not read every request. The sums can be made anew from the spans at
any time, so whatever makes them wrong (a fact that comes late, a clock that was set back) only
moves back how far they are believed. Must not know reports or shares.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from synergy.core.rollup import DAY, HOUR, Coverage, Level, day_of, hour_of, next_bucket
from synergy.managers.charging import Tariff
from synergy.ports import (
    HOURS_KEPT_DAYS,
    Consumption,
    Growth,
    News,
    Reading,
    Series,
    Store,
    UsageLine,
)

LOG = logging.getLogger(__name__)
SETTLED: Final = timedelta(minutes=1)  # after which facts of an hour are hardly missing any more
ENTRIES_AT_ONCE: Final = 50_000  # of the ledger
ROWS_AT_ONCE: Final = 2000  # sums that one transaction writes


def coverage_of(growth: Growth) -> Coverage:
    """Return how far the sums reach."""
    return Coverage(
        rolled_until=growth.rolled_until,
        hours_from=growth.hours_from,
        purged_until=growth.purged_until,
    )


def oldest_hour(now: datetime) -> datetime:
    """Return from when on sums of hours are kept."""
    return day_of(now) - timedelta(days=HOURS_KEPT_DAYS)


def priced(held: Iterable[Consumption], tariff: Tariff, begins_at: datetime) -> Iterator[UsageLine]:
    """Return what was held from an instant on as lines of series."""
    for one in held:
        yield UsageLine(
            series=one.series,
            begins_at=begins_at,
            running=one.running,
            started=one.started,
            held_us=one.held_us,
            weighted_us=one.held_us * tariff.hosts.get(one.host or "", 1.0),
        )


def advance(store: Store, tariff: Tariff, now: datetime) -> bool:
    """Count what is new in the ledger, and sum up one hour or day; tell whether more is left.

    Raises Conflict when another process does it, and then nothing is written.
    """
    with store.reading() as uow:
        before = uow.rollups.growth()
        news = uow.rollups.news(before, ENTRIES_AT_ONCE)
        until = hour_of(now - SETTLED)
        begin = _rolled_until(uow, before, news, until)
        bucket = next_bucket(begin, until, oldest_hour(now))
        sums = _sums(uow, tariff, bucket) if bucket is not None else {}
    rolled_until = begin if bucket is None else bucket[1]
    for level, lines in sums.items():
        _write(store, level, lines)
    after = replace(
        before,
        rolled_until=rolled_until,
        hours_from=_hours_from(before, begin, bucket),
        ledger_seq=news.ledger_seq,
        newest_seq=news.newest_seq,
    )
    if after != before:
        with store.writing() as uow:
            uow.rollups.count(news)
            uow.rollups.save_growth(before, after)
            uow.commit()
    counted = news.ledger_seq >= before.newest_seq
    return not counted or next_bucket(rolled_until, until, oldest_hour(now)) is not None


def _rolled_until(uow: Reading, growth: Growth, news: News, until: datetime) -> datetime:
    """Return up to when the sums hold: facts that came late, or a clock set back, shorten that."""
    if growth.rolled_until is None:
        first = uow.rollups.first_held_at()
        return until if first is None else min(day_of(first), until)
    held = min(growth.rolled_until, until)
    if news.first_at is not None:
        held = min(held, hour_of(news.first_at))
    if growth.purged_until is not None:
        held = max(held, growth.purged_until)  # the days before are all that is left
    if held < growth.rolled_until:
        LOG.info("usage from %s on is summed up anew", held.isoformat())
    return held


def _hours_from(
    growth: Growth, begin: datetime, bucket: tuple[datetime, datetime] | None
) -> datetime:
    """Return from when on every hour is summed up: a day that is long ago is so without them."""
    if bucket is not None and bucket[1] - bucket[0] > HOUR:
        return bucket[1]
    return begin if growth.hours_from is None else min(growth.hours_from, begin)


def _sums(
    uow: Reading, tariff: Tariff, bucket: tuple[datetime, datetime]
) -> dict[Level, tuple[datetime, list[UsageLine]]]:
    """Return the sums of an hour, and of the day that ends with it."""
    begin, end = bucket
    found = {}
    if end - begin <= HOUR:
        found[Level.HOURS] = hour_of(begin), _lines(uow, tariff, hour_of(begin), end)
    if day_of(end) == end:
        found[Level.DAYS] = end - DAY, _lines(uow, tariff, end - DAY, end)
    return found


def _lines(uow: Reading, tariff: Tariff, begin: datetime, end: datetime) -> list[UsageLine]:
    """Return a line for each user's series, and one for its project's."""
    found: dict[Series, UsageLine] = {}
    for line in priced(uow.rollups.consumption(begin, end), tariff, begin):
        for series in (line.series, replace(line.series, user_id="", association_id=0)):
            known = found.get(series)
            found[series] = replace(line, series=series) if known is None else _plus(known, line)
    return list(found.values())


def _plus(one: UsageLine, other: UsageLine) -> UsageLine:
    return replace(
        one,
        running=one.running + other.running,
        started=one.started + other.started,
        held_us=one.held_us + other.held_us,
        weighted_us=one.weighted_us + other.weighted_us,
    )


def _write(store: Store, level: Level, sums: tuple[datetime, Sequence[UsageLine]]) -> None:
    """Write the sums of an hour or a day. Nobody believes them before `rolled_until` says so, so
    they need not be one transaction, and a rest of an attempt that broke off is overwritten."""
    begins_at, lines = sums
    for start in range(0, max(1, len(lines)), ROWS_AT_ONCE):
        with store.writing() as uow:
            if start == 0:
                uow.rollups.forget_bucket(level, begins_at)
            uow.rollups.add_lines(level, lines[start : start + ROWS_AT_ONCE])
            uow.commit()
