"""What will be free on the shared quota, instant by instant, as lifetimes run out.

Why: a reservation is the earliest instant from which a request fits for its whole lifetime, and a
request may overtake it only if it fits beside it. Both are questions about this one profile. Must
not know priorities, who waits or which policy asks. "No end" is infinite.

The profile is worked out from now on, and only as far as somebody asks: most questions are about
the next few ends, while a large cloud has very many. Columns of numpy would be no faster for so few
entries, so these are plain lists.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Sequence
from itertools import accumulate
from math import inf
from operator import add, sub
from typing import Final, NamedTuple

import numpy as np

from synergy.core.quota import Amounts, QuotaBook, fits
from synergy.core.shares import Floats, Ints

OVERDUE_S: Final = 1.0  # what should have ended already ends this long from now
_ROOT: Final = 0
_ONLY_ROOT: Final = (_ROOT,)


class KnownEnd(NamedTuple):
    """When something that holds the shared quota expires.

    at_s    epoch seconds
    leaf    row of the quota tree
    demand  what it frees, by resource class of the tree
    """

    at_s: float
    leaf: int
    demand: tuple[int, ...]


Ends = Sequence[KnownEnd]  # the soonest first; what has no lifetime is not among them


def in_order(ends: Iterable[tuple[float, int, Ints]]) -> Ends:
    """Return (at_s, leaf, demand) as ends."""
    return sorted(KnownEnd(at_s, leaf, tuple(demand.tolist())) for at_s, leaf, demand in ends)


class Profile:
    """What is free from now on: spans that begin one after the other, the last without an end.

    Room exists at every node of the quota tree that bounds a request: the root, where it is what
    the pool has free, and each node with a borrow limit. A node's room is worked out when a request
    below it is asked about.

    Behind the spans that are worked out nothing is taken, only given back: the least room until an
    instant is therefore found in these spans.
    """

    def __init__(self, book: QuotaBook, ends: Ends, at_s: float) -> None:
        self._tree, self._book, self._at_s, self._ends = book.tree, book, at_s, ends
        self._begin_s = [at_s]
        self._room: dict[int, list[list[int]]] = {_ROOT: [book.room_at(_ROOT)]}  # by node and span
        self._over = 0  # how many of the ends are over when the last span begins
        self._coming: list[KnownEnd] = []  # later ends of what was taken here
        self._taken: list[tuple[int, Amounts, float, float]] = []  # leaf, demand, from, until

    def earliest_s(
        self, leaf: int, demand: Amounts, lifetime_s: float, *, not_before_s: float = -inf
    ) -> float:
        """Return the first instant from which `demand` of a leaf fits for its whole lifetime;
        infinite when none is known.

        lifetime_s  seconds, infinite without end
        """
        span = 0
        if not_before_s > self._at_s:
            self._reach(not_before_s)
            span = bisect_right(self._begin_s, not_before_s) - 1
        rooms, found_s = [self._room[node] for node in self._bounding(leaf)], inf
        while True:
            if span == len(self._begin_s) and (found_s < inf or not self._extend()):
                return found_s
            begin_s = self._begin_s[span]
            if begin_s >= found_s + lifetime_s:
                return found_s
            for room in rooms:
                if not fits(demand, room[span]):
                    found_s = inf
                    break
            else:
                found_s = min(found_s, max(begin_s, not_before_s))
            span += 1

    def fits_now(self, leaf: int, demand: Amounts, lifetime_s: float) -> bool:
        """Return whether `demand` of a leaf fits from now until its lifetime ends."""
        count = max(1, bisect_left(self._begin_s, self._at_s + lifetime_s))
        for node in self._bounding(leaf):
            for room in self._room[node][:count]:
                if not fits(demand, room):
                    return False
        return True

    def fit_until_s(self, demand: Ints) -> Floats:
        """Return, shape (s,), until when many demands fit into the pool from now on: the instant
        itself for one that does not fit now, infinite where nothing is known against it.

        demand  shape (s, r)
        """
        until_s = np.full(len(demand), inf)
        lowest, open_ = self._room[_ROOT][0], np.ones(len(demand), dtype=np.bool_)
        for begin_s, room in zip(self._begin_s, self._room[_ROOT], strict=True):
            less = list(map(min, lowest, room))
            if less == lowest and begin_s > self._at_s:
                continue
            lowest = less
            fitting = ((demand <= lowest) | (demand == 0)).all(axis=1)
            until_s[open_ & ~fitting] = begin_s
            open_ &= fitting
            if not open_.any():
                break
        return until_s

    def take(self, leaf: int, demand: Amounts, begin_s: float, lifetime_s: float) -> None:
        """Take `demand` of a leaf from an instant on, for its lifetime."""
        self._change(leaf, demand, begin_s, begin_s + lifetime_s)

    def give_back(self, leaf: int, demand: Amounts, begin_s: float, lifetime_s: float) -> None:
        """Undo `take`."""
        self._change(leaf, [-amount for amount in demand], begin_s, begin_s + lifetime_s)

    def frees(self, leaf: int, demand: Amounts, at_s: float) -> None:
        """Note when something ends that the book has and the known ends have not; before anything
        else is asked."""
        insort(self._coming, KnownEnd(at_s, leaf, tuple(demand)))
        self._taken.append((leaf, demand, -inf, at_s))

    def _change(self, leaf: int, demand: Amounts, begin_s: float, end_s: float) -> None:
        self._reach(begin_s)
        low, high = self._cut(begin_s), len(self._begin_s)
        if end_s <= self._begin_s[-1]:
            high = self._cut(end_s)
        elif end_s < inf:
            insort(self._coming, KnownEnd(end_s, leaf, tuple(demand)))
        path = self._tree.path(leaf)
        for node, rooms in self._room.items():
            if node in path:
                rooms[low:high] = [_less(room, demand) for room in rooms[low:high]]
        self._taken.append((leaf, demand, begin_s, end_s))

    def _reach(self, at_s: float) -> None:
        """Work out the spans up to an instant."""
        while self._begin_s[-1] < at_s and self._extend():
            pass

    def _extend(self) -> bool:
        """Work out one more span; return False when nothing ends any more."""
        ends, coming, place = self._ends, self._coming, self._over
        begin_s = coming[0].at_s if coming else inf
        if place < len(ends):
            begin_s = min(begin_s, max(ends[place].at_s, self._at_s + OVERDUE_S))
        elif not coming:
            return False
        while place < len(ends) and ends[place].at_s <= begin_s:
            place += 1
        over, self._over = ends[self._over : place], place
        while coming and coming[0].at_s <= begin_s:
            over = [*over, coming.pop(0)]
        self._begin_s.append(begin_s)
        for node, rooms in self._room.items():
            room = rooms[-1]
            for _, leaf, demand in over:
                if node == _ROOT or node in self._tree.path(leaf):
                    room = _more(room, demand)
            rooms.append(room)
        return True

    def _cut(self, at_s: float) -> int:
        """Let a span begin at an instant, and return its place."""
        place = bisect_left(self._begin_s, at_s)
        if place == 0 or (place < len(self._begin_s) and self._begin_s[place] == at_s):
            return place
        self._begin_s.insert(place, at_s)
        for spans in self._room.values():
            spans.insert(place, spans[place - 1])
        return place

    def _bounding(self, leaf: int) -> Sequence[int]:
        """Return the nodes that bound a leaf, their room worked out."""
        if not self._tree.bounded:
            return _ONLY_ROOT
        nodes = [_ROOT, *(node for node in self._tree.bounds_of(leaf) if node != _ROOT)]
        for node in nodes:
            if node not in self._room:
                self._room[node] = self._room_of(node)
        return nodes

    def _room_of(self, node: int) -> list[list[int]]:
        """Return the room at a node, span by span, as what is held below it ends."""
        room = self._book.room_at(node)
        change = [[0] * len(room) for _ in self._begin_s]

        def note(leaf: int, demand: Amounts, at_s: float) -> None:
            if node in self._tree.path(leaf):
                span = bisect_left(self._begin_s, at_s)
                change[span] = _more(change[span], demand)

        for at_s, leaf, demand in self._ends[: self._over]:
            note(leaf, demand, max(at_s, self._at_s + OVERDUE_S))
        for leaf, amounts, begin_s, end_s in self._taken:
            if begin_s > self._at_s:  # else it started in this round, and the book has it
                note(leaf, [-amount for amount in amounts], begin_s)
            if end_s <= self._begin_s[-1]:
                note(leaf, amounts, end_s)
        return list(accumulate(change, _more, initial=room))[1:]


def _more(room: Amounts, demand: Amounts) -> list[int]:
    return list(map(add, room, demand))


def _less(room: Amounts, demand: Amounts) -> list[int]:
    return list(map(sub, room, demand))
