"""Replays a workload log through the real managers: every job is a server on the shared quota.

The requested time is the lifetime that the scheduler knows; the run time is what really happens,
and a run longer than its lifetime expires. Must not print.
"""

import csv
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from synergy.core.errors import InvalidInput
from synergy.core.events import (
    Fact,
    QuotaHeld,
    QuotaReleased,
    RequestsQueued,
    RequestsRefused,
    ServersActive,
)
from synergy.core.model import Resources
from synergy.core.schedule import Discipline
from synergy.drivers.embedded.spec import CloudSpec, FlavorSpec, HostSpec, ProjectSpec
from synergy.sim.engine import Engine, Settings, temporary_store
from synergy.sim.observe import waits_of
from synergy.sim.swf import Job, Workload

LONGEST_TTL_S: Final = 366 * 86_400
_RARELY_S: Final = 86_400.0
_FACTORS_S: Final = 1800.0  # a log spans months: shares that are half an hour old are fresh
_AMPLE_MB: Final = 2**40  # memory never binds: a log says what was asked, not what there was


@dataclass(slots=True)
class Fate:
    """What became of one job; instants are seconds of the log's own time."""

    job: Job
    project: str
    state: str = "submitted"
    start_s: float | None = None
    end_s: float | None = None


@dataclass(frozen=True, slots=True)
class Replay:
    """A finished replay."""

    fates: tuple[Fate, ...]
    skipped_lines: int
    vcpus: int
    wall_s: float = field(compare=False)

    def as_json(self) -> dict[str, Any]:
        """Return the published summary."""
        started = [fate for fate in self.fates if fate.start_s is not None]
        waits = waits_of([(f.start_s or 0.0) - f.job.submit_s for f in started])
        first = min(fate.job.submit_s for fate in self.fates)
        last = max((fate.end_s or first for fate in started), default=first)
        makespan_s = last - first
        used = sum(f.job.vcpus * ((f.end_s or 0.0) - (f.start_s or 0.0)) for f in started)
        return {
            "requests": len(self.fates),
            "started": len(started),
            "finished": self._count("finished"),
            "expired": self._count("expired"),
            "never_fits": self._count("never_fits"),
            "skipped_lines": self.skipped_lines,
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

    def _count(self, state: str) -> int:
        return sum(fate.state == state for fate in self.fates)

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
                        [job.number, fate.project, job.user, job.vcpus, *cells, fate.state]
                    )
        except OSError as error:
            raise InvalidInput(f"--trace-out {path}: {error.strerror}") from error


def settings(discipline: str, order: str) -> Settings:
    """Return the managers' options: react at once, and do nothing without a cause."""
    rarely = {"rate_s": _RARELY_S}
    weights = {"weight_age": 0, "weight_fairshare": 0} if order == "submit" else {}
    return {
        "project": rarely,
        "expiry": rarely | {"warning_s": 0.0},
        "queue": rarely | {"commit_size": 10_000},
        "nova": rarely | {"reconcile_s": _RARELY_S, "settle_s": 86_400.0},
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
    """Replay a workload on a pool of `vcpus`, all of it shared, and return what became of it."""
    if not 1 <= vcpus < 2**31:
        raise InvalidInput(f"--vcpus is {vcpus}, but must be from 1 to 2147483647")
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
                max_waiting=10_000_000,
                max_waiting_per_user=10_000_000,
            )
        player = _Player(engine, fates, progress)
        engine.run_until_idle(player.is_done)
    return Replay(fates, workload.skipped_lines, vcpus, time.monotonic() - began_s)


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
        self._next = 0
        self._over = 0
        self._origin_s = fates[0].job.submit_s  # the virtual clock starts at the first submit
        self._by_server: dict[str, Fate] = {}
        engine.listen(self._on_event)
        engine.after(0.0, self._submit)

    def is_done(self) -> bool:
        """Tell whether every job has come to its end."""
        return self._over == len(self._fates)

    def _log_s(self, instant: datetime) -> float:
        return self._origin_s + (instant - self._engine.clock.at(0.0)).total_seconds()

    def _submit(self) -> None:
        fates, now_s = self._fates, self._engine.clock.monotonic_s()
        while self._next < len(fates) and self._due_s(fates[self._next]) <= now_s:
            self._create(fates[self._next])
            self._next += 1
            self._progress(self._next, len(fates))
        if self._next < len(fates):
            due_at = self._engine.clock.at(self._due_s(fates[self._next]))
            self._engine.at(due_at, self._submit)

    def _due_s(self, fate: Fate) -> float:
        return fate.job.submit_s - self._origin_s

    def _create(self, fate: Fate) -> None:
        job = fate.job
        metadata = {}
        if job.requested_s is not None:
            metadata["synergy:ttl_s"] = str(max(1, round(job.requested_s)))
        (server_id,) = self._engine.nova.create_server(
            project=fate.project,
            user=job.user,
            flavor=_flavor_of(job).name,
            name=f"job-{job.number}",
            metadata=metadata,
            count=1,
        )
        self._by_server[server_id] = fate

    def _on_event(self, event: Fact) -> None:
        if isinstance(event, RequestsQueued):
            for request in event.requests:
                self._by_server[request.request_id].state = "queued"
        elif isinstance(event, RequestsRefused):
            for request in event.requests:
                never = request.why.startswith("never_fits")
                self._by_server.pop(request.request_id).state = "never_fits" if never else "refused"
                self._over += 1
        elif isinstance(event, QuotaHeld):
            for request in event.requests:
                fate = self._by_server[request.request_id]
                fate.state = "started"
                fate.start_s = self._log_s(request.held_from or self._engine.clock.now())
        elif isinstance(event, ServersActive):
            for request in event.requests:
                self._run(request.request_id)
        elif isinstance(event, QuotaReleased):
            for request in event.requests:
                self._end(request.request_id, request.released_at)

    def _run(self, server_id: str) -> None:
        fate = self._by_server[server_id]

        def finish() -> None:
            if fate.state == "started":
                fate.state = "finished"
                self._engine.nova.delete_server_as_user(server_id)

        self._engine.after(fate.job.run_s, finish)

    def _end(self, server_id: str, released_at: datetime | None) -> None:
        fate = self._by_server.pop(server_id)
        if fate.state == "started":
            fate.state = "expired"
        fate.end_s = self._log_s(released_at or self._engine.clock.now())
        self._over += 1
