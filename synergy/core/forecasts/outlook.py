"""When servers would start that nobody asked for yet: some more behind everything that waits.

Why: who knows that five small servers start now and one large one tomorrow asks for the small
ones. It runs the queue forward as a forecast does, so both agree. Must not know flavors, or where
state and history come from.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Final
from uuid import UUID

import numpy as np

from synergy.core.forecasts.correction import Correction, Interval, Raw, quantiles
from synergy.core.forecasts.lifetimes import Lifetimes
from synergy.core.forecasts.starts import Now, Server, Wanted, forecast_starts
from synergy.core.model import RequestClass
from synergy.core.rounds.timeline import Arrival

COUNTS: Final = (1, 5, 10)  # servers whose starts are foreseen
MAX_NOW: Final = 100  # servers that are tried to start at once
_LAST_KEY: Final = 2**128 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreseen:
    """What would become of servers of one class.

    starts_now  how many of MOST_NOW would start at once
    starts      by each of COUNTS, when so many have started: seconds from now, infinite for what
                never starts as far as is known
    """

    starts_now: int
    starts: tuple[Interval, ...]


def foresee(
    now: Now,
    kind: RequestClass,
    project_id: str,
    lifetimes: Lifetimes,
    correction: Correction,
    *,
    size: float,
    samples: int,
    go_on: Callable[[], bool],
) -> Foreseen:
    """Return when servers of a class would start if they were asked for now.

    now    its tree has every resource class of the demand, and its policy starts MOST_NOW more in a
           round than wait
    size   largest part of the pool that one of them asks for
    go_on  as for `forecast_starts`
    """
    at_s = now.state.at_s
    now = replace(now, holding=[_still(one, at_s) for one in now.holding])
    at_once = forecast_starts(
        _with(now, kind, project_id, MAX_NOW), lifetimes, wanted=_ids(MAX_NOW), samples=0, seed=0,
        until_s=at_s,
    )  # fmt: skip
    ids = _ids(max(COUNTS))
    found = forecast_starts(
        _with(now, kind, project_id, len(ids)), lifetimes, wanted=ids, samples=samples, seed=0,
        go_on=go_on,
    )  # fmt: skip
    drawn_s = np.sort(np.array([found.drawn[one] for one in ids]), axis=0) - at_s
    bound_s = sorted(max(found.bound.get(one, inf) - at_s, 0.0) for one in ids)
    starts: list[Interval] = []
    for count in COUNTS:
        limit_s = bound_s[count - 1]
        p50_s, p90_s = (min(one_s, limit_s) for one_s in quantiles(drawn_s[count - 1]))
        raw = Raw(p50_s=p50_s, p90_s=p90_s, bound_s=limit_s, size=size)
        starts.append(_not_before(starts, correction.corrected(raw)))
    return Foreseen(starts_now=len(at_once.bound), starts=tuple(starts))


def _with(now: Now, kind: RequestClass, project_id: str, count: int) -> Now:
    more = [
        Wanted(
            key=UUID(request_id).int,
            project_id=project_id,
            arrival=Arrival(at_s=now.state.at_s, request_id=request_id, kind=kind, held_s=inf),
        )
        for request_id in _ids(count)
    ]
    return replace(now, waiting=[*now.waiting, *more])


def _not_before(earlier: Sequence[Interval], one: Interval) -> Interval:
    """Return an interval none of whose ends is before that of fewer servers."""
    if not earlier:
        return one
    p50_s, p90_s = max(earlier[-1].p50_s, one.p50_s), max(earlier[-1].p90_s, one.p90_s)
    return replace(one, p50_s=p50_s, p90_s=p90_s)


def _ids(count: int) -> Sequence[str]:
    """Return ids behind every other that came at the same instant."""
    return [str(UUID(int=_LAST_KEY - count + 1 + number)) for number in range(count)]


def _still(one: Server, at_s: float) -> Server:
    """Return a server that still holds what it has: one that is overdue does, until it ends."""
    known_end_s = max(one.holding.known_end_s, at_s + 1.0)
    return replace(one, holding=replace(one.holding, known_end_s=known_end_s))
