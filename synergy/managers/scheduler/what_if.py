"""Answers what would become of servers that do not exist yet, as the next round would decide.

Why: "would it start now" and the scheduler must not disagree, so the question is put to the
function that decides, over the queue as it is and with the same facts of the cloud. Must not know
who asks.
"""

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from synergy.core import explain, words
from synergy.core.accounts import claim_of, user_node
from synergy.core.admission import QOS_KEY, class_of, request_options
from synergy.core.declared.answers.rounds import Simulation
from synergy.core.errors import NotFound
from synergy.core.events import FactorsChanged
from synergy.core.explain import End
from synergy.core.forecast import ends_of, forecast
from synergy.core.model import (
    AVAILABILITY_ZONE,
    SERVER_GROUP,
    Association,
    Constraints,
    Project,
    QuotaKind,
    Request,
    RequestClass,
    Resources,
)
from synergy.core.never import Ceilings
from synergy.core.queue import Waiting
from synergy.core.quota import QuotaTree
from synergy.core.reasons import Reason
from synergy.core.rounds import (
    NO_FACTS,
    Facts,
    Outcome,
    Plan,
    Policy,
    Snapshot,
    build_snapshot,
)
from synergy.managers.base import Part
from synergy.managers.scheduler.facts import CloudFacts
from synergy.managers.scheduler.latest import (
    Latest,
    at_json,
    bound_json,
    ends_known,
    ends_now,
    round_json,
    suspended_associations,
)
from synergy.managers.scheduler.ranking import SitePoints
from synergy.ports import (
    Clock,
    Flavor,
    Flavors,
    Reading,
    Store,
)

FORECAST_ROUNDS: Final = 40


@dataclass(frozen=True, eq=False, kw_only=True)
class _Asked:
    """Requests that are asked about, as a round would see them, and what it decided.

    facts  of the cloud, that the plan rests on
    row    of their class
    """

    snapshot: Snapshot
    policy: Policy
    plan: Plan
    facts: Facts
    row: int
    ids: Sequence[str]


def owner_of(uow: Reading, project_id: str, user_id: str | None) -> tuple[Project, Association]:
    """Return a project and the user of it that asks; None is any. Raises NotFound."""
    project = uow.projects.get(project_id)
    users = [a for a in uow.projects.associations() if a.project_id == project_id]
    mine = [a for a in users if user_id in (None, a.user_id) and a.active]
    if not mine:
        who = f"user {user_id!r}" if user_id else "anybody"
        raise NotFound(f"project {project.name!r} knows no role of {who}")
    return project, mine[0]


def class_asked(
    project: Project,
    owner: Association,
    flavor: Flavor,
    metadata: Mapping[str, str],
    *,
    zone: str | None = None,
    group: str | None = None,
) -> RequestClass:
    """Return the class that a server would be of. Raises InvalidInput."""
    asked = request_options(
        project,
        metadata=metadata,
        extra_specs=flavor.extra_specs,
        user_data_quota=None,
        qos_names=[metadata.get(QOS_KEY, "normal")],  # whether it exists, the queue knows
    )
    named = ((AVAILABILITY_ZONE, zone), (SERVER_GROUP, group))
    placement: Constraints = tuple((key, value) for key, value in named if value)
    return class_of(asked, owner.association_id, flavor.demand, placement)


class WhatIf(Part):
    """Questions about requests that nobody made; reads the store, and changes nothing."""

    def __init__(
        self, clock: Clock, store: Store, flavors: Flavors, cloud: CloudFacts, site: SitePoints
    ) -> None:
        self._clock, self._store, self._flavors = clock, store, flavors
        self._cloud, self._site = cloud, site

    def class_of(
        self,
        project_id: str,
        user_id: str | None,
        flavor: str,
        metadata: Mapping[str, str],
        *,
        zone: str | None = None,
        group: str | None = None,
    ) -> RequestClass:
        """Return the class that a server would be of. Raises NotFound and InvalidInput."""
        known = {one.name: one for one in self._flavors.flavors()}
        if flavor not in known:
            raise NotFound(f"flavor {flavor!r} does not exist, or is not public")
        with self._store.reading() as uow:
            project, owner = owner_of(uow, project_id, user_id)
        return class_asked(project, owner, known[flavor], metadata, zone=zone, group=group)

    def answer(self, latest: Latest, tree: QuotaTree, kind: RequestClass, count: int) -> Simulation:
        """Return what would become of `count` requests of a class if they arrived now.

        tree  the quota tree over every resource class that is asked for
        """
        now = self._clock.now()
        ids = [str(uuid.UUID(int=2**128 - count + n)) for n in range(count)]  # behind every other
        asked = self._decided(latest, latest.left(), tree, kind, ids, now.timestamp(), now)
        with self._store.reading() as uow:
            ends = ends_now(uow, tree, now)
        outcome = _outcome(asked, kind, ends)
        return {
            "count": count,
            "demand": dict(kind.demand),
            "quota": outcome.quota.value,
            "starts_now": outcome.starts_now,
            "reason": outcome.reason.value if outcome.reason else None,
            "text": outcome.text,
            "bounds": [bound_json(bound) for bound in outcome.bounds],
            "estimated_first_start": at_json(outcome.first_start_s),
            "estimated_last_start": at_json(outcome.last_start_s),
            **round_json(latest, now),
        }

    def starting(
        self, latest: Latest, request: Request, demands: Iterable[Resources]
    ) -> Iterator[Resources]:
        """Yield those of other demands with which a waiting request would start now."""
        now, at_s = self._clock.now(), request.queued_at.timestamp()
        left = latest.left()
        if (row := latest.row_left(left, request)) is not None:
            left = left.without_member(row, request.request_id, at_s)
        facts = NO_FACTS
        for demand in demands:
            kind = replace(request.request_class, demand=demand)
            asked = self._decided(
                latest, left, latest.tree, kind, [request.request_id], at_s, now, facts
            )
            facts = asked.facts
            chosen = {d.request_id for d in asked.plan.decisions if d.outcome is Outcome.DISPATCH}
            if request.request_id in chosen:
                yield demand

    def _decided(
        self,
        latest: Latest,
        left: Waiting,
        tree: QuotaTree,
        kind: RequestClass,
        ids: Sequence[str],
        queued_at_s: float,
        now: datetime,
        known: Facts = NO_FACTS,
    ) -> _Asked:
        """Decide over a queue with more requests in it, as of now.

        known  of the cloud at this moment
        """
        with self._store.reading() as uow:
            claims = [claim_of(*entry) for entry in uow.requests.claims()]
            suspended = suspended_associations(uow)
            ends = ends_known(uow, tree, latest.policy, now)
        before = latest.snapshot
        waiting, row = left.with_class(kind, ids, queued_at_s)
        snapshot = build_snapshot(
            waiting=waiting,
            at_s=now.timestamp(),
            tree=tree,
            claims=claims,
            factors=FactorsChanged(before.fairshare, before.points, before.highest_points),
            suspended=suspended,
            never=_never(before, tree, kind, waiting, row),
            rests=before.rests,
            site=self._site.points(waiting, now.timestamp()),
            ends=ends,
            reserved=latest.reservations(),
        )
        # A round that other requests fill would say nothing of these.
        policy = replace(latest.policy, round_size=1 + waiting.request_count)
        plan, facts = self._cloud.decide(snapshot, policy, known)
        return _Asked(snapshot=snapshot, policy=policy, plan=plan, facts=facts, row=row, ids=ids)


def _never(
    before: Snapshot, tree: QuotaTree, kind: RequestClass, waiting: Waiting, row: int
) -> dict[int, str]:
    """Return what can never start, the class that is asked about included."""
    why = Ceilings(tree).why(user_node(kind.association_id), kind)
    own = int(waiting.class_id[row])
    others = {key: text for key, text in before.never.items() if key != own}
    return {**others, own: why} if why else others


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """What would become of requests: how many start at once, and why and when the others.

    quota  the one that those who wait would wait for, or that all of them would hold
    """

    quota: QuotaKind
    starts_now: int = 0
    reason: Reason | None = None
    text: str = ""
    bounds: Sequence[explain.Bound] = ()
    first_start_s: float | None = None
    last_start_s: float | None = None


def _outcome(asked: _Asked, kind: RequestClass, ends: Sequence[End]) -> _Outcome:
    plan, ids, count = asked.plan, frozenset(asked.ids), len(asked.ids)
    mine = [one for one in plan.decisions if one.request_id in ids]
    started = [one.quota for one in mine if one.quota is not None]
    if len(started) == count:
        text = f"{'It' if count == 1 else 'All'} would start now."
        return _Outcome(quota=started[-1], starts_now=count, text=text)
    refused = next((one for one in mine if one.outcome is Outcome.REJECT), None)
    if refused is not None and refused.reason is Reason.NEVER_FITS:
        text = f"It would be refused: it {refused.why}."
        return _Outcome(quota=kind.quota, reason=Reason.NEVER_FITS, text=text)
    quota = plan.quota_of(asked.row)
    reason = (refused.reason if refused else None) or plan.reason_of(asked.row)
    tree, snapshot = plan.book.tree, asked.snapshot
    leaf, demand = int(snapshot.leaf[kind.association_id]), tree.amounts(kind.demand)
    bounds = explain.bounds_of(reason, plan.book, leaf, demand, quota)
    text = words.why_waiting(reason, bounds, {}, ahead=None)
    waits = _Outcome(quota=quota, starts_now=len(started), reason=reason, text=text, bounds=bounds)
    if refused is not None:
        return replace(waits, text=f"It would be refused. {text}")
    wanted = ids - {one.request_id for one in mine}
    every = [*ends, *ends_of(snapshot, plan)]
    found = forecast(snapshot, plan, every, asked.policy, wanted=wanted, max_rounds=FORECAST_ROUNDS)
    starts_s = sorted(found.starts_s.values())
    return replace(
        waits,
        first_start_s=starts_s[0] if starts_s else None,
        last_start_s=starts_s[-1] if len(starts_s) == len(wanted) else None,
    )
