"""Usage history: usage is charged to it, and decays with time.

Why: the cost of a pass must follow what was held since the last one, not the number of users ever.
So decay does not touch stored amounts: one factor, `left`, decays for all of them. Must not know
shares, requests, or where history is stored.
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

MIN_DECAY: Final = 2.2e-308  # the factor never becomes 0, so that ratios survive a long stop
MIN_LEFT: Final = 1e-150  # below it the amounts are rescaled, before charged / left overflows
DECAYING: Final = -1  # the bucket of continuously decaying amounts


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfLife:
    """Usage halves in about `half_life_s` seconds, as in Slurm; 0 disables decay.

    slice_s  longest span with one weight, seconds (Slurm's PriorityCalcPeriod): a late pass charges
             what the missed passes would have charged
    """

    half_life_s: float
    slice_s: float = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Periods:
    """Usage is weighted by its age in whole periods: 1, weight, weight^2, ...; 0 from `count` on.

    Periods of `length_s` seconds begin at multiples of it since the epoch.
    """

    length_s: int
    count: int
    weight: float


Decay = HalfLife | Periods


@dataclass(frozen=True, eq=False, kw_only=True)
class Spans:
    """h spans in which resources were held, in columns of shape (h,).

    association  association_id
    begin_ago_s  seconds before now at which the span began, or the last pass ran
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

    A bucket is DECAYING, whose amounts must be multiplied by `left`, or the start of a period in
    epoch seconds. `charged_at` is the instant of the last pass, `reset_at` of the last reset.
    """

    buckets: Mapping[int, Floats]
    left: float = 1.0
    charged_at: datetime | None = None
    reset_at: datetime | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Charged:
    """The result of a pass.

    history  the new one
    changed  (bucket, association_ids) whose amounts differ from the stored ones
    dropped  buckets whose stored amounts must be deleted before `changed` is written
    """

    history: History
    changed: Mapping[int, Ints]
    dropped: frozenset[int] = frozenset()


def decay_factor(elapsed_s: float, half_life_s: float) -> float:
    """Return what remains of 1 TRES-second after `elapsed_s` seconds.

    half_life_s  seconds; 0 disables decay, as in Slurm
    elapsed_s    seconds; no decay when negative (the clock was set back)

    Source: Slurm's `_apply_decay`, (1 - 0.693 / half_life) ** elapsed, a first-order 2^(-t/h).
    """
    if half_life_s <= 0 or elapsed_s <= 0:
        return 1.0
    return max(float(_per_second(half_life_s) ** elapsed_s), MIN_DECAY)


def _per_second(half_life_s: float) -> float:
    return max(0.0, 1.0 - 0.693 / half_life_s) if half_life_s > 0 else 1.0


def charged_usage(spans: Spans, decay: HalfLife) -> Floats:
    """Return what each span counts now, shape (h,), in billed TRES-seconds.

    Source: Slurm's `_apply_new_usage`: a span is weighted as a whole with the decay of its length.
    Longer spans are cut into slices that end a multiple of `slice_s` before their end.
    """
    left, slice_s = _per_second(decay.half_life_s), decay.slice_s
    span_s = spans.begin_ago_s - spans.end_ago_s
    slices = np.maximum(np.ceil(span_s / slice_s) - 1, 0)
    oldest_s = span_s - slices * slice_s
    whole = left**slice_s
    sliced = slices if whole >= 1 else (1 - whole**slices) / (1 - whole)
    weighted = slice_s * whole * sliced + oldest_s * left**oldest_s * whole**slices
    charged: Floats = weighted * left**spans.end_ago_s * spans.rate
    return charged


def charge(
    history: History, spans: Spans, decay: Decay, *, now: datetime, elapsed_s: float
) -> Charged:
    """Advance the history by `elapsed_s` seconds that end `now`, in which `spans` were held.

    `spans` begin no earlier than `elapsed_s` ago.
    """
    history, rewritten = _converted(history, decay, now)
    left = history.left
    if isinstance(decay, HalfLife):
        left *= decay_factor(elapsed_s, decay.half_life_s)
        if left < MIN_LEFT:
            history, left = _rescaled(history, left), 1.0
            rewritten = True
        parts = {DECAYING: charged_usage(spans, decay) / left}
    else:
        parts = _by_period(spans, decay, now)
    buckets, changed = dict(history.buckets), {}
    for bucket, charged in parts.items():
        amounts: Floats = np.bincount(spans.association, charged).astype(np.float64)
        touched = (amounts > 0).nonzero()[0]
        if len(touched):
            buckets[bucket] = _added(buckets.get(bucket), touched, amounts[touched])
            changed[bucket] = touched
    if rewritten:
        changed = {bucket: np.flatnonzero(column) for bucket, column in buckets.items()}
    kept = {bucket: column for bucket, column in buckets.items() if _counts(bucket, decay, now)}
    return Charged(
        history=replace(history, buckets=kept, left=left, charged_at=now),
        changed={bucket: ids for bucket, ids in changed.items() if bucket in kept},
        dropped=frozenset(buckets.keys() - kept.keys()),
    )


class Amounts(NamedTuple):
    """Billed TRES-seconds by association_id, shape (a,), in units of `left` TRES-seconds."""

    column: Floats
    left: float


def amounts_of(history: History, decay: Decay, now: datetime) -> Amounts:
    """Return what counts now. Decay changes only `left`, so the columns hold what was charged."""
    if history.buckets.keys() == {DECAYING}:
        return Amounts(history.buckets[DECAYING], history.left)
    width = max((len(column) for column in history.buckets.values()), default=0)
    total = np.zeros(width)
    for bucket in sorted(history.buckets):
        column = history.buckets[bucket]
        weight = history.left if bucket == DECAYING else _weight(bucket, decay, now)
        total[: len(column)] += column * weight
    return Amounts(total, 1.0)


def usage_of(history: History, decay: Decay, now: datetime) -> Floats:
    """Return billed TRES-seconds by association_id, shape (a,)."""
    column, left = amounts_of(history, decay, now)
    return column * left


def _added(column: Floats | None, ids: Ints, amounts: Floats) -> Floats:
    width = max(int(ids[-1]) + 1, 0 if column is None else len(column))
    grown = np.zeros(width)
    if column is not None:
        grown[: len(column)] = column
    grown[ids] += amounts
    return grown


def _rescaled(history: History, left: float) -> History:
    return replace(history, buckets={b: c * left for b, c in history.buckets.items()}, left=1.0)


def _converted(history: History, decay: Decay, now: datetime) -> tuple[History, bool]:
    """Convert what was recorded in another mode into this one, so that it still counts."""
    wanted = DECAYING if isinstance(decay, HalfLife) else _period_of(now, decay)
    other_mode = [b for b in history.buckets if (b == DECAYING) is not isinstance(decay, HalfLife)]
    if not other_mode:
        return history, False
    total = np.zeros(max(len(column) for column in history.buckets.values()))
    for bucket in other_mode:  # old periods count the same: their weights are unknown
        column = history.buckets[bucket]
        total[: len(column)] += column * (history.left if bucket == DECAYING else 1.0)
    kept = {b: c for b, c in history.buckets.items() if b not in other_mode}
    # An empty column drops what is stored under the old bucket.
    zeros = {bucket: np.zeros(0) for bucket in other_mode}
    return replace(history, buckets={**kept, **zeros, wanted: total}, left=1.0), True


def _counts(bucket: int, decay: Decay, now: datetime) -> bool:
    if isinstance(decay, HalfLife):
        return bucket == DECAYING
    return bucket != DECAYING and _weight(bucket, decay, now) > 0


def _period_of(instant: datetime, periods: Periods) -> int:
    return int(instant.timestamp() // periods.length_s) * periods.length_s


def _weight(bucket: int, decay: Decay, now: datetime) -> float:
    if isinstance(decay, HalfLife):
        return 1.0
    age = max(0, (_period_of(now, decay) - bucket) // decay.length_s)
    return decay.weight**age if age < decay.count else 0.0


def _by_period(spans: Spans, periods: Periods, now: datetime) -> dict[int, Floats]:
    """Split spans at the ends of periods; return TRES-seconds of each span by period."""
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
    """When all usage is cleared, at midnight in the time zone: Slurm's PriorityUsageResetPeriod."""

    NONE = "none"
    DAILY = "daily"
    WEEKLY = "weekly"  # Sunday
    MONTHLY = "monthly"
    QUARTERLY = "quarterly"
    YEARLY = "yearly"


def _on_first_of(months: int) -> Callable[[datetime], datetime]:
    """Return a function that finds the first day of the next period of that many months."""

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

    Slurm does so for days and weeks. Of longer periods it catches up on one per pass, clearing
    usage each time. Here all are caught up on at once.
    """
    found = None
    due = next_reset(period, last_reset_at, zone)
    while due is not None and due <= now:
        found, due = due, next_reset(period, due, zone)
    return found


def cleared(history: History, reset_at: datetime) -> History:
    """Return a history in which nothing was used."""
    return replace(history, buckets={}, left=1.0, reset_at=reset_at)
