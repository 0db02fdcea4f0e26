"""Learns how long servers hold quota, and draws how long they still will.

Why: users ask for longer lifetimes than they use, each in a way of his own, so what is known of his
last servers says more than what he asked for. Must not know clocks, queues or where a history is
stored.
"""

from bisect import bisect_right, insort
from collections import deque
from collections.abc import Hashable, Iterator
from math import inf, log2
from typing import Final

import numpy as np
import numpy.typing as npt

from synergy.core.model import RequestClass
from synergy.core.shares import Floats

_ENOUGH: Final = 10  # ends from which a group speaks for itself
_REMEMBERED: Final = 200  # ends of a group, the last ones
_MIN_S: Final = 1.0
_U64 = npt.NDArray[np.uint64]


class Lifetimes:
    """What is known of how long servers held quota, by groups from fine to coarse.

    A lifetime that is limited counts as the part of its limit that was used, any other in seconds.
    """

    def __init__(self) -> None:
        self._groups: dict[Hashable, _Group] = {}
        self.learned = 0

    def learn(self, kind: RequestClass, project_id: str, held_s: float) -> None:
        """Count a server that ended after it had held quota for `held_s` seconds."""
        self.learned += 1
        part = max(held_s, 0.0) / kind.ttl_s if kind.ttl_s > 0 else max(held_s, 0.0)
        for key in _groups_of(kind, project_id):
            self._groups.setdefault(key, _Group()).add(part)

    def drawn_s(
        self, kind: RequestClass, project_id: str, drawn: Floats, age_s: float = 0.0
    ) -> Floats:
        """Return lifetimes in seconds, shape (n,), of which the limit is the longest.

        drawn  shape (n,), quantiles in [0, 1) of the lifetimes that are longer than the age
        age_s  how long it has held quota already

        Where nothing is known of any that lived as long, it uses its limit; without one it never
        ends (infinite).
        """
        limit_s = float(kind.ttl_s) if kind.ttl_s > 0 else inf
        unit_s = limit_s if limit_s < inf else 1.0
        longer = self._longer(kind, project_id, age_s / unit_s)
        if not len(longer):
            return np.full(len(drawn), limit_s)
        found = longer[(drawn * len(longer)).astype(np.int64)] * unit_s
        min_s = min(age_s + _MIN_S, limit_s)
        lifetimes_s: Floats = np.minimum(np.maximum(found, min_s), limit_s)
        return lifetimes_s

    def _longer(self, kind: RequestClass, project_id: str, part: float) -> Floats:
        """Return the parts above one, in order, of the finest group that knows enough."""
        for key in _groups_of(kind, project_id):
            group = self._groups.get(key)
            if group is not None and len(group) >= _ENOUGH:
                return group.above(part)
        return np.zeros(0)


class _Group:
    """The last parts that were seen of a group, in order."""

    def __init__(self) -> None:
        self._last: deque[float] = deque()
        self._sorted: list[float] = []
        self._column: Floats | None = None

    def __len__(self) -> int:
        return len(self._sorted)

    def add(self, part: float) -> None:
        self._last.append(part)
        insort(self._sorted, part)
        if len(self._last) > _REMEMBERED:
            del self._sorted[bisect_right(self._sorted, self._last.popleft()) - 1]
        self._column = None

    def above(self, part: float) -> Floats:
        if self._column is None:
            self._column = np.array(self._sorted)
        return self._column[bisect_right(self._sorted, part) :]


def _groups_of(kind: RequestClass, project_id: str) -> Iterator[Hashable]:
    """Yield the groups of a class, the finest first; lifetimes in octaves, as they vary freely."""
    octave = int(log2(kind.ttl_s)) if kind.ttl_s > 0 else -1
    limited = octave >= 0
    yield kind.association_id, kind.demand, octave
    yield "user", kind.association_id, limited
    yield "project", project_id, octave
    yield "octave", octave
    yield "all", limited


def draws(request_key: int, samples: int, seed: int) -> Floats:
    """Return the quantiles of a request, shape (samples,), in [0, 1): the same ones whenever it is
    asked about, so that forecasts of two instants or of two policies differ by these alone."""
    start = (request_key ^ (request_key >> 64)) & 0xFFFF_FFFF_FFFF_FFFF
    state = np.full(samples, start, dtype=np.uint64)
    # splitmix64 (Steele, Lea and Flood, 2014), by a counter of the sample
    mixed = _mixed(state) + np.arange(1, samples + 1, dtype=np.uint64) * _GAMMA
    found = _mixed(mixed ^ np.uint64(seed)) >> np.uint64(11)  # the 53 bits of a float
    quantiles: Floats = found.astype(np.float64) * 2.0**-53
    return quantiles


_GAMMA: Final = np.uint64(0x9E37_79B9_7F4A_7C15)


def _mixed(state: _U64) -> _U64:
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
    return state ^ (state >> np.uint64(31))
