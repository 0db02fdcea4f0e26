"""When a request that still waits gets another forecast."""

from dataclasses import replace
from datetime import timedelta
from math import inf

import pytest

from synergy.core.forecasts.correction import Interval, Raw
from synergy.core.forecasts.record import Recorded
from synergy.core.forecasts.refresh import is_due
from tests.builders import NOON, rid

QUARTER_S, HOUR_S, DAY_S = 900.0, 3600.0, 86_400.0


def published(p50_s: float) -> Recorded:
    return Recorded(
        request_id=rid(1),
        project_id="p",
        made_at=NOON,
        raw=Raw(p50_s=p50_s, p90_s=p50_s, bound_s=inf, size=0.1),
        published=Interval(p50_s=p50_s, p90_s=p50_s, bound_s=inf),
        past_p50_s=0.0,
        past_p90_s=0.0,
    )


@pytest.mark.parametrize(
    ("p50_s", "due_after_s"),
    [
        pytest.param(0.0, QUARTER_S, id="it should have started by now"),
        pytest.param(HOUR_S, QUARTER_S, id="soon"),
        pytest.param(16 * HOUR_S, 2 * HOUR_S, id="an eighth of a long wait"),
        pytest.param(30 * DAY_S, DAY_S, id="once a day at least"),
        pytest.param(inf, DAY_S, id="no start is foreseen"),
    ],
)
def test_the_next_one_is_due_the_sooner_the_nearer_the_start_is(
    p50_s: float, due_after_s: float
) -> None:
    after = NOON + timedelta(seconds=due_after_s)
    assert is_due(published(p50_s), after, QUARTER_S, None)
    assert not is_due(published(p50_s), after - timedelta(seconds=1), QUARTER_S, None)


def test_what_was_said_of_another_cloud_is_due_as_soon_as_any_other() -> None:
    far, changed_at = published(30 * DAY_S), NOON + timedelta(seconds=10)
    soon, later = (NOON + timedelta(seconds=s) for s in (QUARTER_S - 1, QUARTER_S))
    assert not is_due(far, soon, QUARTER_S, changed_at)
    assert is_due(far, later, QUARTER_S, changed_at)
    again = replace(far, made_at=changed_at)
    assert not is_due(again, changed_at + timedelta(seconds=QUARTER_S), QUARTER_S, changed_at)


def test_a_wait_of_a_week_has_some_dozens_and_not_hundreds() -> None:
    at, count, start = NOON, 0, NOON + timedelta(days=7)
    while at < start:
        last = replace(published((start - at).total_seconds()), made_at=at)
        while at < start and not is_due(last, at, QUARTER_S, None):
            at += timedelta(seconds=60)
        count += 1
    assert 20 < count < 60
