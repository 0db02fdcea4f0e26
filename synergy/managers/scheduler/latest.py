"""The last round, kept to answer questions about it.

Must not know who asks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np

from synergy.core.accounts import user_node
from synergy.core.declared.answers import rounds as answers
from synergy.core.explain import Bound, End
from synergy.core.model import QuotaKind, Request, State
from synergy.core.queue import Waiting
from synergy.core.quota import QuotaTree
from synergy.core.reasons import Reason
from synergy.core.rounds import REASONS, RESERVING, Ends, Plan, Policy, Snapshot, in_order
from synergy.managers.support.render import instant_json
from synergy.ports import Reading, Standing

_HELD_REASONS: Final = (Reason.HELD_BY_USER, Reason.HELD_BY_ADMIN)


@dataclass(frozen=True, eq=False)
class Latest:
    """A round, kept to answer questions about it.

    row  class_id -> row of the snapshot
    """

    round_id: str
    at: datetime
    snapshot: Snapshot
    plan: Plan
    policy: Policy
    row: Mapping[int, int]

    @classmethod
    def of(
        cls, round_id: str, at: datetime, snapshot: Snapshot, plan: Plan, policy: Policy
    ) -> "Latest":
        """Return a round that was decided at an instant."""
        row = {int(class_id): row for row, class_id in enumerate(snapshot.waiting.class_id)}
        return cls(round_id, at, snapshot, plan, policy, row)

    @property
    def tree(self) -> QuotaTree:
        return self.snapshot.book.tree

    def left(self) -> Waiting:
        """Return the queue without what the round let go."""
        return self.snapshot.waiting.without(self.plan.taken)

    def reservations(self) -> dict[int, Sequence[float]]:
        """Return, by class_id, from when its members that wait, the oldest first, have what they
        ask for at the latest, epoch seconds."""
        return self.plan.reserved(self.snapshot.waiting.class_id)

    @staticmethod
    def row_left(left: Waiting, request: Request) -> int | None:
        """Return the row of a request's class in what is left."""
        rows = np.flatnonzero(left.class_id == request.class_id)
        return int(rows[0]) if len(rows) else None

    def reason_counts(self) -> dict[str, int]:
        """Return how many requests wait after the round, by reason."""
        waiting, plan = self.snapshot.waiting, self.plan
        left = waiting.end - waiting.first - plan.taken
        counts = np.bincount(plan.reason, weights=left, minlength=len(REASONS))
        return {r.value: int(n) for r, n in zip(REASONS, counts, strict=True) if n}

    def reason_of(self, request: Request | Standing, now: datetime) -> Reason | None:
        """Return why a request waits, None when it does not."""
        if request.state is State.HELD:
            return _held_reason(request)
        if request.state is not State.QUEUED:
            return None
        if request.retry_at is not None and request.retry_at > now:
            return Reason.DISPATCH_RETRY
        row = self.row.get(request.class_id)
        return Reason.PENDING_EVALUATION if row is None else self.plan.reason_of(row)


def _held_reason(request: Request | Standing) -> Reason:
    return request.reason if request.reason in _HELD_REASONS else Reason.HELD_BY_ADMIN


def reason_of(latest: Latest | None, request: Request | Standing, now: datetime) -> Reason | None:
    """Return why a request waits, None when it does not."""
    if latest is not None:
        return latest.reason_of(request, now)
    if request.state is State.QUEUED:
        return Reason.PENDING_EVALUATION
    return _held_reason(request) if request.state is State.HELD else None


def ends_now(uow: Reading, tree: QuotaTree, now: datetime) -> list[End]:
    """Return when the shared servers that hold quota now end; one that is built lives from now."""
    found = []
    for kind, expires_at, count in uow.requests.ends():
        if kind.quota is not QuotaKind.SHARED or (expires_at is None and kind.ttl_s <= 0):
            continue
        at = expires_at if expires_at is not None else now + timedelta(seconds=kind.ttl_s)
        found.append(
            End(
                at_s=max(at, now).timestamp(),
                leaf=tree.row.get(user_node(kind.association_id), 0),
                demand=tree.amounts(kind.demand) * count,
                count=count,
            )
        )
    return found


def ends_known(uow: Reading, tree: QuotaTree, policy: Policy, now: datetime) -> Ends | None:
    """Return the ends of lifetimes that a round may rely on.

    None where its policy does not look at them, and while expiry is suspended: nothing ends then.
    """
    if policy.discipline not in RESERVING or uow.safety.brake() is not None:
        return None
    ends = ((end.at_s, end.leaf, end.demand) for end in ends_now(uow, tree, now))
    return in_order(ends)


def suspended_associations(uow: Reading) -> frozenset[int]:
    """Return the associations of suspended projects, and of projects that left."""
    taking = {p.project_id for p in uow.projects.all() if not p.suspended}
    return frozenset(
        a.association_id for a in uow.projects.associations() if a.project_id not in taking
    )


def round_json(latest: Latest | None, now: datetime) -> answers.RoundSeen:
    """Return which round an answer comes from, and how old it is."""
    return {
        "round_id": latest.round_id if latest else None,
        "round_at": instant_json(latest.at) if latest else None,
        "age_s": (now - latest.at).total_seconds() if latest else None,
    }


def at_json(at_s: float | None) -> str | None:
    """Return an instant, epoch seconds, as the API shows it."""
    return None if at_s is None else instant_of(at_s)


def instant_of(at_s: float) -> str:
    """Return an instant that there is, epoch seconds, as the API shows it."""
    return datetime.fromtimestamp(at_s, UTC).isoformat()


def bound_json(bound: Bound) -> answers.Bound:
    """Return one bound."""
    return {
        "scope": bound.scope.value,
        "node": bound.node_id,
        "resource_class": bound.resource_class,
        "needed": bound.needed,
        "free": bound.free,
        "limit": bound.limit,
        "used": bound.used,
        "own": bound.own,
    }
