"""Replays a workload log through the real managers: every job is a server on the shared quota.

The requested time is the lifetime that the scheduler knows; the run time is what really happens,
and a run longer than its lifetime expires. Must not print.
"""

import csv
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final

from synergy.core.errors import InvalidInput
from synergy.core.events import (
    Fact,
    QuotaHeld,
    QuotaReleased,
    RequestsQueued,
    RequestsRefused,
    RequestsWithdrawn,
    ServersActive,
)
from synergy.core.model import Request, Resources, State
from synergy.core.reasons import Reason
from synergy.core.rounds import Discipline
from synergy.drivers.embedded.spec import CloudSpec, FlavorSpec, HostSpec, ProjectSpec
from synergy.sim.engine import Engine, Settings, temporary_store
from synergy.sim.observe import waits_of
from synergy.sim.swf import MOST_ROWS, Job, Workload

LONGEST_TTL_S: Final = 366 * 86_400
_RARELY_S: Final = 86_400.0
_SETTLED_S: Final = 60.0  # managers know the cloud before the first job comes, as in any service
_STALLED_S: Final = 2 * _RARELY_S  # by then every manager ran, and none moved a request
_LAST_AT: Final = datetime(9000, 1, 1, tzinfo=UTC)  # beyond the longest run from here is no date
_FACTORS_S: Final = 1800.0  # a log spans months: shares that are half an hour old are fresh
_AMPLE_MB: Final = 2**52  # memory never binds: a log says what was asked, not what there was


class Outcome(StrEnum):
    """What became of a request. Every request of a log has exactly one at the end."""

    FINISHED = "finished"  # ran as long as the log says
    EXPIRED = "expired"  # its lifetime ended first
    FAILED = "failed"  # its build did
    NEVER_FITS = "never_fits"  # rejected: asks for more than there is
    REJECTED = "rejected"  # for another reason
    CANCELLED = "cancelled"  # withdrawn while it waited
    QUARANTINED = "quarantined"  # kept aside for a person
    RUNNING = "running"  # holds quota still
    WAITING = "waiting"  # waits still
    NOT_TAKEN = "not_taken"  # no manager took its message in


_OPEN: Final = frozenset({Outcome.RUNNING, Outcome.WAITING, Outcome.NOT_TAKEN})


@dataclass(slots=True)
class Fate:
    """What became of one job; instants are seconds of the log's own time."""

    job: Job
    project: str
    outcome: Outcome = Outcome.NOT_TAKEN
    start_s: float | None = None
    end_s: float | None = None


@dataclass(frozen=True, slots=True)
class Replay:
    """A finished replay."""

    fates: tuple[Fate, ...]
    skipped: Mapping[str, int]
    vcpus: int
    wall_s: float = field(compare=False)

    def as_json(self) -> dict[str, object]:
        """Return the published summary: rows are requests and skipped rows, and requests are the
        sum of all outcomes."""
        started = [fate for fate in self.fates if fate.start_s is not None]
        waits = waits_of([(f.start_s or 0.0) - f.job.submit_s for f in started])
        first = min(fate.job.submit_s for fate in self.fates)
        last = max((fate.end_s or first for fate in started), default=first)
        makespan_s = last - first
        used = sum(f.job.vcpus * (f.end_s - (f.start_s or 0.0)) for f in started if f.end_s)
        outcomes = Counter(fate.outcome for fate in self.fates)
        skipped_lines = sum(self.skipped.values())
        return {
            "rows": len(self.fates) + skipped_lines,
            "requests": len(self.fates),
            "started": len(started),
            **{outcome.value: outcomes[outcome] for outcome in Outcome},
            "skipped_lines": skipped_lines,
            "skipped": dict(self.skipped),
            "makespan_s": makespan_s,
            "utilisation": used / (self.vcpus * makespan_s) if makespan_s > 0 else 0.0,
            "wait_s": {
                "mean": waits.mean,
                "median": waits.median,
                "p95": waits.p95,
                "max": waits.max,
            },
            "wall_s": self.wall_s,
        }

    def write_trace(self, path: Path) -> None:
        """Write one row a request. Raises InvalidInput."""
        try:
            with path.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(
                    ["job", "project", "user", "vcpus", "submit_s", "start_s", "end_s", "state"]
                )
                for fate in self.fates:
                    job = fate.job
                    times = [job.submit_s, fate.start_s, fate.end_s]
                    cells = ["" if t is None else f"{t:.6f}".rstrip("0").rstrip(".") for t in times]
                    writer.writerow(
                        [job.number, fate.project, job.user, job.vcpus, *cells, fate.outcome.value]
                    )
        except OSError as error:
            raise InvalidInput(f"--trace-out {path}: {error.strerror}") from error


def check_trace(path: Path) -> None:
    """Check, before a long run, that its trace can be written. Raises InvalidInput."""
    try:
        path.open("a").close()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidInput(f"--trace-out {path}: {reason}") from error


def settings(discipline: str, order: str) -> Settings:
    """Return the managers' options: react at once, and do nothing without a cause."""
    rarely = {"rate_s": _RARELY_S}
    weights = {"weight_age": 0, "weight_fairshare": 0} if order == "submit" else {}
    return {
        "project": rarely,
        "expiry": rarely | {"warning_s": 0.0, "most_per_pass": 1_000_000},
        "queue": rarely | {"commit_size": 10_000},
        "nova": rarely | {"reconcile_s": _RARELY_S, "settle_s": 86_400.0, "sweep_s": _RARELY_S},
        "quota": rarely,
        "keystone": rarely | {"use_trusts": False},
        "fairshare": rarely | {"debounce_s": _FACTORS_S, "autostart": order != "submit"},
        "scheduler": rarely | {"discipline": discipline, **weights},
    }


def run(
    workload: Workload,
    *,
    vcpus: int,
    discipline: str = Discipline.GREEDY.value,
    order: str = "multifactor",
    boot_s: float = 0.0,
    seed: int = 1,
    progress: Callable[[int, int], None] = lambda _done, _count: None,
) -> Replay:
    """Replay a workload on a pool of `vcpus`, all of it shared, and return what became of it.

    progress  is told how many requests came to their end, of how many
    """
    began_s = time.monotonic()
    fates = tuple(Fate(job, _project_of(job)) for job in workload.jobs)
    cloud = _cloud(workload.jobs, vcpus=vcpus, boot_s=boot_s)
    with temporary_store() as store:
        engine = Engine(cloud, settings(discipline, order), store=store, seed=seed)
        for project in cloud.projects:
            engine.managers["project"].execute(
                "add",
                project=project.project_id,
                default_quota="shared",
                ttl_s=LONGEST_TTL_S,
                max_waiting=MOST_ROWS,
                max_waiting_per_user=MOST_ROWS,
            )
        engine.run_until(engine.clock.at(_SETTLED_S))
        player = _Player(engine, fates, progress)
        engine.run_until_idle(player.is_done, is_quiet=player.is_quiet)
    return Replay(fates, workload.skipped, vcpus, time.monotonic() - began_s)


def _project_of(job: Job) -> str:
    return f"group-{job.group}" if job.group is not None else f"user-{job.user}"


def _flavor_of(job: Job) -> FlavorSpec:
    memory_mb = job.memory_mb or 0
    return FlavorSpec(name=f"{job.vcpus}x{memory_mb}", vcpus=job.vcpus, memory_mb=memory_mb)


def _cloud(jobs: Sequence[Job], *, vcpus: int, boot_s: float) -> CloudSpec:
    users: dict[str, dict[str, str]] = {}
    for job in jobs:
        users.setdefault(_project_of(job), {})[job.user] = job.user
    flavors = {flavor.name: flavor for flavor in map(_flavor_of, jobs)}
    whole = HostSpec(name="pool", inventory=Resources.of(VCPU=vcpus, MEMORY_MB=_AMPLE_MB))
    return CloudSpec(
        hosts=(whole,),
        flavors=tuple(flavors.values()),
        projects=tuple(
            ProjectSpec(project_id=name, name=name, users=members)
            for name, members in users.items()
        ),
        boot_s=boot_s,
        service_tokens=True,
    )


class _Player:
    """Submits the jobs, deletes each server after its run time, and notes what happens."""

    def __init__(
        self,
        engine: Engine,
        fates: Sequence[Fate],
        progress: Callable[[int, int], None],
    ) -> None:
        self._engine, self._fates, self._progress = engine, fates, progress
        self._next = 0  # to be submitted
        self._began_at = engine.clock.now()  # the first job is submitted now
        self._by_server: dict[str, Fate] = {}
        self._open: set[str] = set()  # servers of requests that did not come to their end
        self._ran: set[str] = set()  # servers that their users deleted
        self._moved_at = engine.clock.now()
        engine.listen(self._on_event)
        engine.after(0.0, self._submit)

    def is_done(self) -> bool:
        """Tell whether every job has come to its end, or none will any more."""
        now = self._engine.clock.now()
        if self._next == len(self._fates) and not self._open:
            return True
        stalled_s = (now - self._moved_at).total_seconds()
        return now > _LAST_AT or (not self._engine.has_plans() and stalled_s > _STALLED_S)

    def is_quiet(self) -> bool:
        """Tell whether nothing can happen until the next job comes."""
        return not self._open

    def _log_s(self, instant: datetime) -> float:
        return self._fates[0].job.submit_s + (instant - self._began_at).total_seconds()

    def _submit(self) -> None:
        now = self._engine.clock.now()
        while self._next < len(self._fates):
            fate = self._fates[self._next]
            if self._due_at(fate) > now:
                self._engine.at(self._due_at(fate), self._submit)
                break
            self._create(fate)
            self._next += 1

    def _due_at(self, fate: Fate) -> datetime:
        after_s = fate.job.submit_s - self._fates[0].job.submit_s
        return self._began_at + timedelta(seconds=after_s)

    def _create(self, fate: Fate) -> None:
        job = fate.job
        metadata = {}
        if job.requested_s is not None:
            # Lifetimes are whole seconds: nobody gets less than was asked for.
            metadata["synergy:ttl_s"] = str(min(math.ceil(job.requested_s), LONGEST_TTL_S))
        (server_id,) = self._engine.nova.create_server(
            project=fate.project,
            user=job.user,
            flavor=_flavor_of(job).name,
            name=f"job-{job.number}",
            metadata=metadata,
            count=1,
        )
        self._by_server[server_id] = fate
        self._open.add(server_id)
        self._moved_at = self._engine.clock.now()

    def _on_event(self, event: Fact) -> None:
        if isinstance(event, RequestsQueued):
            for request in event.requests:
                self._note(request.request_id, Outcome.WAITING)
        elif isinstance(event, RequestsRefused):
            for request in event.requests:
                self._note(request.request_id, _outcome_of(request))
        elif isinstance(event, RequestsWithdrawn):
            self._look_up([request.request_id for request in event.requests])
        elif isinstance(event, QuotaHeld):
            for request in event.requests:
                self._note(request.request_id, Outcome.RUNNING)
                began_at = request.held_from or self._engine.clock.now()
                self._by_server[request.request_id].start_s = self._log_s(began_at)
        elif isinstance(event, ServersActive):
            for request in event.requests:
                self._run(request.request_id)
        elif isinstance(event, QuotaReleased):
            for request in event.requests:
                self._release(request)

    def _note(self, server_id: str, outcome: Outcome) -> None:
        self._by_server[server_id].outcome = outcome
        self._moved_at = self._engine.clock.now()
        if outcome in _OPEN:
            self._open.add(server_id)
        elif server_id in self._open:
            self._open.remove(server_id)
            self._progress(self._next - len(self._open), len(self._fates))

    def _look_up(self, server_ids: Sequence[str]) -> None:
        """Note what became of requests that wait no longer: the fact does not tell."""
        with self._engine.store.reading() as uow:
            found = uow.requests.find(server_ids)
        for server_id, request in found.items():
            self._note(server_id, _outcome_of(request))

    def _run(self, server_id: str) -> None:
        def finish() -> None:
            if self._by_server[server_id].outcome is Outcome.RUNNING:
                self._ran.add(server_id)
                self._engine.nova.delete_server_as_user(server_id)

        self._engine.after(self._by_server[server_id].job.run_s, finish)

    def _release(self, request: Request) -> None:
        fate = self._by_server[request.request_id]
        outcome = _outcome_of(request)
        if outcome in _OPEN:  # its hand-over failed: it waits again
            fate.start_s = None
        else:
            fate.end_s = self._log_s(request.released_at or self._engine.clock.now())
            if outcome is Outcome.EXPIRED and request.request_id in self._ran:
                outcome = Outcome.FINISHED
        self._note(request.request_id, outcome)


def _outcome_of(request: Request) -> Outcome:
    """Return what a request came to, as if nobody but Synergy ended servers."""
    if request.state is State.REJECTED:
        never = request.reason is Reason.NEVER_FITS
        return Outcome.NEVER_FITS if never else Outcome.REJECTED
    return {
        State.CANCELLED: Outcome.CANCELLED,
        State.QUARANTINED: Outcome.QUARANTINED,
        State.ERROR: Outcome.FAILED,
        State.DELETED: Outcome.EXPIRED,
        State.RECEIVED: Outcome.WAITING,
        State.QUEUED: Outcome.WAITING,
        State.HELD: Outcome.WAITING,
    }.get(request.state, Outcome.RUNNING)
