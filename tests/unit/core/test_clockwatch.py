from collections.abc import Sequence
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synergy.core.clockwatch import MAX_DOWNTIME_S, SLEW, STEP_S, Mark, downtime_s, follow
from tests.builders import NOON

HOUR_S, DAY_S = 3600.0, 86_400.0
STEPS_S = [2 * HOUR_S, 60 * DAY_S, -DAY_S, -60.0, 11.0]


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


@pytest.mark.parametrize("step_s", STEPS_S)
def test_a_clock_that_was_set_moves_nothing_and_is_believed_again_when_it_is_right(
    step_s: float,
) -> None:
    at, agrees = NOON, True
    for second in range(1, 61):
        off_s = step_s if 20 <= second < 32 else 0.0
        followed = follow(at, NOON + seconds(second + off_s), 1.0)
        at, agrees = followed.at, followed.agrees
        assert at == NOON + seconds(second)
        assert agrees == (off_s == 0)


@pytest.mark.parametrize("rate", [1 + 500e-6, 1 - 500e-6, 1.083, 0.917])
def test_a_clock_that_runs_fast_or_slow_or_is_slewed_is_followed(rate: float) -> None:
    at = NOON
    for minute in range(1, 1441):
        followed = follow(at, NOON + seconds(minute * 60 * rate), 60.0)
        assert followed.agrees
        at = followed.at
    assert abs((at - NOON).total_seconds() - DAY_S * rate) < 1


def test_a_small_step_is_made_up_slowly() -> None:
    followed = follow(NOON, NOON + seconds(9), 1.0)
    assert followed.agrees
    assert followed.at == NOON + seconds(1 + SLEW)
    behind = follow(NOON, NOON - seconds(9), 0.0)
    assert behind.at == NOON


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(-1e7, 1e7)), max_size=30))
def test_whatever_the_wall_clock_shows_the_time_neither_goes_back_nor_runs_away(
    looks: Sequence[tuple[float, float]],
) -> None:
    at = NOON
    for passed_s, off_s in looks:
        followed = follow(at, at + seconds(off_s), passed_s)
        gone_s = (followed.at - at).total_seconds()
        assert 0 <= gone_s <= passed_s * (1 + SLEW) + 1e-5
        assert (
            followed.agrees == (abs(off_s - passed_s) <= STEP_S)
            or abs(abs(off_s - passed_s) - STEP_S) < 1e-5
        )
        at = followed.at


def test_on_the_same_start_of_the_machine_the_monotonic_clock_tells_how_long_it_was_away() -> None:
    mark = Mark(at=NOON, boot_id="one", monotonic_s=100.0)
    assert downtime_s(mark, NOON + seconds(60 * DAY_S), "one", 130.0) == 30
    assert downtime_s(mark, NOON - seconds(DAY_S), "one", 130.0) == 30


@pytest.mark.parametrize(
    ("gap_s", "believed"),
    [(0, True), (HOUR_S, True), (MAX_DOWNTIME_S, True), (MAX_DOWNTIME_S + 1, False),
     (60 * DAY_S, False), (-60, False), (-DAY_S, False)],
)  # fmt: skip
def test_after_a_start_of_the_machine_a_wall_clock_is_believed_as_far_as_it_is_plausible(
    gap_s: float, believed: bool
) -> None:
    mark, wall = Mark(at=NOON, boot_id="one", monotonic_s=1e6), NOON + seconds(gap_s)
    passed_s = downtime_s(mark, wall, "two", 5.0)
    assert follow(mark.at, wall, passed_s).agrees == believed
    if not believed:
        assert passed_s == 0
