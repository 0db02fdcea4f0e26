"""Usage history: what was held is charged, and what was charged fades.

Why: a pass must cost what was held since the last one, not how many users ever used anything, so
nothing that only fades is touched: one number, `left`, fades for all. Must not know shares,
requests, or where history is stored.
Source: Slurm 22.05, PriorityDecayHalfLife, PriorityUsageResetPeriod; the periods are those of the
first Synergy.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from enum import StrEnum
from typing import Final, NamedTuple

import numpy as np

from synergy.core.shares import Floats, Ints

SMALLEST_DECAY: Final = 2.2e-308  # the factor never vanishes, so that ratios survive a long stop
SMALLEST_LEFT: Final = 1e-150  # below it the amounts are written anew, so that nothing overflows
FADING: Final = -1  # the bucket of amounts that fade all the time


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfLife:
    """Usage halves in about `half_life_s` seconds, as in Slurm; 0 disables decay.

    slice_s  longest span that is weighted as a whole, Slurm's PriorityCalcPeriod in seconds: a pass
             that comes late charges what the passes that were missed would have charged
    """

    half_life_s: float
    slice_s: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Periods:
    """Usage counts by age in whole periods: 1, weight, weight^2, ...; after `count` not at all.

    Periods of `length_s` seconds begin at multiples of it since the epoch.
    """

    length_s: int
    count: int
    weight: float


Fading = HalfLife | Periods


@dataclass(frozen=True, eq=False, kw_only=True)
class Spans:
    """h spans in which resources were held, in columns of shape (h,).

    association  association_id
    begin_ago_s  seconds before now at which the span began, or the last pass was made
    end_ago_s    seconds before now at which it ended, 0 while it lasts, <= begin_ago_s
    rate         billed TRES
    """

    association: Ints
    begin_ago_s: Floats
    end_ago_s: Floats
    rate: Floats


@dataclass(frozen=True, eq=False, kw_only=True)
class History:
    """Usage as it is stored: the amounts in buckets, columns of shape (a,) by association_id.

    A bucket is FADING, whose amounts are to be multiplied by `left`, or the start of a period in
    epoch seconds. `charged_at` is the instant of the last pass, `reset_at` of the last reset.
    """

    buckets: Mapping[int, Floats]
    left: float = 1.0
    charged_at: datetime | None = None
    reset_at: datetime | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Charged:
    """What a pass made of a history.

    history  the new one
    changed  (bucket, association_ids) whose amounts differ from the stored ones
    dropped  buckets whose stored amounts are gone, before `changed` is written
    """

    history: History
    changed: Mapping[int, Ints]
    dropped: frozenset[int] = frozenset()


def decay_factor(elapsed_s: float, half_life_s: float) -> float:
    """Return what is left of 1 TRES-second after `elapsed_s` seconds.

    half_life_s  seconds; 0 disables decay, as in Slurm
    elapsed_s    seconds; what is negative (the clock was set back) does not decay

    Source: Slurm's `_apply_decay`, (1 - 0.693 / half_life) ** elapsed, a first-order 2^(-t/h).
    """
    if half_life_s <= 0 or elapsed_s <= 0:
        return 1.0
    return max(float(_per_second(half_life_s) ** elapsed_s), SMALLEST_DECAY)


def _per_second(half_life_s: float) -> float:
    return max(0.0, 1.0 - 0.693 / half_life_s) if half_life_s > 0 else 1.0


def charged_usage(spans: Spans, fading: HalfLife) -> Floats:
    """Return what each span counts now, shape (h,), in billed TRES-seconds.

    Source: Slurm's `_apply_new_usage`: a span is weighted as a whole with the decay of its length.
    Longer spans are cut into slices that end a multiple of `slice_s` before their end.
    """
    left, slice_s = _per_second(fading.half_life_s), fading.slice_s
    span_s = spans.begin_ago_s - spans.end_ago_s
    slices = np.maximum(np.ceil(span_s / slice_s) - 1, 0)
    oldest_s = span_s - slices * slice_s
    whole = left**slice_s
    sliced = slices if whole >= 1 else (1 - whole**slices) / (1 - whole)
    weighted = slice_s * whole * sliced + oldest_s * left**oldest_s * whole**slices
    charged: Floats = weighted * left**spans.end_ago_s * spans.rate
    return charged


def charge(
    history: History, spans: Spans, fading: Fading, *, now: datetime, elapsed_s: float
) -> Charged:
    """Let `elapsed_s` seconds pass, ending `now`, in which `spans` were held.

    `spans` begin no earlier than `elapsed_s` ago.
    """
    history, rewritten = _as_asked(history, fading, now)
    left = history.left
    if isinstance(fading, HalfLife):
        left *= decay_factor(elapsed_s, fading.half_life_s)
        if left < SMALLEST_LEFT:
            history, left = _written_anew(history, left), 1.0
            rewritten = True
        parts = {FADING: charged_usage(spans, fading) / left}
    else:
        parts = _by_period(spans, fading, now)
    ids, place = np.unique(spans.association, return_inverse=True)
    buckets, changed = dict(history.buckets), {}
    for bucket, charged in parts.items():
        amounts: Floats = np.bincount(place, charged, len(ids)).astype(np.float64)
        touched = ids[amounts > 0]
        if len(touched):
            buckets[bucket] = _added(buckets.get(bucket), touched, amounts[amounts > 0])
            changed[bucket] = touched
    if rewritten:
        changed = {bucket: np.flatnonzero(column) for bucket, column in buckets.items()}
    kept = {bucket: column for bucket, column in buckets.items() if _counts(bucket, fading, now)}
    return Charged(
        history=replace(history, buckets=kept, left=left, charged_at=now),
        changed={bucket: ids for bucket, ids in changed.items() if bucket in kept},
        dropped=frozenset(buckets.keys() - kept.keys()),
    )


class Amounts(NamedTuple):
    """Billed TRES-seconds by association_id, shape (a,), in units of `left` TRES-seconds."""

    column: Floats
    left: float


def amounts_of(history: History, fading: Fading, now: datetime) -> Amounts:
    """Return what counts now. Fading moves only `left`, so a column tells what was charged."""
    if history.buckets.keys() == {FADING}:
        return Amounts(history.buckets[FADING], history.left)
    width = max((len(column) for column in history.buckets.values()), default=0)
    total = np.zeros(width)
    for bucket in sorted(history.buckets):
        column = history.buckets[bucket]
        weight = history.left if bucket == FADING else _weight(bucket, fading, now)
        total[: len(column)] += column * weight
    return Amounts(total, 1.0)


def usage_of(history: History, fading: Fading, now: datetime) -> Floats:
    """Return billed TRES-seconds by association_id, shape (a,)."""
    column, left = amounts_of(history, fading, now)
    return column * left


def _added(column: Floats | None, ids: Ints, amounts: Floats) -> Floats:
    width = max(int(ids[-1]) + 1, 0 if column is None else len(column))
    grown = np.zeros(width)
    if column is not None:
        grown[: len(column)] = column
    grown[ids] += amounts
    return grown


def _written_anew(history: History, left: float) -> History:
    return replace(history, buckets={b: c * left for b, c in history.buckets.items()}, left=1.0)


def _as_asked(history: History, fading: Fading, now: datetime) -> tuple[History, bool]:
    """Bring what was recorded in another mode into this one: what counts now goes on to count."""
    wanted = FADING if isinstance(fading, HalfLife) else _period_of(now, fading)
    strange = [b for b in history.buckets if (b == FADING) is not isinstance(fading, HalfLife)]
    if not strange:
        return history, False
    total = np.zeros(max(len(column) for column in history.buckets.values()))
    for bucket in strange:  # periods of a mode that is over count alike: their weights are unknown
        column = history.buckets[bucket]
        total[: len(column)] += column * (history.left if bucket == FADING else 1.0)
    kept = {b: c for b, c in history.buckets.items() if b not in strange}
    # What is stored under another bucket is dropped by writing it as zero.
    zeros = {bucket: np.zeros(0) for bucket in strange}
    return replace(history, buckets={**kept, **zeros, wanted: total}, left=1.0), True


def _counts(bucket: int, fading: Fading, now: datetime) -> bool:
    if isinstance(fading, HalfLife):
        return bucket == FADING
    return bucket != FADING and _weight(bucket, fading, now) > 0


def _period_of(instant: datetime, periods: Periods) -> int:
    return int(instant.timestamp() // periods.length_s) * periods.length_s


def _weight(bucket: int, fading: Fading, now: datetime) -> float:
    if isinstance(fading, HalfLife):
        return 1.0
    age = max(0, (_period_of(now, fading) - bucket) // fading.length_s)
    return fading.weight**age if age < fading.count else 0.0


def _by_period(spans: Spans, periods: Periods, now: datetime) -> dict[int, Floats]:
    """Split spans at the ends of periods: TRES-seconds of each, by period."""
    now_s, current = now.timestamp(), _period_of(now, periods)
    parts = {}
    for age in range(periods.count):
        start = current - age * periods.length_s
        opened_ago_s = now_s - start
        closed_ago_s = max(0.0, opened_ago_s - periods.length_s)
        begin = np.minimum(spans.begin_ago_s, opened_ago_s)
        held_s = np.maximum(0.0, begin - np.maximum(spans.end_ago_s, closed_ago_s))
        parts[start] = held_s * spans.rate
        if not (spans.begin_ago_s > opened_ago_s).any():
            break
    return parts


# --- resets ---------------------------------------------------------------------------------------


class ResetPeriod(StrEnum):
    """When all usage is cleared, at midnight of the time zone: Slurm's PriorityUsageResetPeriod."""

    NONE = "none"
    DAILY = "daily"
    WEEKLY = "weekly"  # Sunday
    MONTHLY = "monthly"
    QUARTERLY = "quarterly"
    YEARLY = "yearly"


def _on_first_of(months: int) -> Callable[[datetime], datetime]:
    """Return what finds the first day of the next span of that many months of a year."""

    def next_first(day: datetime) -> datetime:
        month = (day.month - 1) // months * months + months
        return day.replace(year=day.year + month // 12, month=month % 12 + 1, day=1)

    return next_first


_NEXT: Final[Mapping[ResetPeriod, Callable[[datetime], datetime]]] = {
    ResetPeriod.DAILY: lambda day: day + timedelta(days=1),
    ResetPeriod.WEEKLY: lambda day: day + timedelta(days=7 - (day.weekday() + 1) % 7),
    ResetPeriod.MONTHLY: _on_first_of(1),
    ResetPeriod.QUARTERLY: _on_first_of(3),
    ResetPeriod.YEARLY: _on_first_of(12),
}


def next_reset(period: ResetPeriod, after: datetime, zone: tzinfo = UTC) -> datetime | None:
    """Return the first instant later than `after` at which usage is cleared; None for NONE."""
    if period is ResetPeriod.NONE:
        return None
    midnight = after.astimezone(zone).replace(
        tzinfo=None, hour=0, minute=0, second=0, microsecond=0
    )
    return _NEXT[period](midnight).replace(tzinfo=zone).astimezone(UTC)


def latest_reset(
    period: ResetPeriod, last_reset_at: datetime, now: datetime, zone: tzinfo = UTC
) -> datetime | None:
    """Return the latest reset that came due since the last one, or None.

    Slurm records it for days and weeks; of longer periods it makes up one with each pass, clearing
    usage each time until it has caught up. Here they are made up at once.
    """
    found = None
    due = next_reset(period, last_reset_at, zone)
    while due is not None and due <= now:
        found, due = due, next_reset(period, due, zone)
    return found


def cleared(history: History, reset_at: datetime) -> History:
    """Return a history in which nothing was used."""
    return replace(history, buckets={}, left=1.0, reset_at=reset_at)
