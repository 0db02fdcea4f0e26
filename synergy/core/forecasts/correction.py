"""Corrects forecasts by how earlier ones held: online split conformal prediction.

Why: no forecast knows who arrives later, and lifetimes change, so the drawn starts are right on the
whole and wrong in their quantiles. What is added to a quantile is what would have made it right of
the last ones that were resolved. The level that is asked for is moved a little after each miss and
each hit, so that the coverage holds in the long run whatever changes (Gibbs and Candes, 2021). Must
not know how a forecast was made.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

import numpy as np

from synergy.core.shares import Floats

LEVELS: Final = (0.5, 0.9)
NEEDED: Final = 50  # that were resolved, before anything is corrected
WINDOW: Final = 400  # of a group, the last that were resolved
_STEP: Final = 0.01  # by which a hit or miss moves the level that is asked for
_LOWEST, _HIGHEST = 0.02, 0.999
_MIN_UNIT_S: Final = 60.0
_HORIZONS_S: Final = (3600.0, 86_400.0)
_SIZES: Final = (1 / 64, 1 / 16, 1 / 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """A forecast as it was drawn: seconds from the instant at which it was made.

    p50, p90  quantiles of the drawn waits
    bound     the wait where all lifetimes run out, infinite where no end is known
    size      largest part of the pool that it asks for
    """

    p50_s: float
    p90_s: float
    bound_s: float
    size: float

    @property
    def unit_s(self) -> float:
        """What errors are measured in, so that those of long and short waits compare."""
        known_s = [s for s in (self.bound_s, self.p90_s, self.p50_s) if s < inf]
        return max(known_s[0] if known_s else 0.0, _MIN_UNIT_S)

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Its groups, the finest first."""
        horizon, size = horizon_of(self.p50_s), size_of(self.size)
        return (horizon, size), (size,), ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A start interval, seconds from the instant at which it was made: half of the requests start
    by `p50_s`, nine of ten by `p90_s`."""

    p50_s: float
    p90_s: float
    bound_s: float


def horizon_of(wait_s: float) -> int:
    """Return 0 for waits under an hour, 1 under a day, 2 for longer ones."""
    return sum(wait_s >= limit_s for limit_s in _HORIZONS_S)


def size_of(part: float) -> int:
    """Return a class of sizes, from 0 for up to 1/64 of the pool to 3 for more than a quarter."""
    return sum(part > limit for limit in _SIZES)


class Correction:
    """What is known of how forecasts held."""

    def __init__(self) -> None:
        self._groups: dict[tuple[int, ...], _Held] = {}
        self.resolved = 0

    def corrected(self, raw: Raw) -> Interval:
        """Return what a drawn forecast becomes; it itself while too few are resolved."""
        held = self._held(raw)
        waits_s = [raw.p50_s, raw.p90_s]
        if held is not None:
            waits_s = [
                wait_s + held.error(place) * raw.unit_s for place, wait_s in enumerate(waits_s)
            ]
        p50_s = min(max(waits_s[0], 0.0), raw.bound_s)
        return Interval(
            p50_s=p50_s, p90_s=min(max(waits_s[1], p50_s), raw.bound_s), bound_s=raw.bound_s
        )

    def resolve(self, raw: Raw, published: Interval, wait_s: float) -> None:
        """Learn that a request whose forecast was `raw`, which was published as `published`, waited
        that long."""
        self.resolved += 1
        held = self._held(raw)
        if held is not None:
            held.judge(published, wait_s)
        errors = [
            (wait_s - drawn_s) / raw.unit_s if drawn_s < inf else 0.0
            for drawn_s in (raw.p50_s, raw.p90_s)
        ]
        for group in raw.groups:
            self._groups.setdefault(group, _Held()).add(errors)

    def _held(self, raw: Raw) -> "_Held | None":
        """Return the finest group of a forecast that knows enough."""
        held = (self._groups.get(group) for group in raw.groups)
        return next((one for one in held if one is not None and len(one) >= NEEDED), None)


class _Held:
    """The errors of the forecasts of a group that were resolved last, in their units."""

    def __init__(self) -> None:
        self._errors: tuple[deque[float], ...] = tuple(deque(maxlen=WINDOW) for _ in LEVELS)
        self._asked = list(LEVELS)
        self._found: list[float] | None = None

    def __len__(self) -> int:
        return len(self._errors[0])

    def add(self, errors: Sequence[float]) -> None:
        for kept, error in zip(self._errors, errors, strict=True):
            kept.append(error)
        self._found = None

    def judge(self, published: Interval, wait_s: float) -> None:
        for place, (level, by_s) in enumerate(
            zip(LEVELS, (published.p50_s, published.p90_s), strict=True)
        ):
            missed = wait_s > by_s + 1e-6
            moved = self._asked[place] + _STEP * (missed - (1 - level))
            self._asked[place] = min(max(moved, _LOWEST), _HIGHEST)
        self._found = None

    def error(self, place: int) -> float:
        """Return what is added to the quantile at a place of LEVELS, in units."""
        if self._found is None:
            pairs = zip(self._errors, self._asked, strict=True)
            self._found = [conformal(np.array(kept), level) for kept, level in pairs]
        return self._found[place]


def conformal(errors: Floats, level: float) -> float:
    """Return the error that the next one exceeds with a probability of at most 1 - level, given
    earlier ones that it could be exchanged with, shape (n,), n > 0."""
    rank = min(len(errors), max(1, math.ceil((len(errors) + 1) * level)))
    return float(np.partition(errors, rank - 1)[rank - 1])


def quantiles(drawn_s: Floats) -> tuple[float, float]:
    """Return the quantiles, at LEVELS, of drawn waits in seconds, shape (n,), n > 0, some of them
    infinite."""
    low, high = np.quantile(drawn_s, LEVELS, method="inverted_cdf")
    return float(low), float(high)
