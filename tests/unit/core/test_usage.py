from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synergy.core import usage
from synergy.core.usage import DECAYING, Charged, HalfLife, History, Periods, ResetPeriod, Spans
from tests.builders import NOON

HOUR = HalfLife(half_life_s=3600.0)
NO_DECAY = HalfLife(half_life_s=0.0)
WEEKS = Periods(length_s=100, count=3, weight=0.5)
ORIGIN = datetime.fromtimestamp(1_000_000, UTC)  # the start of a period of 100 s


def spans(*entries: tuple[int, ...]) -> Spans:
    """Entries (association, began seconds ago, ended seconds ago, rate)."""
    table = np.array(entries, dtype=float).reshape(-1, 4)
    return Spans(association=table[:, 0].astype(int), begin_ago_s=table[:, 1],
                 end_ago_s=table[:, 2], rate=table[:, 3])  # fmt: skip


def charged(
    history: History,
    *entries: tuple[int, ...],
    fading: HalfLife | Periods = NO_DECAY,
    now: datetime = NOON,
    elapsed_s: float = 60.0,
) -> Charged:
    return usage.charge(history, spans(*entries), fading, now=now, elapsed_s=elapsed_s)


def used(
    history: History, fading: HalfLife | Periods = NO_DECAY, now: datetime = NOON
) -> list[float]:
    return [float(one) for one in usage.usage_of(history, fading, now)]


EMPTY = History(buckets={})


def test_decay_halves_usage_in_about_a_half_life() -> None:
    # Source: Slurm's first-order factor; at a half life of 7 days one half life leaves 0.50007.
    week_s = 7 * 86_400.0
    assert usage.decay_factor(week_s, week_s) == pytest.approx(0.50007, abs=1e-5)
    assert usage.decay_factor(60, 60) == pytest.approx(0.49806, abs=1e-5)


def test_no_half_life_and_no_time_decay_nothing() -> None:
    assert usage.decay_factor(1e9, 0) == 1.0
    assert usage.decay_factor(-5, 60) == 1.0


def test_decay_never_reaches_zero() -> None:
    assert usage.decay_factor(1e9, 3600) > 0


def test_a_span_is_charged_with_the_decay_of_its_length() -> None:
    found = usage.charged_usage(spans((1, 0, 0, 4), (1, 60, 0, 2), (1, 90, 30, 2)), HOUR)
    left = 1 - 0.693 / 3600
    assert found == pytest.approx([0.0, 60 * 2 * left**60, 60 * 2 * left**60 * left**30])


@given(
    st.integers(1, 40), st.integers(1, 300), st.sampled_from([0.0, 600.0, 86_400.0]),
    st.integers(0, 500),
)  # fmt: skip
def test_a_late_pass_charges_what_the_missed_ones_would_have(
    slices: int, rest_s: int, half_life_s: float, ago_s: int
) -> None:
    fading = HalfLife(half_life_s=half_life_s, slice_s=300.0)
    at_once = usage.charged_usage(spans((1, slices * 300 + rest_s + ago_s, ago_s, 3)), fading)[0]
    one_by_one = rest_s * 3 * usage.decay_factor(rest_s, half_life_s)
    for _ in range(slices):
        one_by_one *= usage.decay_factor(300, half_life_s)
        one_by_one += 300 * 3 * usage.decay_factor(300, half_life_s)
    assert at_once == pytest.approx(one_by_one * usage.decay_factor(ago_s, half_life_s))


def test_usage_is_charged_to_who_held_and_touches_nobody_else() -> None:
    before = charged(EMPTY, (1, 60, 0, 2), (4, 60, 0, 1)).history
    after = charged(before, (1, 60, 0, 2), (1, 30, 10, 1))
    assert used(after.history) == [0, 120 + 120 + 20, 0, 0, 60]
    assert {bucket: ids.tolist() for bucket, ids in after.changed.items()} == {DECAYING: [1]}
    assert not after.dropped
    assert after.history.charged_at == NOON


def test_a_pass_without_holds_fades_usage_and_changes_no_amount() -> None:
    before = charged(EMPTY, (1, 60, 0, 2), fading=HOUR).history
    after = charged(before, fading=HOUR, elapsed_s=3600.0)
    assert after.changed == {}
    assert used(after.history, HOUR)[1] == pytest.approx(used(before, HOUR)[1] * 0.5, rel=1e-4)
    assert after.history.buckets[DECAYING] is before.buckets[DECAYING]


def test_ratios_survive_a_hundred_days_at_a_half_life_of_an_hour() -> None:
    history = charged(EMPTY, (1, 60, 0, 30), (2, 60, 0, 10), fading=HOUR).history
    after = charged(history, fading=HOUR, elapsed_s=100 * 86_400.0)
    one, other = used(after.history, HOUR)[1:]
    assert one / other == pytest.approx(3.0)
    assert after.history.left == 1.0
    assert after.changed[DECAYING].tolist() == [1, 2]  # written anew, before new usage overflows
    again = charged(after.history, (2, 60, 0, 10), fading=HOUR).history
    assert used(again, HOUR)[2] == pytest.approx(600, rel=0.02)


def test_a_clock_that_goes_back_fades_nothing() -> None:
    before = charged(EMPTY, (1, 60, 0, 2), fading=HOUR).history
    assert used(charged(before, fading=HOUR, elapsed_s=-5.0).history, HOUR) == used(before, HOUR)


def test_periods_count_by_their_age() -> None:
    history = EMPTY
    for number in range(4):
        now = ORIGIN + timedelta(seconds=100 * number + 50)
        history = charged(history, (1, 10, 0, 2), fading=WEEKS, now=now).history
        expected = sum(20 * 0.5**age for age in range(min(number + 1, 3)))
        assert used(history, WEEKS, now) == [0, expected]
    later = ORIGIN + timedelta(seconds=750)
    assert used(history, WEEKS, later) == [0, 0]
    gone = charged(history, fading=WEEKS, now=later)
    assert gone.history.buckets == {}
    assert len(gone.dropped) == 3


def test_a_span_over_periods_counts_in_each_for_its_part() -> None:
    now = ORIGIN + timedelta(seconds=230)
    history = charged(EMPTY, (1, 200, 20, 1), fading=WEEKS, now=now).history
    start = int(ORIGIN.timestamp())
    parts = {bucket - start: column[1] for bucket, column in history.buckets.items()}
    assert parts == {0: 70, 100: 100, 200: 10}


def test_what_counts_goes_on_to_count_when_the_mode_changes() -> None:
    fading = charged(EMPTY, (1, 60, 0, 2), fading=HOUR).history
    now = ORIGIN + timedelta(seconds=10)
    half = replace(fading, left=0.5)
    moved = charged(half, (2, 10, 0, 1), fading=WEEKS, now=now)
    assert used(moved.history, WEEKS, now) == pytest.approx([0, used(half, HOUR)[1], 10])
    assert moved.dropped == {DECAYING}
    assert [ids.tolist() for ids in moved.changed.values()] == [[1, 2]]
    back = charged(moved.history, fading=NO_DECAY, now=now)
    assert used(back.history) == pytest.approx(used(moved.history, WEEKS, now))
    assert set(back.history.buckets) == {DECAYING}
    assert len(back.dropped) == 1


# 2026-01-01 is a Thursday.
@pytest.mark.parametrize(
    ("period", "after", "expected"),
    [
        (ResetPeriod.DAILY, "2026-01-01T12:00", "2026-01-02T00:00"),
        (ResetPeriod.DAILY, "2026-01-01T00:00", "2026-01-02T00:00"),
        (ResetPeriod.WEEKLY, "2026-01-01T12:00", "2026-01-04T00:00"),
        (ResetPeriod.WEEKLY, "2026-01-04T00:00", "2026-01-11T00:00"),
        (ResetPeriod.MONTHLY, "2026-12-31T23:59", "2027-01-01T00:00"),
        (ResetPeriod.QUARTERLY, "2026-05-20T00:00", "2026-07-01T00:00"),
        (ResetPeriod.QUARTERLY, "2026-10-01T00:00", "2027-01-01T00:00"),
        (ResetPeriod.YEARLY, "2026-01-01T00:00", "2027-01-01T00:00"),
    ],
)
def test_usage_is_cleared_at_the_next_start_of_a_period(
    period: ResetPeriod, after: str, expected: str
) -> None:
    instant = datetime.fromisoformat(after).replace(tzinfo=UTC)
    assert usage.next_reset(period, instant) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


def test_midnight_is_that_of_the_time_zone_also_when_summer_begins() -> None:
    rome = ZoneInfo("Europe/Rome")
    before = datetime(2026, 3, 28, 22, 30, tzinfo=UTC)  # 23:30 in Rome
    midnight = datetime(2026, 3, 28, 23, 0, tzinfo=UTC)
    assert usage.next_reset(ResetPeriod.DAILY, before, rome) == midnight
    assert usage.next_reset(ResetPeriod.DAILY, midnight, rome) == midnight + timedelta(hours=23)


def test_a_reset_that_was_missed_is_made_up_at_once() -> None:
    last = datetime(2025, 11, 30, tzinfo=UTC)
    now = datetime(2026, 3, 5, tzinfo=UTC)
    due = usage.latest_reset(ResetPeriod.MONTHLY, last, now)
    assert due == datetime(2026, 3, 1, tzinfo=UTC)
    assert usage.latest_reset(ResetPeriod.MONTHLY, due, now) is None
    assert usage.latest_reset(ResetPeriod.NONE, last, now) is None
    emptied = usage.cleared(charged(EMPTY, (1, 60, 0, 2)).history, due)
    assert (used(emptied), emptied.left, emptied.reset_at) == ([], 1.0, due)
