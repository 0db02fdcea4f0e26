"""Usage and fair-share factors as they go on, while a queue is run forward.

Why: anyone who starts now is charged for it, and comes later the next time; with factors that stay
as they are one project would have everything first. Must not know requests, or how usage is stored.
"""

import heapq
from math import inf
from typing import Final

import numpy as np

from synergy.core import fairshare
from synergy.core.events import FactorsChanged
from synergy.core.fairshare import Algorithm
from synergy.core.shares import Floats, Ints, ShareTree

STEP_S: Final = 1800.0  # factors are computed again after so long, as the run goes,
PART: Final = (
    1 / 50
)  # and after this part of what it has gone: what is far is foreseen less sharply


class ForeseenUsage:
    """What everybody used until now, and is going to use."""

    def __init__(
        self,
        tree: ShareTree,
        rows: Ints,
        used: Floats,
        points: Floats,
        *,
        at_s: float,
        half_life_s: float,
        algorithm: Algorithm,
    ) -> None:
        """Begin at an instant.

        rows         shape (a,), the row of the tree on which each association counts, -1 for none
        used         shape (n,), billed TRES-seconds recorded on each node of the tree
        points       shape (a,), priority of the association
        half_life_s  0 where usage does not fade
        """
        self._tree, self._rows, self._points = tree, rows, points
        self._used, self._at_s = used.astype(np.float64), at_s
        self._half_life_s, self._algorithm = half_life_s, algorithm
        self._holds: list[tuple[int, float, float, float]] = []  # row, begin, end, rate
        self._computed: fairshare.FairShare | None = None
        self._news_s = [at_s]  # a heap: when what is used changes
        self._begin_s = self._earliest_s = at_s

    def hold(self, association_id: int, begin_s: float, end_s: float, rate: float) -> None:
        """Note what is held, at a rate of billed TRES, from one instant to another."""
        if association_id < len(self._rows) and (row := int(self._rows[association_id])) >= 0:
            self._holds.append((row, begin_s, end_s, rate))
            for news_s in (begin_s, end_s):
                heapq.heappush(self._news_s, news_s)

    @property
    def due_s(self) -> float:
        """When the factors are computed next: after a start or an end, but not too often."""
        return max(self._news_s[0], self._earliest_s) if self._news_s else inf

    def at(self, at_s: float) -> FactorsChanged:
        """Return the factors at an instant, which is none before the last one."""
        while self._news_s and self._news_s[0] <= at_s:
            heapq.heappop(self._news_s)
        self._earliest_s = at_s + max(STEP_S, PART * (at_s - self._begin_s))
        elapsed_s = at_s - self._at_s
        # A new array at each step: what was computed last keeps the one that it came from.
        fades = 0.5 ** (elapsed_s / self._half_life_s) if self._half_life_s > 0 else 1.0
        self._used = self._used * fades
        for row, begin_s, end_s, rate in self._holds:
            self._used[row] += rate * max(0.0, min(end_s, at_s) - max(begin_s, self._at_s))
        self._holds = [one for one in self._holds if one[2] > at_s]
        self._at_s = at_s
        self._computed = fairshare.compute(
            self._tree, self._used, algorithm=self._algorithm, known=self._computed
        )
        factors = np.where(self._rows >= 0, self._computed.fairshare[self._rows], 0.0)
        return FactorsChanged(factors, self._points, float(self._points.max(initial=0.0)))
