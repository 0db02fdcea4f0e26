"""Sums usage up by hour and day, and counts the ledger, a small step at a time.

Why: reports and metrics must not read every request. The sums can be made again from the spans at
any time, so whatever makes them wrong (a fact that comes late, a clock that was set back) only
moves back how far they are believed. Must not know reports or shares.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from synergy.core.rollup import DAY, HOUR, Coverage, Level, day_of, hour_of, next_bucket
from synergy.managers.fairshare.charging import Tariff
from synergy.ports import (
    HOURS_KEPT_DAYS,
    UNREADABLE_PROGRESS,
    Consumption,
    News,
    Reading,
    RollupProgress,
    Series,
    Store,
    UsageLine,
    Writing,
)

LOG = logging.getLogger(__name__)
SETTLED: Final = timedelta(minutes=1)  # after which facts of an hour are hardly missing any more
ENTRIES_AT_ONCE: Final = 50_000  # of the ledger
BUCKETS_AT_ONCE: Final = 48  # hours or days that one call sums up
ROWS_AT_ONCE: Final = 2000  # sums that one transaction writes


def coverage_of(progress: RollupProgress) -> Coverage:
    """Return how far the sums reach."""
    return Coverage(
        rolled_until=progress.rolled_until,
        hours_from=progress.hours_from,
        purged_until=progress.purged_until,
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
    """Count what is new in the ledger, and sum up some hours or days; tell whether more are left.

    Raises Conflict when another process does it, and then nothing is written.
    """
    with store.reading() as uow:
        before = uow.rollups.progress()
        if before is UNREADABLE_PROGRESS:
            return False
        news = uow.rollups.news(before, ENTRIES_AT_ONCE)
        until = hour_of(now - SETTLED)
        begin = _rolled_until(uow, before, news, until)
        hours_from = begin if before.hours_from is None else min(before.hours_from, begin)
        sums: list[_Sums] = []
        rolled_until = begin
        while len(sums) < BUCKETS_AT_ONCE and sum(len(one.lines) for one in sums) < ROWS_AT_ONCE:
            bucket = next_bucket(rolled_until, until, oldest_hour(now))
            if bucket is None:
                break
            sums += _sums(uow, tariff, bucket)
            rolled_until = bucket[1]
            if bucket[1] - bucket[0] > HOUR:
                hours_from = bucket[1]  # a day that is long ago is summed up without its hours
    after = replace(
        before,
        rolled_until=rolled_until,
        hours_from=hours_from,
        ledger_seq=news.ledger_seq,
        newest_seq=news.newest_seq,
        edition=before.edition + (1 if sums or rolled_until != before.rolled_until else 0),
    )
    if sums or after != before:
        _write(store, sums, before, after, news, begin)
    counted = news.ledger_seq >= before.newest_seq
    return not counted or next_bucket(rolled_until, until, oldest_hour(now)) is not None


def count_only(store: Store) -> None:
    """Count what is new in the ledger, all of it in two calls, and sum up nothing."""
    more = True
    while more:
        with store.reading() as uow:
            before = uow.rollups.progress()
            if before is UNREADABLE_PROGRESS:
                return
            news = uow.rollups.news(before, ENTRIES_AT_ONCE)
        held = before.rolled_until and _held_until(before.rolled_until, before, news)
        after = replace(
            before,
            rolled_until=held,
            ledger_seq=news.ledger_seq,
            newest_seq=news.newest_seq,
            edition=before.edition + (1 if held != before.rolled_until else 0),
        )
        with store.writing() as uow:
            uow.rollups.count(news)
            uow.rollups.save_progress(before, after)
            uow.commit()
        more = news.ledger_seq < before.newest_seq


def _rolled_until(uow: Reading, progress: RollupProgress, news: News, until: datetime) -> datetime:
    """Return up to when the sums hold: facts that came late, or a clock set back, shorten that."""
    if progress.rolled_until is None:
        first = uow.rollups.first_held_at()
        return until if first is None else min(day_of(first), until)
    held = _held_until(min(progress.rolled_until, until), progress, news)
    if held < progress.rolled_until:
        LOG.info("usage from %s on is summed up again", held.isoformat())
    return held


def _held_until(rolled_until: datetime, progress: RollupProgress, news: News) -> datetime:
    held = rolled_until if news.first_at is None else min(rolled_until, hour_of(news.first_at))
    if progress.purged_until is None:
        return held
    return max(held, progress.purged_until)  # the days before are all that is left


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sums:
    """The sums of one hour or day, or a part of them; `continues`: others are written already."""

    level: Level
    begins_at: datetime
    lines: Sequence[UsageLine]
    continues: bool = False


def _sums(uow: Reading, tariff: Tariff, bucket: tuple[datetime, datetime]) -> Iterator[_Sums]:
    """Return the sums of an hour, and of the day that ends with it."""
    begin, end = bucket
    if end - begin <= HOUR:
        lines = _lines(uow, tariff, hour_of(begin), end)
        yield _Sums(level=Level.HOURS, begins_at=hour_of(begin), lines=lines)
    if day_of(end) == end:
        lines = _lines(uow, tariff, end - DAY, end)
        yield _Sums(level=Level.DAYS, begins_at=end - DAY, lines=lines)


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


def _write(
    store: Store,
    sums: Sequence[_Sums],
    before: RollupProgress,
    after: RollupProgress,
    news: News,
    begin: datetime,
) -> None:
    """Write sums from `begin` on, and how far they hold. Nobody believes them before
    `rolled_until` says so: many rows are several short transactions, and the rest of an attempt
    that broke off is overwritten. Where older sums are believed, they are taken back first, or a
    report meanwhile would be of half an hour.
    """
    *first, last = _portions(sums) or [[]]
    if first and before.rolled_until is not None and begin < before.rolled_until:
        taken_back = replace(before, rolled_until=begin, edition=before.edition + 1)
        with store.writing() as uow:
            uow.rollups.save_progress(before, taken_back)
            uow.commit()
        before, after = taken_back, replace(after, edition=taken_back.edition + 1)
    for portion in first:
        with store.writing() as uow:
            _write_portion(uow, portion)
            uow.commit()
    with store.writing() as uow:
        _write_portion(uow, last)
        uow.rollups.count(news)
        uow.rollups.save_progress(before, after)
        uow.commit()


def _portions(sums: Sequence[_Sums]) -> list[list[_Sums]]:
    """Return the sums in portions of at most ROWS_AT_ONCE rows."""
    found: list[list[_Sums]] = [[]]
    left = ROWS_AT_ONCE
    for one in sums:
        for start in range(0, max(1, len(one.lines)), ROWS_AT_ONCE):
            part = replace(one, lines=one.lines[start : start + ROWS_AT_ONCE], continues=start > 0)
            if len(part.lines) > left:
                found.append([])
                left = ROWS_AT_ONCE
            found[-1].append(part)
            left -= len(part.lines)
    return found


def _write_portion(uow: Writing, portion: Sequence[_Sums]) -> None:
    for one in portion:
        if not one.continues:
            uow.rollups.forget_bucket(one.level, one.begins_at)
        uow.rollups.add_lines(one.level, one.lines)
