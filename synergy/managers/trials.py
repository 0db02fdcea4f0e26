"""Who has to wait for the outcome of another's build, although quota and hosts have room.

Why: a build that is under way tells what Placement cannot: whether an image boots anywhere, and on
which host a server of a group is. Must not know quotas or priorities.
"""

import logging
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import numpy as np

from synergy.core.model import SERVER_GROUP, Constraints, Request
from synergy.core.queue import Waiting
from synergy.core.reasons import Reason
from synergy.core.schedule import Outcome, Plan
from synergy.managers.hosts import HOST_CHECK_S
from synergy.ports import Compute

LOG = logging.getLogger(__name__)
FIRST_REST_S: Final = 60.0
LONGEST_REST_S: Final = 3600.0
GROUP_CHECK_S: Final = 1.0
InFlight = Callable[[], Sequence[Request]]


@dataclass(frozen=True, slots=True)
class _Rest:
    until: datetime
    rest_s: float
    tried: bool = False  # one of the class was let go since


class Hostless:
    """Classes that Nova found no host for although Placement named one: they rest for a while, and
    then one of them is tried before the others.

    Without it every request of a class that Placement cannot judge (an image that no host boots, a
    group that cannot be kept apart) would end in an error one after the other.
    """

    def __init__(self) -> None:
        self._rests: dict[int, _Rest] = {}

    def failed(self, requests: Sequence[Request], now: datetime) -> None:
        """Let the classes of these rest, longer when one was tried in vain; several that fail
        together count once."""
        for class_id, request in {one.class_id: one for one in requests}.items():
            known = self._rests.get(class_id)
            if known is not None and now < known.until:
                continue
            rest_s = FIRST_REST_S if known is None else min(2 * known.rest_s, LONGEST_REST_S)
            self._rests[class_id] = _Rest(now + timedelta(seconds=rest_s), rest_s)
            LOG.warning(
                "Nova found no host for request %s, although Placement did: others of its user "
                "that ask for the same wait %.0f s", request.request_id, rest_s,
            )  # fmt: skip

    def resting(self, now: datetime, in_flight: InFlight) -> dict[int, Reason]:
        """Return the class_ids that rest now, those among them whose trial is in flight; forget
        those whose trial succeeded."""
        if not self._rests:
            return {}
        away = {request.class_id for request in in_flight()}
        self._rests = {
            key: rest
            for key, rest in self._rests.items()
            if key in away
            or (not rest.tried and now < rest.until + timedelta(seconds=LONGEST_REST_S))
        }
        return {
            key: Reason.FRAGMENTED
            for key, rest in self._rests.items()
            if now < rest.until or key in away
        }

    def one_of_each(self, plan: Plan, waiting: Waiting) -> Plan:
        """Return the plan with one request at most of each class that is to be tried."""
        if not self._rests:
            return plan
        class_id = [int(waiting.class_id[one.class_row]) for one in plan.decisions]
        tried = {key for key in class_id if key in self._rests}
        self._rests |= {key: replace(self._rests[key], tried=True) for key in tried}
        return _first_of_each(plan, [key if key in tried else None for key in class_id])

    def due_s(self, now: datetime) -> list[float]:
        """Return in how many seconds each rest ends, or its trial is looked at."""
        return [
            HOST_CHECK_S if rest.tried else (rest.until - now).total_seconds()
            for rest in self._rests.values()
            if rest.tried or now < rest.until
        ]


class GroupTurns:
    """Servers of a group go one after the other, each once the one before it is on a host.

    Nova knows where a group is by the servers that are on a host already. Those of one multi-create
    it places together; sent one by one at the same time, they meet on one host and fail.
    """

    def __init__(self, compute: Compute) -> None:
        self._compute = compute
        self.waits = False

    def busy(self, waiting: Waiting, in_flight: InFlight) -> frozenset[str]:
        """Return the groups of which a server is on its way to a host while another waits."""
        present = (waiting.placement[shape] for shape in np.unique(waiting.shape))
        wanted = {group for one in present if (group := group_of(one))}
        self.waits = False
        if not wanted:
            return frozenset()
        groups = {
            request.request_id: group_of(request.request_class.placement) for request in in_flight()
        }
        away = {key: group for key, group in groups.items() if group is not None}
        away = {key: group for key, group in away.items() if group in wanted}
        views = self._compute.servers(away)
        busy = frozenset(away[key] for key, view in views.items() if view.host is None)
        self.waits = bool(busy)
        return busy

    def one_of_each(self, plan: Plan, waiting: Waiting) -> Plan:
        """Return the plan with one request at most of each group."""
        if not any(waiting.placement):
            return plan
        groups = [
            group_of(waiting.placement[int(waiting.shape[one.class_row])]) for one in plan.decisions
        ]
        return _first_of_each(plan, groups)


def group_of(constraints: Constraints) -> str | None:
    """Return the server group that a request belongs to."""
    return dict(constraints).get(SERVER_GROUP)


def classes_of(groups: Collection[str], waiting: Waiting) -> dict[int, Reason]:
    """Return the class_ids of the queue that belong to these groups: others of it go first."""
    if not groups:
        return {}
    shapes = {n for n, one in enumerate(waiting.placement) if group_of(one) in groups}
    return {
        int(key): Reason.PRIORITY
        for key, shape in zip(waiting.class_id, waiting.shape, strict=True)
        if int(shape) in shapes
    }


def _first_of_each(plan: Plan, keys: Sequence[Hashable]) -> Plan:
    """Return the plan with the first dispatch of each key; None keeps everything."""
    kept, seen = [], set[Hashable]()
    for decision, key in zip(plan.decisions, keys, strict=True):
        if key is not None and decision.outcome is Outcome.DISPATCH:
            if key in seen:
                continue
            seen.add(key)
        kept.append(decision)
    return plan if len(kept) == len(plan.decisions) else plan.with_decisions(kept)
