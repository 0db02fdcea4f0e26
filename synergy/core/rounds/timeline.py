"""Runs the queue forward: ends, arrivals, then one round, from instant to instant.

Why: a replay of a log, a forecast and a what-if are the same question, what starts when if this
arrives and that ends, and all of them ask the function that decides for the service. Must not know
clocks, threads, SQL or logs.

An instant at which nothing can have changed gets no round: nothing waits; nothing of what waits
fits into what is free; or the order is that of arrival, and what arrived does not fit, or may not
pass what waits already.
"""

import heapq
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Final, NamedTuple, Protocol

import numpy as np

from synergy.core.accounts import user_node
from synergy.core.events import FactorsChanged
from synergy.core.model import QuotaKind, RequestClass
from synergy.core.never import Ceilings
from synergy.core.priority import Column
from synergy.core.queue import Waiting, WaitingQueue
from synergy.core.quota import QuotaBook, QuotaTree, fits
from synergy.core.rounds.checks import FORESEEABLE
from synergy.core.rounds.decide import NO_FACTS, decide
from synergy.core.rounds.plan import Decision, Outcome, Plan
from synergy.core.rounds.policy import Discipline, Policy
from synergy.core.rounds.profile import KnownEnd
from synergy.core.rounds.snapshot import NO_FACTORS, Asked, Snapshot, demand_over, widened
from synergy.core.shares import Ints

_FIRST_ROWS: Final = 64
OnRound = Callable[[Snapshot, Plan], None]


class Factors(Protocol):
    """Fair-share factors, which are computed anew at instants of their own."""

    @property
    def due_s(self) -> float:
        """When they are computed next; `at` of that instant or a later one puts it off."""

    def at(self, at_s: float) -> FactorsChanged:
        """Return the factors at an instant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A request that arrives.

    at_s    seconds on the timeline's own scale
    held_s  how long it holds quota once it starts, infinite without end. A round does not know it:
            that takes `kind.ttl_s` for it
    """

    at_s: float
    request_id: str
    kind: RequestClass
    held_s: float


@dataclass(frozen=True, slots=True)
class Leaving:
    """A request that leaves the queue, and when: it starts on a quota, or is refused (None)."""

    request_id: str
    at_s: float
    quota: QuotaKind | None


class _Server(NamedTuple):
    """A started request: what it holds, and its end as far as a round knows."""

    quota: QuotaKind
    demand: Ints
    known: KnownEnd


class _Kind(NamedTuple):
    """A class of requests that arrived: its number, and what each asks for by resource class."""

    class_id: int
    leaf: int
    amounts: tuple[int, ...]
    demand: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """A server that holds quota when a run begins.

    leaf         row of the quota tree
    demand       shape (r,), over the resource classes of the tree
    known_end_s  when its lifetime is over, infinite without end: what a round knows
    end_s        when it ends in this run, infinite if never; what is over already ends at once
    """

    leaf: int
    demand: Ints
    quota: QuotaKind
    known_end_s: float
    end_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveState:
    """What a run begins with, on the timeline's own scale of seconds.

    at_s       the first instant, which gets a round if anything waits
    waiting    what waits already, in any order; of each, `at_s` is when it was queued
    holding    what holds quota
    reserved   by class, the instants from which its members, the oldest first, have what they ask
               for: see `Snapshot`
    suspended  associations whose project takes no new servers
    factors    the fair-share factors as computed last
    """

    at_s: float
    waiting: Sequence[Arrival] = ()
    holding: Sequence[Holding] = ()
    reserved: Mapping[RequestClass, Sequence[float]] = field(default_factory=dict)
    suspended: Collection[int] = ()
    factors: FactorsChanged = NO_FACTORS


class Timeline:
    """One run; `tree` has every resource class and every user that arrives."""

    def __init__(
        self,
        tree: QuotaTree,
        policy: Policy,
        arrivals: Iterable[Arrival],
        *,
        begin: LiveState | None = None,
        factors: Factors | None = None,
        on_round: OnRound = lambda _snapshot, _plan: None,
        noticed: Callable[[float], float] | None = None,
        site: Callable[[Waiting, float], Column] | None = None,
    ) -> None:
        """Prepare a run.

        arrivals  in the order of their instants; of those of one instant, the one with the lowest
                  id goes first
        begin     what waits and holds quota already; None for an empty queue and nothing held.
                  What arrives comes at its instant or later
        factors   computes the fair-share factors; None where they do not change, or do not count
        on_round  is called with every round
        noticed   gives the instant at which what ends is noticed, so that many ends have one round;
                  None where each is noticed when it ends
        site      gives the points of the site's own factors at an instant; None where it has none
        """
        self._noticed, self._site = noticed, site
        self._tree, self._policy, self._factors = tree, policy, factors
        self._on_round = on_round
        self._book, self._queue = QuotaBook(tree), WaitingQueue()
        self._arrivals = iter(arrivals)
        self._later: list[tuple[float, str, Arrival]] = []  # submitted, or taken from `arrivals`
        self._next: Arrival | None = self._following()
        self._ends: list[tuple[float, int]] = []
        self._servers: dict[int, _Server] = {}
        self._known: list[KnownEnd] = []  # of what is held on the shared quota, in order
        self._started = 0
        self._kinds: dict[RequestClass, _Kind] = {}
        self._waiting: dict[str, tuple[Arrival, _Kind]] = {}
        self._asks: dict[int, Asked] = {}
        self._asked: Counter[tuple[int, ...]] = Counter()  # by those that wait
        self._leaf: Ints = np.zeros(_FIRST_ROWS, dtype=np.int64)
        self._closed = np.zeros(_FIRST_ROWS, dtype=np.bool_)  # whose project takes no new servers
        self._stand(NO_FACTORS)
        self._matrix: tuple[Ints, Ints] | None = None  # the queue's own demand, and the tree's
        self._ceilings = Ceilings(tree)
        self._never: dict[int, str] = {}  # classes that can never start, and why
        self._refusing = False  # whether one of these waits to be refused
        self._reserved: dict[int, Sequence[float]] = {}
        weights = policy.weights
        others = (weights.association, weights.fairshare, weights.size, weights.partition)
        self._by_arrival = not (any(others) or weights.qos or weights.tres or site)
        self._only_shared = True
        self._suspended = frozenset[int]()
        self._at_s = -inf  # of the last round, or where none was due
        self._first_s = inf  # an instant at which nothing has to end or arrive
        if begin is not None:
            self._begin(begin)

    def run(self) -> Iterator[Leaving]:
        """Yield the requests as they leave the queue, until nothing more happens."""
        while (at_s := self._next_s()) < inf:
            self._at_s = at_s
            changed = self._end(at_s) or at_s == self._first_s
            arrived = self._arrive(at_s)
            self._first_s = inf
            if self._factors is not None and self._factors.due_s <= at_s:
                self._stand(self._factors.at(at_s))
                changed = True
            if self._may_start(arrived, changed=changed):
                yield from self._round(at_s)

    def submit(self, one: Arrival) -> None:
        """Let a request arrive that `arrivals` does not have, now or later: of somebody who waits
        for the end of a server before asking for another. To be called between two of `run`."""
        if self._next is None:
            self._next = one
            return
        self._next, second = sorted((self._next, one), key=_at)
        heapq.heappush(self._later, (*_at(second), second))

    def _following(self) -> Arrival | None:
        """Return what arrives next, and forget it."""
        if (one := next(self._arrivals, None)) is not None:
            heapq.heappush(self._later, (*_at(one), one))
        return heapq.heappop(self._later)[2] if self._later else None

    @property
    def waiting(self) -> frozenset[str]:
        """The requests that still wait."""
        return frozenset(self._waiting)

    def _next_s(self) -> float:
        ends_s = self._ends[0][0] if self._ends else inf
        arrives_s = self._next.at_s if self._next else inf
        if self._first_s < inf:
            return self._first_s
        due_s = inf
        if self._factors is not None and (self._ends or (self._waiting and self._next)):
            due_s = self._factors.due_s  # where nothing runs, nothing but a start could follow
        return min(ends_s, arrives_s, due_s)

    def _begin(self, state: LiveState) -> None:
        self._first_s, self._suspended = state.at_s, frozenset(state.suspended)
        self._stand(state.factors)
        for one in state.holding:
            if one.quota is QuotaKind.SHARED:
                self._book.hold_shared(one.leaf, one.demand)
            else:
                self._book.hold_private(one.leaf, one.demand)
            known = KnownEnd(one.known_end_s, one.leaf, tuple(one.demand.tolist()))
            self._hold(_Server(one.quota, one.demand, known), one.end_s)
        for waits in state.waiting:
            self._put(waits)
        self._reserved = {
            self._kinds[kind].class_id: at_s
            for kind, at_s in state.reserved.items()
            if kind in self._kinds
        }

    def _stand(self, factors: FactorsChanged) -> None:
        """Let factors count from now on, for every association that there is room for."""
        width = len(self._leaf)
        self._standing = FactorsChanged(
            widened(factors.factors, width), widened(factors.points, width), factors.highest_points
        )

    def _end(self, at_s: float) -> bool:
        """End the servers whose time has come; tell whether there were any."""
        ended = False
        while self._ends and self._ends[0][0] <= at_s:
            quota, demand, known = self._servers.pop(heapq.heappop(self._ends)[1])
            ended = True
            if quota is QuotaKind.SHARED:
                self._book.release_shared(known.leaf, demand)
                if known.at_s < inf:
                    del self._known[bisect_left(self._known, known)]
            else:
                self._book.release_private(known.leaf, demand)
        return ended

    def _arrive(self, at_s: float) -> list[tuple[int, ...]]:
        """Queue what arrives; return what it asks for."""
        asked = []
        while self._next is not None and self._next.at_s <= at_s:
            asked.append(self._put(self._next).amounts)
            self._next = self._following()
        return asked

    def _put(self, one: Arrival) -> _Kind:
        """Put a request into the queue."""
        kind = self._kinds.get(one.kind)
        if kind is None:
            kind = self._kinds[one.kind] = self._meet(one.kind)
        self._refusing |= kind.class_id in self._never
        self._queue.add(kind.class_id, one.kind, one.request_id, one.at_s)
        self._waiting[one.request_id] = one, kind
        self._asked[kind.amounts] += 1
        self._by_arrival &= not one.kind.nice
        self._only_shared &= not one.kind.may_own
        return kind

    def _may_start(self, arrived: list[tuple[int, ...]], *, changed: bool) -> bool:
        """Return whether a round could let anything start.

        changed  whether anything but an arrival happened
        """
        if not self._waiting:
            return False
        discipline, asked = self._policy.discipline, iter(self._asked)
        if not self._only_shared or discipline is Discipline.CONSERVATIVE or self._refusing:
            # A private quota may have room; whoever arrives gets a reservation, or is refused.
            return True
        if self._by_arrival and discipline is Discipline.FIFO and not self._tree.bounded:
            _, first = next(iter(self._waiting.values()))  # nobody passes it
            asked = iter((first.amounts,))
        elif self._by_arrival and not changed:
            asked = iter(arrived)
        free = self._book.free_amounts()
        for amounts in asked:  # noqa: SIM110 - `any` would take twice as long
            if fits(amounts, free):
                return True
        return False

    def _round(self, at_s: float) -> Iterator[Leaving]:
        self._book.forget_claims()
        snapshot = self._snapshot(at_s)
        plan = decide(snapshot, NO_FACTS, self._policy, FORESEEABLE)
        self._on_round(snapshot, plan)
        self._book = plan.book
        self._reserved = plan.reserved(snapshot.waiting.class_id)
        self._refusing = False
        for decision in plan.decisions:
            yield self._leave(decision, snapshot)

    def _snapshot(self, at_s: float) -> Snapshot:
        waiting = self._queue.snapshot()
        factors = self._standing
        return Snapshot(
            waiting=waiting,
            at_s=at_s,
            fairshare=factors.factors,
            points=factors.points,
            highest_points=factors.highest_points,
            leaf=self._leaf,
            suspended=self._closed,
            never=self._never,
            book=self._book,
            demand=self._demand_of(waiting),
            ends=self._known.copy(),
            asks=self._asks,
            reserved=self._reserved,
            site=self._site(waiting, at_s) if self._site else 0.0,
        )

    def _demand_of(self, waiting: Waiting) -> Ints:
        """Return the queue's shapes over the tree's resource classes; the queue keeps its own until
        a new shape arrives."""
        if self._matrix is None or self._matrix[0] is not waiting.demand:
            self._matrix = waiting.demand, demand_over(waiting, self._tree.resource_classes)
        return self._matrix[1]

    def _leave(self, decision: Decision, snapshot: Snapshot) -> Leaving:
        at_s = snapshot.at_s
        one, kind = self._waiting.pop(decision.request_id)
        self._queue.remove(kind.class_id, decision.request_id, decision.queued_at_s)
        self._asked[kind.amounts] -= 1
        if not self._asked[kind.amounts]:
            del self._asked[kind.amounts]
        if decision.outcome is Outcome.DISPATCH and decision.quota is not None:
            known_end_s = at_s + one.kind.ttl_s if one.kind.ttl_s > 0 else inf
            known = KnownEnd(known_end_s, kind.leaf, kind.amounts)
            self._hold(_Server(decision.quota, kind.demand, known), at_s + one.held_s)
        return Leaving(one.request_id, at_s, decision.quota)

    def _hold(self, server: _Server, end_s: float) -> None:
        """Let a server hold until an instant what the book counts already."""
        self._started += 1
        self._servers[self._started] = server
        if end_s < inf:
            noticed_s = max(self._at_s, self._noticed(end_s)) if self._noticed else end_s
            heapq.heappush(self._ends, (noticed_s, self._started))
        if server.quota is QuotaKind.SHARED and server.known.at_s < inf:
            insort(self._known, server.known)

    def _meet(self, kind: RequestClass) -> _Kind:
        """Number a class that arrives for the first time, and note whose it is."""
        class_id, association_id = 1 + len(self._kinds), kind.association_id
        if why := self._ceilings.why(user_node(association_id), kind):
            self._never[class_id] = why
        if association_id >= len(self._leaf):
            self._leaf = widened(self._leaf, 2 * association_id + 1)
            self._closed = widened(self._closed, len(self._leaf))
            self._stand(self._standing)
        leaf = self._tree.row.get(user_node(association_id), 0)
        self._closed[association_id] = association_id in self._suspended
        self._leaf[association_id] = leaf
        demand = self._tree.amounts(kind.demand)
        return _Kind(class_id, leaf, tuple(demand.tolist()), demand)


def _at(one: Arrival) -> tuple[float, str]:
    return one.at_s, one.request_id
