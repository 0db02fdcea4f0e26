"""What may keep a request from starting although a quota could hold it: one list of checks.

Why: the scheduler, "why", "when" and "what if" must say the same, so each ground to wait is one
check that all of them run, in the manner of Kueue's admission checks. A check closes whole classes
before the round looks at any request, and is asked again about each request that a quota could hold
now. Must not know quotas or the order of the queue: those are the round's own.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import inf
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from synergy.core.model import zone_in
from synergy.core.queue import Waiting, numbers_in, refused_when_full
from synergy.core.reasons import Reason
from synergy.core.rounds.facts import (
    Facts,
    Lack,
    LacksGroup,
    LacksRoom,
    LacksZones,
    Room,
    group_of,
)
from synergy.core.rounds.snapshot import Snapshot
from synergy.core.shares import Ints

HOST_CHECK_S: Final = 10.0  # nobody tells when a host has room
GROUP_CHECK_S: Final = 1.0  # nor when a server of a group has its host
Rows = npt.NDArray[Any]  # of the snapshot's classes


@dataclass(frozen=True, slots=True)
class Wait:
    """It waits.

    look_at_s    epoch seconds when looking again may help though nothing new is told
    whole_shape  whatever else asks the same of a host waits too, for the rest of the round
    """

    reason: Reason
    look_at_s: float = inf
    whole_shape: bool = False


@dataclass(frozen=True, slots=True)
class Reject:
    """It is refused, and why in words."""

    reason: Reason
    why: str


Verdict = Wait | Reject


class Check:
    """One ground to wait, over one snapshot and what is known of the cloud.

    A check is made for one round and may remember in it what the round has let go.
    """

    def __init__(self, snapshot: Snapshot, facts: Facts) -> None:
        self.snapshot, self.waiting, self.facts = snapshot, snapshot.waiting, facts
        self.lacks: set[Lack] = set()  # what was taken for granted

    def closed(self) -> Iterator[tuple[Rows, Verdict]]:
        """Yield the classes of which nothing starts in this round."""
        yield from ()

    @property
    def watches(self) -> bool:
        """Whether it may stop any request of this round: one that may not is not asked."""
        return False

    def stops(self, row: int) -> Wait | None:
        """Return why the request at hand of a class cannot start now, None when it may."""
        return None

    def starts(self, row: int) -> None:
        """Count the request at hand of a class, which was asked about last and no check stops."""


class NeverFits(Check):
    """It asks for more than there can ever be."""

    def closed(self) -> Iterator[tuple[Rows, Verdict]]:
        never = self.snapshot.never
        rows_of: dict[str, list[int]] = {}
        if never:
            for row in np.flatnonzero(np.isin(self.waiting.class_id, list(never))):
                why = never[int(self.waiting.class_id[row])]
                rows_of.setdefault(why, []).append(int(row))
        for why, rows in rows_of.items():
            yield np.array(rows), Reject(Reason.NEVER_FITS, why)


class ZoneGone(Check):
    """Its availability zone is gone: Nova, which checks a zone only when a server is asked for,
    would build it in any other."""

    def closed(self) -> Iterator[tuple[Rows, Verdict]]:
        asked = _zones_asked(self.waiting)
        if not asked:
            return
        if self.facts.zones is None:
            self.lacks.add(LacksZones(frozenset(asked)))
            return
        for zone in sorted(asked.keys() - self.facts.zones):
            rows = np.flatnonzero(np.isin(self.waiting.shape, asked[zone]))
            why = f"asks for availability zone {zone}, which does not exist any more"
            yield rows, Reject(Reason.NEVER_FITS, why)


def _zones_asked(waiting: Waiting) -> dict[str, list[int]]:
    """Return the shapes of what waits that ask for a zone, by the zone."""
    asked: dict[str, list[int]] = {}
    if any(waiting.placement):
        for shape in numbers_in(waiting.shape):
            zone = zone_in(waiting.placement[shape])
            if zone is not None:
                asked.setdefault(zone, []).append(shape)
    return asked


class ProjectSuspended(Check):
    """Its project takes no new servers for now."""

    def closed(self) -> Iterator[tuple[Rows, Verdict]]:
        suspended = self.snapshot.suspended
        if np.count_nonzero(suspended):
            rows = np.flatnonzero(suspended[self.waiting.association])
            yield rows, Wait(Reason.PROJECT_SUSPENDED)


class UserUnknown(Check):
    """Its user came a moment ago: the quotas that were read last do not have him."""

    def closed(self) -> Iterator[tuple[Rows, Verdict]]:
        unknown = self.snapshot.leaf[self.waiting.association] == 0
        if np.count_nonzero(unknown):
            yield np.flatnonzero(unknown), Wait(Reason.PENDING_EVALUATION)


class NoHostRest(Check):
    """Nova found no host for its like although Placement named one: what the same user asks of a
    host rests, and then one is tried before the others.

    Without it every request that Placement cannot judge (an image that no host boots, a group that
    cannot be kept apart) would end in an error one after the other.
    """

    def __init__(self, snapshot: Snapshot, facts: Facts) -> None:
        super().__init__(snapshot, facts)
        self._trial: dict[int, int] = {}  # row -> number of what rests, where one may be tried
        self._tried: set[int] = set()

    def closed(self) -> Iterator[tuple[Rows, Verdict]]:
        at_s, rests = self.snapshot.at_s, self.snapshot.rests
        if not rests:
            return
        shapes = {self.snapshot.shape_at(n): n for n in numbers_in(self.waiting.shape)}
        for number, ((association_id, shape), until_s) in enumerate(rests.items()):
            same = self.waiting.association == association_id
            rows = np.flatnonzero(same & (self.waiting.shape == shapes.get(shape, -1)))
            if at_s < until_s:
                look_at_s = until_s if until_s < inf else at_s + HOST_CHECK_S
                yield rows, Wait(Reason.FRAGMENTED, look_at_s)
            else:
                self._trial |= dict.fromkeys(map(int, rows), number)

    @property
    def watches(self) -> bool:
        return bool(self.snapshot.rests)

    def stops(self, row: int) -> Wait | None:
        if self._trial.get(row) in self._tried:
            return Wait(Reason.FRAGMENTED, self.snapshot.at_s + HOST_CHECK_S)
        return None

    def starts(self, row: int) -> None:
        if row in self._trial:
            self._tried.add(self._trial[row])


class NovaSilent(Check):
    """Nova does not answer: what a quota could hold cannot be handed over."""

    @property
    def watches(self) -> bool:
        return self.facts.silent

    def stops(self, row: int) -> Wait | None:
        return Wait(Reason.NOVA_DOWN) if self.facts.silent else None


class GroupTurn(Check):
    """Another server of its group is on its way to a host: they go one after the other.

    Nova knows where a group is by the servers that are on a host already. Those of one multi-create
    it places together; sent one by one at the same time, they meet on one host and fail.
    """

    def __init__(self, snapshot: Snapshot, facts: Facts) -> None:
        super().__init__(snapshot, facts)
        self._under_way: set[str] = set()
        self._group = [group_of(one) for one in self.waiting.placement]

    @property
    def watches(self) -> bool:
        return any(self._group)

    def stops(self, row: int) -> Wait | None:
        group = self._group[self.waiting.shape[row]]
        if group is None:
            return None
        under_way = self.facts.groups.get(group)
        if under_way is None:
            self.lacks.add(LacksGroup(group))
        if under_way or group in self._under_way:
            return Wait(Reason.PRIORITY, self.snapshot.at_s + GROUP_CHECK_S)
        return None

    def starts(self, row: int) -> None:
        group = self._group[self.waiting.shape[row]]
        if group is not None:
            self._under_way.add(group)


class HostRoom(Check):
    """No host has room for it, although the sum of all hosts has.

    Nova fails a server that finds no host, while here it can wait. What was handed over and has no
    allocation yet is put on the hosts first, then each request that starts, on the emptiest host as
    Nova does. h hosts, r resource classes.
    """

    def __init__(self, snapshot: Snapshot, facts: Facts) -> None:
        super().__init__(snapshot, facts)
        self._hosts: dict[str, int] = {}
        self._free: Ints | None = None  # shape (h, r), made when it is asked for
        self._candidates: dict[int, Ints | None] = {}  # of a shape; None: not known
        self._host: int | None = None  # of the request that was asked about last

    def closed(self) -> Iterator[tuple[Rows, Verdict]]:
        if not self.facts.rooms:
            return
        full = [
            shape
            for shape in numbers_in(self.waiting.shape)
            if self.snapshot.shape_at(shape) in self.facts.rooms and not self._has_room(shape)
        ]
        waits = np.isin(self.waiting.shape, full) & ~refused_when_full(self.waiting)
        yield np.flatnonzero(waits), self._wait()

    @property
    def watches(self) -> bool:
        return True

    def stops(self, row: int) -> Wait | None:
        shape = int(self.waiting.shape[row])
        hosts = self._hosts_for(shape)
        if hosts is None:
            self._host = None
            return None
        self._host = _emptiest(self._room(), self.snapshot.demand[shape], hosts)
        return self._wait() if self._host is None else None

    def starts(self, row: int) -> None:
        if self._host is not None:
            self._room()[self._host] -= self.snapshot.demand[self.waiting.shape[row]]

    def _wait(self) -> Wait:
        return Wait(Reason.FRAGMENTED, self.snapshot.at_s + HOST_CHECK_S, whole_shape=True)

    def _has_room(self, shape: int) -> bool:
        hosts = self._hosts_for(shape)
        demand = self.snapshot.demand[shape]
        return hosts is None or _emptiest(self._room(), demand, hosts) is not None

    def _hosts_for(self, shape: int) -> Ints | None:
        """Return the rows of the hosts that could take a shape, None when that is not known."""
        if shape not in self._candidates:
            wanted = self.snapshot.shape_at(shape)
            room = self.facts.rooms.get(wanted)
            if room is None:
                self.lacks.add(LacksRoom(wanted))
                self._candidates[shape] = None
            else:
                self._room()
                self._candidates[shape] = self._rows_of(room)
        return self._candidates[shape]

    def _rows_of(self, names: Iterable[str]) -> Ints:
        """Return the rows of hosts, in one order whoever named them."""
        return np.array(sorted(self._hosts[name] for name in names), dtype=np.int64)

    def _room(self) -> Ints:
        """Return what each host has free, shape (h, r), less what is under way to some host."""
        if self._free is None:
            tree = self.snapshot.book.tree
            free: Room = {name: room[name] for room in self.facts.rooms.values() for name in room}
            self._hosts = {name: row for row, name in enumerate(sorted(free))}
            rows = [tree.amounts(free[name]) for name in self._hosts]
            self._free = np.array(rows, dtype=np.int64).reshape(
                len(rows), len(tree.resource_classes)
            )
            for one in self.facts.in_flight:
                demand = tree.amounts(one.demand)
                names = self.facts.rooms.get(one, self._hosts)
                host = _emptiest(self._free, demand, self._rows_of(names))
                if host is not None:
                    self._free[host] -= demand
        return self._free


def _emptiest(free: Ints, demand: Ints, hosts: Ints) -> int | None:
    """Return the one of `hosts` that could take `demand`, shape (r,), most often, None when none
    can take it once."""
    if not len(hosts):
        return None
    asked = demand > 0
    left = free[hosts][:, asked]
    times = (left // demand[asked]).min(axis=1) if asked.any() else np.ones(len(hosts))
    best = int(times.argmax())
    return int(hosts[best]) if times[best] >= 1 else None


# The first that closes a class, or stops a request, gives the reason.
CHECKS: Final[tuple[type[Check], ...]] = (
    NeverFits,
    ZoneGone,
    ProjectSuspended,
    UserUnknown,
    NoHostRest,
    NovaSilent,
    GroupTurn,
    HostRoom,
)
# What is known of a later round: nobody knows what hosts and groups will be like then.
FORESEEABLE: Final[tuple[type[Check], ...]] = (NeverFits, ProjectSuspended, UserUnknown)
