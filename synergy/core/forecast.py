"""Forecasts when a waiting request starts, by running rounds forward over the ends of lifetimes.

Why: the forecast uses the function that decides, so it follows every policy. It is an estimate:
servers may end before their lifetimes do, later requests with a higher priority are unknown, and of
the priorities only the age term advances. Must not know clocks: instants are epoch seconds.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace

from synergy.core.explain import End
from synergy.core.model import QuotaKind
from synergy.core.quota import QuotaBook
from synergy.core.rounds import NO_FACTS, Outcome, Plan, Policy, Snapshot, decide, in_order
from synergy.core.rounds.checks import FORESEEABLE
from synergy.core.shares import Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Estimated starts, epoch seconds by request id; a missing request starts after `until_s`."""

    starts_s: dict[str, float]
    until_s: float


def forecast(
    snapshot: Snapshot,
    plan: Plan,
    ends: Sequence[End],
    policy: Policy,
    *,
    wanted: frozenset[str],
    max_rounds: int,
) -> Forecast:
    """Run rounds at the ends of lifetimes until every `wanted` request has started.

    Hosts and server groups are assumed to have room, as their future state is unknown.

    snapshot, plan  a round, and its decision
    ends            when the shared servers that hold quota expire, including those that the plan
                    dispatches
    max_rounds      consecutive ends are grouped so that no more rounds than this are needed
    """
    book, waiting = plan.book.copy(), snapshot.waiting.without(plan.taken)
    queue = [(end.at_s, place, end.leaf, end.demand) for place, end in enumerate(ends)]
    serial = len(queue)
    heapq.heapify(queue)
    group_size = -(-len(queue) // max_rounds)
    found: dict[str, float] = {}
    reserved = plan.reserved(snapshot.waiting.class_id)
    at_s = snapshot.at_s
    for _ in range(max_rounds):
        if not queue or wanted <= found.keys():
            break
        at_s = _release(queue, book, at_s, group_size)
        known = None
        if snapshot.ends is not None:
            known = in_order((s, leaf, row) for s, _, leaf, row in queue)
        now = replace(
            snapshot, waiting=waiting, at_s=at_s, book=book, rests={}, site=0.0, ends=known,
            reserved=reserved,
        )  # fmt: skip
        next_plan = decide(now, NO_FACTS, policy, FORESEEABLE)
        book = next_plan.book
        for decision in next_plan.decisions:
            if decision.outcome is not Outcome.DISPATCH:
                continue
            if decision.request_id in wanted:
                found[decision.request_id] = at_s
        for end in ends_of(now, next_plan):
            heapq.heappush(queue, (end.at_s, serial, end.leaf, end.demand))
            serial += 1
        reserved = next_plan.reserved(waiting.class_id)
        waiting = waiting.without(next_plan.taken)
    return Forecast(starts_s=found, until_s=at_s)


def _release(
    queue: list[tuple[float, int, int, Ints]], book: QuotaBook, at_s: float, group_size: int
) -> float:
    """Release the next `group_size` ends, and all others at the instant of the last of them;
    return that instant."""
    count = 0
    while queue and (count < group_size or queue[0][0] <= at_s):
        ended_s, _, leaf, demand = heapq.heappop(queue)
        at_s, count = max(at_s, ended_s), count + 1
        book.release_shared(leaf, demand)
    return at_s


def ends_of(snapshot: Snapshot, plan: Plan) -> list[End]:
    """Return when the servers that a round dispatches expire; those without a lifetime are left
    out."""
    waiting, found = snapshot.waiting, []
    for decision in plan.decisions:
        row = decision.class_row
        if decision.quota is QuotaKind.SHARED and waiting.ttl_s[row] > 0:
            found.append(
                End(
                    at_s=snapshot.at_s + float(waiting.ttl_s[row]),
                    leaf=int(snapshot.leaf[waiting.association[row]]),
                    demand=snapshot.demand[waiting.shape[row]],
                )
            )
    return found
