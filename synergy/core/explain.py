"""Explains why a request waits: every bound that stops it, with numbers, and its place in the
queue.

Why: with only "no free quota" a user must ask an operator; with the amounts needed, free and
allowed the user need not. Answers come from the snapshot and the plan of a round, so they never
disagree with its decision. Must not know names of people or projects: the caller decides who may
read which number.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Final

import numpy as np

from synergy.core import priority
from synergy.core.model import QuotaKind, RequestClass, Resources
from synergy.core.quota import UNLIMITED, QuotaBook
from synergy.core.reasons import Reason
from synergy.core.rounds import Plan, Policy, Snapshot, terms_on
from synergy.core.shares import Bools, Ints

SERVERS: Final = "servers"  # Keystone's name of the limit; not a resource class


class Scope(StrEnum):
    """The kind of a bound."""

    POOL = "shared_quota"
    BORROW_LIMIT = "borrow_limit"
    PRIVATE = "private_quota"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """One resource class of one bound that a request exceeds; SERVERS is the number of servers.

    node_id  the node of the account tree that the bound belongs to
    used     usage by everyone under the bound
    own      the part of `used` that is the request's own project's
    free     limit - used; negative after an operator lowered the limit
    """

    scope: Scope
    node_id: str
    resource_class: str
    needed: int
    free: int
    limit: int
    used: int
    own: int


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Shared servers that expire at the same instant.

    leaf    row of the quota tree
    demand  shape (r,), the sum over all of them
    at_s    epoch seconds
    """

    at_s: float
    leaf: int
    demand: Ints
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """What is released, at the latest, at an instant."""

    at_s: float
    freed: Resources
    servers: int


_BOUND: Final = {
    Reason.NO_FREE_QUOTA: frozenset(Scope),
    Reason.USER_LIMIT: frozenset({Scope.BORROW_LIMIT}),
    Reason.PROJECT_BORROW_LIMIT: frozenset({Scope.BORROW_LIMIT}),
    Reason.SHARED_QUOTA_DISABLED: frozenset({Scope.POOL}),
}


def bounds_of(
    reason: Reason | None, book: QuotaBook, leaf: int, demand: Ints, quota: QuotaKind
) -> list[Bound]:
    """Return the bounds that a reason refers to. A request that waits for a host or its turn has
    none, however full the quota has become since."""
    scopes = _BOUND.get(reason, frozenset()) if reason else frozenset()
    found = bounds(book, leaf, demand, private=quota is QuotaKind.PRIVATE)
    return [bound for bound in found if bound.scope in scopes]


def bounds(book: QuotaBook, leaf: int, demand: Ints, *, private: bool) -> list[Bound]:
    """Return the bounds that `demand` of a leaf exceeds now, nearest first; none if it fits."""
    tree = book.tree
    if private:
        owner = tree.owner[leaf]
        limit = np.where(tree.limited, tree.private[owner], UNLIMITED)
        used = book.private_used[owner]
        found = _exceeded(book, Scope.PRIVATE, owner, demand, limit, used, used)
        return found + _too_many_servers(book, owner)
    own = book.shared_used[max(0, tree.parent[leaf])]
    found = []
    for node in tree.bounds_of(leaf):
        limit, used = tree.borrow_limit[node], book.shared_used[node]
        found += _exceeded(book, Scope.BORROW_LIMIT, node, demand, limit, used, own)
    used = book.shared_used[0]
    return found + _exceeded(book, Scope.POOL, 0, demand, book.pool, used, own)


def _exceeded(
    book: QuotaBook, scope: Scope, node: int, demand: Ints, limit: Ints, used: Ints, own: Ints
) -> list[Bound]:
    tree = book.tree
    return [
        Bound(
            scope=scope,
            node_id=tree.state.nodes[node].node_id,
            resource_class=name,
            needed=int(demand[at]),
            free=int(limit[at] - used[at]),
            limit=int(limit[at]),
            used=int(used[at]),
            own=min(int(own[at]), int(used[at])),
        )
        for at, name in enumerate(tree.resource_classes)
        if demand[at] > 0 and limit[at] < UNLIMITED and demand[at] > limit[at] - used[at]
    ]


def _too_many_servers(book: QuotaBook, owner: int) -> list[Bound]:
    room, used = int(book.server_room(owner)), int(book.private_servers[owner])
    if room > 0:
        return []
    return [
        Bound(
            scope=Scope.PRIVATE,
            node_id=book.tree.state.nodes[owner].node_id,
            resource_class=SERVERS,
            needed=1,
            free=room,
            limit=int(book.tree.max_servers[owner]),
            used=used,
            own=used,
        )
    ]


def fits(book: QuotaBook, leaf: int, demand: Ints, kind: RequestClass) -> bool:
    """Return whether `demand` of a leaf fits now into a quota that the class may use."""
    owned = kind.may_own and book.blocks_private(leaf, demand) is None
    return owned or (kind.may_borrow and book.blocks_shared(leaf, demand) is None)


def ahead(
    snapshot: Snapshot, plan: Plan, policy: Policy, row: int, request_id: bytes, queued_at_s: float
) -> int:
    """Return how many requests that wait for the same quota are ahead of a member of class `row`.

    The order is (priority, age, id), as in a round; requests that the round dispatched do not
    count. For a private quota only requests of the same project compete.
    """
    waiting = snapshot.waiting
    rank = _rank_at(snapshot, plan, policy, row, queued_at_s)
    key = (-rank, queued_at_s, request_id)
    first = waiting.first + plan.taken
    rivals: Bools = (plan.waits_for == plan.waits_for[row]) & (first < waiting.end)
    ranks = plan.priority
    if plan.quota_of(row) is QuotaKind.PRIVATE:
        owner = np.array(plan.book.tree.owner)[snapshot.leaf[waiting.association]]
        rivals &= owner == owner[row]
        ranks = np.broadcast_to(
            priority.total(terms_on(QuotaKind.PRIVATE, plan.terms)), len(waiting)
        )
    rivals &= ranks >= rank  # the head has the highest priority of its class
    count = 0
    for other in np.flatnonzero(rivals):
        count += _members_before(snapshot, plan, policy, int(other), int(first[other]), key)
    return count


def reserved_at_s(
    snapshot: Snapshot, plan: Plan, row: int, request_id: bytes, queued_at_s: float
) -> float | None:
    """Return from when a member of class `row` has what it asks for, if every lifetime is kept.

    None where nothing is reserved for it; infinite where no end is known that frees enough.
    """
    first = int(snapshot.waiting.first[row] + plan.taken[row])
    place = snapshot.waiting.lines[row].place_of(request_id, queued_at_s, first) - first
    reserved = plan.reservations.get(row, ())
    return reserved[place] if place < len(reserved) else None


def _members_before(
    snapshot: Snapshot,
    plan: Plan,
    policy: Policy,
    row: int,
    first: int,
    key: tuple[float, float, bytes],
) -> int:
    """Count the members of a class ahead of `key`: a prefix of its line, which is sorted by age."""
    line, low, high = snapshot.waiting.lines[row], first, int(snapshot.waiting.end[row])

    def is_before(place: int) -> bool:
        at_s = line.queued_at_s[place]
        return (-_rank_at(snapshot, plan, policy, row, at_s), at_s, line.id_at(place)) < key

    if is_before(high - 1):
        return high - first
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if is_before(middle) else (low, middle)
    return low - first


def _rank_at(snapshot: Snapshot, plan: Plan, policy: Policy, row: int, queued_at_s: float) -> float:
    terms = terms_at(snapshot, plan, policy, row, queued_at_s)
    return float(priority.total(terms_on(plan.quota_of(row), terms)))


def terms_at(
    snapshot: Snapshot, plan: Plan, policy: Policy, row: int, queued_at_s: float
) -> priority.Terms:
    """Return the weighted terms of a member of a class, given when it was queued."""
    factor = priority.age_factor(snapshot.at_s - queued_at_s, policy.scales.max_age_s)
    return plan.terms.at(row, policy.weights.age * factor)


def releases(book: QuotaBook, ends: Sequence[End], *, limit: int) -> list[Release]:
    """Return what is released at the next `limit` ends, earliest first."""
    ordered = sorted(ends, key=lambda end: end.at_s)
    return [
        Release(at_s=end.at_s, freed=book.tree.resources(end.demand), servers=end.count)
        for end in islice(ordered, limit)
    ]


def enough_at_s(book: QuotaBook, demand: Ints, ends: Sequence[End]) -> float | None:
    """Return when, at the latest, the pool has room for `demand` if nobody else takes any of it."""
    free = book.pool_free().copy()
    for end in sorted(ends, key=lambda one: one.at_s):
        free += end.demand
        if ((demand <= free) | (demand == 0)).all():
            return end.at_s
    return None
