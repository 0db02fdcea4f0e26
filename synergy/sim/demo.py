"""Runs the Padova experiment through the real managers, and compares delivered with promised
shares.

Must not print: the command shows progress and results.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from synergy.core.events import Fact, QuotaReleased, ServersActive
from synergy.sim import fixed_quota, padova
from synergy.sim.engine import Engine, temporary_store
from synergy.sim.observe import Observer, Series, Waits, shares_of, waits_of

SAMPLE_EVERY_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectResult:
    """One project's promised and delivered share of the whole, in [0, 1]."""

    name: str
    promised_share: float
    delivered_share: float
    servers_run: int
    waits: Waits


@dataclass(frozen=True, slots=True, kw_only=True)
class UserResult:
    """One user's promised and delivered share of the whole, in [0, 1]."""

    project: str
    name: str
    promised_share: float
    delivered_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """Everything the demo shows; utilisation is of the shared quota's VCPU, in [0, 1]."""

    seed: int
    algorithm: str
    user_shares: str
    virtual_s: float
    wall_s: float
    servers_run: int
    projects: tuple[ProjectResult, ...]
    users: tuple[UserResult, ...]
    utilisation_synergy: float
    utilisation_fixed_quota: float
    series: Series

    def as_json(self, report: str) -> dict[str, object]:
        """Return the result in its published JSON form."""
        return {
            "seed": self.seed,
            "algorithm": self.algorithm,
            "virtual_s": self.virtual_s,
            "wall_s": self.wall_s,
            "servers_run": self.servers_run,
            "projects": [
                {
                    "name": project.name,
                    "promised_share": project.promised_share,
                    "delivered_share": project.delivered_share,
                    "servers_run": project.servers_run,
                    "wait_s": {"median": project.waits.median, "p95": project.waits.p95},
                }
                for project in self.projects
            ],
            "users": [
                {
                    "project": user.project,
                    "name": user.name,
                    "promised_share": user.promised_share,
                    "delivered_share": user.delivered_share,
                }
                for user in self.users
            ],
            "utilisation": {
                "synergy": self.utilisation_synergy,
                "fixed_quota": self.utilisation_fixed_quota,
            },
            "report": report,
        }


Progress = Callable[[Observer, float], None]  # observer, virtual seconds done


def run(
    *,
    seed: int,
    algorithm: str,
    user_shares: str,
    progress: Progress,
    virtual_s: float = padova.VIRTUAL_S,
) -> DemoResult:
    """Run the experiment for `virtual_s` seconds and return its result."""
    began_s = time.monotonic()
    with temporary_store() as store:
        engine = Engine(padova.cloud(), padova.settings(algorithm), store=store, seed=seed)
        _add_projects(engine, user_shares)
        observer = Observer(engine.clock)
        engine.listen(observer)
        _Robots(engine, seed, virtual_s)
        done_s = 0.0
        while done_s < virtual_s:
            observer.sample()
            progress(observer, done_s)
            done_s = min(done_s + SAMPLE_EVERY_S, virtual_s)
            engine.run_until(engine.clock.at(done_s))
        observer.sample()
        progress(observer, done_s)
    fixed = fixed_quota.utilisation(
        (arrival for arrival in padova.arrivals(seed) if arrival.at_s < virtual_s),
        fixed_quota.split(padova.SHARED, padova.PROMISED),
        vcpus=padova.SHARED["VCPU"],
        span_s=virtual_s,
    )
    given = sum(observer.delivered().values())
    return DemoResult(
        seed=seed,
        algorithm=algorithm,
        user_shares=user_shares,
        virtual_s=virtual_s,
        wall_s=time.monotonic() - began_s,
        servers_run=observer.started,
        projects=_project_results(observer),
        users=_user_results(observer, user_shares),
        utilisation_synergy=given / (padova.SHARED["VCPU"] * virtual_s),
        utilisation_fixed_quota=fixed,
        series=observer.series,
    )


def _add_projects(engine: Engine, user_shares: str) -> None:
    projects = engine.managers["project"]
    for name, part in padova.PROMISED.items():
        projects.execute(
            "add",
            project=name,
            raw_shares=round(part * 100),
            default_quota="shared",
            ttl_s=padova.TTL_S,
            max_waiting=1_000_000,
            max_waiting_per_user=1_000_000,
        )
        for user, raw_shares in padova.USERS[user_shares][name].items():
            projects.execute("set_user", project=name, user=user, raw_shares=raw_shares)


class _Robots:
    """Poll the cloud at a constant rate: delete the servers that are done, submit new ones."""

    def __init__(self, engine: Engine, seed: int, until_s: float) -> None:
        self._engine, self._until_s = engine, until_s
        self._arrivals = padova.arrivals(seed)
        self._next = next(self._arrivals, None)
        self._polls: dict[str, int] = {}  # how many polls each waiting server will run for
        self._running: dict[str, int] = {}  # how many polls are left to each running server
        engine.listen(self._on_event)
        engine.after(0.0, self._poll)

    def _poll(self) -> None:
        for server_id in list(self._running):
            self._running[server_id] -= 1
            if self._running[server_id] == 0:
                del self._running[server_id]
                self._engine.nova.delete_server_as_user(server_id)
        now_s = self._engine.clock.monotonic_s()
        while self._next is not None and self._next.at_s <= now_s:
            self._submit(self._next)
            self._next = next(self._arrivals, None)
        if now_s + padova.ROBOT_S < self._until_s:
            self._engine.after(padova.ROBOT_S, self._poll)

    def _submit(self, arrival: padova.Arrival) -> None:
        (server_id,) = self._engine.nova.create_server(
            project=arrival.project,
            user=arrival.user,
            flavor=arrival.flavor,
            name=f"robot-{arrival.project}",
            metadata={},
            count=1,
        )
        self._polls[server_id] = arrival.polls

    def _on_event(self, event: Fact) -> None:
        if isinstance(event, ServersActive):
            for request in event.requests:
                self._running[request.request_id] = self._polls.pop(request.request_id)
        elif isinstance(event, QuotaReleased):
            for request in event.requests:
                self._running.pop(request.request_id, None)  # it expired first


def _project_results(observer: Observer) -> tuple[ProjectResult, ...]:
    delivered = shares_of(observer.delivered_by_project())
    results = []
    for name, part in padova.PROMISED.items():
        mine = [w for (p, _), ws in observer.waits_s.items() if p == f"project-{name}" for w in ws]
        results.append(
            ProjectResult(
                name=name,
                promised_share=part,
                delivered_share=delivered.get(f"project-{name}", 0.0),
                servers_run=len(mine),
                waits=waits_of(mine),
            )
        )
    return tuple(results)


def _user_results(observer: Observer, user_shares: str) -> tuple[UserResult, ...]:
    delivered = shares_of(observer.delivered())
    results = []
    for project, part in padova.PROMISED.items():
        users = padova.USERS[user_shares][project]
        for user, raw_shares in users.items():
            results.append(
                UserResult(
                    project=project,
                    name=user,
                    promised_share=part * raw_shares / sum(users.values()),
                    delivered_share=delivered.get((f"project-{project}", f"user-{user}"), 0.0),
                )
            )
    return tuple(results)
