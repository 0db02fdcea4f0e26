"""The one decision function: which waiting requests start now, and why the others wait.

One answer for the service, the simulator, "why", "when" and "what if". Must not know the clock,
threads, Nova, SQL or configuration: everything arrives in the arguments. The order is total
(priority, then age, then request id), so the order of the input never matters; the cost follows
classes and decisions.
"""

from collections.abc import Mapping, Sequence
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
from synergy.core.rounds.facts import Facts, Lack
from synergy.core.rounds.order import Order
from synergy.core.rounds.plan import CODE, Decision, Outcome, Plan
from synergy.core.rounds.policy import Policy
from synergy.core.rounds.snapshot import Snapshot
from synergy.core.rounds.terms import terms_on, weighted_terms
from synergy.core.shares import Bools, Floats, Ints

_OWN: Final = QUOTAS.index(QuotaKind.PRIVATE)
_SHARED: Final = QUOTAS.index(QuotaKind.SHARED)
_NARROW_AFTER: Final = 32  # requests that did not start
_HINDERED: Final = [CODE[Reason.RESERVED_FOR_OTHER], CODE[Reason.BACKFILL_WOULD_DELAY]]
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
    """The working state of one call of `decide`."""

    def __init__(
        self, snapshot: Snapshot, facts: Facts, policy: Policy, checks: Sequence[type[Check]]
    ) -> None:
        self.snapshot, self.policy, self.book = snapshot, policy, snapshot.book.copy()
        self.checks = [kind(snapshot, facts) for kind in checks]
        self.watching = [check for check in self.checks if check.watches]
        waiting = self.waiting = snapshot.waiting
        self.terms = weighted_terms(snapshot, policy.weights, policy.scales)
        self.priority = _per_class(priority.total(self.terms), len(waiting))
        self.reason = np.full(len(waiting), CODE[Reason.PRIORITY], dtype=np.int8)
        self.may_own, self.may_borrow = may_own(waiting), may_borrow(waiting)
        self.waits_for = np.full(len(waiting), _SHARED, dtype=np.int8)
        self.waits_for[~self.may_borrow] = _OWN
        self.taken = np.zeros(len(waiting), dtype=np.int64)
        self.decisions: list[Decision] = []
        self.look_at_s = inf
        self.reservations: Mapping[int, Sequence[float]] = {}
        # What a check closes for the rest of the round: a class, or every class of a shape.
        self.stopped: set[int] = set()
        self.open_shapes = np.ones(len(snapshot.demand), dtype=np.bool_)
        self.shut_reason = np.zeros(len(snapshot.demand), dtype=np.int8)
        self.asks_none = snapshot.demand == 0

    def run(self) -> Plan:
        open_ = self._close()
        lent = self._private(open_ & self.may_own)
        open_ = self._close_stopped(open_)
        self._shared(open_ & self.may_borrow)
        for row in lent:  # it is to come back: that is why they wait, also those that may borrow
            self.reason[row], self.waits_for[row] = CODE[Reason.AWAITING_EXPIRY], _OWN
        return Plan(
            decisions=tuple(self.decisions),
            complete=not self.full,
            lacks=frozenset[Lack]().union(*(check.lacks for check in self.checks)),
            look_at_s=self.look_at_s,
            taken=self.taken,
            reason=self.reason,
            waits_for=self.waits_for,
            terms=self.terms,
            priority=self.priority,
            book=self.book,
            reservations=self.reservations,
        )

    @cached_property
    def patient(self) -> Bools:
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

    def order(self, rows: Ints, quota: QuotaKind) -> Order:
        """Return the walk through classes by their priority on a quota."""
        ranks = self.priority
        if quota is QuotaKind.PRIVATE:
            terms = terms_on(quota, self.terms)
            ranks = _per_class(priority.total(terms), len(self.waiting))
        return Order(self.waiting, rows, self.taken, ranks, partial(self.priority_at, quota=quota))

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
        open_ = np.ones(len(self.waiting), dtype=np.bool_)
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
        """Tell whether a check stops the request at hand, and note why; what no check stops is
        counted by all of them as started."""
        for check in self.watching:
            verdict = check.stops(row)
            if verdict is not None:
                self.reason[row] = CODE[verdict.reason]
                self.stopped.add(row)
                self.look_at_s = min(self.look_at_s, verdict.look_at_s)
                if verdict.whole_shape:
                    shape = int(self.waiting.shape[row])
                    self.open_shapes[shape], self.shut_reason[shape] = False, CODE[verdict.reason]
                    order.leave_out(np.flatnonzero((self.waiting.shape == shape) & self.patient))
                return True
        for check in self.watching:
            check.starts(row)
        return False

    def _close_stopped(self, open_: Bools) -> Bools:
        """Close what a check stopped already in this round, on the other quota."""
        if not self.stopped:
            return open_
        shapes = self.waiting.shape
        shut = open_ & ~self.open_shapes[shapes] & self.patient
        told = shut & (self.may_borrow | (self.reason == CODE[Reason.PRIORITY]))
        self.reason[told] = self.shut_reason[shapes[told]]
        left: Bools = open_ & ~shut
        left[list(self.stopped)] = False
        return left

    # --- quotas -----------------------------------------------------------------------------------

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

    def _shared(self, open_: Bools) -> None:
        book, policy = self.book, self.policy
        if self.decisions:
            open_ &= self._left() > 0
        either = open_ & self.may_own
        if either.any():
            open_ &= self._may_ever_borrow(either)
            self.reason[either & open_] = CODE[Reason.PRIORITY]
        open_ &= self._close_disabled(open_)
        open_ &= self._close_limited(open_)
        backfill = BACKFILLS[policy.discipline](self.snapshot, policy, book)
        self._hand_out(np.flatnonzero(open_), backfill)
        self.reservations = backfill.reservations
        left = self._close_stopped(open_ & (self.reason == CODE[Reason.PRIORITY]))
        fitting = self._fitting_shapes()[self.waiting.shape]
        rows = np.flatnonzero(left & fitting)
        if (may := backfill.candidates(rows)) is not None:
            endless = self.waiting.ttl_s[rows[~may]] <= 0
            self.reason[rows[~may]] = np.where(endless, *_HINDERED)
        for hindered in _HINDERED:
            left |= self.reason == hindered
        self.reason[left & ~fitting] = CODE[Reason.NO_FREE_QUOTA]

    def _hand_out(self, rows: Ints, backfill: Backfill) -> None:
        """Hand the shared quota out to classes by priority, and behind those that it cannot hold
        as the policy says."""
        book, present = self.book, np.zeros(len(self.snapshot.demand), dtype=np.bool_)
        present[self.waiting.shape[rows]] = True
        order, fitting = self.order(rows, QuotaKind.SHARED), self._fitting_shapes() & present
        self.stopped.clear()
        by_priority, failed = True, 0  # `by_priority`: until the reservations are made
        while not self.full and (backfill.reserves_more or fitting.any()):
            row = next(order, None)
            if row is None:
                break
            blocked = book.blocks_shared(self._leaf(row), self._demand(row))
            if blocked is None:
                hindered = backfill.hinders(row)
                if hindered is None:
                    if not self._is_stopped(row, order):
                        self._borrow(order, row)
                        backfill.starts(row)
                    fitting = self._fitting_shapes() & present
                    continue
                self.reason[row] = CODE[hindered]
            elif blocked is not Reason.NO_FREE_QUOTA:
                self.reason[row] = CODE[blocked]  # its own limit stops it, and nobody behind it
                continue
            elif not backfill.passes(row):
                break
            failed += 1
            if backfill.reserves_more:
                order.pass_by()
                continue
            if by_priority and (ranks := backfill.ranks()) is not None:
                order = Order(self.waiting, rows, self.taken, ranks, lambda at, _: float(ranks[at]))
            if by_priority or failed >= _NARROW_AFTER:
                by_priority, failed = False, 0
                self._narrow(order, rows, fitting, backfill)

    def _borrow(self, order: Order, row: int) -> None:
        """Let the request at hand start on the shared quota."""
        self.book.hold_shared(self._leaf(row), self._demand(row))
        self.take(order, row, Outcome.DISPATCH, quota=QuotaKind.SHARED)

    def _narrow(self, order: Order, rows: Ints, fitting: Bools, backfill: Backfill) -> None:
        """Leave out, of `rows`, whatever cannot start beside what is reserved: of many that do not
        fit, looking at one after the other would cost more."""
        if (may := backfill.candidates(rows)) is not None:
            order.leave_out(rows[~(may & fitting[self.waiting.shape[rows]])])

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
        closing: Bools = asks[self.waiting.shape]
        self.reason[closing & open_] = CODE[Reason.SHARED_QUOTA_DISABLED]
        return ~closing

    def _fitting_shapes(self) -> Bools:
        """Tell, shape (s,), which shapes could start now, as far as the pool and checks go."""
        fits = (self.snapshot.demand <= self.book.pool_free()) | self.asks_none
        fitting: Bools = fits.all(axis=1) & self.open_shapes
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
            blocked = self.book.blocks_shared(self._leaf(row), self._demand(row))
            self.reason[row] = CODE[blocked or Reason.PROJECT_BORROW_LIMIT]
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


def _per_class(column: priority.Column, count: int) -> Floats:
    """Return a column of the priority, also where it is one number for all."""
    return np.full(count, column) if isinstance(column, float) else column
