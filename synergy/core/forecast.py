"""When a waiting request starts at the latest: the round, run forward over the ends of lifetimes.

Why: the answer comes from the function that decides, so it knows every policy. It is a bound and
no guess: servers end no later than their lifetimes, but may end sooner; whoever arrives later with
a higher priority is not known. Must not know clocks: instants are epoch seconds.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

import numpy as np

from synergy.core.explain import End
from synergy.core.model import OnPrivateFull, QuotaKind, RequestClass
from synergy.core.queue import Line, Waiting
from synergy.core.schedule import Outcome, Plan, Policy, Snapshot, schedule
from synergy.core.shares import Ints

_SHARED: Final = tuple(QuotaKind).index(QuotaKind.SHARED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The latest starts, epoch seconds by request id; whoever is missing starts after `until_s`."""

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
    ends            of the shared servers that run
    most_rounds     ends are put together, the earlier with the later, to need no more than this
    """
    book, waiting = snapshot.book.copy(), without(snapshot.waiting, plan.taken)
    queue = [(end.at_s, place, end.leaf, end.demand) for place, end in enumerate(ends)]
    serial = len(queue)
    for decision in plan.decisions:
        if decision.outcome is Outcome.DISPATCH:
            serial = _end_of(snapshot, queue, serial, decision.class_row, snapshot.at_s)
    heapq.heapify(queue)
    together = -(-len(queue) // most_rounds)
    none_fragmented = np.zeros_like(snapshot.fragmented)
    found: dict[str, float] = {}
    at_s = snapshot.at_s
    for _ in range(most_rounds):
        if not queue or wanted <= found.keys():
            break
        for _ in range(min(together, len(queue))):
            ended_s, _, leaf, demand = heapq.heappop(queue)
            at_s = max(at_s, ended_s)
            book.release_shared(leaf, demand)
        now = replace(
            snapshot, waiting=waiting, at_s=at_s, book=book, fragmented=none_fragmented, site=0.0
        )
        next_plan = schedule(now, policy)
        for decision in next_plan.decisions:
            if decision.outcome is not Outcome.DISPATCH:
                continue
            if decision.request_id in wanted:
                found[decision.request_id] = at_s
            serial = _end_of(now, queue, serial, decision.class_row, at_s, push=True)
        waiting = without(waiting, next_plan.taken)
    return Forecast(starts_s=found, until_s=at_s)


def _end_of(
    snapshot: Snapshot,
    queue: list[tuple[float, int, int, Ints]],
    serial: int,
    row: int,
    at_s: float,
    *,
    push: bool = False,
) -> int:
    """Put the end of a server that starts at `at_s` into the queue, if it has one."""
    waiting = snapshot.waiting
    if waiting.quota[row] != _SHARED or waiting.ttl_s[row] <= 0:
        return serial
    leaf = int(snapshot.leaf[waiting.association[row]])
    entry = (at_s + float(waiting.ttl_s[row]), serial, leaf, snapshot.demand[waiting.shape[row]])
    if push:
        heapq.heappush(queue, entry)
    else:
        queue.append(entry)
    return serial + 1


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

    What-if: their class is the last row, and its class_id is 0, which no stored class has.
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
        qos_names=qos,
        partition_names=partitions,
    )
    return replace(
        snapshot,
        waiting=more,
        demand=np.vstack([snapshot.demand, asked]),
        fragmented=np.append(snapshot.fragmented, False),
        site=0.0,
    )
