"""Decide which waiting requests to dispatch now, and why the others wait.

One answer for the service, the simulator and the API. Must not know the clock, threads, Nova, SQL
or configuration: everything arrives in the arguments. The order is total (priority, then age, then
request id), so the order of the input never matters; the cost follows classes and decisions.
"""

import heapq
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final
from uuid import UUID

import numpy as np
import numpy.typing as npt

from synergy.core import priority
from synergy.core.model import OnPrivateFull, QuotaKind
from synergy.core.queue import ON_FULL, QUOTAS, Waiting, may_borrow, may_own
from synergy.core.quota import QuotaBook
from synergy.core.reasons import Reason
from synergy.core.shares import Bools, Floats, Ints

REASONS: Final = tuple(Reason)
_CODE: Final = {reason: code for code, reason in enumerate(REASONS)}
_OWN: Final = QUOTAS.index(QuotaKind.PRIVATE)
_SHARED: Final = QUOTAS.index(QuotaKind.SHARED)
_REJECT: Final = ON_FULL.index(OnPrivateFull.REJECT)
_FIRST_CHUNK: Final = 256
_UNKNOWN: Final = 2
LONGEST_LIFETIME_S: Final = 366 * 86_400.0  # what a request without end counts with


class Discipline(StrEnum):
    """What happens behind a request that does not fit."""

    FIFO = "fifo"
    GREEDY = "greedy"


class Outcome(StrEnum):
    """What a round does with a request it does not leave waiting."""

    DISPATCH = "dispatch"
    REJECT = "reject"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How a round decides.

    scales          what the factors of the priority are measured with
    backfill_depth  greedy: how many users' different demands that the pool cannot hold are passed
                    over; requests that differ in lifetime, QOS or nice only meet the same bound,
                    so they count once
    round_size      most requests that one round lets go; the next round, with news of what
                    happened meanwhile, takes up the rest
    """

    discipline: Discipline = Discipline.GREEDY
    backfill_depth: int = 100
    round_size: int = 1_000
    weights: priority.Weights = priority.Weights()
    scales: priority.Scales = priority.Scales()


@dataclass(frozen=True, eq=False, kw_only=True)
class Snapshot:
    """Everything a round looks at, frozen.

    waiting     the queue
    at_s        the instant of the round, epoch seconds
    fairshare   shape (a,), factor by association_id
    points      shape (a,), priority of the association, of which the highest is highest_points
    leaf        shape (a,), row of the quota book's tree by association_id
    suspended   shape (a,), True where the project takes no new servers
    book        a fresh accounting over the classes `book.resource_classes`
    demand      shape (s, r), the queue's shapes over the resource classes of the book's tree
    fragmented  shape (s,), True where the sum would fit but no host has the room
    resting     classes by class_id that are not to be tried now, and why
    never       classes by class_id that can never start, and why in words
    site        shape (c,), points of the site's own factors, or one number for all
    """

    waiting: Waiting
    at_s: float
    fairshare: Floats
    leaf: Ints
    suspended: Bools
    book: QuotaBook
    demand: Ints
    fragmented: Bools
    points: Floats
    highest_points: float
    site: priority.Column = 0.0
    resting: Mapping[int, Reason] = field(default_factory=dict)
    never: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """One request that leaves the queue.

    quota   what it holds from now on; None when it is rejected
    reason  why it is rejected, and `why` in words
    """

    request_id: str
    class_row: int
    queued_at_s: float
    outcome: Outcome
    quota: QuotaKind | None = None
    reason: Reason | None = None
    why: str = ""


@dataclass(frozen=True, eq=False)
class Plan:
    """What a round decided.

    decisions  those that leave the queue, in the order in which they were chosen
    complete   False when `round_size` ended the round
    taken      shape (c,), how many of each class they are, its oldest first
    reason     shape (c,), position in REASONS: why the rest of each class waits
    waits_for  shape (c,), position in QUOTAS: the quota whose bounds the reason is about; a class
               that may use either is tried on its private quota first, and then waits by priority
               for the shared one, unless it may never borrow or waits for what was lent
    terms      the weighted terms of each class's oldest member at the start of the round
    priority   shape (c,), their sums
    """

    decisions: tuple[Decision, ...]
    complete: bool
    taken: Ints
    reason: npt.NDArray[np.int8]
    waits_for: npt.NDArray[np.int8]
    terms: priority.Terms
    priority: Floats

    def with_decisions(self, decisions: Sequence[Decision]) -> "Plan":
        """Return a plan with only these of its decisions; the rest is left to the next round."""
        return replace(self, decisions=tuple(decisions), complete=False)

    def reason_of(self, class_row: int) -> Reason:
        """Return why the members of a class that still wait do so."""
        return REASONS[int(self.reason[class_row])]

    def quota_of(self, class_row: int) -> QuotaKind:
        """Return the quota that they wait for."""
        return QUOTAS[int(self.waits_for[class_row])]


def terms_on(quota: QuotaKind, terms: priority.Terms) -> priority.Terms:
    """Return the terms that count for a quota: fair-share is about what is borrowed, so it orders
    nobody on a private quota."""
    return replace(terms, fairshare=0.0) if quota is QuotaKind.PRIVATE else terms


def weighted_terms(
    snapshot: Snapshot, weights: priority.Weights, scales: priority.Scales
) -> priority.Terms:
    """Return the terms of each class's oldest member; a factor without weight is left out."""
    waiting, raw = snapshot.waiting, scales.raw
    tree = snapshot.book.tree
    capacity = tree.amounts(tree.state.total)
    age_s = snapshot.at_s - waiting.head_queued_at_s
    qos = priority.named_points(waiting.qos_names, scales.qos_points, raw="qos" in raw)
    partition = priority.named_points(
        waiting.partition_names, scales.partition_points, raw="partition" in raw
    )
    highest = None if "association" in raw else snapshot.highest_points
    standing = priority.points_factor(snapshot.points, highest)

    def term(weight: float, factor: Callable[[], Floats]) -> priority.Column:
        return weight * factor() if weight else 0.0

    def tres(name: str) -> Floats:
        if name not in tree.resource_classes:
            return np.zeros(len(waiting))
        at = tree.resource_classes.index(name)
        factor = priority.tres_factor(
            snapshot.demand[:, at], capacity[at], normalised="tres" not in raw
        )
        return factor[waiting.shape]

    return priority.Terms(
        age=term(weights.age, lambda: priority.age_factor(age_s, scales.max_age_s)),
        association=term(weights.association, lambda: standing[waiting.association]),
        fairshare=term(weights.fairshare, lambda: snapshot.fairshare[waiting.association]),
        size=term(weights.size, lambda: _size_factor(snapshot, capacity, scales)),
        partition=term(weights.partition, lambda: partition[waiting.partition]),
        qos=term(weights.qos, lambda: qos[waiting.qos]),
        tres={name: weight * tres(name) for name, weight in weights.tres.items() if weight},
        site=snapshot.site,
        nice=waiting.nice.astype(np.float64),
    )


def _size_factor(snapshot: Snapshot, capacity: Ints, scales: priority.Scales) -> Floats:
    waiting, demand = snapshot.waiting, snapshot.demand
    if not scales.size_by_time:
        by_shape = priority.size_factor(demand, capacity, favor_small=scales.favor_small)
        return by_shape[waiting.shape]
    has = capacity > 0
    largest = (demand[:, has] / capacity[has]).max(axis=1, initial=0.0)
    lifetime_s = np.where(waiting.ttl_s > 0, waiting.ttl_s, LONGEST_LIFETIME_S)
    return priority.size_by_time_factor(
        largest[waiting.shape], 1.0, lifetime_s, favor_small=scales.favor_small
    )


def schedule(snapshot: Snapshot, policy: Policy) -> Plan:
    """Return the requests to dispatch or reject, and the reason of every other.

    Whatever may use a private quota is tried on it first, and never waits there behind a request
    for the shared one; the shared quota is then handed out by priority. `snapshot.book` is used up.
    """
    return _Round(snapshot, policy).run()


class _Round:
    """The working state of one call of `schedule`."""

    def __init__(self, snapshot: Snapshot, policy: Policy) -> None:
        self.snapshot, self.policy, self.book = snapshot, policy, snapshot.book
        waiting = self.waiting = snapshot.waiting
        self.terms = weighted_terms(snapshot, policy.weights, policy.scales)
        self.priority = np.broadcast_to(priority.total(self.terms), len(waiting))
        self.reason = np.full(len(waiting), _CODE[Reason.PRIORITY], dtype=np.int8)
        self.may_own, self.may_borrow = may_own(waiting), may_borrow(waiting)
        self.waits_for = np.full(len(waiting), _SHARED, dtype=np.int8)
        self.waits_for[~self.may_borrow] = _OWN
        self.taken = np.zeros(len(waiting), dtype=np.int64)
        self.decisions: list[Decision] = []

    def run(self) -> Plan:
        waiting, snapshot = self.waiting, self.snapshot
        open_ = self._reject_never()
        # By association first: a queue has many classes of each.
        closed = np.where(snapshot.leaf == 0, _UNKNOWN, 0) + snapshot.suspended
        by_class = closed.astype(np.int8)[waiting.association]
        if by_class.any():
            open_ &= self._close((by_class & 1) > 0, Reason.PROJECT_SUSPENDED, open_)
            # users who came a moment ago
            open_ &= self._close(by_class == _UNKNOWN, Reason.PENDING_EVALUATION, open_)
        open_ &= self._close(snapshot.fragmented[waiting.shape], Reason.FRAGMENTED, open_)
        for reason in set(snapshot.resting.values()):
            rest = [key for key, why in snapshot.resting.items() if why is reason]
            open_ &= self._close(np.isin(waiting.class_id, rest), reason, open_)
        lent = self._private(open_ & self.may_own)
        self._shared(open_ & self.may_borrow)
        for row in lent:  # it is to come back: that is why they wait, also those that may borrow
            self.reason[row], self.waits_for[row] = _CODE[Reason.AWAITING_EXPIRY], _OWN
        return Plan(
            decisions=tuple(self.decisions),
            complete=not self.full,
            taken=self.taken,
            reason=self.reason,
            waits_for=self.waits_for,
            terms=self.terms,
            priority=self.priority,
        )

    @property
    def full(self) -> bool:
        """Whether the round has let go as many as it may."""
        return len(self.decisions) >= self.policy.round_size

    def priority_at(self, row: int, queued_at_s: float, quota: QuotaKind) -> float:
        """Return the priority, on a quota, of a member of a class that was queued then."""
        weight, scales = self.policy.weights.age, self.policy.scales
        factor = priority.age_factor(self.snapshot.at_s - queued_at_s, scales.max_age_s)
        terms = self.terms.at(row, weight * float(factor))
        return float(priority.total(terms_on(quota, terms)))

    def _close(self, mask: Bools, reason: Reason, among: Bools) -> Bools:
        """Give `reason` to the classes of `mask`, and return which others stay open."""
        self.reason[mask & among] = _CODE[reason]
        return ~mask

    def _reject_never(self) -> Bools:
        """Reject what can never start, and return the classes that stay open."""
        if not self.snapshot.never:
            return np.ones(len(self.waiting), dtype=np.bool_)
        never = np.isin(self.waiting.class_id, list(self.snapshot.never))
        self.reason[never] = _CODE[Reason.NEVER_FITS]
        order = _Order(self, np.flatnonzero(never), QuotaKind.SHARED)
        while not self.full and (row := next(order, None)) is not None:
            why = self.snapshot.never[int(self.waiting.class_id[row])]
            order.take(Outcome.REJECT, reason=Reason.NEVER_FITS, why=why)
        return ~never

    def _private(self, open_: Bools) -> list[int]:
        """Let start what the private quotas hold, and return the classes that wait for what their
        owner lent."""
        waiting, book = self.waiting, self.book
        rows = np.flatnonzero(open_)
        if not len(rows):
            return []
        owner = np.array(book.tree.owner)[self.snapshot.leaf[waiting.association[rows]]]
        demand = self.snapshot.demand[waiting.shape[rows]]
        may_act = ((demand <= book.private_room(owner)) | (demand == 0)).all(axis=1)
        may_act &= book.server_room(owner) > 0
        self.reason[rows[~may_act]] = _CODE[Reason.NO_FREE_QUOTA]
        may_act |= waiting.on_full[rows] == _REJECT
        order, lent = _Order(self, rows[may_act], QuotaKind.PRIVATE), []
        while not self.full and (row := next(order, None)) is not None:
            leaf, demand = self._leaf(row), self._demand(row)
            blocked = book.blocks_private(leaf, demand)
            if blocked is None:
                book.hold_private(leaf, demand)
                order.take(Outcome.DISPATCH, quota=QuotaKind.PRIVATE)
            elif blocked is Reason.AWAITING_EXPIRY:
                book.reclaim(leaf, demand, int(self._left(row)))
                lent.append(row)
            elif waiting.on_full[row] == _REJECT:
                why = "the private quota cannot hold it now"
                order.take(Outcome.REJECT, reason=blocked, why=why)
            else:
                self.reason[row] = _CODE[blocked]
        return lent

    def _shared(self, open_: Bools) -> None:
        book, policy = self.book, self.policy
        if self.decisions:
            open_ &= self._left() > 0
        either = open_ & self.may_own
        if either.any():
            open_ &= self._may_ever_borrow(either)
            self.reason[either & open_] = _CODE[Reason.PRIORITY]
        open_ &= self._close_disabled(open_)
        open_ &= self._close_limited(open_)
        rows = np.flatnonzero(open_)
        present = np.zeros(len(self.snapshot.demand), dtype=np.bool_)
        present[self.waiting.shape[rows]] = True
        order, fitting = _Order(self, rows, QuotaKind.SHARED), self._fitting_shapes()
        passed_over: set[tuple[int, int]] = set()
        while (fitting & present).any() and (row := next(order, None)) is not None:
            if self.full:
                break
            blocked = book.blocks_shared(self._leaf(row), self._demand(row))
            bound = int(self.waiting.association[row]), int(self.waiting.shape[row])
            if blocked is None:
                book.hold_shared(self._leaf(row), self._demand(row))
                order.take(Outcome.DISPATCH, quota=QuotaKind.SHARED)
                fitting = self._fitting_shapes()
            elif blocked is not Reason.NO_FREE_QUOTA:
                self.reason[row] = _CODE[blocked]  # its own limit stops it, and nobody behind it
            elif bound in passed_over:
                continue
            elif policy.discipline is Discipline.FIFO or len(passed_over) >= policy.backfill_depth:
                break
            else:
                passed_over.add(bound)
        would_fit = fitting[self.waiting.shape[rows]]
        full = rows[~would_fit & (self.reason[rows] == _CODE[Reason.PRIORITY])]
        self.reason[full] = _CODE[Reason.NO_FREE_QUOTA]

    def _may_ever_borrow(self, either: Bools) -> Bools:
        """Leave those that may use either quota, and could never use the shared one, to wait for
        their private quota."""
        rows, stay = np.flatnonzero(either), np.ones(len(either), dtype=np.bool_)
        tree = self.book.tree
        leaf = self.snapshot.leaf[self.waiting.association[rows]]
        limit = np.minimum(tree.borrow_ceiling[leaf], tree.pool_ceiling)
        demand = self.snapshot.demand[self.waiting.shape[rows]]
        owning = rows[((demand > limit) & (demand > 0)).any(axis=1)]
        stay[owning], self.waits_for[owning] = False, _OWN
        return stay

    def _close_disabled(self, open_: Bools) -> Bools:
        """Close the classes that ask for something of which nothing is shared."""
        disabled = self.book.disabled
        if not disabled.any():
            return open_
        asks: Bools = np.any(self.snapshot.demand[:, disabled] > 0, axis=1)
        return self._close(asks[self.waiting.shape], Reason.SHARED_QUOTA_DISABLED, open_)

    def _fitting_shapes(self) -> Bools:
        """Tell, shape (s,), which shapes the pool could hold now."""
        demand = self.snapshot.demand
        fits: Bools = ((demand <= self.book.pool_free()) | (demand == 0)).all(axis=1)
        return fits

    def _close_limited(self, open_: Bools) -> Bools:
        """Close the classes that a limit on their own path stops already, all at once."""
        if not self.book.tree.bounded:
            return open_
        room = self.book.room_below_limits()
        rows = np.flatnonzero(open_)
        demand = self.snapshot.demand[self.waiting.shape[rows]]
        leaf = self.snapshot.leaf[self.waiting.association[rows]]
        stuck = rows[((demand > room[leaf]) & (demand > 0)).any(axis=1)]
        for row in stuck:
            blocked = self.book.blocks_shared(self._leaf(row), self._demand(row))
            self.reason[row] = _CODE[blocked or Reason.PROJECT_BORROW_LIMIT]
        open_ = open_.copy()
        open_[stuck] = False
        return open_

    def _left(self, row: int | slice = slice(None)) -> Ints:
        """Return how many members of a class, or of each, still wait."""
        left: Ints = self.waiting.end[row] - self.waiting.first[row] - self.taken[row]
        return left

    def _leaf(self, row: int) -> int:
        return int(self.snapshot.leaf[self.waiting.association[row]])

    def _demand(self, row: int) -> Ints:
        demand: Ints = self.snapshot.demand[self.waiting.shape[row]]
        return demand


class _Order(Iterator[int]):
    """Walks requests by (priority on a quota, age, id) over classes, looking at as few of them as
    it can.

    The best heads are sorted out of the columns in growing chunks; a class whose head was taken
    comes back through a heap with its next member. A class whose head is left alone does not come
    back: its other members would meet the same bound.
    """

    def __init__(self, round_: _Round, rows: Ints, quota: QuotaKind) -> None:
        self._round, self._quota, self._chunk_size = round_, quota, _FIRST_CHUNK
        self._ranks = round_.priority
        if quota is QuotaKind.PRIVATE:
            terms = terms_on(quota, round_.terms)
            self._ranks = np.broadcast_to(priority.total(terms), len(round_.waiting))
        self._chunk: list[tuple[float, float, bytes, int]] = []
        self._heap: list[tuple[float, float, bytes, int]] = []
        self._rest = rows
        if round_.decisions:
            # The columns are about heads; those of these classes were taken, by the other quota.
            touched = round_.taken[rows] > 0
            self._rest = rows[~touched]
            for row in map(int, rows[touched]):
                self._line_up(row)

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        if not self._chunk and len(self._rest):
            self._next_chunk()
        if self._heap and (not self._chunk or self._heap[0] < self._chunk[-1]):
            self._at = heapq.heappop(self._heap)
        elif self._chunk:
            self._at = self._chunk.pop()
        else:
            raise StopIteration
        return self._at[3]

    def take(
        self,
        outcome: Outcome,
        *,
        quota: QuotaKind | None = None,
        reason: Reason | None = None,
        why: str = "",
    ) -> None:
        """Let the request at hand leave the queue, and line up the next of its class."""
        _, queued_at_s, key, row = self._at
        request_id = str(UUID(bytes=key))
        self._round.decisions.append(
            Decision(request_id, row, queued_at_s, outcome, quota, reason, why)
        )
        self._round.taken[row] += 1
        self._line_up(row)

    def _line_up(self, row: int) -> None:
        """Put the oldest member of a class that was not taken yet where it belongs."""
        waiting, line = self._round.waiting, self._round.waiting.lines[row]
        position = int(waiting.first[row] + self._round.taken[row])
        if position < waiting.end[row]:
            queued_at_s = line.queued_at_s[position]
            rank = self._round.priority_at(row, queued_at_s, self._quota)
            heapq.heappush(self._heap, (-rank, queued_at_s, line.id_at(position), row))

    def _next_chunk(self) -> None:
        rows, waiting = self._rest, self._round.waiting
        best = _best(self._ranks[rows], waiting.head_queued_at_s[rows], self._chunk_size)
        chosen = rows[best]
        self._chunk = sorted(
            (
                (
                    -float(self._ranks[row]),
                    float(waiting.head_queued_at_s[row]),
                    waiting.lines[row].id_at(int(waiting.first[row])),
                    int(row),
                )
                for row in chosen
            ),
            reverse=True,
        )
        left = np.ones(len(rows), dtype=np.bool_)
        left[best] = False
        self._rest = rows[left]
        self._chunk_size *= 4


def _best(ranks: Floats, queued_at_s: Floats, count: int) -> Ints:
    """Return positions of at least `count` best, with all that tie with the last of them."""
    if len(ranks) <= count:
        return np.arange(len(ranks))
    bound = np.partition(ranks, len(ranks) - count)[len(ranks) - count]
    above, tied = np.flatnonzero(ranks > bound), np.flatnonzero(ranks == bound)
    wanted = count - len(above)
    if len(tied) > wanted:
        last = np.partition(queued_at_s[tied], wanted - 1)[wanted - 1]
        tied = tied[queued_at_s[tied] <= last]
    return np.concatenate([above, tied])
