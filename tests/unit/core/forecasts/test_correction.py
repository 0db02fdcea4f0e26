"""Forecasts corrected by how earlier ones held."""

from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synergy.core.forecasts.correction import (
    NEEDED,
    Correction,
    Interval,
    Raw,
    conformal,
    horizon_of,
    quantiles,
    size_of,
)


def raw_of(
    p50_s: float, p90_s: float | None = None, bound_s: float = 1e6, size: float = 0.01
) -> Raw:
    return Raw(p50_s=p50_s, p90_s=p50_s if p90_s is None else p90_s, bound_s=bound_s, size=size)


def coverage(rng: np.random.Generator, *, biased: float, size: float = 0.01) -> tuple[float, float]:
    """Forecast a start that is `biased` times what is drawn; count how often it came by then."""
    correction, hits = Correction(), []
    for number in range(4000):
        drawn_s = float(rng.uniform(1000, 3000))
        raw = raw_of(drawn_s, drawn_s * 1.01, bound_s=20_000.0, size=size)
        published = correction.corrected(raw)
        wait_s = drawn_s * biased * float(rng.lognormal(0, 0.5))
        correction.resolve(raw, published, wait_s)
        if number >= 400:
            hits.append((wait_s <= published.p50_s, wait_s <= published.p90_s))
    low, high = np.mean(hits, axis=0)
    return float(low), float(high)


@pytest.mark.parametrize("biased", [0.5, 1.0, 2.0])
def test_half_and_nine_of_ten_start_by_what_was_said_however_wrong_the_draws_are(
    biased: float,
) -> None:
    low, high = coverage(np.random.default_rng(1), biased=biased)
    assert low == pytest.approx(0.5, abs=0.03)
    assert high == pytest.approx(0.9, abs=0.03)


def test_coverage_holds_also_while_the_world_changes() -> None:
    """Waits grow by half a per cent with every forecast that comes true, twenty times over."""
    correction, hits, rng = Correction(), [], np.random.default_rng(2)
    for number in range(4000):
        raw = raw_of(1000.0, bound_s=1e6)
        published = correction.corrected(raw)
        wait_s = 1000.0 * (1 + number * 0.005) * float(rng.uniform(0.5, 1.5))
        correction.resolve(raw, published, wait_s)
        hits.append((wait_s <= published.p50_s, wait_s <= published.p90_s))
    low, high = np.mean(hits[400:], axis=0)
    assert low == pytest.approx(0.5, abs=0.05)
    assert high == pytest.approx(0.9, abs=0.05)


def test_large_requests_are_corrected_apart_from_small_ones() -> None:
    correction = Correction()
    for _ in range(NEEDED):
        for size, wait_s in ((0.01, 100.0), (0.9, 1900.0)):
            raw = raw_of(1000.0, size=size)
            correction.resolve(raw, correction.corrected(raw), wait_s)
    assert correction.corrected(raw_of(1000.0, size=0.01)).p50_s == pytest.approx(100.0)
    assert correction.corrected(raw_of(1000.0, size=0.9)).p50_s == pytest.approx(1900.0)


def test_nothing_is_corrected_before_enough_were_resolved() -> None:
    correction, raw = Correction(), raw_of(1000.0, 1500.0)
    for _ in range(NEEDED - 1):
        correction.resolve(raw, correction.corrected(raw), 10.0)
    assert correction.corrected(raw) == Interval(p50_s=1000.0, p90_s=1500.0, bound_s=1e6)
    correction.resolve(raw, correction.corrected(raw), 10.0)
    assert correction.corrected(raw).p50_s < 100


def test_what_was_never_foreseen_stays_so_and_teaches_nothing_wrong() -> None:
    correction, unknown = Correction(), raw_of(inf, inf, inf)
    for _ in range(2 * NEEDED):
        correction.resolve(unknown, correction.corrected(unknown), 10.0)
    assert correction.corrected(unknown).p50_s == inf
    assert correction.corrected(raw_of(1000.0)).p50_s == pytest.approx(1000.0)


waits = st.floats(0, 1e6)


@given(st.lists(st.tuples(waits, waits, waits, waits), max_size=120), waits, waits, waits)
def test_an_interval_is_in_order_and_never_beyond_its_bound(
    past: list[tuple[float, float, float, float]], low: float, high: float, bound: float
) -> None:
    correction = Correction()
    for p50_s, more_s, bound_s, wait_s in past:
        raw = raw_of(min(p50_s, bound_s), min(p50_s + more_s, bound_s), bound_s)
        correction.resolve(raw, correction.corrected(raw), wait_s)
    raw = raw_of(min(low, bound), min(max(low, high), bound), bound)
    published = correction.corrected(raw)
    assert 0 <= published.p50_s <= published.p90_s <= published.bound_s == bound


def test_the_conformal_quantile_is_the_one_of_the_textbook() -> None:
    errors = np.arange(1.0, 100.0)  # 99 of them: the 90th of 100 places
    assert conformal(errors, 0.9) == 90.0
    assert conformal(errors[::-1], 0.5) == 50.0
    assert conformal(errors[:3], 0.999) == 3.0


def test_quantiles_of_draws_some_of_which_never_start() -> None:
    assert quantiles(np.array([1.0, 2.0, 3.0, inf])) == (2.0, inf)
    assert quantiles(np.array([5.0])) == (5.0, 5.0)
    assert quantiles(np.array([1.0, inf, inf])) == (inf, inf)


def test_horizons_and_sizes_have_published_bounds() -> None:
    assert [horizon_of(s) for s in (0, 3599, 3600, 86_399, 86_400, inf)] == [0, 0, 1, 1, 2, 2]
    assert [size_of(s) for s in (0, 1 / 64, 0.02, 1 / 16, 0.2, 1 / 4, 0.3, 1)] == [
        0, 0, 1, 1, 2, 2, 3, 3,
    ]  # fmt: skip
