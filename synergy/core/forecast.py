"""When a waiting request starts: the round, run forward over the ends of lifetimes.

Why: the answer comes from the function that decides, so it knows every policy. It is an estimate:
servers may end before their lifetimes do, whoever arrives later with a higher priority is not
known, and priorities are those of now but for their age. Must not know clocks: instants are epoch
seconds.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace

from synergy.core.explain import End
from synergy.core.model import QuotaKind
from synergy.core.quota import QuotaBook
from synergy.core.rounds import NO_FACTS, Outcome, Plan, Policy, Snapshot, decide
from synergy.core.rounds.checks import FORESEEABLE
from synergy.core.shares import Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The estimated starts, epoch seconds by request id; who is missing starts after `until_s`."""

    starts_s: dict[str, float]
    until_s: float


def forecast(
    snapshot: Snapshot,
    plan: Plan,
    ends: Sequence[End],
    policy: Policy,
    *,
    wanted: frozenset[str],
    most_rounds: int,
) -> Forecast:
    """Run rounds at the ends of lifetimes until every `wanted` request has started.

    What hosts and groups will be like then nobody knows: they are taken to have room.

    snapshot, plan  a round and what it decided
    ends            of the shared servers that hold quota, what the plan dispatches included
    most_rounds     ends are put together, the earlier with the later, to need no more than this
    """
    book, waiting = plan.book.copy(), snapshot.waiting.without(plan.taken)
    queue = [(end.at_s, place, end.leaf, end.demand) for place, end in enumerate(ends)]
    serial = len(queue)
    heapq.heapify(queue)
    together = -(-len(queue) // most_rounds)
    found: dict[str, float] = {}
    at_s = snapshot.at_s
    for _ in range(most_rounds):
        if not queue or wanted <= found.keys():
            break
        at_s = _release(queue, book, at_s, together)
        now = replace(snapshot, waiting=waiting, at_s=at_s, book=book, rests={}, site=0.0)
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
        waiting = waiting.without(next_plan.taken)
    return Forecast(starts_s=found, until_s=at_s)


def _release(
    queue: list[tuple[float, int, int, Ints]], book: QuotaBook, at_s: float, together: int
) -> float:
    """Take the next `together` ends off the queue, and all at the instant of the last, which is
    returned."""
    count = 0
    while queue and (count < together or queue[0][0] <= at_s):
        ended_s, _, leaf, demand = heapq.heappop(queue)
        at_s, count = max(at_s, ended_s), count + 1
        book.release_shared(leaf, demand)
    return at_s


def ends_of(snapshot: Snapshot, plan: Plan) -> list[End]:
    """Return when the servers end that a round dispatches, those that have an end."""
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
