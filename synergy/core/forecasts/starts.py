"""Runs the queue forward, once for each draw of how long servers live.

Why: the forecast calls what decides for the service, so it follows every policy, limit and
reservation. No later arrival is known. Must not know where state and history come from.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from math import floor, inf, log
from typing import Final

import numpy as np

from synergy.core.forecasts.lifetimes import Lifetimes, draws
from synergy.core.model import RequestClass
from synergy.core.quota import QuotaTree
from synergy.core.rounds.policy import Policy
from synergy.core.rounds.timeline import Arrival, Holding, LiveState, Timeline
from synergy.core.shares import Floats

EXACT: Final = 1000  # that wait; of more, ends are noticed on a grid, since each has its round
_STEP_S, _EVEN, _RATIO = 10.0, 50, 0.02
_GOLDEN: Final = (5**0.5 - 1) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that holds quota now.

    key         of the request: its uuid as a number
    holding     what it holds; `end_s` is not looked at
    began_s     since when
    """

    key: int
    kind: RequestClass
    project_id: str
    holding: Holding
    began_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A request that waits."""

    key: int
    project_id: str
    arrival: Arrival


@dataclass(frozen=True, slots=True, kw_only=True)
class Now:
    """What waits and holds quota at an instant, and how it is decided about.

    tree     with every resource class and user of both
    state    instant, reservations and suspended projects; its `waiting` and `holding` are filled
             from the others
    """

    tree: QuotaTree
    policy: Policy
    state: LiveState
    waiting: Sequence[Wanted]
    holding: Sequence[Server]


@dataclass(frozen=True, slots=True, kw_only=True)
class Starts:
    """Starts on the scale of the state, by request id; infinite for what never starts.

    drawn    shape (samples,) for each request
    bound    where every lifetime runs out
    """

    drawn: dict[str, Floats] = field(default_factory=dict)
    bound: dict[str, float] = field(default_factory=dict)


class Grid:
    """Instants at which ends are noticed: each 10 seconds in the next minutes, and then the farther
    apart the later they are.

    An end is noticed at the instant before or after it, in such turns that on the average it is
    neither early nor late: always late, each server of a long row would add to the wait.
    """

    def __init__(self, begin_s: float) -> None:
        self._begin_s, self._turn = begin_s, 0.0

    def noticed(self, at_s: float) -> float:
        """Return when an end is noticed."""
        self._turn = (self._turn + _GOLDEN) % 1.0
        place, even_s = (at_s - self._begin_s) / _STEP_S, _EVEN * _STEP_S
        if place > _EVEN:
            place = _EVEN + log(place / _EVEN) / log(1 + _RATIO)
        step = max(0, floor(place + self._turn))
        if step <= _EVEN:
            return self._begin_s + step * _STEP_S
        return self._begin_s + even_s * (1 + _RATIO) ** (step - _EVEN)


def forecast_starts(
    now: Now,
    lifetimes: Lifetimes,
    *,
    wanted: Collection[str],
    samples: int,
    seed: int,
    until_s: float = inf,
    go_on: Callable[[], bool] = lambda: True,
) -> Starts:
    """Return when the `wanted` requests start.

    until_s  what starts later than this is taken never to start
    go_on    is asked before each sample but the first; where it says no, those drawn so far count
    """
    found = Starts()
    waits = [one.arrival for one in now.waiting]
    bound = [replace(one, held_s=_limit_s(one.kind)) for one in waits]
    kept = [replace(one.holding, end_s=one.holding.known_end_s) for one in now.holding]
    found.bound.update(_run(now, bound, kept, wanted, until_s))
    at_s = now.state.at_s
    ends_s = np.array(
        [_ends_s(one, lifetimes, draws(one.key, samples, seed), at_s) for one in now.holding]
    ).reshape(len(now.holding), samples)
    helds_s = np.array(
        [
            lifetimes.drawn_s(one.arrival.kind, one.project_id, draws(one.key, samples, seed))
            for one in now.waiting
        ]
    ).reshape(len(waits), samples)
    drawn = {request_id: np.full(samples, inf) for request_id in wanted}
    for sample in range(samples):
        if sample and not go_on():
            drawn = {request_id: column[:sample] for request_id, column in drawn.items()}
            break
        queue = [
            replace(one, held_s=held_s)
            for one, held_s in zip(waits, helds_s[:, sample].tolist(), strict=True)
        ]
        holding = [
            replace(one.holding, end_s=end_s)
            for one, end_s in zip(now.holding, ends_s[:, sample].tolist(), strict=True)
        ]
        for request_id, start_s in _run(now, queue, holding, wanted, until_s).items():
            drawn[request_id][sample] = start_s
    found.drawn.update(drawn)
    return found


def _ends_s(one: Server, lifetimes: Lifetimes, drawn: Floats, at_s: float) -> Floats:
    """Return when a server ends; what uses its whole lifetime ends when that is known to be over,
    which is not counted from its start where it was put off or booted first."""
    lived_s = lifetimes.drawn_s(one.kind, one.project_id, drawn, at_s - one.began_s)
    whole = lived_s >= _limit_s(one.kind)
    return np.where(whole, one.holding.known_end_s, one.began_s + lived_s)


def _limit_s(kind: RequestClass) -> float:
    return float(kind.ttl_s) if kind.ttl_s > 0 else inf


def _run(
    now: Now,
    waiting: Sequence[Arrival],
    holding: Sequence[Holding],
    wanted: Collection[str],
    until_s: float,
) -> dict[str, float]:
    """Return when the wanted start, without those that do not until an instant."""
    state = replace(now.state, waiting=waiting, holding=holding)
    noticed = Grid(now.state.at_s).noticed if len(waiting) > EXACT else None
    timeline = Timeline(now.tree, now.policy, (), begin=state, noticed=noticed)
    found: dict[str, float] = {}
    for leaving in timeline.run():
        if leaving.at_s > until_s:
            break
        if leaving.quota is not None and leaving.request_id in wanted:
            found[leaving.request_id] = leaving.at_s
            if len(found) == len(wanted):
                break
    return found
