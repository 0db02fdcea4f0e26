"""How often one caller may ask what is costly."""

import pytest

from synergy.api.pace import MAX_CALLERS, Pace
from synergy.core.errors import TooManyRequests


class Watch:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def watch() -> Watch:
    return Watch()


def test_a_caller_has_a_minute_s_worth_at_once_and_then_the_pace(watch: Watch) -> None:
    pace = Pace(6, watch)
    assert [pace.wait_s("a") for _ in range(6)] == [0.0] * 6
    assert pace.wait_s("a") == pytest.approx(10)
    watch.now_s += 9.9
    assert pace.wait_s("a") == pytest.approx(0.1)
    watch.now_s += 0.2
    assert pace.wait_s("a") == 0
    watch.now_s += 3600
    assert [pace.wait_s("a") > 0 for _ in range(7)] == [False] * 6 + [True]


def test_callers_do_not_share(watch: Watch) -> None:
    pace = Pace(1, watch)
    assert pace.wait_s("a") == 0
    assert pace.wait_s("b") == 0
    with pytest.raises(TooManyRequests) as refused:
        pace.check("a", "GET /v1/usage")
    assert refused.value.retry_after_s == pytest.approx(60)
    assert "GET /v1/usage is costly, and may be asked 1 times a minute" in str(refused.value)


def test_strangers_do_not_fill_memory(watch: Watch) -> None:
    pace = Pace(1, watch)
    for number in range(MAX_CALLERS + 50):
        pace.wait_s(str(number))
    assert len(pace._left) == MAX_CALLERS
