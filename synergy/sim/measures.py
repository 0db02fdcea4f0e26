"""Measures what a policy delivered: waits, slowdown, use and shares, of all and by project.

Why: policies, fixed quotas and scenarios are compared by the same numbers, and the numbers follow
from when each request was submitted, started and ended alone. Must not know how they were found.
All capacity is counted in VCPU, all instants are seconds of one time scale.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from synergy.core.delivery import amounts_in, error_of
from synergy.core.shares import Bools, Floats, Ints
from synergy.sim.observe import Waits, waits_of

WINDOWS: Final = 200
BOUND_S: Final = 10.0  # a slowdown counts no run as shorter than this


@dataclass(frozen=True, eq=False, kw_only=True)
class Outcomes:
    """What became of n requests of p projects.

    projects  names, and `promised` their fractions of the whole, shape (p,), which sum up to 1
    project   shape (n,), position in `projects`
    vcpus     shape (n,)
    submit_s, start_s, end_s  shape (n,); NaN where it did not start, or did not end
    wanted_s  shape (n,), until when it asked for its VCPUs: its end, infinite while it waits, and
              for one that was refused when it would have ended; its submission if it never fits
    refused   shape (n,), True where it was refused
    capacity  VCPUs that are there
    """

    projects: tuple[str, ...]
    promised: Floats
    project: Ints
    vcpus: Floats
    submit_s: Floats
    start_s: Floats
    end_s: Floats
    wanted_s: Floats
    refused: Bools
    capacity: float

    @cached_property
    def started(self) -> Bools:
        """Which requests started, shape (n,)."""
        return np.isfinite(self.start_s)

    @cached_property
    def begin_s(self) -> float:
        """The first submission."""
        return float(self.submit_s.min(initial=np.inf)) if len(self.submit_s) else 0.0

    @cached_property
    def last_s(self) -> float:
        """When the last request ended, or was submitted."""
        if not len(self.submit_s):
            return 0.0
        return max(float(self.submit_s.max()), float(np.nanmax([self.begin_s, *self.end_s])))

    @cached_property
    def waited_s(self) -> Floats:
        """How long each request waited until it started, or waits at the end, shape (n,); 0 for
        those that were refused."""
        until_s = np.where(self.started, self.start_s, self.last_s)
        return np.where(self.refused, 0.0, until_s - self.submit_s)

    def edges_s(self) -> Floats:
        """Return the edges of the windows of a series: while requests arrive."""
        until_s = float(self.submit_s.max(initial=self.begin_s))
        return np.linspace(self.begin_s, until_s if until_s > self.begin_s else self.last_s,
                           WINDOWS + 1)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Numbers of the requests of a project, or of all.

    slowdown      mean of max(1, (wait + run) / max(run, 10 s)) of those that started
    starvation_s  the longest wait, of those that never started too
    delivered     fraction of all VCPU seconds that were delivered, in [0, 1]; `promised` likewise
    """

    name: str
    promised: float
    delivered: float
    requests: int
    started: int
    refused: int
    waits: Waits
    slowdown: float
    starvation_s: float

    def as_json(self) -> dict[str, object]:
        """Return the published form."""
        return {
            "name": self.name,
            "promised_share": self.promised,
            "delivered_share": self.delivered,
            **self.numbers(),
        }

    def numbers(self) -> dict[str, object]:
        """Return what is counted of all requests as of a project's."""
        return {
            "requests": self.requests,
            "started": self.started,
            "rejected": self.refused,
            "wait_s": {
                "mean": self.waits.mean,
                "median": self.waits.median,
                "p95": self.waits.p95,
                "max": self.waits.max,
            },
            "bounded_slowdown": self.slowdown,
            "starvation_age_s": self.starvation_s,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """The numbers of one policy.

    utilisation  fraction of the capacity that was used from the first submission to the last end
    share_error  fraction of what was used that others had than those to whom it was promised, the
                 mean over windows of the time in which requests arrive; see `share_error`
    """

    whole: Group
    projects: tuple[Group, ...]
    utilisation: float
    share_error: float
    makespan_s: float

    def as_json(self) -> dict[str, object]:
        """Return the published form."""
        return {
            **self.whole.numbers(),
            "utilisation": self.utilisation,
            "share_error": self.share_error,
            "makespan_s": self.makespan_s,
            "projects": [project.as_json() for project in self.projects],
        }


def measure(found: Outcomes) -> Measured:
    """Return the numbers of what became of requests."""
    runs_s = np.where(found.started, found.end_s - found.start_s, 0.0)
    used = np.nan_to_num(runs_s) * found.vcpus
    whole, span_s = float(used.sum()), found.last_s - found.begin_s
    everybody = np.ones(len(found.project), dtype=np.bool_)
    return Measured(
        whole=_group(found, "", everybody, used, 1.0),
        projects=tuple(
            _group(found, name, found.project == place, used, float(found.promised[place]))
            for place, name in enumerate(found.projects)
        ),
        utilisation=whole / (found.capacity * span_s) if span_s > 0 else 0.0,
        share_error=share_error(found),
        makespan_s=span_s,
    )


def _group(found: Outcomes, name: str, mine: Bools, used: Floats, promised: float) -> Group:
    started = mine & found.started
    waits_s, runs_s = found.waited_s[started], (found.end_s - found.start_s)[started]
    slowdown = np.maximum(1.0, (waits_s + runs_s) / np.maximum(runs_s, BOUND_S))
    whole = float(used.sum())
    return Group(
        name=name,
        promised=promised,
        delivered=float(used[mine].sum()) / whole if whole else 0.0,
        requests=int(mine.sum()),
        started=int(started.sum()),
        refused=int((mine & found.refused).sum()),
        waits=waits_of(waits_s),
        slowdown=float(slowdown.mean()) if len(slowdown) else 0.0,
        starvation_s=float(found.waited_s[mine].max(initial=0.0)),
    )


def share_error(found: Outcomes) -> float:
    """Return which part of what was used others had than those to whom it was promised, in [0, 1].

    The mean over windows of the time in which requests arrive; see `core.delivery`.
    """
    edges_s = found.edges_s()
    had = held_by_project(found, edges_s)
    asked = _by_project(found, found.submit_s, np.minimum(found.wanted_s, edges_s[-1]), edges_s)
    return error_of(had, asked, found.promised)


def held_by_project(found: Outcomes, edges_s: Floats) -> Floats:
    """Return the VCPU seconds that each project used in each window, shape (w, p)."""
    ends_s = np.where(np.isfinite(found.end_s), found.end_s, edges_s[-1])
    return _by_project(found, found.start_s, ends_s, edges_s)


def waiting_at(found: Outcomes, at_s: Floats) -> Floats:
    """Return how many requests wait at instants, shape (w,)."""
    arrived = np.searchsorted(np.sort(found.submit_s[~found.refused]), at_s, side="right")
    left = np.searchsorted(np.sort(found.start_s[found.started]), at_s, side="right")
    waiting: Floats = (arrived - left).astype(np.float64)
    return waiting


def _by_project(found: Outcomes, begin_s: Floats, end_s: Floats, edges_s: Floats) -> Floats:
    """Return the VCPU seconds of spans in each window, by project, shape (w, p)."""
    columns = []
    for place in range(len(found.projects)):
        mine = (found.project == place) & np.isfinite(begin_s)
        columns.append(
            amounts_in(begin_s[mine], np.maximum(begin_s, end_s)[mine], found.vcpus[mine], edges_s)
        )
    return np.array(columns).T.reshape(len(edges_s) - 1, len(found.projects))


def promised_of(shares: Sequence[float]) -> Floats:
    """Return shares as fractions of their sum, shape (p,); equal ones when all are 0."""
    column = np.array(shares, dtype=np.float64)
    whole = column.sum()
    return column / whole if whole else np.full(len(column), 1.0 / max(1, len(column)))
