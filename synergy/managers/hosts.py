"""Keeps a round from dispatching what no host has room for, although the sum of all hosts has.

Why: Nova fails a server that finds no host, while here it can wait. Placement says what each host
has free; what was dispatched and has no allocation yet is put on the hosts first, then the
decisions one by one, on the emptiest host as Nova does. Must not know quotas or priorities.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from synergy.core.model import Constraints, Request
from synergy.core.quota import QuotaTree
from synergy.core.schedule import Decision, Outcome, Plan
from synergy.core.shares import Ints
from synergy.ports import Compute

HOST_CHECK_S: Final = 10.0  # nobody tells when a host has room


class HostRoom:
    """What the hosts have free in one round; h hosts, r resource classes."""

    def __init__(
        self,
        compute: Compute,
        tree: QuotaTree,
        demand: Ints,
        placement: Sequence[Constraints],
        in_flight: Sequence[Request],
    ) -> None:
        """demand: shape (s, r), what each shape of the queue asks for. placement: what binds its
        host. in_flight: those that were handed over and may have no allocation yet."""
        self._compute, self._tree, self._demand = compute, tree, demand
        self._placement = placement
        # Asked before the hosts are: one that gets its allocation in between counts twice for now,
        # never not at all.
        placed = compute.placed([one.request_id for one in in_flight]) if in_flight else set()
        self._in_flight = [one for one in in_flight if one.request_id not in placed]
        self._hosts: dict[str, int] = {}
        self._free = np.zeros((0, demand.shape[1]), dtype=np.int64)
        self._candidates: dict[int, Ints] = {}  # shape -> hosts that Placement names for it

    def sift(self, plan: Plan, shape_of: npt.NDArray[Any]) -> tuple[Plan, set[int]]:
        """Return the plan without what finds no host, and the shapes of which nothing does.

        shape_of  shape (c,), the shape of each class
        """
        chosen = [d for d in plan.decisions if d.outcome is Outcome.DISPATCH]
        for shape in dict.fromkeys(int(shape_of[one.class_row]) for one in chosen):
            self._ask(shape)
        if not chosen:
            return plan, set()
        free = self._free.copy()
        self._put_in_flight(free)
        placed: set[int] = set()
        kept: list[Decision] = []
        for decision in plan.decisions:
            shape = int(shape_of[decision.class_row])
            if decision.outcome is Outcome.DISPATCH:
                if not _put(free, self._demand[shape], self._candidates[shape]):
                    continue
                placed.add(shape)
            kept.append(decision)
        if len(kept) == len(plan.decisions):
            return plan, set()
        asked = {int(shape_of[one.class_row]) for one in chosen}
        return plan.with_decisions(kept), asked - placed

    def _ask(self, shape: int) -> None:
        if shape in self._candidates:
            return
        demand = self._tree.resources(self._demand[shape])
        room = self._compute.room_for(demand, self._placement[shape])
        unseen = [host for host in room if host not in self._hosts]
        self._hosts |= {host: len(self._hosts) + n for n, host in enumerate(unseen)}
        if unseen:
            rows = [self._tree.amounts(room[host]) for host in unseen]
            self._free = np.vstack([self._free, *rows])
        self._candidates[shape] = np.array([self._hosts[host] for host in room], dtype=np.int64)

    def _put_in_flight(self, free: Ints) -> None:
        everywhere = np.arange(len(free))
        for request in self._in_flight:
            _put(free, self._tree.amounts(request.demand), everywhere)


def _put(free: Ints, demand: Ints, hosts: Ints) -> bool:
    """Take `demand`, shape (r,), from the one of `hosts` that could take it most often."""
    if not len(hosts):
        return False
    asked = demand > 0
    left = free[hosts][:, asked]
    times = (left // demand[asked]).min(axis=1) if asked.any() else np.ones(len(hosts))
    best = int(times.argmax())
    if times[best] < 1:
        return False
    free[hosts[best]] -= demand
    return True
