"""Walks waiting requests by (priority, age, id), looking at as few of them as it can.

Must not know quotas: on which one the priority is, its caller says.
"""

import heapq
from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from synergy.core.ids import unpacked
from synergy.core.priority import Column, per_class
from synergy.core.queue import Waiting
from synergy.core.shares import Bools, Floats, Ints

_FIRST_CHUNK: Final = 32
_Entry = tuple[float, float, bytes, int]  # -rank, queued_at_s, id, row


class Order(Iterator[int]):
    """Gives the class of the request that comes next, again and again.

    The best heads are sorted out of the columns in growing chunks; a class whose head was taken
    comes back through a heap with its next member. A class whose head is left alone does not come
    back: its other members would meet the same bound.
    """

    def __init__(
        self,
        waiting: Waiting,
        rows: Ints,
        taken: Ints,
        ranks: Column,
        rank_at: Callable[[int, float], float],
    ) -> None:
        """Walk classes of a queue.

        rows     the classes to walk
        taken    shape (c,), how many of each class, its oldest first, are gone already; counted on
                 as requests are taken
        ranks    the priority of each class's oldest member, shape (c,), or one number for all
        rank_at  gives the priority of a member of a class that was queued at an instant
        """
        self._waiting, self._taken, self._ranks = waiting, taken, ranks
        self._rank_at, self._chunk_size = rank_at, _FIRST_CHUNK
        self._left_out: Bools | None = None
        self._passed: dict[int, int] = {}  # members that were passed by, by row
        self._chunk: list[_Entry] = []
        self._heap: list[_Entry] = []
        self._rest = rows
        if np.count_nonzero(taken):
            touched = taken[rows] > 0  # `ranks` is about heads; those of these classes are gone
            self._rest = rows[~touched]
            for row in map(int, rows[touched]):
                self._line_up(row)

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        while True:
            if not self._chunk and len(self._rest):
                self._next_chunk()
            if self._heap and (not self._chunk or self._heap[0] < self._chunk[-1]):
                self._at = heapq.heappop(self._heap)
            elif self._chunk:
                self._at = self._chunk.pop()
            else:
                raise StopIteration
            if self._left_out is None or not self._left_out[self._at[3]]:
                return self._at[3]

    def take(self) -> tuple[str, float]:
        """Take a request of the class at hand, line up the next one, and return its id and when it
        was queued. It is the oldest of the class, whichever was looked at: they are alike."""
        _, queued_at_s, key, row = self._at
        if self._passed.get(row):
            line, position = self._waiting.lines[row], int(self._waiting.first[row])
            position += int(self._taken[row])
            queued_at_s, key = line.queued_at_s[position], line.id_at(position)
        self._taken[row] += 1
        self._line_up(row)
        return unpacked(key), queued_at_s

    def pass_by(self) -> None:
        """Leave the request at hand where it is, and line up the next of its class."""
        row = self._at[3]
        self._passed[row] = self._passed.get(row, 0) + 1
        self._line_up(row)

    def leave_out(self, rows: Ints) -> None:
        """Leave out these classes from now on."""
        if self._left_out is None:
            self._left_out = np.zeros(len(self._waiting), dtype=np.bool_)
        self._left_out[rows] = True
        self._rest = self._rest[~self._left_out[self._rest]]

    def _line_up(self, row: int) -> None:
        """Put the oldest member of a class that was not taken yet where it belongs."""
        line = self._waiting.lines[row]
        position = int(self._waiting.first[row] + self._taken[row]) + self._passed.get(row, 0)
        if position < self._waiting.end[row]:
            queued_at_s = line.queued_at_s[position]
            rank = self._rank_at(row, queued_at_s)
            heapq.heappush(self._heap, (-rank, queued_at_s, line.id_at(position), row))

    def _next_chunk(self) -> None:
        rows, waiting = self._rest, self._waiting
        if len(rows) > self._chunk_size:
            ranks = per_class(self._ranks, len(waiting))
            best = _best(rows, ranks, waiting.head_queued_at_s, self._chunk_size)
            left = np.ones(len(rows), dtype=np.bool_)
            left[best] = False
            self._rest, rows = rows[left], rows[best]
        else:
            self._rest = rows[:0]
        self._chunk = self._heads(rows)
        self._chunk.sort(reverse=True)
        self._chunk_size *= 4

    def _heads(self, rows: Ints) -> list[_Entry]:
        waiting, ranks, lines = self._waiting, self._ranks, self._waiting.lines
        return [
            (-rank, queued_at_s, lines[row].id_at(first), row)
            for row, rank, queued_at_s, first in zip(
                rows.tolist(),
                [ranks] * len(rows) if isinstance(ranks, float) else ranks[rows].tolist(),
                waiting.head_queued_at_s[rows].tolist(),
                waiting.first[rows].tolist(),
                strict=True,
            )
        ]


def _best(rows: Ints, ranks: Floats, queued_at_s: Floats, count: int) -> Ints:
    """Return positions in `rows` of at least `count` best, with all that tie with the last."""
    if len(rows) <= count:
        return np.arange(len(rows))
    ranks = ranks[rows]
    bound = np.partition(ranks, len(rows) - count)[len(rows) - count]
    above, tied = np.flatnonzero(ranks > bound), np.flatnonzero(ranks == bound)
    wanted = count - len(above)
    if len(tied) > wanted:  # few tie: the instants of all others are not looked at
        instants_s = queued_at_s[rows[tied]]
        tied = tied[instants_s <= np.partition(instants_s, wanted - 1)[wanted - 1]]
    return np.concatenate([above, tied])
