"""Replays a workload log through the real managers: every job is a server on the shared quota.

The requested time becomes the lifetime, which the scheduler knows; the run time is when the server
is really deleted. A server whose run time is longer than its lifetime expires. Must not print.
"""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from synergy.core.events import (
    Fact,
    QuotaClaimed,
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
from synergy.sim.records import (
    FACTORS_S,
    MAX_TTL_S,
    RARELY_S,
    WARM_UP_S,
    JobRecord,
    Outcome,
    Replay,
    lifetime_s,
    project_of,
)
from synergy.sim.swf import MAX_ROWS, Job, Workload

_STALLED_S: Final = 2 * RARELY_S  # after this, every manager ran without moving a request
_LAST_AT: Final = datetime(
    9000, 1, 1, tzinfo=UTC
)  # a date later than this plus the longest run would overflow
_AMPLE_MB: Final = 2**52  # unlimited in effect: a log does not say how much memory there was


_OPEN: Final = frozenset({Outcome.RUNNING, Outcome.WAITING, Outcome.NOT_TAKEN})


def settings(discipline: str, order: str) -> Settings:
    """Return the managers' options: they react at once, and do next to nothing periodically."""
    rarely = {"rate_s": RARELY_S}
    weights = {"weight_age": 0, "weight_fairshare": 0} if order == "submit" else {}
    return {
        "project": rarely,
        "expiry": rarely
        | {
            "warnings_s": [],
            "show_end": False,
            "metadata_check_s": 0.0,
            "most_per_pass": 1_000_000,
        },
        "queue": rarely | {"commit_size": 10_000},
        "nova": rarely
        | dict.fromkeys(("reconcile_s", "full_reconcile_s", "settle_s", "sweep_s"), RARELY_S),
        "quota": rarely,
        "keystone": rarely | {"use_trusts": False},
        "fairshare": rarely | {"debounce_s": FACTORS_S, "autostart": order != "submit"},
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
    """Replay a workload on a shared quota of `vcpus`, and return the outcomes.

    progress  is called with the number of finished requests, and of all requests
    """
    began_s = time.monotonic()
    records = tuple(JobRecord(job, project_of(job)) for job in workload.jobs)
    cloud = _cloud(workload.jobs, vcpus=vcpus, boot_s=boot_s)
    with temporary_store() as store:
        engine = Engine(cloud, settings(discipline, order), store=store, seed=seed)
        for project in cloud.projects:
            engine.managers["project"].execute(
                "add",
                project=project.project_id,
                default_quota="shared",
                ttl_s=MAX_TTL_S,
                max_waiting=MAX_ROWS,
                max_waiting_per_user=MAX_ROWS,
            )
        engine.run_until(engine.clock.at(WARM_UP_S))
        player = _Player(engine, records, progress)
        engine.run_until_idle(player.is_done, is_quiet=player.is_quiet)
    return Replay(records, workload.skipped, vcpus, time.monotonic() - began_s)


def _flavor_of(job: Job) -> FlavorSpec:
    memory_mb = job.memory_mb or 0
    return FlavorSpec(name=f"{job.vcpus}x{memory_mb}", vcpus=job.vcpus, memory_mb=memory_mb)


def _cloud(jobs: Sequence[Job], *, vcpus: int, boot_s: float) -> CloudSpec:
    users: dict[str, dict[str, str]] = {}
    for job in jobs:
        users.setdefault(project_of(job), {})[job.user] = job.user
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
    """Submits the jobs, deletes each server after its run time, and records the outcomes."""

    def __init__(
        self,
        engine: Engine,
        records: Sequence[JobRecord],
        progress: Callable[[int, int], None],
    ) -> None:
        self._engine, self._records, self._progress = engine, records, progress
        self._next = 0  # index of the next job to submit
        self._began_at = engine.clock.now()  # the first job is submitted now
        self._by_server: dict[str, JobRecord] = {}
        self._open: set[str] = set()  # servers of unfinished requests
        self._ran: set[str] = set()  # servers deleted after their run time
        self._moved_at = engine.clock.now()
        engine.listen(self._on_event)
        engine.after(0.0, self._submit)

    def is_done(self) -> bool:
        """Return whether every job is finished, or nothing more will happen."""
        now = self._engine.clock.now()
        if self._next == len(self._records) and not self._open:
            return True
        stalled_s = (now - self._moved_at).total_seconds()
        return now > _LAST_AT or (not self._engine.has_pending() and stalled_s > _STALLED_S)

    def is_quiet(self) -> bool:
        """Return whether nothing can happen until the next job is submitted."""
        return not self._open

    def _log_s(self, instant: datetime) -> float:
        return self._records[0].job.submit_s + (instant - self._began_at).total_seconds()

    def _submit(self) -> None:
        now = self._engine.clock.now()
        while self._next < len(self._records):
            record = self._records[self._next]
            if self._due_at(record) > now:
                self._engine.at(self._due_at(record), self._submit)
                break
            self._create(record)
            self._next += 1

    def _due_at(self, record: JobRecord) -> datetime:
        after_s = record.job.submit_s - self._records[0].job.submit_s
        return self._began_at + timedelta(seconds=after_s)

    def _create(self, record: JobRecord) -> None:
        job = record.job
        metadata = {"synergy:ttl_s": str(lifetime_s(job))}
        (server_id,) = self._engine.nova.create_server(
            project=record.project,
            user=job.user,
            flavor=_flavor_of(job).name,
            name=f"job-{job.number}",
            metadata=metadata,
            count=1,
        )
        self._by_server[server_id] = record
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
            self._record_outcomes([request.request_id for request in event.requests])
        elif isinstance(event, QuotaClaimed):
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
            self._progress(self._next - len(self._open), len(self._records))

    def _record_outcomes(self, server_ids: Sequence[str]) -> None:
        """Record the outcome of requests that no longer wait; the fact itself does not hold it."""
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
        record = self._by_server[request.request_id]
        outcome = _outcome_of(request)
        if outcome in _OPEN:  # its hand-over failed, so it waits again
            record.start_s = None
        else:
            record.end_s = self._log_s(request.released_at or self._engine.clock.now())
            if outcome is Outcome.EXPIRED and request.request_id in self._ran:
                outcome = Outcome.FINISHED
        self._note(request.request_id, outcome)


def _outcome_of(request: Request) -> Outcome:
    """Return the outcome of a request, as if only Synergy ended servers."""
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
