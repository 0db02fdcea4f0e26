"""Draws forecasts of what waits, from values that can be sent to another process.

Why: what is drawn is the same wherever that happens. What is sent is packed, class by class: to
send a queue request by request would take longer than a round. Must not know the store, clocks or
processes.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final
from uuid import UUID

from synergy.core.accounts import user_node
from synergy.core.events import FactorsChanged
from synergy.core.forecasts.correction import Correction, Interval, Raw, quantiles
from synergy.core.forecasts.lifetimes import Lifetimes
from synergy.core.forecasts.starts import Now, Server, Wanted, forecast_starts
from synergy.core.ids import ID_BYTES
from synergy.core.model import QuotaKind, RequestClass, Resources
from synergy.core.quota import QuotaState, QuotaTree
from synergy.core.rounds.policy import Policy
from synergy.core.rounds.timeline import Arrival, Holding, LiveState

PART: Final = 500  # forecasts that are given at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Requests of one class that wait, the oldest first; ids and instants as the store has them."""

    kind: RequestClass
    project_id: str
    ids: bytes
    queued_at_s: Sequence[float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A request that holds quota.

    key          its uuid as a number
    began_s      since when
    known_end_s  when its lifetime is over, infinite without end
    """

    key: int
    kind: RequestClass
    project_id: str
    began_s: float
    known_end_s: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Queue:
    """What waits and holds quota at an instant, and how it is decided about.

    suspended  associations whose project takes no new servers
    """

    at_s: float
    state: QuotaState
    policy: Policy
    lines: Sequence[Line]
    held: Sequence[Held]
    suspended: frozenset[int]
    factors: FactorsChanged

    def now(self, more: Collection[str] = ()) -> Now:
        """Return it as it is run forward.

        more  resource classes that neither what waits nor what is held has
        """
        names = {name for line in self.lines for name in line.kind.demand}
        names |= {name for one in self.held for name in one.kind.demand}
        names |= {*more, *self.state.resource_classes()}
        tree = QuotaTree(self.state, tuple(sorted(names)))
        return Now(
            tree=tree,
            policy=self.policy,
            state=LiveState(at_s=self.at_s, suspended=self.suspended, factors=self.factors),
            waiting=[one for line in self.lines for one in _members(line)],
            holding=[_server(one, tree) for one in self.held],
        )


def _members(line: Line) -> Iterator[Wanted]:
    for place, queued_at_s in enumerate(line.queued_at_s):
        key = UUID(bytes=line.ids[place * ID_BYTES : (place + 1) * ID_BYTES])
        arrival = Arrival(at_s=queued_at_s, request_id=str(key), kind=line.kind, held_s=inf)
        yield Wanted(key=key.int, project_id=line.project_id, arrival=arrival)


def _server(one: Held, tree: QuotaTree) -> Server:
    kind = one.kind
    return Server(
        key=one.key,
        kind=kind,
        project_id=one.project_id,
        holding=Holding(
            leaf=tree.row.get(user_node(kind.association_id), 0),
            demand=tree.amounts(kind.demand),
            quota=kind.quota,
            known_end_s=one.known_end_s if kind.quota is QuotaKind.SHARED else inf,
            end_s=inf,
        ),
        began_s=one.began_s,
    )


@dataclass(frozen=True, eq=False, kw_only=True)
class Question:
    """Which starts are to be forecast, and what is known of lifetimes and of earlier forecasts."""

    queue: Queue
    wanted: frozenset[str]
    lifetimes: Lifetimes
    correction: Correction
    samples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A forecast of one request, in seconds from the instant of the queue."""

    request_id: str
    project_id: str
    raw: Raw
    published: Interval


def draw(question: Question, go_on: Callable[[], bool]) -> Iterator[list[Drawn]]:
    """Yield the forecasts that are wanted, some at a time; `go_on` as for `forecast_starts`."""
    now = question.queue.now()
    starts = forecast_starts(
        now, question.lifetimes, wanted=question.wanted, samples=question.samples, seed=0,
        go_on=go_on,
    )  # fmt: skip
    at_s, part = question.queue.at_s, list[Drawn]()
    for one in now.waiting:
        request_id = one.arrival.request_id
        if request_id not in question.wanted:
            continue
        bound_s = max(0.0, starts.bound.get(request_id, inf) - at_s)
        p50_s, p90_s = (
            min(max(0.0, start_s - at_s), bound_s)
            for start_s in quantiles(starts.drawn[request_id])
        )
        size = size_in(one.arrival.kind.demand, now.tree)
        raw = Raw(p50_s=p50_s, p90_s=p90_s, bound_s=bound_s, size=size)
        published = question.correction.corrected(raw)
        part.append(
            Drawn(request_id=request_id, project_id=one.project_id, raw=raw, published=published)
        )
        if len(part) == PART:
            yield part
            part = []
    if part:
        yield part


def size_in(demand: Resources, tree: QuotaTree) -> float:
    """Return the largest part of the cloud that is asked for."""
    capacity = dict(zip(tree.resource_classes, tree.capacity.tolist(), strict=True))
    return max((n / capacity[name] for name, n in demand.amounts if capacity[name]), default=0.0)
