"""The weighted terms of the priority of each class that waits (Slurm's multifactor priority).

Must not know quotas, beyond that fair-share counts on the shared one only.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from synergy.core import priority
from synergy.core.model import QuotaKind
from synergy.core.rounds.snapshot import Snapshot
from synergy.core.shares import Floats

LONGEST_LIFETIME_S: Final = 366 * 86_400.0  # what a request without end counts with


def terms_on(quota: QuotaKind, terms: priority.Terms) -> priority.Terms:
    """Return the terms that count for a quota: fair-share is about what is borrowed, so it orders
    nobody on a private quota."""
    return replace(terms, fairshare=0.0) if quota is QuotaKind.PRIVATE else terms


def weighted_terms(
    snapshot: Snapshot, weights: priority.Weights, scales: priority.Scales
) -> priority.Terms:
    """Return the terms of each class's oldest member; a factor without weight is left out."""
    waiting, nice = snapshot.waiting, snapshot.waiting.nice
    named = {
        name: weight * factor(snapshot, scales)
        for name, factor in _FACTORS.items()
        if (weight := getattr(weights, name))
    }
    return priority.Terms(
        **named,
        tres={
            name: weight * _tres_factor(snapshot, scales, name)[waiting.shape]
            for name, weight in weights.tres.items()
            if weight
        },
        site=snapshot.site,
        nice=nice.astype(np.float64) if np.count_nonzero(nice) else 0.0,
    )


def _age_factor(snapshot: Snapshot, scales: priority.Scales) -> Floats:
    age_s = snapshot.at_s - snapshot.waiting.head_queued_at_s
    return priority.age_factor(age_s, scales.max_age_s)


def _association_factor(snapshot: Snapshot, scales: priority.Scales) -> Floats:
    highest = None if "association" in scales.raw else snapshot.highest_points
    return priority.points_factor(snapshot.points, highest)[snapshot.waiting.association]


def _fairshare_factor(snapshot: Snapshot, _: priority.Scales) -> Floats:
    return snapshot.fairshare[snapshot.waiting.association]


def _partition_factor(snapshot: Snapshot, scales: priority.Scales) -> Floats:
    waiting, is_raw = snapshot.waiting, "partition" in scales.raw
    by_name = priority.named_points(waiting.partition_names, scales.partition_points, raw=is_raw)
    return by_name[waiting.partition]


def _qos_factor(snapshot: Snapshot, scales: priority.Scales) -> Floats:
    waiting, is_raw = snapshot.waiting, "qos" in scales.raw
    return priority.named_points(waiting.qos_names, scales.qos_points, raw=is_raw)[waiting.qos]


def _tres_factor(snapshot: Snapshot, scales: priority.Scales, name: str) -> Floats:
    """Return the factor of one resource class by shape, shape (s,)."""
    demand, tree = snapshot.demand, snapshot.book.tree
    if name not in tree.resource_classes:
        return np.zeros(len(demand))
    at = tree.resource_classes.index(name)
    return priority.tres_factor(
        demand[:, at], tree.capacity[at], normalised="tres" not in scales.raw
    )


def _size_factor(snapshot: Snapshot, scales: priority.Scales) -> Floats:
    waiting, demand, capacity = snapshot.waiting, snapshot.demand, snapshot.book.tree.capacity
    if not scales.size_by_time:
        by_shape = priority.size_factor(demand, capacity, favor_small=scales.favor_small)
        return by_shape[waiting.shape]
    has = capacity > 0
    largest = (demand[:, has] / capacity[has]).max(axis=1, initial=0.0)
    lifetime_s = np.where(waiting.ttl_s > 0, waiting.ttl_s, LONGEST_LIFETIME_S)
    return priority.size_by_time_factor(
        largest[waiting.shape], 1.0, lifetime_s, favor_small=scales.favor_small
    )


# By the name of its weight and its term.
_FACTORS: Final[Mapping[str, Callable[[Snapshot, priority.Scales], Floats]]] = {
    "age": _age_factor,
    "association": _association_factor,
    "fairshare": _fairshare_factor,
    "size": _size_factor,
    "partition": _partition_factor,
    "qos": _qos_factor,
}
