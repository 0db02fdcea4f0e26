"""Decides on resizes and unshelves: what fits is accounted and passes, what does not is refused.

Why: the limits of a managed project live here, so Nova checks neither any more. Runs in the
scheduler's thread, between two rounds, so that nothing else takes quota meanwhile. Must not know
the queue.
"""

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from synergy.core.accounts import claim_of, user_node
from synergy.core.batches import RetriedBatch
from synergy.core.errors import HandOverUnknown, error_line
from synergy.core.events import QuotaClaimed
from synergy.core.lifecycle import IN_NOVA, Event, Move, holds_quota, transition
from synergy.core.model import QuotaKind, Request, Resources, State
from synergy.core.quota import QuotaBook, QuotaTree
from synergy.core.reasons import Reason
from synergy.managers.base import Part, Publish
from synergy.ports import Change, ChangeKind, Changes, Clock, Store, Wake, Writing

LOG = logging.getLogger(__name__)
_AT_ONCE = 100
TreeFor = Callable[[Sequence[str]], QuotaTree]


class ChangeDesk(Part):
    """Counts `changes_passed`, `changes_refused` and `changes_set_aside`."""

    def __init__(
        self, clock: Clock, publish: Publish, store: Store, changes: Changes, wake: Wake
    ) -> None:
        self._clock, self._publish, self._store = clock, publish, store
        self._changes, self._wake = changes, wake
        self.counts: Counter[str] = Counter()
        self._batch: list[Change] = []
        self._tries: RetriedBatch[Change] = RetriedBatch()

    def open(self) -> None:
        """Be woken by what arrives."""
        self._changes.on_arrival(self._wake)

    def decide_all(self, tree_for: TreeFor) -> None:
        """Decide on everything that arrived; what cannot be sent now is decided again next time."""
        while True:
            if not self._batch:
                self._batch = list(self._changes.fetch(limit=_AT_ONCE))
            if not self._batch:
                return
            while self._batch:
                self._tries.handle(
                    self._batch[:1], lambda one: self._decide(one[0], tree_for), self._set_aside
                )
                del self._batch[0]

    def _set_aside(self, change: Change, error: Exception) -> None:
        why = f"{change.kind} of server {change.server_id}: {error_line(error)}"
        with self._store.writing() as uow:
            uow.requests.quarantine(change.message_id, change.body, why, self._clock.now())
            uow.commit()
        LOG.error("message %s is QUARANTINED: %s", change.message_id, why, exc_info=error)
        self._changes.acknowledge([change])
        self.counts["changes_set_aside"] += 1

    def _decide(self, change: Change, tree_for: TreeFor) -> None:
        with self._store.writing() as uow:
            request = uow.requests.find([change.server_id]).get(change.server_id)
            moves: list[Move] = []
            reason = ""
            if request is not None and request.state in IN_NOVA:
                moves, reason = self._judge(uow, request, change, tree_for)
            for move in moves:
                uow.requests.save([move])
            uow.commit()
        if request is not None and moves:
            self._publish_move(request, moves[-1])
        try:
            if reason:
                self._changes.refuse(change, reason)
            else:
                self._changes.let_pass(change)
        except HandOverUnknown as error:
            # Twice would be worse than never: a second resize starts from a half-done first one.
            LOG.error(
                "the %s of server %s may not have reached Nova: %s; if it stays in its task, reset "
                "its state", change.kind, change.server_id, error,
            )  # fmt: skip
        self._changes.acknowledge([change])
        self.counts["changes_refused" if reason else "changes_passed"] += 1

    def _judge(
        self, uow: Writing, request: Request, change: Change, tree_for: TreeFor
    ) -> tuple[list[Move], str]:
        """Return what to record, and why the change is refused or ""."""
        wanted = _wanted(request, change)
        more = Resources.of({
            name: amount - (request.demand.get(name, 0) if holds_quota(request) else 0)
            for name, amount in wanted.items()
            if not holds_quota(request) or amount > request.demand.get(name, 0)
        })  # fmt: skip
        now = self._clock.now()
        tree = tree_for([*wanted, *more])
        book = QuotaBook(tree, [claim_of(*entry) for entry in uow.requests.claims()])
        node = tree.row.get(user_node(request.request_class.association_id), 0)
        blocked: Reason | None = None
        if more and request.quota is QuotaKind.PRIVATE:
            servers = 0 if holds_quota(request) else 1
            blocked = book.blocks_private(node, tree.amounts(more), servers)
        elif more:
            blocked = book.blocks_shared(node, tree.amounts(more))
        if blocked is not None:
            why = f"{blocked}: to {change.kind} it needs {more} more of the {request.quota} quota"
            move = transition(request, Event.CHANGE_REFUSED, now, why=why, reason=blocked)
            return [move], why
        if change.kind is ChangeKind.UNSHELVE:
            return [transition(request, Event.UNSHELVED, now, why="unshelved by its user")], ""
        moves = []
        if request.state is State.PARKED:
            # Nova resizes no shelved server: it was unshelved, and nothing told so yet.
            moves.append(transition(request, Event.UNSHELVED, now, why="Nova is to resize it"))
            request = moves[0].as_saved()
        if wanted != request.demand:
            moves.append(resized(uow, request, wanted, change.flavor, now=now))
        return moves, ""

    def _publish_move(self, before: Request, move: Move) -> None:
        after = move.as_saved()
        if holds_quota(after) and not holds_quota(before):
            self._publish(QuotaClaimed((after,)))


def _wanted(request: Request, change: Change) -> Resources:
    """Return what the server may hold until the change is final: while a resize can be reverted,
    the larger of both."""
    if change.kind is ChangeKind.UNSHELVE:
        return request.demand
    names = {*request.demand, *change.demand}
    return Resources.of({n: max(request.demand.get(n, 0), change.demand.get(n, 0)) for n in names})


def resized(
    uow: Writing, request: Request, demand: Resources, flavor: str, *, now: datetime
) -> Move:
    """Return the move of a request to another class that asks for `demand`."""
    kind = replace(request.request_class, demand=demand)
    other = replace(
        request, request_class=kind, class_id=uow.requests.class_id(kind), flavor=flavor
    )
    return transition(other, Event.RESIZED, now, why=f"flavor {flavor}")
