"""The weighted terms of the priority of each class that waits (Slurm's multifactor priority).

Must not know quotas, beyond that fair-share counts on the shared one only.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

from synergy.core import priority
from synergy.core.model import QuotaKind
from synergy.core.rounds.snapshot import Snapshot
from synergy.core.shares import Floats, Ints

LONGEST_LIFETIME_S: Final = 366 * 86_400.0  # what a request without end counts with


def terms_on(quota: QuotaKind, terms: priority.Terms) -> priority.Terms:
    """Return the terms that count for a quota: fair-share is about what is borrowed, so it orders
    nobody on a private quota."""
    return replace(terms, fairshare=0.0) if quota is QuotaKind.PRIVATE else terms


def weighted_terms(
    snapshot: Snapshot, weights: priority.Weights, scales: priority.Scales
) -> priority.Terms:
    """Return the terms of each class's oldest member; a factor without weight is left out."""
    waiting, raw = snapshot.waiting, scales.raw
    tree = snapshot.book.tree
    capacity = tree.capacity

    def ages() -> Floats:
        return priority.age_factor(snapshot.at_s - waiting.head_queued_at_s, scales.max_age_s)

    def qos() -> Floats:
        return priority.named_points(waiting.qos_names, scales.qos_points, raw="qos" in raw)

    def partition() -> Floats:
        points, is_raw = scales.partition_points, "partition" in raw
        return priority.named_points(waiting.partition_names, points, raw=is_raw)

    def standing() -> Floats:
        highest = None if "association" in raw else snapshot.highest_points
        return priority.points_factor(snapshot.points, highest)

    def term(weight: float, factor: Callable[[], Floats]) -> priority.Column:
        return weight * factor() if weight else 0.0

    nice = waiting.nice

    def tres(name: str) -> Floats:
        if name not in tree.resource_classes:
            return np.zeros(len(waiting))
        at = tree.resource_classes.index(name)
        factor = priority.tres_factor(
            snapshot.demand[:, at], capacity[at], normalised="tres" not in raw
        )
        return factor[waiting.shape]

    return priority.Terms(
        age=term(weights.age, ages),
        association=term(weights.association, lambda: standing()[waiting.association]),
        fairshare=term(weights.fairshare, lambda: snapshot.fairshare[waiting.association]),
        size=term(weights.size, lambda: _size_factor(snapshot, capacity, scales)),
        partition=term(weights.partition, lambda: partition()[waiting.partition]),
        qos=term(weights.qos, lambda: qos()[waiting.qos]),
        tres={name: weight * tres(name) for name, weight in weights.tres.items() if weight},
        site=snapshot.site,
        nice=nice.astype(np.float64) if np.count_nonzero(nice) else 0.0,
    )


def _size_factor(snapshot: Snapshot, capacity: Ints, scales: priority.Scales) -> Floats:
    waiting, demand = snapshot.waiting, snapshot.demand
    if not scales.size_by_time:
        by_shape = priority.size_factor(demand, capacity, favor_small=scales.favor_small)
        return by_shape[waiting.shape]
    has = capacity > 0
    largest = (demand[:, has] / capacity[has]).max(axis=1, initial=0.0)
    lifetime_s = np.where(waiting.ttl_s > 0, waiting.ttl_s, LONGEST_LIFETIME_S)
    return priority.size_by_time_factor(
        largest[waiting.shape], 1.0, lifetime_s, favor_small=scales.favor_small
    )
