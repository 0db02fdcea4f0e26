"""Waits grow up to a bound, however often something failed."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synergy.core.admission import HAND_OVER, retry_delay_s
from synergy.core.backoff import Backoff

MINUTE_TO_HOUR = Backoff(initial_s=60.0, max_s=3600.0, tries=5)


def test_each_wait_is_longer_by_the_factor_up_to_the_longest() -> None:
    assert [MINUTE_TO_HOUR.delay_s(n) for n in range(1, 9)] == [
        60, 120, 240, 480, 960, 1920, 3600, 3600
    ]  # fmt: skip
    assert [Backoff(initial_s=1.0, factor=3.0).delay_s(n) for n in (1, 2, 3)] == [1, 3, 9]


@pytest.mark.parametrize(("failures", "over"), [(1, False), (4, False), (5, True), (6, True)])
def test_it_is_given_up_after_as_many_tries(failures: int, over: bool) -> None:
    assert MINUTE_TO_HOUR.gives_up(failures) is over
    assert not Backoff(initial_s=1.0).gives_up(10**9)


def test_the_first_wait_may_not_be_longer_than_the_longest() -> None:
    assert Backoff(initial_s=30.0, max_s=15.0).next_s(0.0) == 15.0


def test_a_number_of_failures_beyond_every_float_is_no_error() -> None:
    assert MINUTE_TO_HOUR.delay_s(10**9) == 3600.0
    assert Backoff(initial_s=1.0).delay_s(10**9) == inf


@given(
    st.floats(0.01, 1e4), st.floats(1.0, 10.0), st.floats(0.01, 1e6), st.integers(1, 40)
)  # fmt: skip
def test_counting_failures_and_following_the_last_wait_say_the_same(
    initial: float, factor: float, longest: float, n: int
) -> None:
    one = Backoff(initial_s=initial, factor=factor, max_s=longest)
    last_s = 0.0
    for _ in range(n):
        last_s = one.next_s(last_s)
    assert last_s == pytest.approx(one.delay_s(n))


def test_a_hand_over_is_tried_five_times() -> None:
    assert [retry_delay_s(n) for n in range(1, 6)] == [60, 120, 240, 480, None]
    assert HAND_OVER.tries == 5
