"""Builders that show only what a case is about, and a whole world for the tests that need one."""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np

from synergy.core.model import (
    OnPrivateFull,
    QuotaKind,
    Request,
    RequestClass,
    Resources,
    State,
    zone_in,
)
from synergy.core.priority import Scales, Weights
from synergy.core.queue import WaitingQueue
from synergy.core.quota import Claim, QuotaBook, QuotaNode, QuotaState, QuotaTree
from synergy.core.rounds import Discipline, Facts, Plan, Policy, Snapshot, decide, in_order
from synergy.drivers.embedded.spec import CloudSpec, FlavorSpec, HostSpec, ProjectSpec
from synergy.sim.engine import Engine, temporary_store

DEFAULT_WEIGHTS, DEFAULT_SCALES = Weights(), Scales()
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def rid(number: int) -> str:
    """Return a request id; a smaller number sorts first."""
    return str(UUID(int=number))


def kind(
    vcpus: int = 1,
    *,
    association: int = 1,
    quota: QuotaKind = QuotaKind.SHARED,
    on_full: OnPrivateFull = OnPrivateFull.QUEUE,
    nice: int = 0,
    **more: Any,
) -> RequestClass:
    return RequestClass(
        association_id=association,
        demand=Resources.of(VCPU=vcpus),
        quota=quota,
        on_private_full=on_full,
        nice=nice,
        **more,
    )


def request(number: int = 1, *, state: State = State.RECEIVED, **changes: Any) -> Request:
    values: dict[str, Any] = {
        "request_id": rid(number),
        "class_id": 1,
        "request_class": kind(),
        "project_id": "p",
        "user_id": "u",
        "server_name": "server",
        "flavor": "small",
        "queued_at": NOON,
        "changed_at": NOON,
        "ttl_s": 60,
        "state": state,
    }
    return Request(**(values | changes))


Job = tuple[int, RequestClass, float]  # number, class, age in seconds


def snapshot_of(
    jobs: Sequence[Job],
    *,
    vcpus: int,
    fairshare: Mapping[int, float] | None = None,
    nodes: Sequence[QuotaNode] = (),
    claims: Sequence[Claim] = (),
    discipline: Discipline = Discipline.GREEDY,
    backfill_depth: int = 100,
    round_size: int = 1000,
    weights: Weights = DEFAULT_WEIGHTS,
    scales: Scales = DEFAULT_SCALES,
    points: Mapping[int, float] | None = None,
    site: Sequence[float] | None = None,
    suspended: Sequence[int] = (),
    ends: Sequence[tuple[float, int, int]] | None = None,
    reserved: Mapping[int, Sequence[float]] | None = None,
    reserve_depth: int = 1,
) -> tuple[Snapshot, Policy]:
    """Return what a round looks at, and how it decides.

    Association n is the quota node `u<n>`; `nodes` may replace it or put others above it. `ends`
    are (seconds from now, association, VCPU); `reserved` is by class, numbered as `jobs` has them.
    """
    queue, at_s = WaitingQueue(), 1e6
    class_ids: dict[RequestClass, int] = {}
    for number, one, age_s in jobs:
        class_id = class_ids.setdefault(one, len(class_ids) + 1)
        queue.add(class_id, one, rid(number), at_s - age_s)
    given = {node.node_id: node for node in nodes}
    users = [f"u{n}" for n in range(10)]
    tree_nodes = [
        given.pop("root", QuotaNode(node_id="root", parent_id=None)),
        *(node for name, node in given.items() if name not in users),
        *(given.get(name, QuotaNode(node_id=name, parent_id="root")) for name in users),
    ]
    capacity = Resources.of(VCPU=vcpus)
    state = QuotaState(
        total=capacity, installed=capacity, hosts=(capacity,), nodes=tuple(tree_nodes)
    )
    tree = QuotaTree(state, ("VCPU",))
    waiting = queue.snapshot()
    factors = np.zeros(10)
    for association, factor in (fairshare or {}).items():
        factors[association] = factor
    standing = np.zeros(10)
    for association, value in (points or {}).items():
        standing[association] = value
    snapshot = Snapshot(
        waiting=waiting,
        at_s=at_s,
        fairshare=factors,
        leaf=np.array([tree.row[name] for name in users]),
        suspended=np.isin(np.arange(10), suspended),
        book=QuotaBook(tree, claims),
        demand=waiting.demand.reshape(-1, 1),
        points=standing,
        highest_points=float(standing.max()),
        site=0.0 if site is None else np.array(site),
        ends=None
        if ends is None
        else in_order((at_s + after_s, tree.row[f"u{n}"], np.array([v])) for after_s, n, v in ends),
        reserved={
            key: [at_s + after_s for after_s in many] for key, many in (reserved or {}).items()
        },
    )
    policy = Policy(
        discipline=discipline,
        backfill_depth=backfill_depth,
        reserve_depth=reserve_depth,
        round_size=round_size,
        weights=weights,
        scales=scales,
    )
    return snapshot, policy


def facts_of(snapshot: Snapshot, *, fragmented: Sequence[int] = ()) -> Facts:
    """A host with room for everything, but for demands of these VCPU."""
    shapes = [snapshot.shape_at(shape) for shape in range(len(snapshot.demand))]
    roomy = {"node0": Resources.of(VCPU=10**6, MEMORY_MB=10**9, DISK_GB=10**9)}
    return Facts(
        zones=frozenset(filter(None, map(zone_in, snapshot.waiting.placement))),
        rooms={one: {} if one.demand.get("VCPU") in fragmented else roomy for one in shapes},
    )


def plan_of(
    jobs: Sequence[Job], *, fragmented: Sequence[int] = (), **more: Any
) -> tuple[Plan, dict[str, str]]:
    """Run one round and return its plan, and for each request what became of it or why it waits."""
    snapshot, policy = snapshot_of(jobs, **more)
    waiting = snapshot.waiting
    plan = decide(snapshot, facts_of(snapshot, fragmented=fragmented), policy)
    assert not plan.lacks
    told = {decision.request_id: str(decision.outcome) for decision in plan.decisions}
    for row in range(len(waiting)):
        for position in range(int(waiting.first[row]), int(waiting.end[row])):
            request_id = str(UUID(bytes=waiting.lines[row].id_at(position)))
            told.setdefault(request_id, str(plan.reason_of(row)))
    return plan, told


def spec(**changes: Any) -> CloudSpec:
    """A cloud of 2 hosts with 8 VCPU each; projects A and B without, C with a private quota of 4."""
    values: dict[str, Any] = {
        "hosts": tuple(
            HostSpec(name=f"node{n}", inventory=Resources.of(VCPU=8, MEMORY_MB=8192))
            for n in (1, 2)
        ),
        "flavors": (
            FlavorSpec(name="small", vcpus=1, memory_mb=256),
            FlavorSpec(name="medium", vcpus=2, memory_mb=512),
            FlavorSpec(name="large", vcpus=8, memory_mb=2048),
            FlavorSpec(name="giant", vcpus=64, memory_mb=2048),
        ),
        "projects": (
            project_spec("A", users={"ua": "alice", "ub": "anna"}),
            project_spec("B", users={"uc": "bob"}, domain_id="d2", domain_name="Research"),
            project_spec("C", users={"ud": "carol"}, quota={"VCPU": 4, "MEMORY_MB": 1024}),
        ),
        "boot_s": 5.0,
    }
    return CloudSpec(**(values | changes))


def project_spec(name: str, **changes: Any) -> ProjectSpec:
    values: dict[str, Any] = {
        "project_id": f"project-{name}",
        "name": name,
        "users": {f"user-{name}": name.lower()},
        "quota": {"VCPU": 0, "MEMORY_MB": 0},
    }
    return ProjectSpec(**(values | changes))


class Fragile:
    """Stands between Synergy and the cloud, passes everything on, and breaks where it is told to."""

    def __init__(self, cloud: Any) -> None:
        self.cloud: Any = cloud
        self.instead: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        return self.__dict__["instead"].get(name) or getattr(self.__dict__["cloud"], name)

    def answer(self, name: str, instead: Any) -> None:
        """Answer calls of `name` with `instead`, which is given the real method first."""
        real = getattr(self.cloud, name)
        self.instead[name] = lambda *args, **kwargs: instead(real, *args, **kwargs)

    def mend(self) -> None:
        self.instead.clear()


class World:
    """An engine with short ways to do what a test does."""

    def __init__(self, engine: Engine) -> None:
        self.engine, self.store = engine, engine.store
        self.nova: Any = engine.nova  # or a `Fragile` before it
        self.identity: Any = engine.identity  # likewise

    def add(self, project: str = "A", **settings: Any) -> Any:
        return self.command("project", "add", project=project, **settings)

    def command(self, manager: str, name: str, **arguments: Any) -> Any:
        return self.engine.supervisors[manager].execute(name, arguments)

    def create(
        self,
        flavor: str = "small",
        *,
        project: str = "A",
        user: str | None = None,
        count: int = 1,
        **metadata: str,
    ) -> list[str]:
        user = user or {"A": "alice", "B": "bob", "C": "carol"}[project]
        given = {key.replace("__", ":"): value for key, value in metadata.items()}
        ids: list[str] = self.nova.create_server(
            project=project, user=user, flavor=flavor, name="s", metadata=given, count=count
        )
        return ids

    def run(self, seconds: float) -> None:
        self.engine.run_until(self.engine.clock.now() + timedelta(seconds=seconds))

    def get(self, request_id: str) -> Request:
        with self.store.reading() as uow:
            return uow.requests.get(request_id)

    def states(self, ids: Sequence[str]) -> list[str]:
        return [self.get(request_id).state.value for request_id in ids]

    def shares(self) -> dict[str, dict[str, Any]]:
        """Rows of the share tree: users by name, accounts by node id."""
        rows = self.command("fairshare", "shares")["shares"]
        return {row["user"] or row["id"]: row for row in rows}

    def reason(self, request_id: str) -> str:
        return str(self.command("scheduler", "explain", request_id=request_id)["reason"])


@contextmanager
def world(
    described: CloudSpec | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    **more: Any,
) -> Iterator[World]:
    with temporary_store() as store:
        yield World(Engine(described or spec(), settings or {}, store=store, seed=7, **more))


def packed(numbers: Sequence[int]) -> bytes:
    return b"".join(UUID(int=number).bytes for number in numbers)


def times(values: Sequence[float]) -> "array[float]":
    return array("d", values)


# For each field of a request class another value than `kind()` has; a new field needs one too.
_OTHERWISE: dict[str, Any] = {
    "association_id": 2,
    "demand": Resources.of(VCPU=2),
    "quota": QuotaKind.PRIVATE,
    "on_private_full": OnPrivateFull.REJECT,
    "qos": "high",
    "nice": 5,
    "ttl_s": 60,
    "constraints": (("availability_zone", "az1"),),
}


def kinds_that_differ() -> list[RequestClass]:
    """Return `kind()`, and for each field a class that differs from it in that field only."""
    others = [{one.name: _OTHERWISE[one.name]} for one in fields(RequestClass)]
    return [kind(), *(replace(kind(), **other) for other in others)]
