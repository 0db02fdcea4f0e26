"""Says how good forecasts were: coverage, pinball loss and width, beside two that are cheap.

Why: a forecast that nobody scores is not to be trusted, and one that is no better than its
baselines is not worth its cost. Must not know how a forecast was made or where it is stored.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

import numpy as np

from synergy.core.forecasts.correction import LEVELS, horizon_of, size_of
from synergy.core.shares import Floats

PAST_WAITS: Final = 300  # the last waits whose quantiles are the second baseline
HORIZONS: Final = ("under an hour", "under a day", "longer")
SIZES: Final = ("up to 1/64 of the pool", "up to 1/16", "up to 1/4", "more")
ALL: Final = "all"  # the group of every forecast
METHODS: Final = ("forecast", "lifetimes_run_out", "past_waits")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """A forecast that was resolved; seconds from the instant at which it was made.

    p50_s, p90_s, bound_s  what was forecast, infinite where nothing was known
    past_p50_s, past_p90_s quantiles of the waits of those that had started last
    size                   largest part of the pool that it asks for
    """

    p50_s: float
    p90_s: float
    bound_s: float
    past_p50_s: float
    past_p90_s: float
    wait_s: float
    size: float

    def by(self, method: str) -> tuple[float, float]:
        """Return the quantiles that a method gave."""
        if method == "lifetimes_run_out":
            return self.bound_s, self.bound_s
        if method == "past_waits":
            return self.past_p50_s, self.past_p90_s
        return self.p50_s, self.p90_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How good the forecasts of some requests were.

    coverage      by level, the part that started by the time forecast; 0.5 and 0.9 are perfect
    pinball_s     by level, the mean pinball loss in seconds, the less the better
    width_by_wait mean of (p90 - p50) over the mean wait; 0 without a wait
    """

    count: int
    coverage: tuple[float, float]
    pinball_s: tuple[float, float]
    width_by_wait: float

    def as_json(self) -> dict[str, float]:
        """Return it in its published form."""
        return {
            "count": self.count,
            "coverage_50": self.coverage[0],
            "coverage_90": self.coverage[1],
            "pinball_50_s": self.pinball_s[0],
            "pinball_90_s": self.pinball_s[1],
            "width_by_wait": self.width_by_wait,
        }


def score(rows: Sequence[Resolved], method: str = METHODS[0]) -> Score:
    """Return the score of a method; what it said nothing about counts as the longest wait."""
    if not rows:
        return Score(count=0, coverage=(0.0, 0.0), pinball_s=(0.0, 0.0), width_by_wait=0.0)
    wait_s = np.array([one.wait_s for one in rows])
    published_s = np.array([one.by(method) for one in rows])
    published_s = np.where(published_s < inf, published_s, np.maximum(wait_s.max(), 0.0))
    covered = [float((wait_s <= published_s[:, n] + 1e-6).mean()) for n in range(len(LEVELS))]
    lost_s = [float(_pinball(wait_s, published_s[:, n], q).mean()) for n, q in enumerate(LEVELS)]
    mean_s = float(wait_s.mean())
    width_s = float((published_s[:, 1] - published_s[:, 0]).mean())
    return Score(
        count=len(rows),
        coverage=(covered[0], covered[1]),
        pinball_s=(lost_s[0], lost_s[1]),
        width_by_wait=width_s / mean_s if mean_s > 0 else 0.0,
    )


def _pinball(wait_s: Floats, published_s: Floats, level: float) -> Floats:
    beyond_s = wait_s - published_s
    lost: Floats = np.where(beyond_s >= 0, level * beyond_s, (level - 1) * beyond_s)
    return lost


def table(rows: Sequence[Resolved]) -> dict[str, dict[str, dict[str, float]]]:
    """Return the scores of every method, by group: "all", horizons ("horizon: under an hour", by
    the p50 that was forecast) and sizes; groups without forecasts are left out."""
    return {
        name: {method: score(some, method).as_json() for method in METHODS}
        for name, some in _groups(rows)
        if some
    }


def _groups(rows: Sequence[Resolved]) -> Iterable[tuple[str, Sequence[Resolved]]]:
    yield ALL, rows
    parts: tuple[tuple[str, Sequence[str], Callable[[Resolved], int]], ...] = (
        ("horizon", HORIZONS, lambda one: horizon_of(one.p50_s)),
        ("size", SIZES, lambda one: size_of(one.size)),
    )
    for title, names, place_of in parts:
        for place, name in enumerate(names):
            yield f"{title}: {name}", [one for one in rows if place_of(one) == place]


class PastWaits:
    """The waits of those that started last."""

    def __init__(self) -> None:
        self._waits_s: deque[float] = deque(maxlen=PAST_WAITS)

    def add(self, wait_s: float) -> None:
        """Count one that started."""
        self._waits_s.append(wait_s)

    def quantiles_s(self) -> tuple[float, float]:
        """Return their quantiles at LEVELS, 0 while none is known."""
        if not self._waits_s:
            return 0.0, 0.0
        low, high = np.quantile(self._waits_s, LEVELS)
        return float(low), float(high)


Table = Mapping[str, Mapping[str, Mapping[str, float]]]
