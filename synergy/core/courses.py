"""Runs a queue to its end under two sets of rules, and tells who starts earlier or later.

Why: an operator who changes a share, a quota or a policy wants to know whom it helps and whom it
costs before it is done. Lifetimes are taken to run out, and nobody asks for anything more. Must not
know where the queue comes from, or how an answer looks.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

import numpy as np

from synergy.core.delivery import amounts_in, error_of
from synergy.core.foreseen import ForeseenUsage
from synergy.core.model import QuotaKind, RequestClass, Resources
from synergy.core.priority import Column
from synergy.core.queue import Waiting
from synergy.core.quota import QuotaTree
from synergy.core.rounds.policy import Policy
from synergy.core.rounds.timeline import Arrival, LiveState, Timeline

_WINDOWS: Final = 100
Rate = Callable[[Resources], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What an association holds when a run begins, and until when as far as is known."""

    association_id: int
    demand: Resources
    quota: QuotaKind
    end_s: float


@dataclass(frozen=True, eq=False, kw_only=True)
class World:
    """The rules that a run follows, and what it begins with.

    capacity  VCPUs of the cloud
    held      what `begin.holding` is, by association
    site      see `Timeline`
    """

    tree: QuotaTree
    policy: Policy
    begin: LiveState
    held: Sequence[Held]
    usage: ForeseenUsage
    capacity: float
    site: Callable[[Waiting, float], Column] | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Course:
    """How a run went.

    starts_s  by request, when it starts; who is not in it never does, for want of an end or of room
    spans     (association_id, quota, begin, end, VCPUs) of everything that held quota
    """

    starts_s: Mapping[str, float]
    spans: Sequence[tuple[int, QuotaKind, float, float, float]]
    waiting: Sequence[Arrival]
    begin_s: float
    capacity: float

    @property
    def last_s(self) -> float:
        """When the last request starts."""
        return max(self.starts_s.values(), default=self.begin_s)


def run(world: World, rate: Rate) -> Course:
    """Run a queue until nothing more happens; `rate` bills what a request asks for."""
    begin_s, usage = world.begin.at_s, world.usage
    spans = []
    for one in world.held:
        vcpus = float(one.demand.get("VCPU", 0))
        spans.append((one.association_id, one.quota, begin_s, one.end_s, vcpus))
        if one.quota is QuotaKind.SHARED:
            usage.hold(one.association_id, begin_s, one.end_s, rate(one.demand))
    waiting = {arrival.request_id: arrival for arrival in world.begin.waiting}
    timeline = Timeline(
        world.tree, world.policy, (), begin=world.begin, factors=usage, site=world.site
    )
    starts_s: dict[str, float] = {}
    left = len(waiting)
    for leaving in timeline.run() if waiting else ():
        left -= 1
        if leaving.quota is None:
            continue
        started, at_s = waiting[leaving.request_id], leaving.at_s
        starts_s[leaving.request_id] = at_s
        who, demand = started.kind.association_id, started.kind.demand
        end_s = at_s + started.held_s
        spans.append((who, leaving.quota, at_s, end_s, float(demand.get("VCPU", 0))))
        if leaving.quota is QuotaKind.SHARED:
            usage.hold(who, at_s, end_s, rate(demand))
        if not left:
            break  # what runs then ends at instants that are known
    return Course(
        starts_s=starts_s,
        spans=spans,
        waiting=world.begin.waiting,
        begin_s=begin_s,
        capacity=world.capacity,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What a run delivers until an instant.

    utilisation  fraction of the cloud's VCPUs that managed projects hold
    share_error  see `delivery.error_of`; of the shared quota alone
    """

    requests: int
    start: int
    mean_wait_s: float
    utilisation: float
    share_error: float
    last_start_s: float | None


def delivered(
    course: Course, until_s: float, place: Mapping[int, int], promised: Sequence[float]
) -> Delivered:
    """Measure a run.

    until_s   the same for all runs that are compared
    place     by association, which project it is of
    promised  fraction of the whole, by project
    """
    edges_s = np.linspace(course.begin_s, max(until_s, course.begin_s + 1.0), _WINDOWS + 1)
    held = _table([span for span in course.spans if span[0] in place], place, edges_s[-1])
    whole = float(amounts_in(held[:, 1], held[:, 2], held[:, 3], edges_s).sum())
    shared = [span for span in course.spans if span[1] is QuotaKind.SHARED and span[0] in place]
    asks = [
        (one.kind.association_id, QuotaKind.SHARED, course.begin_s,
         course.starts_s.get(one.request_id, inf), float(one.kind.demand.get("VCPU", 0)))
        for one in course.waiting
        if one.kind.association_id in place and one.kind.may_borrow
    ]  # fmt: skip
    had, wanted = (
        _by_project(_table(spans, place, edges_s[-1]), edges_s, len(promised))
        for spans in (shared, [*shared, *asks])
    )
    waits_s = [
        course.starts_s[one.request_id] - one.at_s
        for one in course.waiting
        if one.request_id in course.starts_s
    ]
    return Delivered(
        requests=len(course.waiting),
        start=len(course.starts_s),
        mean_wait_s=float(np.mean(waits_s)) if waits_s else 0.0,
        utilisation=whole / (course.capacity * (edges_s[-1] - edges_s[0]))
        if course.capacity
        else 0.0,
        share_error=error_of(had, wanted, np.array(promised, dtype=np.float64)),
        last_start_s=course.last_s if course.starts_s else None,
    )


def _table(
    spans: Sequence[tuple[int, QuotaKind, float, float, float]],
    place: Mapping[int, int],
    until_s: float,
) -> "np.ndarray[tuple[int, int], np.dtype[np.float64]]":
    rows = [(place[who], begin_s, min(end_s, until_s), v) for who, _, begin_s, end_s, v in spans]
    table = np.array(rows, dtype=np.float64).reshape(len(rows), 4)
    table[:, 2] = np.maximum(table[:, 1], table[:, 2])
    return table


def _by_project(
    table: "np.ndarray[tuple[int, int], np.dtype[np.float64]]",
    edges_s: "np.ndarray[tuple[int], np.dtype[np.float64]]",
    count: int,
) -> "np.ndarray[tuple[int, int], np.dtype[np.float64]]":
    columns = []
    for one in range(count):
        mine = table[table[:, 0] == one]
        columns.append(amounts_in(mine[:, 1], mine[:, 2], mine[:, 3], edges_s))
    return np.array(columns).T.reshape(len(edges_s) - 1, count)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What becomes of one request; None where it never starts."""

    request_id: str
    kind: RequestClass
    before_s: float | None
    after_s: float | None

    @property
    def by_s(self) -> float:
        """How much later it starts, negative if earlier; infinite where it starts in one run only,
        0 where in neither."""
        before_s = inf if self.before_s is None else self.before_s
        after_s = inf if self.after_s is None else self.after_s
        return 0.0 if before_s == after_s else after_s - before_s


def changes(before: Course, after: Course) -> list[Change]:
    """Return what becomes of the requests that wait in either run, by id."""
    kinds = {one.request_id: one.kind for one in (*before.waiting, *after.waiting)}
    both = {one.request_id for one in before.waiting} & {one.request_id for one in after.waiting}
    return [
        Change(
            request_id=key,
            kind=kinds[key],
            before_s=before.starts_s.get(key),
            after_s=after.starts_s.get(key),
        )
        for key in sorted(both)
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """How a group of requests fares.

    mean_s  how much later they start on average, of those that start in both runs
    never   how many start no longer, and `after_all` how many start only afterwards
    """

    earlier: int
    later: int
    same: int
    never: int
    after_all: int
    mean_s: float


def effect(found: Sequence[Change]) -> Effect:
    """Return how a group of requests fares."""
    by_s = [one.by_s for one in found]
    both = [value for value in by_s if abs(value) < inf]
    return Effect(
        earlier=sum(-inf < value < 0 for value in by_s),
        later=sum(0 < value < inf for value in by_s),
        same=sum(value == 0 for value in by_s),
        never=sum(value == inf for value in by_s),
        after_all=sum(value == -inf for value in by_s),
        mean_s=float(np.mean(both)) if both else 0.0,
    )
