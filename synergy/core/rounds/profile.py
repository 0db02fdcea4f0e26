"""What will be free on the shared quota, instant by instant, as lifetimes run out.

Why: a reservation is the earliest instant from which a request fits for its whole lifetime, and a
request may overtake it only if it fits beside it. Both are questions about this one profile. Must
not know priorities, who waits or which policy asks. "No end" is infinite.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from synergy.core.quota import UNLIMITED, QuotaBook, QuotaTree
from synergy.core.shares import Bools, Floats, Ints

_Number = TypeVar("_Number", bound=np.generic)
OVERDUE_S: Final = 1.0  # what should have ended already ends this long from now


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Ends:
    """When shared servers that hold quota expire, the soonest first; those without a lifetime are
    not among them.

    at_s    shape (e,), epoch seconds
    leaf    shape (e,), row of the quota tree
    demand  shape (e, r), what they free
    """

    at_s: Floats
    leaf: Ints
    demand: Ints

    def __len__(self) -> int:
        return len(self.at_s)

    @classmethod
    def of(cls, ends: Iterable[tuple[float, int, Ints]], width: int) -> "Ends":
        """Return (at_s, leaf, demand) in columns.

        width  number of resource classes
        """
        rows = sorted(ends, key=lambda end: end[0])
        return cls(
            at_s=np.array([at_s for at_s, _, _ in rows], dtype=np.float64),
            leaf=np.array([leaf for _, leaf, _ in rows], dtype=np.int64),
            demand=np.array([row for _, _, row in rows], dtype=np.int64).reshape(len(rows), width),
        )


def no_ends(width: int) -> Ends:
    """Return the ends of nothing."""
    return Ends.of((), width)


class Profile:
    """What is free from now on: k spans, the last of which has no end.

    Room exists at every node of the quota tree that bounds a request: the root, where it is what
    the pool has free, and each node with a borrow limit. A node's room is worked out when a request
    below it is asked about.
    """

    def __init__(self, book: QuotaBook, ends: Ends, at_s: float) -> None:
        self._tree, self._at_s = book.tree, at_s
        later_s = np.maximum(ends.at_s, at_s + OVERDUE_S)
        self._ends, self._ends_s = ends, later_s
        self._taken: list[tuple[int, Ints, float, float]] = []  # leaf, demand, from, until
        first = np.flatnonzero(np.diff(later_s, prepend=-inf))  # the first of each instant
        starts = later_s[first]
        self._begin_s: Floats = np.concatenate(([at_s], starts))
        # How many of the ends are over when a span begins.
        self._over: Ints = np.concatenate((first, [len(later_s)]))
        self._book = book
        self._room: dict[int, Ints] = {0: self._room_at(0)}
        self._lowest: dict[int, Ints] = {}  # of a node: least room from now until the span ends

    def earliest_s(
        self, leaf: int, demand: Ints, lifetime_s: float, *, not_before_s: float = -inf
    ) -> float:
        """Return the first instant from which `demand` of a leaf fits for its whole lifetime;
        infinite when none is known.

        lifetime_s  seconds, infinite without end
        """
        if not_before_s > self._at_s:
            self._cut(not_before_s)
        fits: Bools = np.ones(len(self._begin_s), dtype=np.bool_)
        asked = demand > 0
        for node in self._bounding(leaf):
            fits &= (self._room[node][:, asked] >= demand[asked]).all(axis=1)
        full = np.flatnonzero(~fits)
        begin_s = self._begin_s
        at = int(np.searchsorted(begin_s, not_before_s, side="left")) if not_before_s < inf else 0
        for span in full:
            if span >= at and begin_s[span] < begin_s[at] + lifetime_s:
                at = int(span) + 1
                if at == len(begin_s):
                    return inf
        return float(begin_s[at])

    def fits_now(self, leaf: int, demand: Ints, lifetime_s: float) -> bool:
        """Return whether `demand` of a leaf fits from now until its lifetime ends."""
        last = self._span_before(self._at_s + lifetime_s)
        for node in self._bounding(leaf):
            lowest = self._least_room(node)[last]
            if ((demand > lowest) & (demand > 0)).any():
                return False
        return True

    def may_fit_now(self, demand: Ints, lifetime_s: Floats) -> Bools:
        """Return, shape (n,), which of many fit into the pool from now until their lifetimes end.

        demand  shape (n, r)
        """
        last = np.searchsorted(self._begin_s, self._at_s + lifetime_s, side="left") - 1
        lowest = self._least_room(0)[np.maximum(last, 0)]
        fits: Bools = ((demand <= lowest) | (demand == 0)).all(axis=1)
        return fits

    def take(self, leaf: int, demand: Ints, begin_s: float, lifetime_s: float) -> None:
        """Take `demand` of a leaf from an instant on, for its lifetime."""
        self._change(leaf, demand, begin_s, begin_s + lifetime_s)

    def give_back(self, leaf: int, demand: Ints, begin_s: float, lifetime_s: float) -> None:
        """Undo `take`."""
        self._change(leaf, -demand, begin_s, begin_s + lifetime_s)

    def _change(self, leaf: int, demand: Ints, begin_s: float, end_s: float) -> None:
        self._cut(begin_s)
        self._cut(end_s)
        self._taken.append((leaf, demand, begin_s, end_s))
        path = self._tree.path(leaf)
        for node, room in self._room.items():
            if node in path:
                self._subtract(room, demand, begin_s, end_s)
        self._lowest.clear()

    def _subtract(self, room: Ints, demand: Ints, begin_s: float, end_s: float) -> None:
        low, high = np.searchsorted(self._begin_s, (begin_s, end_s), side="left")
        part = room[low:high]
        np.subtract(part, demand, out=part, where=part < UNLIMITED)

    def _cut(self, at_s: float) -> None:
        """Let a span begin at an instant."""
        place = int(np.searchsorted(self._begin_s, at_s, side="left"))
        if at_s == inf or (place < len(self._begin_s) and self._begin_s[place] == at_s):
            return
        self._begin_s = _split(self._begin_s, place)
        self._begin_s[place] = at_s
        self._over = _split(self._over, place)
        self._room = {node: _split(room, place) for node, room in self._room.items()}

    def _span_before(self, at_s: float) -> int:
        return max(0, int(np.searchsorted(self._begin_s, at_s, side="left")) - 1)

    def _least_room(self, node: int) -> Ints:
        lowest = self._lowest.get(node)
        if lowest is None:
            lowest = self._lowest[node] = np.minimum.accumulate(self._room[node], axis=0)
        return lowest

    def _bounding(self, leaf: int) -> Sequence[int]:
        """Return the nodes that bound a leaf, their room worked out."""
        bounds = self._tree.bounds_of(leaf)
        for node in bounds:
            if node not in self._room:
                room = self._room[node] = self._room_at(node)
                for below, demand, begin_s, end_s in self._taken:
                    if node in self._tree.path(below):
                        self._subtract(room, demand, begin_s, end_s)
        return (0, *(node for node in bounds if node))

    def _room_at(self, node: int) -> Ints:
        """Return, shape (k, r), the room at a node, as what is held below it ends."""
        limit, demand = self._tree.borrow_limit[node], self._ends.demand
        free = np.where(limit < UNLIMITED, limit - self._book.shared_used[node], UNLIMITED)
        if node:
            below = _leaves_below(self._tree, node, self._ends.leaf)
            demand = np.where(below[:, None], demand, 0)
        else:
            free = np.minimum(free, self._book.pool_free())
        freed = np.zeros((len(demand) + 1, demand.shape[1]), dtype=np.int64)
        np.cumsum(demand, axis=0, out=freed[1:])
        room: Ints = np.where(free < UNLIMITED, free + freed[self._over], UNLIMITED)
        return room


def _split(column: npt.NDArray[_Number], place: int) -> npt.NDArray[_Number]:
    """Return a column in which the span before `place` is two alike."""
    return np.concatenate((column[:place], column[place - 1 :]))


def _leaves_below(tree: QuotaTree, node: int, leaves: Ints) -> Bools:
    """Return, shape (e,), which leaves lie below a node."""
    inside = {int(leaf): node in tree.path(int(leaf)) for leaf in np.unique(leaves)}
    return np.array([inside[int(leaf)] for leaf in leaves], dtype=np.bool_)
