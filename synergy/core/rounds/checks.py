"""What may keep a request from starting although a quota could hold it: one list of checks.

Why: the scheduler, "why", "when" and "what if" must say the same, so each ground to wait is one
check that all of them run, in the manner of Kueue's admission checks. A check closes whole classes
before the round looks at any request, and is asked again about each request that a quota could hold
now. Must not know quotas or the order of the queue: those are the round's own.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from synergy.core.model import zone_in
from synergy.core.queue import Waiting
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
        if never:
            for row in np.flatnonzero(np.isin(self.waiting.class_id, list(never))):
                why = never[int(self.waiting.class_id[row])]
                yield np.array([row]), Reject(Reason.NEVER_FITS, why)


class ZoneGone(Check):
    """Its availability zone is gone: Nova, which checks a zone only when a server is asked for,
    would build it in any other."""

    def closed(self) -> Iterator[tuple[Rows, Verdict]]:
        asked = _zones_asked(self.waiting)
        if not asked:
            return
        if self.facts.zones is None:
            self.lacks.add(LacksZones())
            return
        for zone in sorted(asked.keys() - self.facts.zones):
            rows = np.flatnonzero(np.isin(self.waiting.shape, asked[zone]))
            why = f"asks for availability zone {zone}, which does not exist any more"
            yield rows, Reject(Reason.NEVER_FITS, why)


def _zones_asked(waiting: Waiting) -> dict[str, list[int]]:
    """Return the shapes that ask for a zone, by the zone."""
    asked: dict[str, list[int]] = {}
    if any(waiting.placement):
        for shape, placement in enumerate(waiting.placement):
            zone = zone_in(placement)
            if zone is not None:
                asked.setdefault(zone, []).append(shape)
    return asked


class ProjectSuspended(Check):
    """Its project takes no new servers for now."""

    def closed(self) -> Iterator[tuple[Rows, Verdict]]:
        suspended = self.snapshot.suspended
        if suspended.any():
            rows = np.flatnonzero(suspended[self.waiting.association])
            yield rows, Wait(Reason.PROJECT_SUSPENDED)


class UserUnknown(Check):
    """Its user came a moment ago: the quotas that were read last do not have him."""

    def closed(self) -> Iterator[tuple[Rows, Verdict]]:
        unknown = (self.snapshot.leaf == 0)[self.waiting.association]
        if unknown.any():
            yield np.flatnonzero(unknown), Wait(Reason.PENDING_EVALUATION)


class NoHostRest(Check):
    """Nova found no host for its class although Placement named one: the class rests, and then one
    of it is tried before the others.

    Without it every request of a class that Placement cannot judge (an image that no host boots, a
    group that cannot be kept apart) would end in an error one after the other.
    """

    def __init__(self, snapshot: Snapshot, facts: Facts) -> None:
        super().__init__(snapshot, facts)
        self._tried: set[int] = set()

    def closed(self) -> Iterator[tuple[Rows, Verdict]]:
        at_s = self.snapshot.at_s
        resting = {key: until for key, until in self.snapshot.rests.items() if at_s < until}
        if resting:
            for row in np.flatnonzero(np.isin(self.waiting.class_id, list(resting))):
                until_s = resting[int(self.waiting.class_id[row])]
                look_at_s = until_s if until_s < inf else at_s + HOST_CHECK_S
                yield np.array([row]), Wait(Reason.FRAGMENTED, look_at_s)

    @property
    def watches(self) -> bool:
        return bool(self.snapshot.rests)

    def stops(self, row: int) -> Wait | None:
        if self._tried and int(self.waiting.class_id[row]) in self._tried:
            return Wait(Reason.FRAGMENTED, self.snapshot.at_s + HOST_CHECK_S)
        return None

    def starts(self, row: int) -> None:
        class_id = int(self.waiting.class_id[row])
        if class_id in self.snapshot.rests:
            self._tried.add(class_id)


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
        if self._host is not None:
            return None
        return Wait(Reason.FRAGMENTED, self.snapshot.at_s + HOST_CHECK_S, whole_shape=True)

    def starts(self, row: int) -> None:
        if self._host is not None:
            self._room()[self._host] -= self.snapshot.demand[self.waiting.shape[row]]

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
                rows = [self._hosts[name] for name in room]
                self._candidates[shape] = np.array(rows, dtype=np.int64)
        return self._candidates[shape]

    def _room(self) -> Ints:
        """Return what each host has free, shape (h, r), less what is under way to some host."""
        if self._free is None:
            tree = self.snapshot.book.tree
            free: Room = {name: room[name] for room in self.facts.rooms.values() for name in room}
            self._hosts = {name: row for row, name in enumerate(free)}
            rows = [tree.amounts(amounts) for amounts in free.values()]
            self._free = np.array(rows, dtype=np.int64).reshape(
                len(rows), len(tree.resource_classes)
            )
            everywhere = np.arange(len(rows))
            for one in self.facts.in_flight:
                demand = tree.amounts(one)
                host = _emptiest(self._free, demand, everywhere)
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
    GroupTurn,
    HostRoom,
)
