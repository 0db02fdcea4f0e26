"""When a waiting request starts: the round, run forward over the ends of lifetimes.

Why: the answer comes from the function that decides, so it knows every policy. It is an estimate:
servers may end before their lifetimes do, whoever arrives later with a higher priority is not
known, and priorities are those of now but for their age. Must not know clocks: instants are epoch
seconds.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import numpy as np

from synergy.core.explain import End
from synergy.core.model import Constraints, OnPrivateFull, QuotaKind, RequestClass
from synergy.core.queue import Line, Waiting
from synergy.core.quota import QuotaBook
from synergy.core.reasons import Reason
from synergy.core.schedule import Outcome, Plan, Policy, Snapshot, schedule
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

    snapshot, plan  a round and what it decided; its book holds what the plan dispatches
    ends            of the shared servers that hold quota, what the plan dispatches included
    most_rounds     ends are put together, the earlier with the later, to need no more than this
    """
    book, waiting = snapshot.book.copy(), without(snapshot.waiting, plan.taken)
    queue = [(end.at_s, place, end.leaf, end.demand) for place, end in enumerate(ends)]
    serial = len(queue)
    heapq.heapify(queue)
    together = -(-len(queue) // most_rounds)
    none_fragmented = np.zeros_like(snapshot.fragmented)
    found: dict[str, float] = {}
    at_s = snapshot.at_s
    for _ in range(most_rounds):
        if not queue or wanted <= found.keys():
            break
        at_s = _release(queue, book, at_s, together)
        now = replace(
            snapshot,
            waiting=waiting,
            at_s=at_s,
            book=book,
            fragmented=none_fragmented,
            resting={},
            site=0.0,
        )
        next_plan = schedule(now, policy)
        for decision in next_plan.decisions:
            if decision.outcome is not Outcome.DISPATCH:
                continue
            if decision.request_id in wanted:
                found[decision.request_id] = at_s
        for end in ends_of(now, next_plan):
            heapq.heappush(queue, (end.at_s, serial, end.leaf, end.demand))
            serial += 1
        waiting = without(waiting, next_plan.taken)
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


def without(waiting: Waiting, taken: Ints) -> Waiting:
    """Return the queue less the oldest `taken` members of each class, shape (c,)."""
    first = waiting.first + taken.astype(waiting.first.dtype)
    rows = np.flatnonzero(first < waiting.end)
    lines = [waiting.lines[row] for row in rows]
    heads = [line.queued_at_s[first[row]] for line, row in zip(lines, rows, strict=True)]
    return replace(
        waiting,
        class_id=waiting.class_id[rows],
        association=waiting.association[rows],
        shape=waiting.shape[rows],
        quota=waiting.quota[rows],
        on_full=waiting.on_full[rows],
        qos=waiting.qos[rows],
        nice=waiting.nice[rows],
        partition=waiting.partition[rows],
        ttl_s=waiting.ttl_s[rows],
        first=first[rows],
        end=waiting.end[rows],
        head_queued_at_s=np.array(heads, dtype=np.float64),
        lines=lines,
    )


def joined(
    snapshot: Snapshot, waiting: Waiting, kind: RequestClass, ids: Sequence[str]
) -> Snapshot:
    """Return a snapshot in which requests of a class wait besides `waiting`, queued just now.

    What-if: their class is the last row, and its class_id is 0, which no stored class has. What
    keeps others of the same shape from a host keeps them too.
    """
    asked = snapshot.book.tree.amounts(kind.demand)
    names = tuple(sorted({*waiting.resource_classes, *kind.demand}))
    shapes = np.zeros((len(waiting.demand) + 1, len(names)), dtype=np.int64)
    for at, name in enumerate(waiting.resource_classes):
        shapes[:-1, names.index(name)] = waiting.demand[:, at]
    for name, amount in kind.demand.items():
        shapes[-1, names.index(name)] = amount
    qos = (*waiting.qos_names, kind.qos)
    partitions = (*waiting.partition_names, kind.partition)
    packed = b"".join(UUID(one).bytes for one in sorted(ids))
    line = Line(packed, [snapshot.at_s] * len(ids))
    same = _same_shape(waiting, shapes, kind.placement)
    row = {
        "class_id": 0,
        "association": kind.association_id,
        "shape": len(shapes) - 1,
        "quota": tuple(QuotaKind).index(kind.quota),
        "on_full": tuple(OnPrivateFull).index(kind.on_private_full),
        "qos": len(qos) - 1,
        "nice": kind.nice,
        "partition": len(partitions) - 1,
        "ttl_s": kind.ttl_s,
        "first": 0,
        "end": len(ids),
    }
    columns = {
        name: np.append(getattr(waiting, name), np.int32(value)) for name, value in row.items()
    }
    more = replace(
        waiting,
        **columns,
        head_queued_at_s=np.append(waiting.head_queued_at_s, snapshot.at_s),
        lines=[*waiting.lines, line],
        resource_classes=names,
        demand=shapes,
        placement=(*waiting.placement, kind.placement),
        qos_names=qos,
        partition_names=partitions,
    )
    return replace(
        snapshot,
        waiting=more,
        demand=np.vstack([snapshot.demand, asked]),
        fragmented=np.append(snapshot.fragmented, bool(snapshot.fragmented[same].any())),
        resting={**snapshot.resting, **_rest_of_twins(snapshot, waiting, kind, same)},
        site=0.0,
    )


def _same_shape(waiting: Waiting, shapes: Ints, placement: Constraints) -> Ints:
    """Return the shapes of the queue that ask for the same, and the same of a host, as the last."""
    equal = (shapes[:-1] == shapes[-1]).all(axis=1)
    return np.array(
        [at for at in np.flatnonzero(equal) if waiting.placement[at] == placement], dtype=np.int64
    )


def _rest_of_twins(
    snapshot: Snapshot, waiting: Waiting, kind: RequestClass, shapes: Ints
) -> dict[int, Reason]:
    """Return why a class of the same user and shape rests, as that of the class asked about."""
    twins = np.isin(waiting.shape, shapes) & (waiting.association == kind.association_id)
    known = map(int, waiting.class_id[twins])
    reasons = [snapshot.resting[key] for key in known if key in snapshot.resting]
    return {0: reasons[0]} if reasons else {}
