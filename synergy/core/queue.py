"""The waiting requests as columns, grouped in classes of equal requests.

Why: a million waiting requests must cost only what their classes cost, in memory and in a round. A
class is a row of columns; its members are a line of ids and instants, oldest first. Must not know
priorities, quotas or where requests are stored.

A snapshot shares its lines with the live queue and stays valid all the same: a line only grows at
its end, beyond what the snapshot sees; heads advance in columns, which a snapshot copies; and any
other change replaces the line.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Self, overload

import numpy as np
import numpy.typing as npt

from synergy.core.declared.settings import CLASS_SETTINGS
from synergy.core.errors import InvalidInput
from synergy.core.ids import ID_BYTES, packed
from synergy.core.model import NOTHING, Constraints, OnPrivateFull, QuotaKind, RequestClass
from synergy.core.shares import Bools, Ints

Int32s = npt.NDArray[np.int32]
WHAT_IF_CLASS: Final = 0  # no stored class has this id
QUOTAS: Final = tuple(QuotaKind)
ON_FULL: Final = tuple(OnPrivateFull)
_SETTINGS: Final = tuple(one.name for one in CLASS_SETTINGS)
_INT_COLUMNS: Final = (
    "class_id", "association", "shape", "quota", "on_full", "qos", *_SETTINGS, "partition", "ttl_s",
    "first", "end",
)  # fmt: skip
_FIRST, _END = _INT_COLUMNS.index("first"), _INT_COLUMNS.index("end")
# Classes by position in QUOTAS and ON_FULL: what they may do is looked up, not compared each round.
_SORTS: Final = [
    [
        RequestClass(association_id=0, demand=NOTHING, quota=quota, on_private_full=on_full)
        for on_full in ON_FULL
    ]
    for quota in QUOTAS
]
_MAY_OWN: Final = np.array([[kind.may_own for kind in some] for some in _SORTS])
_MAY_BORROW: Final = np.array([[kind.may_borrow for kind in some] for some in _SORTS])
_REFUSED: Final = np.outer(
    [quota is QuotaKind.PRIVATE for quota in QUOTAS],
    [on_full is OnPrivateFull.REJECT for on_full in ON_FULL],
)


class Line:
    """The members of one class, oldest first, in two packed buffers of 24 bytes per member."""

    __slots__ = ("ids", "queued_at_s")

    def __init__(self, ids: bytes = b"", queued_at_s: Iterable[float] = ()) -> None:
        self.ids = bytearray(ids)
        self.queued_at_s = array("d", queued_at_s)

    def id_at(self, position: int) -> bytes:
        """Return the 16 bytes of the member's uuid."""
        return bytes(self.ids[position * ID_BYTES : (position + 1) * ID_BYTES])

    def append(self, request_id: bytes, queued_at_s: float) -> None:
        """Add the youngest member; snapshots do not see it."""
        self.ids += request_id
        self.queued_at_s.append(queued_at_s)

    def place_of(self, request_id: bytes, queued_at_s: float, first: int) -> int:
        """Return the member's position, or where it would be inserted, at or after `first`."""
        low = bisect_left(self.queued_at_s, queued_at_s, lo=first)
        high = bisect_right(self.queued_at_s, queued_at_s, lo=low)
        while low < high:  # members of one batch have the same instant, and are ordered by id
            middle = (low + high) // 2
            if self.id_at(middle) < request_id:
                low = middle + 1
            else:
                high = middle
        return low

    def stands_at(self, place: int, request_id: bytes, queued_at_s: float) -> bool:
        """Return whether the member at `place` is this one."""
        return (
            place < len(self.queued_at_s)
            and self.queued_at_s[place] == queued_at_s
            and self.id_at(place) == request_id
        )

    def spliced(self, first: int, place: int, request_id: bytes, queued_at_s: float) -> "Line":
        """Return a new line that starts at `first`, with a member inserted at `place`."""
        at = place * ID_BYTES
        ids = self.ids[first * ID_BYTES : at] + request_id + self.ids[at:]
        return Line(
            bytes(ids), (*self.queued_at_s[first:place], queued_at_s, *self.queued_at_s[place:])
        )

    def with_member(self, request_id: bytes, queued_at_s: float) -> "Line":
        """Return the line with a member inserted in order; itself when that is at the end."""
        last = len(self.queued_at_s) - 1
        if last < 0 or (queued_at_s, request_id) > (self.queued_at_s[last], self.id_at(last)):
            self.append(request_id, queued_at_s)
            return self
        place = self.place_of(request_id, queued_at_s, 0)
        return self.spliced(0, place, request_id, queued_at_s)

    def part(self, first: int, end: int) -> "Line":
        """Return a new line of the members [first, end)."""
        return Line(bytes(self.ids[first * ID_BYTES : end * ID_BYTES]), self.queued_at_s[first:end])

    def without(self, first: int, place: int) -> "Line":
        """Return a new line that starts at `first`, without the member at `place`."""
        ids = self.ids[first * ID_BYTES : place * ID_BYTES] + self.ids[(place + 1) * ID_BYTES :]
        return Line(bytes(ids), self.queued_at_s[first:place] + self.queued_at_s[place + 1 :])


class _Column:
    """A column of a table, by the name under which it stands in a class."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._row = _INT_COLUMNS.index(name)

    @overload
    def __get__(self, waiting: None, owner: type) -> Self: ...
    @overload
    def __get__(self, waiting: "Waiting", owner: type) -> Int32s: ...
    def __get__(self, waiting: "Waiting | None", owner: type) -> Int32s | Self:
        return self if waiting is None else waiting.table[self._row]


@dataclass(frozen=True, eq=False, kw_only=True)
class Waiting:
    """A snapshot of the queue: c classes with at least one member, s shapes, r resource classes.

    table              shape (k, c), the columns of whole numbers
    class_id           shape (c,), the identity of the class in the store
    association        shape (c,), association_id
    shape              shape (c,), row of `demand`
    quota, on_full     shape (c,), positions in QUOTAS and ON_FULL
    qos                shape (c,), position in `qos_names`
    nice               shape (c,); each of the settings of a class has its column
    partition          shape (c,), position in `partition_names`
    ttl_s              shape (c,), lifetime in seconds, 0 without end
    first, end         shape (c,), members [first, end) of the line wait
    head_queued_at_s   shape (c,), when the oldest member was queued, epoch seconds
    lines              c lines
    demand             shape (s, r), amounts of each shape
    placement          s tuples: the constraints on the choice of a host for each shape
    """

    table: Int32s
    head_queued_at_s: npt.NDArray[np.float64]
    lines: list[Line]
    resource_classes: tuple[str, ...]
    demand: Ints
    placement: tuple[Constraints, ...]
    qos_names: tuple[str, ...]
    partition_names: tuple[str, ...]

    class_id = _Column()
    association = _Column()
    shape = _Column()
    quota = _Column()
    on_full = _Column()
    qos = _Column()
    nice = _Column()
    partition = _Column()
    ttl_s = _Column()
    first = _Column()
    end = _Column()

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def request_count(self) -> int:
        """How many requests wait."""
        return int((self.end - self.first).sum())

    def select(self, rows: Ints) -> "Waiting":
        """Return the queue with only these rows, in this order."""
        return replace(
            self,
            table=self.table[:, rows],
            head_queued_at_s=self.head_queued_at_s[rows],
            lines=[self.lines[row] for row in rows],
        )

    def without(self, taken: Ints) -> "Waiting":
        """Return the queue without the oldest `taken` members of each class, shape (c,)."""
        first = self.first + taken.astype(self.first.dtype)
        rows = np.flatnonzero(first < self.end)
        heads = [self.lines[row].queued_at_s[first[row]] for row in rows]
        left = self.select(rows)
        left.table[_FIRST] = first[rows]
        return replace(left, head_queued_at_s=np.array(heads, dtype=np.float64))

    def with_class(
        self, kind: RequestClass, request_ids: Sequence[str], queued_at_s: float
    ) -> tuple["Waiting", int]:
        """Return the queue with more requests of one class, and the row of the class.

        A class that is not in the queue yet becomes the last row, with the class_id WHAT_IF_CLASS:
        no real class has it, so that a cached answer about it is never used for another class.
        """
        queue = WaitingQueue()
        for request_id in request_ids:
            queue.add(WHAT_IF_CLASS, kind, request_id, queued_at_s)
        more = queue.snapshot()
        row = self._row_of(more)
        if row is None:
            return self._joined(more), len(self)
        line = self.lines[row].part(int(self.first[row]), int(self.end[row]))
        for place, at_s in enumerate(more.lines[0].queued_at_s):
            line = line.with_member(more.lines[0].id_at(place), at_s)
        return self._with_line(row, line), row

    def without_member(self, row: int, request_id: str, queued_at_s: float) -> "Waiting":
        """Return the queue without one request of a class; itself when the request is not there."""
        first, end = int(self.first[row]), int(self.end[row])
        line, key = self.lines[row].part(first, end), packed(request_id)
        place = line.place_of(key, queued_at_s, 0)
        if not line.stands_at(place, key, queued_at_s):
            return self
        if end - first == 1:
            return self.select(np.flatnonzero(np.arange(len(self)) != row))
        return self._with_line(row, line.without(0, place))

    def _with_line(self, row: int, line: Line) -> "Waiting":
        """Return the queue with the line of one class replaced; the line must not be empty."""
        table, heads_s, lines = self.table.copy(), self.head_queued_at_s.copy(), list(self.lines)
        table[_FIRST, row], table[_END, row], lines[row] = 0, len(line.queued_at_s), line
        heads_s[row] = line.queued_at_s[0]
        return replace(self, table=table, lines=lines, head_queued_at_s=heads_s)

    def _row_of(self, one: "Waiting") -> int | None:
        """Return the row of the same class as the only row of another queue."""
        if one.qos_names[0] not in self.qos_names:
            return None
        if one.partition_names[0] not in self.partition_names:
            return None
        wanted = dict(zip(one.resource_classes, map(int, one.demand[0]), strict=True))
        amounts = [wanted.pop(name, 0) for name in self.resource_classes]
        if any(wanted.values()):
            return None
        equal = np.flatnonzero((self.demand == amounts).all(axis=1))
        shapes = [shape for shape in equal if self.placement[shape] == one.placement[0]]
        same = np.isin(self.shape, shapes)
        same &= self.qos == self.qos_names.index(one.qos_names[0])
        same &= self.partition == self.partition_names.index(one.partition_names[0])
        for name in ("association", "quota", "on_full", "ttl_s", *_SETTINGS):
            same &= getattr(self, name) == getattr(one, name)[0]
        rows = np.flatnonzero(same)
        return int(rows[0]) if len(rows) else None

    def _joined(self, other: "Waiting") -> "Waiting":
        """Return both queues as one; this one's rows, shapes and names come first."""
        names = tuple(sorted({*self.resource_classes, *other.resource_classes}))
        demand = np.zeros((len(self.demand) + len(other.demand), len(names)), dtype=np.int64)
        for part, start in ((self, 0), (other, len(self.demand))):
            columns_of = [names.index(name) for name in part.resource_classes]
            demand[start : start + len(part.demand), columns_of] = part.demand
        moved = {
            "shape": len(self.demand),
            "qos": len(self.qos_names),
            "partition": len(self.partition_names),
        }
        joining = other.table.copy()
        for name, count in moved.items():
            joining[_INT_COLUMNS.index(name)] += count
        return Waiting(
            table=np.concatenate([self.table, joining], axis=1),
            head_queued_at_s=np.concatenate([self.head_queued_at_s, other.head_queued_at_s]),
            lines=[*self.lines, *other.lines],
            resource_classes=names,
            demand=demand,
            placement=(*self.placement, *other.placement),
            qos_names=(*self.qos_names, *other.qos_names),
            partition_names=(*self.partition_names, *other.partition_names),
        )


def numbers_in(column: Int32s) -> list[int]:
    """Return the numbers that a column has, each once, the lowest first.

    They are small, as ids and positions are: counting them costs a tenth of sorting them.
    """
    found: list[int] = np.flatnonzero(np.bincount(column)).tolist()
    return found


def may_own(waiting: Waiting) -> Bools:
    """Return, shape (c,), which classes may use their project's private quota."""
    found: Bools = _MAY_OWN[waiting.quota, waiting.on_full]
    return found


def may_borrow(waiting: Waiting) -> Bools:
    """Return, shape (c,), which classes may use the shared quota."""
    found: Bools = _MAY_BORROW[waiting.quota, waiting.on_full]
    return found


def refused_when_full(waiting: Waiting) -> Bools:
    """Return, shape (c,), which classes are refused when the private quota cannot hold them now."""
    found: Bools = _REFUSED[waiting.quota, waiting.on_full]
    return found


class WaitingQueue:
    """The live queue. Only one thread at a time may change it; any thread may use a snapshot."""

    def __init__(self) -> None:
        self._row: dict[int, int] = {}
        self._lines: list[Line] = []
        self._head_s = np.zeros(64)
        self._lay_out(np.zeros((len(_INT_COLUMNS), 64), dtype=np.int32))
        self._shapes: dict[tuple[tuple[tuple[str, int], ...], Constraints], int] = {}
        self._qos: dict[str, int] = {}
        self._partitions: dict[str, int] = {}
        self._resource_classes: set[str] = set()
        self._matrix: tuple[tuple[str, ...], Ints] | None = None
        self._placement: tuple[Constraints, ...] = ()  # goes with the matrix

    def __len__(self) -> int:
        count = len(self._lines)
        return int((self._columns["end"][:count] - self._columns["first"][:count]).sum())

    def add(
        self, class_id: int, request_class: RequestClass, request_id: str, queued_at_s: float
    ) -> bool:
        """Add a request to its class's line; return False when it is there already."""
        row = self._row_of(class_id, request_class)
        line, key = self._lines[row], packed(request_id)
        first, end = int(self._columns["first"][row]), int(self._columns["end"][row])
        if first == end or (queued_at_s, key) > (line.queued_at_s[end - 1], line.id_at(end - 1)):
            line.append(key, queued_at_s)
            self._columns["end"][row] = end + 1
        else:
            place = line.place_of(key, queued_at_s, first)
            if line.stands_at(place, key, queued_at_s):
                return False
            self._replace(row, line.spliced(first, place, key, queued_at_s))
        self._head_s[row] = self._lines[row].queued_at_s[self._columns["first"][row]]
        return True

    def load(
        self, class_id: int, request_class: RequestClass, ids: bytes, queued_at_s: "array[float]"
    ) -> None:
        """Fill a class from packed members, oldest first; for a restart."""
        if len(ids) != ID_BYTES * len(queued_at_s):
            raise InvalidInput(f"class {class_id}: {len(ids)} id bytes, {len(queued_at_s)} times")
        if len(queued_at_s):
            self._replace(self._row_of(class_id, request_class), Line(ids, queued_at_s))

    def remove(self, class_id: int, request_id: str, queued_at_s: float) -> bool:
        """Remove a request; return False when it is not in the queue."""
        row = self._row.get(class_id)
        if row is None:
            return False
        line, key = self._lines[row], packed(request_id)
        first, end = int(self._columns["first"][row]), int(self._columns["end"][row])
        place = line.place_of(key, queued_at_s, first)
        if not line.stands_at(place, key, queued_at_s):
            return False
        if place > first:
            self._replace(row, line.without(first, place))
        elif first + 1 == end:
            self._replace(row, Line())
        elif first >= 512 and first > end // 2:
            self._replace(
                row, line.without(first, first)
            )  # also frees the members that were taken before
        else:
            self._columns["first"][row] = first + 1
            self._head_s[row] = line.queued_at_s[first + 1]
        return True

    def snapshot(self) -> Waiting:
        """Return the classes that have members. The cost follows the number of classes."""
        count = len(self._lines)
        first, end = self._columns["first"][:count], self._columns["end"][:count]
        rows = (end > first).nonzero()[0]
        if len(rows) * 2 < count and count > 1024:
            self._forget_empty(rows)
            return self.snapshot()
        full = len(rows) == count
        names, matrix = self._demand_matrix()
        lines = self._lines
        return Waiting(
            table=self._table[:, :count].copy() if full else self._table[:, rows],
            head_queued_at_s=self._head_s[:count].copy() if full else self._head_s[rows],
            lines=lines.copy() if full else [lines[row] for row in rows.tolist()],
            resource_classes=names,
            demand=matrix,
            placement=self._placement,
            qos_names=tuple(self._qos),
            partition_names=tuple(self._partitions),
        )

    def _row_of(self, class_id: int, request_class: RequestClass) -> int:
        row = self._row.get(class_id)
        if row is not None:
            return row
        row = self._row[class_id] = len(self._lines)
        self._lines.append(Line())
        if row == len(self._head_s):
            more = max(row, 64)
            self._head_s = np.concatenate([self._head_s, np.zeros(more)])
            empty = np.zeros((len(_INT_COLUMNS), more), dtype=np.int32)
            self._lay_out(np.concatenate([self._table, empty], axis=1))
        values: Mapping[str, int] = {
            "class_id": class_id,
            "association": request_class.association_id,
            "shape": self._shape_of(request_class),
            "quota": QUOTAS.index(request_class.quota),
            "on_full": ON_FULL.index(request_class.on_private_full),
            "qos": self._qos.setdefault(request_class.qos, len(self._qos)),
            **{name: int(getattr(request_class, name)) for name in _SETTINGS},
            "partition": self._partitions.setdefault(
                request_class.partition, len(self._partitions)
            ),
            "ttl_s": request_class.ttl_s,
            "first": 0,
            "end": 0,
        }
        for name, value in values.items():
            self._columns[name][row] = value
        return row

    def _shape_of(self, request_class: RequestClass) -> int:
        shape = (request_class.demand.amounts, request_class.placement)
        if shape not in self._shapes:
            self._shapes[shape] = len(self._shapes)
            self._resource_classes.update(name for name, _ in shape[0])
            self._matrix = None
        return self._shapes[shape]

    def _demand_matrix(self) -> tuple[tuple[str, ...], Ints]:
        if self._matrix is None:
            names = tuple(sorted(self._resource_classes))
            rows = [[dict(amounts).get(name, 0) for name in names] for amounts, _ in self._shapes]
            matrix = np.array(rows, dtype=np.int64).reshape(len(self._shapes), len(names))
            self._matrix = names, matrix
            self._placement = tuple(constraints for _, constraints in self._shapes)
        return self._matrix

    def _lay_out(self, table: Int32s) -> None:
        """Keep the columns in one table, so that a snapshot is one copy."""
        self._table = table
        self._columns: dict[str, Int32s] = dict(zip(_INT_COLUMNS, table, strict=True))

    def _replace(self, row: int, line: Line) -> None:
        self._lines[row] = line
        self._columns["first"][row], self._columns["end"][row] = 0, len(line.queued_at_s)
        self._head_s[row] = line.queued_at_s[0] if len(line.queued_at_s) else 0.0

    def _forget_empty(self, rows: Ints) -> None:
        self._lines = [self._lines[row] for row in rows]
        self._lay_out(self._table[:, rows])
        self._row = {int(c): row for row, c in enumerate(self._columns["class_id"])}
        self._head_s = self._head_s[rows]
        used, again = np.unique(self._columns["shape"], return_inverse=True)
        self._columns["shape"][:] = again
        known = list(self._shapes)
        self._shapes = {known[old]: new for new, old in enumerate(used)}
        self._matrix = None
