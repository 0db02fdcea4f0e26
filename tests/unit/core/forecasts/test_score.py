"""How good forecasts were."""

from math import inf

import pytest

from synergy.core.forecasts.score import PastWaits, Resolved, score, table


def resolved(
    wait_s: float,
    p50_s: float,
    p90_s: float,
    bound_s: float = 1000.0,
    past: tuple[float, float] = (0.0, 0.0),
    size: float = 0.01,
) -> Resolved:
    return Resolved(
        p50_s=p50_s, p90_s=p90_s, bound_s=bound_s, past_p50_s=past[0], past_p90_s=past[1],
        wait_s=wait_s, size=size,
    )  # fmt: skip


def test_a_score_is_what_the_definitions_say() -> None:
    rows = [resolved(10.0, 20.0, 30.0), resolved(40.0, 20.0, 50.0)]
    found = score(rows)
    assert found.count == 2
    assert found.coverage == (0.5, 1.0)
    assert found.pinball_s == pytest.approx(((5.0 + 10.0) / 2, (2.0 + 1.0) / 2))
    assert found.width_by_wait == pytest.approx((10.0 + 30.0) / 50.0)


def test_baselines_are_scored_on_the_same_requests() -> None:
    rows = [resolved(10.0, 20.0, 30.0, bound_s=9.0, past=(10.0, 11.0))]
    found = table(rows)["all"]
    assert found["forecast"]["coverage_50"] == 1.0
    assert found["lifetimes_run_out"]["coverage_90"] == 0.0
    assert found["past_waits"]["pinball_50_s"] == 0.0


def test_what_was_not_foreseen_counts_as_the_longest_wait() -> None:
    rows = [resolved(10.0, inf, inf), resolved(90.0, 90.0, 90.0)]
    assert score(rows).pinball_s == pytest.approx((20.0, 4.0))


def test_the_table_has_the_horizons_and_sizes_that_there_are() -> None:
    rows = [resolved(10.0, 20.0, 30.0), resolved(9.0, 4000.0, 5000.0, size=0.5)]
    assert [(name, one["forecast"]["count"]) for name, one in table(rows).items()] == [
        ("all", 2),
        ("horizon: under an hour", 1),
        ("horizon: under a day", 1),
        ("size: up to 1/64 of the pool", 1),
        ("size: more", 1),
    ]


def test_of_nothing_the_score_is_zero() -> None:
    assert score([]).count == 0
    assert table([]) == {}


def test_past_waits_are_the_last_300() -> None:
    past = PastWaits()
    assert past.quantiles_s() == (0.0, 0.0)
    for wait_s in (9.0,) * 500 + (1.0,) * 300:
        past.add(wait_s)
    assert past.quantiles_s() == (1.0, 1.0)
