"""Replays a workload log on the timeline: the function that decides, and nothing around it.

Why: a log of years takes seconds, because there is no database, no message and no thread; and the
schedule is the service's, because the decision is. `replay` runs the whole managers instead. Must
not decide anything, and must not print.
"""

import heapq
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Final

import numpy as np

from synergy.core import fairshare, shares, usage
from synergy.core.accounts import project_node, user_node
from synergy.core.events import FactorsChanged
from synergy.core.ids import ID_BYTES, packed, unpacked
from synergy.core.model import OnPrivateFull, QuotaKind, RequestClass, Resources
from synergy.core.priority import Weights
from synergy.core.quota import QuotaNode, QuotaState, QuotaTree
from synergy.core.rounds import Discipline, Policy
from synergy.core.rounds.snapshot import NO_FACTORS
from synergy.core.rounds.timeline import Arrival, Timeline
from synergy.sim.records import (
    FACTORS_S,
    RARELY_S,
    WARM_UP_S,
    JobRecord,
    Outcome,
    Replay,
    lifetime_s,
    project_of,
)
from synergy.sim.swf import Workload

_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
UNWEIGHTED: Final = Weights(age=0, fairshare=0)
_SHOWN: Final = 100  # how often progress is told, in all


def run(
    workload: Workload,
    *,
    vcpus: int,
    discipline: str,
    order: str,
    boot_s: float = 0.0,
    progress: Callable[[int, int], None] = lambda _done, _count: None,
) -> Replay:
    """Replay a workload on a shared quota of `vcpus`, and return the outcomes; see `replay.run`."""
    began_s = time.monotonic()
    records = tuple(JobRecord(job, project_of(job)) for job in workload.jobs)
    users = users_of(records)
    first_s = records[0].job.submit_s if records else 0.0
    usages = Usage(users, began_s=first_s - WARM_UP_S) if order != "submit" else None
    timeline = Timeline(
        tree_of(users, vcpus),
        policy_of(discipline, order, len(records)),
        arrivals_of(records, users, boot_s),
        factors=usages,
    )
    every = max(1, len(records) // _SHOWN)
    for count, leaving in enumerate(timeline.run(), start=1):
        record = records[_number_of(leaving.request_id)]
        if leaving.quota is None:
            record.outcome = Outcome.NEVER_FITS
        else:
            _start(record, leaving.at_s, boot_s)
            if usages:
                usages.hold(users[_owner(record)], record)
        if count % every == 0:
            progress(count, len(records))
    for request_id in timeline.waiting:
        records[_number_of(request_id)].outcome = Outcome.WAITING
    return Replay(records, workload.skipped, vcpus, time.monotonic() - began_s)


def policy_of(discipline: str, order: str, count: int) -> Policy:
    """Return how a replay of `count` jobs decides."""
    return Policy(
        discipline=Discipline(discipline),
        round_size=max(1, count),
        weights=UNWEIGHTED if order == "submit" else Weights(),
    )


def _start(record: JobRecord, at_s: float, boot_s: float) -> None:
    runs_s = min(record.job.run_s, lifetime_s(record.job))
    record.start_s, record.end_s = at_s, at_s + boot_s + runs_s
    whole = runs_s == record.job.run_s
    record.outcome = Outcome.FINISHED if whole else Outcome.EXPIRED


def _id_of(number: int) -> str:
    """Return the id of a job, by its place in the log: ids are in the same order."""
    return unpacked(number.to_bytes(ID_BYTES))


def _number_of(request_id: str) -> int:
    return int.from_bytes(packed(request_id))


def _owner(record: JobRecord) -> tuple[str, str]:
    return record.project, record.job.user


def users_of(records: Sequence[JobRecord]) -> dict[tuple[str, str], int]:
    """Return the association of each (project, user) of a log."""
    owners = dict.fromkeys(map(_owner, records))
    return {owner: number for number, owner in enumerate(owners, start=1)}


def arrivals_of(
    records: Sequence[JobRecord], users: dict[tuple[str, str], int], boot_s: float
) -> Iterator[Arrival]:
    """Yield the jobs as requests whose ids are in the order of the log."""
    kind_of = cache(_kind)
    for number, record in enumerate(records):
        job, ttl_s = record.job, lifetime_s(record.job)
        yield Arrival(
            at_s=job.submit_s,
            request_id=_id_of(number),
            kind=kind_of(users[_owner(record)], job.vcpus, ttl_s),
            held_s=boot_s + min(job.run_s, ttl_s),
        )


def _kind(association_id: int, vcpus: int, ttl_s: int) -> RequestClass:
    return RequestClass(
        association_id=association_id,
        demand=Resources.of(VCPU=vcpus),
        quota=QuotaKind.SHARED,
        on_private_full=OnPrivateFull.QUEUE,
        ttl_s=ttl_s,
    )


def tree_of(users: dict[tuple[str, str], int], vcpus: int) -> QuotaTree:
    """Return a cloud of one host, and the users below their projects."""
    projects = dict.fromkeys(project for project, _ in users)
    nodes = [
        QuotaNode(node_id="root", parent_id=None),
        *(QuotaNode(node_id=project_node(one), parent_id="root") for one in projects),
        *(
            QuotaNode(node_id=user_node(number), parent_id=project_node(project))
            for (project, _), number in users.items()
        ),
    ]
    whole = Resources.of(VCPU=vcpus)
    state = QuotaState(total=whole, installed=whole, hosts=(whole,), nodes=tuple(nodes))
    return QuotaTree(state, ("VCPU",))


class Usage:
    """What everybody used, and the fair-share factors that follow: Fair Tree.

    They are computed when the manager of that would: after a start or an end, but not more often
    than each `FACTORS_S`, and once a day where nothing happens.
    """

    def __init__(
        self,
        users: dict[tuple[str, str], int],
        raw_shares: Mapping[str, int] | None = None,
        *,
        began_s: float = -math.inf,
    ) -> None:
        """Begin with nothing used.

        raw_shares  by node, 1 where none are given
        began_s     when the factors were computed before the first request comes
        """
        projects, of = dict.fromkeys(project for project, _ in users), raw_shares or {}
        nodes = [shares.ShareNode("root", None, 1)]
        nodes += [
            shares.ShareNode(node, "root", of.get(node, 1)) for node in map(project_node, projects)
        ]
        nodes += [
            shares.ShareNode(node, project_node(project), of.get(node, 1), True)
            for (project, _), node in ((owner, user_node(n)) for owner, n in users.items())
        ]
        self._tree = shares.build(nodes)
        row = {node_id: place for place, node_id in enumerate(self._tree.node_ids)}
        self._rows = np.array([0, *(row[user_node(n)] for n in range(1, len(users) + 1))])
        self._decay = usage.HalfLife(half_life_s=7 * 86_400.0)
        self._history = usage.History(buckets={})
        self._holds: list[tuple[int, float, float, int]] = []  # association, begin, end, VCPU
        self._charged_s = began_s
        self._news_s: list[float] = []  # a heap: when what is used changes
        self._computed: fairshare.FairShare | None = None
        self.factors = NO_FACTORS  # as computed last

    def hold(self, association_id: int, record: JobRecord) -> None:
        """Note what a job holds from its start to its end."""
        if record.start_s is not None and record.end_s is not None:
            self.use(association_id, record.start_s, record.end_s, record.job.vcpus)

    def use(self, association_id: int, begin_s: float, end_s: float, vcpus: int) -> None:
        """Note what is used from one instant to another."""
        self._holds.append((association_id, begin_s, end_s, vcpus))
        for news_s in (begin_s, end_s):
            heapq.heappush(self._news_s, news_s)

    @property
    def due_s(self) -> float:
        """When the factors are computed next."""
        news_s = self._news_s[0] if self._news_s else math.inf
        return min(max(news_s, self._charged_s + FACTORS_S), self._charged_s + RARELY_S)

    def at(self, at_s: float) -> FactorsChanged:
        """Compute the factors at an instant."""
        self._charge(at_s)
        while self._news_s and self._news_s[0] <= at_s:
            heapq.heappop(self._news_s)
        return self.factors

    def _charge(self, at_s: float) -> None:
        since_s = max(self._charged_s, 0.0)
        spans = [
            (who, max(begin_s, since_s), min(end_s, at_s), vcpus)
            for who, begin_s, end_s, vcpus in self._holds
        ]
        self._holds = [hold for hold in self._holds if hold[2] > at_s]
        table = np.array([one for one in spans if one[1] < one[2]], dtype=np.float64)
        table = table.reshape(-1, 4)
        charged = usage.charge(
            self._history,
            usage.Spans(
                association=table[:, 0].astype(np.int64),
                begin_ago_s=at_s - table[:, 1],
                end_ago_s=at_s - table[:, 2],
                rate=table[:, 3],
            ),
            self._decay,
            now=_EPOCH + timedelta(seconds=at_s),
            elapsed_s=at_s - since_s,
        )
        self._history, self._charged_s = charged.history, at_s
        used, _ = usage.amounts_of(self._history, self._decay, _EPOCH)
        own = np.zeros(len(self._tree))
        own[self._rows[1 : len(used)]] = used[1 : len(self._rows)]
        self._computed = fairshare.compute(
            self._tree, own, algorithm=fairshare.Algorithm.FAIR_TREE, known=self._computed
        )
        factors = self._computed.fairshare[self._rows]
        factors[0] = 0.0
        self.factors = FactorsChanged(factors, np.zeros(len(factors)), 0.0)
