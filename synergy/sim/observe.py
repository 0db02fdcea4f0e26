"""Measures what a simulation delivered, from the events that managers publish.

Why: the figures come from what the service itself publishes, not from inside the managers. Must not
influence anything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import numpy.typing as npt

from synergy.core.events import Fact, QuotaClaimed, QuotaReleased, RequestsQueued, RequestsWithdrawn
from synergy.core.model import Request
from synergy.sim.clock import VirtualClock

Owner = tuple[str, str]  # project_id, user_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """How long requests waited until they held quota, seconds."""

    mean: float
    median: float
    p95: float
    max: float


def waits_of(seconds: Sequence[float] | npt.NDArray[np.float64]) -> Waits:
    """Return the summary of waiting times; zeros when nothing started."""
    if not len(seconds):
        return Waits(mean=0.0, median=0.0, p95=0.0, max=0.0)
    column = np.array(seconds)
    return Waits(
        mean=float(column.mean()),
        median=float(np.percentile(column, 50)),
        p95=float(np.percentile(column, 95)),
        max=float(column.max()),
    )


@dataclass(slots=True)
class Series:
    """Samples over time; all lists have the same length."""

    hours: list[float] = field(default_factory=list)
    delivered: list[dict[str, float]] = field(default_factory=list)  # by project, VCPU seconds
    in_use: list[int] = field(default_factory=list)  # VCPU
    queued: list[int] = field(default_factory=list)


class Observer:
    """Collects VCPU seconds, waits and series by owner."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._open: dict[str, tuple[Owner, int, datetime]] = {}
        self._closed: dict[Owner, float] = {}
        self._queued: set[str] = set()
        self.waits_s: dict[Owner, list[float]] = {}
        self.started = 0
        self.series = Series()

    def __call__(self, event: Fact) -> None:
        """Handle one event."""
        if isinstance(event, RequestsQueued):
            self._queued.update(request.request_id for request in event.requests)
        elif isinstance(event, RequestsWithdrawn):
            self._queued.difference_update(request.request_id for request in event.requests)
        elif isinstance(event, QuotaClaimed):
            for request in event.requests:
                self._began(request)
        elif isinstance(event, QuotaReleased):
            for request in event.requests:
                self._ended(request)

    def _began(self, request: Request) -> None:
        owner = (request.project_id, request.user_id)
        began_at = request.held_from or self._clock.now()
        self._open[request.request_id] = (owner, request.demand.get("VCPU", 0), began_at)
        self._queued.discard(request.request_id)
        waited_s = (began_at - request.queued_at).total_seconds()
        self.waits_s.setdefault(owner, []).append(waited_s)
        self.started += 1

    def _ended(self, request: Request) -> None:
        owner, vcpus, began_at = self._open.pop(request.request_id)
        ended_at = request.released_at or self._clock.now()
        held_s = (ended_at - began_at).total_seconds()
        self._closed[owner] = self._closed.get(owner, 0.0) + vcpus * held_s

    def delivered(self) -> dict[Owner, float]:
        """Return the VCPU seconds delivered to each owner until now."""
        sums = dict(self._closed)
        for owner, vcpus, began_at in self._open.values():
            held_s = (self._clock.now() - began_at).total_seconds()
            sums[owner] = sums.get(owner, 0.0) + vcpus * held_s
        return sums

    def delivered_by_project(self) -> dict[str, float]:
        """Return the VCPU seconds delivered to each project until now."""
        sums: dict[str, float] = {}
        for (project_id, _), amount in self.delivered().items():
            sums[project_id] = sums.get(project_id, 0.0) + amount
        return sums

    @property
    def queued(self) -> int:
        """How many requests wait."""
        return len(self._queued)

    def vcpus_in_use(self) -> int:
        """How many VCPU are held now."""
        return sum(vcpus for _, vcpus, _ in self._open.values())

    def sample(self) -> None:
        """Add a point to the series."""
        self.series.hours.append(self._clock.monotonic_s() / 3600)
        self.series.delivered.append(self.delivered_by_project())
        self.series.in_use.append(self.vcpus_in_use())
        self.series.queued.append(self.queued)


def shares_of(amounts: Mapping[str, float] | Mapping[Owner, float]) -> dict[object, float]:
    """Return each amount as a fraction of the sum; zeros when the sum is 0."""
    whole = sum(amounts.values())
    return {key: amount / whole if whole else 0.0 for key, amount in amounts.items()}
