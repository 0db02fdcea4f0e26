"""The one decision function: which waiting requests start now, and why the others wait.

One answer for the service, the simulator, "why", "when" and "what if". Must not know the clock,
threads, Nova, SQL or configuration: everything arrives in the arguments. The order is total
(priority, then age, then request id), so the order of the input never matters; the cost follows
classes and decisions.
"""

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from math import inf
from typing import Final

import numpy as np

from synergy.core import priority
from synergy.core.model import OnPrivateFull, QuotaKind
from synergy.core.queue import ON_FULL, QUOTAS, may_borrow, may_own, refused_when_full
from synergy.core.reasons import Reason
from synergy.core.rounds.backfill import BACKFILLS, Backfill
from synergy.core.rounds.checks import CHECKS, Check, Reject
from synergy.core.rounds.facts import Facts
from synergy.core.rounds.order import Order
from synergy.core.rounds.plan import CODE, Codes, Decision, Outcome, Plan
from synergy.core.rounds.policy import Policy
from synergy.core.rounds.snapshot import Asked, Snapshot
from synergy.core.rounds.terms import terms_on, weighted_terms
from synergy.core.shares import Bools, Floats, Ints

_OWN: Final = QUOTAS.index(QuotaKind.PRIVATE)
_SHARED: Final = QUOTAS.index(QuotaKind.SHARED)
_FEW: Final = 32  # classes that a walk looks at before it leaves out many at once
_HINDERED: Final = (Reason.RESERVED_FOR_OTHER, Reason.BACKFILL_WOULD_DELAY)
_HINDERED_CODES: Final = tuple(CODE[reason] for reason in _HINDERED)
_REJECT: Final = ON_FULL.index(OnPrivateFull.REJECT)
NO_FACTS: Final = Facts()


def decide(
    snapshot: Snapshot,
    facts: Facts,
    policy: Policy,
    checks: Sequence[type[Check]] = CHECKS,
) -> Plan:
    """Return the requests to dispatch or reject, and the reason of every other.

    Whatever may use a private quota is tried on it first, and never waits there behind a request
    for the shared one; the shared quota is then handed out by priority. What no fact tells is taken
    for granted, and named in the plan.
    """
    return _Round(snapshot, facts, policy, checks).run()


class _Round:
    """The working state of one call of `decide`.

    The walk through the queue is over plain numbers, class by class: most rounds look at a few
    classes, and for these columns cost more than they save. Columns serve to leave out many classes
    at once, and to say afterwards why each class waits.
    """

    def __init__(
        self, snapshot: Snapshot, facts: Facts, policy: Policy, checks: Sequence[type[Check]]
    ) -> None:
        self.snapshot, self.policy, self.book = snapshot, policy, snapshot.book.copy()
        self.checks = [kind(snapshot, facts) for kind in checks]
        self.watching = [check for check in self.checks if check.watches]
        waiting = self.waiting = snapshot.waiting
        self.terms = weighted_terms(snapshot, policy.weights, policy.scales)
        self.total = priority.total(self.terms)
        self.may_own, self.may_borrow = may_own(waiting), may_borrow(waiting)
        self.some_own = bool(np.count_nonzero(self.may_own))
        self.taken = np.zeros(len(waiting), dtype=np.int64)
        self.decisions: list[Decision] = []
        self.look_at_s = inf
        # What a check closes for the rest of the round: a class, or every class of a shape.
        self.stopped: set[int] = set()
        self.shut_shapes: dict[int, int] = {}  # and the code of the reason

    def run(self) -> Plan:
        open_ = self._close()
        lent = self._private(np.flatnonzero(open_ & self.may_own)) if self.some_own else []
        open_ = self._close_stopped(open_, self.reason) if self.stopped else open_
        backfill, open_ = self._shared(open_ & self.may_borrow)
        explain = self._explanation(open_, backfill, lent)
        return Plan(
            decisions=tuple(self.decisions),
            complete=not self.full,
            lacks=frozenset(lack for check in self.checks for lack in check.lacks),
            look_at_s=self.look_at_s,
            taken=self.taken,
            terms=self.terms,
            total=self.total,
            book=self.book,
            reservations=backfill.reservations,
            explain=explain,
        )

    @cached_property
    def reason(self) -> Codes:
        """Why each class waits, shape (c,), as far as it is noted."""
        return np.full(len(self.waiting), CODE[Reason.PRIORITY], dtype=np.int8)

    @cached_property
    def waits_for(self) -> Codes:
        """The quota that each class waits for, shape (c,)."""
        return np.where(self.may_borrow, _SHARED, _OWN).astype(np.int8)

    @cached_property
    def may_wait(self) -> Bools:
        """The classes, shape (c,), that a shape without a host keeps waiting."""
        return ~refused_when_full(self.waiting)

    @property
    def full(self) -> bool:
        """Whether the round has let go as many as it may."""
        return len(self.decisions) >= self.policy.round_size

    def priority_at(self, row: int, queued_at_s: float, quota: QuotaKind) -> float:
        """Return the priority, on a quota, of a member of a class that was queued then."""
        weight, scales = self.policy.weights.age, self.policy.scales
        factor = priority.age_factor(self.snapshot.at_s - queued_at_s, scales.max_age_s)
        terms = self.terms.at(row, weight * factor)
        return float(priority.total(terms_on(quota, terms)))

    def order(self, rows: Ints, quota: QuotaKind, ranks: Floats | None = None) -> Order:
        """Return the walk through classes by their priority on a quota, or by other ranks, which
        all members of a class share."""
        if ranks is not None:
            return Order(self.waiting, rows, self.taken, ranks, lambda row, _: float(ranks[row]))
        terms = self.terms if quota is QuotaKind.SHARED else terms_on(quota, self.terms)
        total = self.total if quota is QuotaKind.SHARED else priority.total(terms)
        return Order(self.waiting, rows, self.taken, total, partial(self.priority_at, quota=quota))

    def take(
        self,
        order: Order,
        row: int,
        outcome: Outcome,
        *,
        quota: QuotaKind | None = None,
        reason: Reason | None = None,
        why: str = "",
    ) -> None:
        """Let the request at hand leave the queue."""
        request_id, queued_at_s = order.take()
        self.decisions.append(Decision(request_id, row, queued_at_s, outcome, quota, reason, why))

    # --- checks -----------------------------------------------------------------------------------

    def _close(self) -> Bools:
        """Return the classes that no check closes, shape (c,), and reject what is refused."""
        open_ = ~np.zeros(len(self.waiting), dtype=np.bool_)  # `np.ones` costs several times that
        rejected: dict[int, Reject] = {}
        for check in self.checks:
            for rows, verdict in check.closed():
                if not len(rows):
                    continue
                closing = rows[open_[rows]]
                self.reason[closing] = CODE[verdict.reason]
                open_[closing] = False
                if isinstance(verdict, Reject):
                    rejected |= dict.fromkeys(map(int, closing), verdict)
                elif len(closing):
                    self.look_at_s = min(self.look_at_s, verdict.look_at_s)
        if rejected:
            self._reject(rejected)
        return open_

    def _reject(self, rejected: dict[int, Reject]) -> None:
        order = self.order(np.array(sorted(rejected), dtype=np.int64), QuotaKind.SHARED)
        while not self.full and (row := next(order, None)) is not None:
            verdict = rejected[row]
            self.take(order, row, Outcome.REJECT, reason=verdict.reason, why=verdict.why)

    def _is_stopped(self, row: int, order: Order) -> bool:
        """Return whether a check stops the request at hand, and note why; what no check stops is
        counted by all of them as started."""
        for check in self.watching:
            verdict = check.stops(row)
            if verdict is not None:
                self.reason[row] = CODE[verdict.reason]
                self.stopped.add(row)
                self.look_at_s = min(self.look_at_s, verdict.look_at_s)
                if verdict.whole_shape:
                    shape = int(self.waiting.shape[row])
                    self.shut_shapes[shape] = CODE[verdict.reason]
                    order.leave_out(np.flatnonzero((self.waiting.shape == shape) & self.may_wait))
                return True
        for check in self.watching:
            check.starts(row)
        return False

    def _close_stopped(self, open_: Bools, reason: Codes) -> Bools:
        """Close what a check stopped already in this round, on the other quota, and note why."""
        left = open_.copy()
        for shape, code in self.shut_shapes.items():
            shut = left & (self.waiting.shape == shape) & self.may_wait
            reason[shut & (self.may_borrow | (reason == CODE[Reason.PRIORITY]))] = code
            left &= ~shut
        left[list(self.stopped)] = False
        return left

    # --- quotas -----------------------------------------------------------------------------------

    def _private(self, rows: Ints) -> list[int]:
        """Let start what the private quotas hold of classes, and return those that wait for what
        their owner lent."""
        waiting, book = self.waiting, self.book
        if not len(rows):
            return []
        owner = np.array(book.tree.owner)[self.snapshot.leaf[waiting.association[rows]]]
        demand = self.snapshot.demand[waiting.shape[rows]]
        may_act = ((demand <= book.private_room(owner)) | (demand == 0)).all(axis=1)
        may_act &= book.server_room(owner) > 0
        self.reason[rows[~may_act]] = CODE[Reason.NO_FREE_QUOTA]
        may_act |= waiting.on_full[rows] == _REJECT
        order, lent = self.order(rows[may_act], QuotaKind.PRIVATE), []
        while not self.full and (row := next(order, None)) is not None:
            leaf, demand = self._leaf(row), self._demand(row)
            blocked = book.blocks_private(leaf, demand)
            if blocked is None:
                if not self._is_stopped(row, order):
                    book.hold_private(leaf, demand)
                    self.take(order, row, Outcome.DISPATCH, quota=QuotaKind.PRIVATE)
            elif blocked is Reason.AWAITING_EXPIRY:
                book.reclaim(leaf, demand, int(self._left(row)))
                lent.append(row)
            elif waiting.on_full[row] == _REJECT:
                why = "the private quota cannot hold it now"
                self.take(order, row, Outcome.REJECT, reason=blocked, why=why)
            else:
                self.reason[row] = CODE[blocked]
        return lent

    def _shared(self, open_: Bools) -> tuple[Backfill, Bools]:
        """Hand the shared quota out; return who may pass whom, and which classes had a chance."""
        if self.decisions:
            open_ &= self._left() > 0
        if self.some_own:
            either = open_ & self.may_own
            open_ &= self._may_ever_borrow(either)
            self.reason[either & open_] = CODE[Reason.PRIORITY]
        open_ = self._close_limited(self._close_disabled(open_))
        backfill = BACKFILLS[self.policy.discipline](self.snapshot, self.policy, self.book)
        self._hand_out(open_.nonzero()[0], backfill)
        return backfill, open_

    def _hand_out(self, rows: Ints, backfill: Backfill) -> None:
        """Hand the shared quota out to classes by priority, and behind those that it cannot hold
        as the policy says."""
        order = self.order(rows, QuotaKind.SHARED)
        self.stopped.clear()
        by_priority, failed = True, 0  # `by_priority`: until the reservations are made
        shape_of, fitting = self.waiting.shape.item, [True] * len(self.snapshot.demand)
        most = self.policy.round_size
        while len(self.decisions) < most and (row := next(order, None)) is not None:
            if not fitting[shape_of(row)]:
                continue
            asked = self.snapshot.asked(row)
            blocked = self.book.blocks_shared(asked.leaf, asked.demand)
            blocked = blocked or backfill.hinders(row, asked)
            if blocked is None:
                self._borrow(order, row, asked, backfill)
                continue
            if blocked is not Reason.NO_FREE_QUOTA:
                self.reason[row] = CODE[blocked]
                if blocked not in _HINDERED:
                    continue  # its own limit stops it, and nobody behind it
            elif not backfill.passes(row, asked):
                break
            if backfill.reserves_more:
                order.pass_by()
                continue
            failed += 1
            if by_priority:
                by_priority, many = False, len(rows) > _FEW
                if not backfill.counts:
                    fitting = self._fitting_shapes(self.book.free_amounts()).tolist()
                order = self._order_behind(order, rows, backfill)
            elif many := failed > _FEW:
                failed = 0
            if many and not self._narrow(order, rows, backfill):
                break

    def _order_behind(self, order: Order, rows: Ints, backfill: Backfill) -> Order:
        """Return the walk through those behind the first that do not fit."""
        ranks = backfill.ranks()
        return order if ranks is None else self.order(rows, QuotaKind.SHARED, ranks)

    def _borrow(self, order: Order, row: int, asked: Asked, backfill: Backfill) -> None:
        """Let the request at hand start on the shared quota, unless a check stops it."""
        if not self._is_stopped(row, order):
            self.book.hold_shared(asked.leaf, self._demand(row))
            self.take(order, row, Outcome.DISPATCH, quota=QuotaKind.SHARED)
            backfill.starts(row, asked)

    def _narrow(self, order: Order, rows: Ints, backfill: Backfill) -> bool:
        """Leave out, of `rows`, whatever cannot start beside what is reserved; return whether any
        can. Of a few, looking at one after the other costs less."""
        fitting = self._fitting_shapes(self.book.free_amounts())
        present = np.zeros(len(fitting), dtype=np.bool_)
        present[self.waiting.shape[rows]] = True
        if not (fitting & present).any():
            return False
        may = fitting[self.waiting.shape[rows]]
        if (beside := backfill.candidates(rows[may])) is not None:
            may[may] = beside
            order.leave_out(rows[~may])
        return True

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
        if True not in disabled:
            return open_
        asks: Bools = np.any(self.snapshot.demand[:, disabled] > 0, axis=1)
        closing: Bools = asks[self.waiting.shape]
        self.reason[closing & open_] = CODE[Reason.SHARED_QUOTA_DISABLED]
        return open_ & ~closing

    def _fitting_shapes(self, free: Sequence[int]) -> Bools:
        """Tell, shape (s,), which shapes could start now, as far as the pool and checks go.

        free  in the pool, by resource class
        """
        demand = self.snapshot.demand
        # What is not asked for may be overdrawn, and nothing less than nothing is asked for.
        fitting: Bools = np.logical_and.reduce(demand <= [max(0, one) for one in free], axis=1)
        if self.shut_shapes:
            fitting[list(self.shut_shapes)] = False
        return fitting

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
            asked = self.snapshot.asked(row)
            blocked = self.book.blocks_shared(asked.leaf, asked.demand)
            self.reason[row] = CODE[blocked or Reason.PROJECT_BORROW_LIMIT]
        open_ = open_.copy()
        open_[stuck] = False
        return open_

    # --- afterwards -------------------------------------------------------------------------------

    def _explanation(
        self, open_: Bools, backfill: Backfill, lent: Sequence[int]
    ) -> Callable[[], tuple[Codes, Codes]]:
        """Return what works out why each class waits, and for which quota.

        open_  the classes that had a chance of the shared quota
        lent   the classes that wait for what their owner lent
        """
        free = self.book.free_amounts()  # now: the accounting goes on with the next round

        def explain() -> tuple[Codes, Codes]:  # on copies: several threads may ask one plan
            reason, waits_for = self.reason.copy(), self.waits_for.copy()
            left = self._close_stopped(open_ & (reason == CODE[Reason.PRIORITY]), reason)
            fitting = self._fitting_shapes(free)[self.waiting.shape]
            rows = np.flatnonzero(left & fitting)
            if (may := backfill.candidates(rows)) is not None:
                endless = self.waiting.ttl_s[rows[~may]] <= 0
                reason[rows[~may]] = np.where(endless, *_HINDERED_CODES)
            for hindered in _HINDERED_CODES:
                left |= reason == hindered
            reason[left & ~fitting] = CODE[Reason.NO_FREE_QUOTA]
            for row in lent:  # it is to come back: that is why they wait, also who may borrow
                reason[row], waits_for[row] = CODE[Reason.AWAITING_EXPIRY], _OWN
            return reason, waits_for

        return explain

    def _left(self, row: int | slice = slice(None)) -> Ints:
        """Return how many members of a class, or of each, still wait."""
        left: Ints = self.waiting.end[row] - self.waiting.first[row] - self.taken[row]
        return left

    def _leaf(self, row: int) -> int:
        return int(self.snapshot.leaf[self.waiting.association[row]])

    def _demand(self, row: int) -> Ints:
        demand: Ints = self.snapshot.demand[self.waiting.shape[row]]
        return demand
