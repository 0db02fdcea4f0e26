"""Everything that a round looks at, and the one function that puts it together.

Why: the scheduler, "what if" and the forecast decide over snapshots that are made alike, or their
answers would differ. Must not know where any of it comes from.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from synergy.core.accounts import user_node
from synergy.core.events import FactorsChanged
from synergy.core.priority import Column
from synergy.core.queue import WHAT_IF_CLASS, Waiting, numbers_in
from synergy.core.quota import Claim, QuotaBook, QuotaTree
from synergy.core.rounds.facts import Shape
from synergy.core.rounds.profile import Ends
from synergy.core.shares import Bools, Floats, Ints

Tried = tuple[int, Shape]  # association_id and what it asks for: whom a failed build is about
_Number = TypeVar("_Number", bound=np.generic)
NO_FACTORS = FactorsChanged(np.zeros(0), np.zeros(0), 0.0)


class Asked(NamedTuple):
    """What one request asks for.

    leaf        row of the quota tree
    demand      by resource class of the tree
    lifetime_s  infinite without end
    """

    leaf: int
    demand: tuple[int, ...]
    lifetime_s: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Snapshot:
    """Everything a round looks at, frozen.

    waiting     the queue: c classes, s shapes
    at_s        the instant of the round, epoch seconds
    fairshare   shape (a,), factor by association_id
    points      shape (a,), priority of the association, of which the highest is highest_points
    leaf        shape (a,), row of the quota book's tree by association_id
    suspended   shape (a,), True where the project takes no new servers
    book        what is claimed, over the classes `book.tree.resource_classes`
    demand      shape (s, r), the queue's shapes over the resource classes of the book's tree
    never       classes by class_id that can never start, and why in words
    rests       what Nova found no host for although Placement named one, by association_id and
                shape, and until when it rests, epoch seconds; after it one may be tried, and while
                that one is under way the rest has no end (infinite)
    ends        when what is held on the shared quota expires; None when that is not known, and
                nothing is reserved
    reserved    instants at which members of a class, by class_id and the oldest first, start at the
                latest by an earlier round's plan, epoch seconds; in order
    site        shape (c,), points of the site's own factors, or one number for all
    asks        what classes ask for, by class_id, as far as it is worked out; it holds for the next
                round too if the book's tree is the same
    """

    waiting: Waiting
    at_s: float
    fairshare: Floats
    points: Floats
    highest_points: float
    leaf: Ints
    suspended: Bools
    book: QuotaBook
    demand: Ints
    never: Mapping[int, str] = field(default_factory=dict)
    rests: Mapping[Tried, float] = field(default_factory=dict)
    ends: Ends | None = None
    reserved: Mapping[int, Sequence[float]] = field(default_factory=dict)
    site: Column = 0.0
    asks: dict[int, Asked] = field(default_factory=dict)

    def asked(self, row: int) -> Asked:
        """Return what each request of a class asks for."""
        waiting = self.waiting
        class_id = waiting.class_id.item(row)
        found = self.asks.get(class_id)
        if found is None:
            ttl_s = waiting.ttl_s.item(row)
            found = Asked(
                leaf=self.leaf.item(waiting.association.item(row)),
                demand=tuple(self.demand[waiting.shape.item(row)].tolist()),
                lifetime_s=float(ttl_s) if ttl_s > 0 else inf,
            )
            if class_id != WHAT_IF_CLASS:
                self.asks[class_id] = found
        return found

    def tried_at(self, row: int) -> Tried:
        """Return whom a build of a class is about."""
        return int(self.waiting.association[row]), self.shape_at(int(self.waiting.shape[row]))

    def shape_at(self, shape: int) -> Shape:
        """Return a shape of the queue as a value."""
        demand = self.book.tree.resources(self.demand[shape])
        return Shape(demand, self.waiting.placement[shape])


def build_snapshot(
    *,
    waiting: Waiting,
    at_s: float,
    tree: QuotaTree,
    claims: Sequence[Claim],
    factors: FactorsChanged = NO_FACTORS,
    suspended: Collection[int] = (),
    never: Mapping[int, str] | None = None,
    rests: Mapping[Tried, float] | None = None,
    site: Column = 0.0,
    ends: Ends | None = None,
    reserved: Mapping[int, Sequence[float]] | None = None,
) -> Snapshot:
    """Return the snapshot of a round.

    tree       over every resource class that the queue asks for
    claims     what holds quota now
    factors    of the associations; those that are not in it yet have none
    suspended  associations whose project takes no new servers
    ends       of what is held on the shared quota; None when no end can be relied on
    """
    width = max(1 + int(waiting.association.max(initial=0)), len(factors.factors))
    leaf = np.zeros(width, dtype=np.int64)
    for association_id in numbers_in(waiting.association):
        leaf[association_id] = tree.row.get(user_node(association_id), 0)
    closed = np.zeros(width, dtype=np.bool_)
    closed[[one for one in suspended if one < width]] = True
    return Snapshot(
        waiting=waiting,
        at_s=at_s,
        fairshare=widened(factors.factors, width),
        points=widened(factors.points, width),
        highest_points=factors.highest_points,
        leaf=leaf,
        suspended=closed,
        book=QuotaBook(tree, claims),
        demand=demand_over(waiting, tree.resource_classes),
        never=never or {},
        rests=rests or {},
        site=site,
        ends=ends,
        reserved=reserved or {},
    )


def demand_over(waiting: Waiting, resource_classes: Sequence[str]) -> Ints:
    """Return the queue's shapes, shape (s, r), over more resource classes than it asks for."""
    demand = np.zeros((len(waiting.demand), len(resource_classes)), dtype=np.int64)
    place = [resource_classes.index(name) for name in waiting.resource_classes]
    demand[:, place] = waiting.demand
    return demand


def widened(column: npt.NDArray[_Number], width: int) -> npt.NDArray[_Number]:
    """Return a column of at least `width` entries; those that it lacks are 0."""
    missing = width - len(column)
    return (
        np.concatenate([column, np.zeros(missing, dtype=column.dtype)]) if missing > 0 else column
    )
