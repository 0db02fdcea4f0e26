"""Replays a log or a scenario under several policies, in processes of their own, and fixed quotas.

Why: anyone who chooses a policy wants the same numbers of all of them, on the same arrivals. Must
not print, and must not know how a replay runs.
"""

import multiprocessing
import queue
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing.queues import Queue
from typing import Any, Final, TypedDict, TypeVar

import numpy as np

from synergy.core.errors import InvalidInput
from synergy.core.model import Resources
from synergy.core.shares import Floats, Ints
from synergy.sim.fixed_quota import FixedQuotas, by_demand
from synergy.sim.measures import Measured, Outcomes, measure, promised_of
from synergy.sim.records import JobRecord, Outcome, Replay, lifetime_s
from synergy.sim.scenarios import playing
from synergy.sim.scenarios.model import Scenario
from synergy.sim.swf import Workload

FIXED: Final = "fixed quotas"
_LOOK_S: Final = 0.2
Run = Callable[..., Replay]
R = TypeVar("R")
Progress = Callable[[float, str], None]  # fraction done in [0, 1], and a text


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A policy, what became of the requests under it, and the numbers of that.

    wall_s  how long its replay took
    """

    name: str
    outcomes: Outcomes
    measured: Measured
    wall_s: float

    def as_json(self) -> dict[str, object]:
        """Return the published form."""
        return {"policy": self.name, **self.measured.as_json(), "wall_s": self.wall_s}


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The policies in the order in which they were named, and fixed quotas on the same arrivals.

    of       what was replayed, in words
    skipped  rows of the log that are not among the requests, by reason
    """

    of: str
    vcpus: int
    order: str
    skipped: Mapping[str, int]
    policies: tuple[Policy, ...]
    fixed: Policy

    def as_json(self) -> dict[str, object]:
        """Return the published form."""
        return {
            "of": self.of,
            "vcpus": self.vcpus,
            "order": self.order,
            "requests": self.policies[0].measured.whole.requests,
            "skipped": dict(self.skipped),
            "policies": [policy.as_json() for policy in self.policies],
            "fixed_quotas": self.fixed.as_json(),
        }


def compared(
    workload: Workload,
    policies: Sequence[str],
    run: Run,
    *,
    of: str,
    vcpus: int,
    order: str,
    boot_s: float,
    processes: int,
    progress: Progress,
) -> Comparison:
    """Replay a workload under each of the policies.

    run        replays a workload; a function of a module, so that another process finds it
    of         what the workload is, in words
    processes  how many replays run at a time
    """
    options = {"vcpus": vcpus, "order": order, "boot_s": boot_s}
    runs = {name: partial(run, workload, discipline=name, **options) for name in policies}
    replays = in_processes(runs, processes=processes, progress=progress)
    records = replays[policies[0]].records
    return Comparison(
        of=of,
        vcpus=vcpus,
        order=order,
        skipped=workload.skipped,
        policies=tuple(
            measured(name, outcomes_of(replays[name].records, vcpus), replays[name].wall_s)
            for name in policies
        ),
        fixed=measured(FIXED, with_fixed_quotas(records, vcpus, boot_s), 0.0),
    )


def played(
    scenario: Scenario,
    policies: Sequence[str],
    *,
    order: str,
    processes: int,
    progress: Progress,
) -> Comparison:
    """Play a scenario under each of the policies, with the same arrivals."""
    plays = {name: partial(_timed, scenario, name, order) for name in policies}
    found = in_processes(plays, processes=processes, progress=progress)
    return Comparison(
        of=scenario.name,
        vcpus=scenario.total.get("VCPU", 0),
        order=order,
        skipped={},
        policies=tuple(measured(name, *found[name]) for name in policies),
        fixed=measured(FIXED, playing.play_fixed(scenario), 0.0),
    )


def _timed(
    scenario: Scenario, name: str, order: str, progress: playing.Progress
) -> tuple[Outcomes, float]:
    began_s = time.monotonic()
    return playing.play(scenario, name, order, progress), time.monotonic() - began_s


def measured(name: str, outcomes: Outcomes, wall_s: float) -> Policy:
    """Return a policy with the numbers of what became of the requests under it."""
    return Policy(name=name, outcomes=outcomes, measured=measure(outcomes), wall_s=wall_s)


def outcomes_of(records: Sequence[JobRecord], vcpus: int) -> Outcomes:
    """Return the columns of a replay, in which all projects have the same shares."""
    start_s = _column([record.start_s for record in records])
    end_s = _column([record.end_s for record in records])
    submit_s = _column([record.job.submit_s for record in records])
    waits = np.array([record.outcome is Outcome.WAITING for record in records], dtype=np.bool_)
    started = np.isfinite(start_s)
    return Outcomes(
        **_of_jobs(records, vcpus),
        start_s=start_s,
        end_s=end_s,
        wanted_s=np.where(started, np.nan_to_num(end_s, nan=np.inf),
                          np.where(waits, np.inf, submit_s)),
        refused=~started & ~waits,
    )  # fmt: skip


def with_fixed_quotas(records: Sequence[JobRecord], vcpus: int, boot_s: float) -> Outcomes:
    """Return what becomes of the same jobs if each project has a part of the pool as its quota, and
    what does not fit is rejected. Nobody says in a log what was promised to whom, so the parts are
    in proportion to what each asks for in the whole log, which favours the quotas."""
    columns = _of_jobs(records, vcpus)
    holds_s = [boot_s + min(one.job.run_s, lifetime_s(one.job)) for one in records]
    demanded = dict.fromkeys(columns["projects"], 0.0)
    for one, for_s in zip(records, holds_s, strict=True):
        demanded[one.project] += one.job.vcpus * for_s
    fixed = FixedQuotas(by_demand(vcpus, demanded))
    admitted = np.array(
        [
            fixed.admit(one.project, Resources.of(VCPU=one.job.vcpus), one.job.submit_s, for_s)
            for one, for_s in zip(records, holds_s, strict=True)
        ],
        dtype=np.bool_,
    )
    submit_s, ends_s = columns["submit_s"], columns["submit_s"] + np.array(holds_s)
    fits = columns["vcpus"] <= vcpus
    return Outcomes(
        **columns,
        start_s=np.where(admitted, submit_s, np.nan),
        end_s=np.where(admitted, ends_s, np.nan),
        wanted_s=np.where(fits, ends_s, submit_s),
        refused=~admitted,
    )


class _Jobs(TypedDict):
    """The columns of `Outcomes` that do not depend on the policy."""

    projects: tuple[str, ...]
    promised: Floats
    project: Ints
    vcpus: Floats
    submit_s: Floats
    capacity: float


def _of_jobs(records: Sequence[JobRecord], vcpus: int) -> _Jobs:
    """Return the columns that do not depend on the policy."""
    projects = tuple(dict.fromkeys(record.project for record in records))
    place = {name: number for number, name in enumerate(projects)}
    return {
        "projects": projects,
        "promised": promised_of([1.0] * len(projects)),
        "project": np.array([place[record.project] for record in records], dtype=np.int64),
        "vcpus": np.array([record.job.vcpus for record in records], dtype=np.float64),
        "submit_s": _column([record.job.submit_s for record in records]),
        "capacity": float(vcpus),
    }


def _column(values: Sequence[float | None]) -> Floats:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


# --- processes ------------------------------------------------------------------------------------

# In a process of the pool: where it says how far it is, and what it may be asked to run. A large
# argument of a task would hang the pool when a process dies before it has read it.
_told: "Queue[tuple[str, int, int]] | None" = None  # the run, what is done of it, of how much
_runs: Mapping[str, Callable[..., Any]] = {}


def in_processes(
    runs: Mapping[str, Callable[..., R]], *, processes: int, progress: Progress
) -> dict[str, R]:
    """Return the result of each run by its name; with one process, none is started.

    runs      each is called with `progress`, which takes what is done, and of how much
    progress  is called with the fraction that is done of all, and a text
    """
    done = dict.fromkeys(runs, 0.0)

    def tell(name: str, count: int, of: int) -> None:
        done[name] = count / max(1, of)
        parts = [f"{one} {part:.0%}" for one, part in done.items() if 0 < part < 1]
        progress(sum(done.values()) / len(done), ", ".join(parts) or name)

    if processes == 1 or len(runs) == 1:
        return {name: run(progress=partial(tell, name)) for name, run in runs.items()}
    context = multiprocessing.get_context("spawn")  # a copy of a process with threads may hang
    told: Queue[tuple[str, int, int]] = context.Queue()
    with ProcessPoolExecutor(
        min(processes, len(runs)), mp_context=context, initializer=_begin, initargs=(told, runs)
    ) as pool:
        futures: dict[Future[R], str] = {pool.submit(_run, name): name for name in runs}
        left = set(futures)
        while left:
            ended, left = wait(left, timeout=_LOOK_S, return_when=FIRST_COMPLETED)
            for one in _drained(told):
                tell(*one)
            for future in ended:
                if isinstance(future.exception(), BrokenProcessPool):
                    raise InvalidInput(
                        f"a process of {processes} ended before its replay did, perhaps for want "
                        "of memory: try it with --jobs 1"
                    )
                future.result()
                tell(futures[future], 1, 1)
    found = {name: future.result() for future, name in futures.items()}
    return {name: found[name] for name in runs}


def _begin(told: "Queue[tuple[str, int, int]]", runs: Mapping[str, Callable[..., object]]) -> None:
    global _told, _runs
    _told, _runs = told, runs


def _run(name: str) -> Any:  # what comes from another process
    def tell(done: int, of: int) -> None:
        if _told is not None:
            _told.put((name, done, of))

    return _runs[name](progress=tell)


def _drained(told: "Queue[tuple[str, int, int]]") -> list[tuple[str, int, int]]:
    found = []
    while True:
        try:
            found.append(told.get_nowait())
        except queue.Empty:
            return found
