"""Answers questions about the last round: why a request waits, when it starts, and what if.

Why: a round is a value, so whoever asks reads it without stopping the scheduler. Every answer
names the round that it comes from and its age. Must not know who asks.
"""

import logging
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np

from synergy.core import explain, words
from synergy.core.accounts import held_of, project_node, user_node
from synergy.core.admission import QOS_KEY, bound_to, wishes
from synergy.core.errors import NotFound, UpstreamUnavailable
from synergy.core.explain import End
from synergy.core.forecast import ends_of, forecast, joined, without
from synergy.core.model import QuotaKind, Request, RequestClass, Resources, State
from synergy.core.never import Ceilings
from synergy.core.quota import Held, QuotaBook, QuotaTree
from synergy.core.reasons import Reason
from synergy.core.schedule import REASONS, Outcome, Plan, Policy, Snapshot, schedule
from synergy.core.shares import Ints
from synergy.managers.base import Json
from synergy.managers.render import instant_json
from synergy.ports import Clock, Compute, Flavor, Reading, Store

LOG = logging.getLogger(__name__)
_RELEASES: Final = 5
_FORECAST_ROUNDS: Final = 40
_SMALLER: Final = 3
_HELD_REASONS: Final = (Reason.HELD_BY_USER, Reason.HELD_BY_ADMIN)


@dataclass(frozen=True, eq=False)
class Latest:
    """A round, kept to answer questions about it.

    row  class_id -> row of the snapshot
    """

    round_id: str
    at: datetime
    snapshot: Snapshot
    plan: Plan
    policy: Policy
    row: Mapping[int, int]

    @property
    def tree(self) -> QuotaTree:
        return self.snapshot.book.tree

    def reason_counts(self) -> dict[str, int]:
        """Return how many requests wait after the round, by reason."""
        waiting, plan = self.snapshot.waiting, self.plan
        left = waiting.end - waiting.first - plan.taken
        counts = np.bincount(plan.reason, weights=left, minlength=len(REASONS))
        return {r.value: int(n) for r, n in zip(REASONS, counts, strict=True) if n}

    def reason_of(self, request: Request, now: datetime) -> Reason | None:
        """Return why a request waits, None when it does not."""
        if request.state is State.HELD:
            return _held_reason(request)
        if request.state is not State.QUEUED:
            return None
        if request.retry_at is not None and request.retry_at > now:
            return Reason.DISPATCH_RETRY
        row = self.row.get(request.class_id)
        return Reason.PENDING_EVALUATION if row is None else self.plan.reason_of(row)


def _held_reason(request: Request) -> Reason:
    return next((one for one in _HELD_REASONS if one.value == request.why), Reason.HELD_BY_ADMIN)


class Answers:
    """Questions about one round; reads the store, and changes nothing."""

    def __init__(self, clock: Clock, store: Store, compute: Compute) -> None:
        self._clock, self._store, self._compute = clock, store, compute

    def explain(self, latest: Latest | None, request_id: str) -> Json:
        """Tell why a request waits, its place, its priority, and what would unblock it."""
        now = self._clock.now()
        with self._store.reading() as uow:
            request = uow.requests.get(request_id)
            waits = request.state in (State.QUEUED, State.HELD)
            names = _names(uow, request) if waits else {}
            ends = _ends(uow, latest.tree, now) if latest and request.state is State.QUEUED else []
        reason = reason_of(latest, request, now)
        answer: dict[str, Any] = {
            "id": request_id,
            "state": request.state.value,
            "reason": reason.value if reason else None,
            "text": "",
            "bounds": [],
            "position": None,
            "priority": None,
            "unblocked_by": None,
            **_of_round(latest, now),
        }
        row = latest.row.get(request.class_id) if latest else None
        if latest is None or row is None or request.state is not State.QUEUED:
            answer["text"] = _text_of(request, reason)
            return answer
        seen = _Seen(latest, request, row)
        bounds = seen.bounds(reason)
        ahead = seen.ahead()
        if seen.private and reason is not Reason.AWAITING_EXPIRY:
            ends = []  # no end of a shared server gives a private quota anything back
        answer |= {
            "text": words.why_waiting(reason, bounds, names, ahead=ahead),
            "bounds": [bound_json(bound) for bound in bounds],
            "position": ahead + 1,
            "priority": seen.terms(),
            "unblocked_by": self._unblocked_by(seen, ends),
        }
        return answer

    def _unblocked_by(self, seen: "_Seen", ends: Sequence[End]) -> Json:
        """Return what comes free and when, the latest start, and flavors that would start now."""
        latest, book = seen.latest, seen.latest.snapshot.book
        enough_s = None if seen.private else explain.enough_at_s(book, seen.demand, ends)
        found = forecast(
            latest.snapshot,
            latest.plan,
            ends,
            latest.policy,
            wanted=frozenset({seen.request.request_id}),
            most_rounds=_FORECAST_ROUNDS,
        )
        next_ends = explain.releases(book, ends, most=_RELEASES)
        return {
            "releases": [
                {"at": _at(one.at_s), "freed": dict(one.freed), "servers": one.servers}
                for one in next_ends
            ],
            "enough_at": _at(enough_s),
            "estimated_start": _at(found.starts_s.get(seen.request.request_id)),
            "smaller_flavors": [
                {"name": flavor.name, "demand": dict(flavor.demand)}
                for flavor in self._smaller(seen)
            ],
        }

    def _smaller(self, seen: "_Seen") -> list[Flavor]:
        """Return the largest flavors below the one asked for that would fit now."""
        asked, book = seen.request.demand, seen.latest.snapshot.book
        try:
            flavors = self._compute.flavors()
        except UpstreamUnavailable as error:
            LOG.info("no smaller flavors are told: %s", error)
            return []
        fitting = [
            flavor
            for flavor in flavors
            if flavor.demand.fits_in(asked)
            and flavor.demand != asked
            and seen.covers(flavor.demand)
            and explain.fits(
                book,
                seen.leaf,
                book.tree.amounts(flavor.demand),
                seen.request.request_class,
            )
        ]
        fitting.sort(key=lambda flavor: (-sum(_ratios(flavor.demand, asked)), flavor.name))
        return fitting[:_SMALLER]

    def priorities(self, latest: Latest | None, requests: Sequence[Request]) -> list[Json]:
        """Return the weighted terms of queued requests, as sprio -l shows them."""
        found = []
        for request in requests:
            row = latest.row.get(request.class_id) if latest else None
            seen = _Seen(latest, request, row) if latest and row is not None else None
            found.append(
                {
                    "id": request.request_id,
                    "name": request.server_name,
                    "project_id": request.project_id,
                    "user_id": request.user_id,
                    "quota": request.quota.value,
                    "priority": seen.terms() if seen else None,
                }
            )
        return found

    # --- what if ----------------------------------------------------------------------------------

    def what_if(
        self, project_id: str, user_id: str | None, flavor: str, metadata: Mapping[str, str]
    ) -> RequestClass:
        """Return the class that a server would be of. Raises NotFound and InvalidInput."""
        known = {one.name: one for one in self._compute.flavors()}
        if flavor not in known:
            raise NotFound(f"flavor {flavor!r} does not exist, or is not public")
        with self._store.reading() as uow:
            project = uow.projects.get(project_id)
            users = [a for a in uow.projects.associations() if a.project_id == project_id]
        mine = [a for a in users if user_id in (None, a.user_id) and a.active]
        if not mine:
            who = f"user {user_id!r}" if user_id else "anybody"
            raise NotFound(f"project {project.name!r} knows no role of {who}")
        asked = wishes(
            project,
            metadata=metadata,
            extra_specs=known[flavor].extra_specs,
            user_data_quota=None,
            qos_names=[metadata.get(QOS_KEY, "normal")],  # whether it exists, the queue knows
        )
        return RequestClass(
            association_id=mine[0].association_id,
            demand=known[flavor].demand,
            quota=asked.quota,
            on_private_full=asked.on_private_full,
            qos=asked.qos,
            nice=asked.nice,
            ttl_s=asked.ttl_s,
            constraints=bound_to(asked, ()),
        )

    def simulate(self, latest: Latest, tree: QuotaTree, kind: RequestClass, count: int) -> Json:
        """Tell what would become of `count` requests of a class if they arrived now.

        tree  the quota tree over every resource class that is asked for
        """
        now = self._clock.now()
        never = Ceilings(tree).why(user_node(kind.association_id), kind)
        if never:
            seen = _Outcome(
                quota=kind.quota,
                reason=Reason.NEVER_FITS,
                text=f"It would be refused: it {never}.",
            )
        else:
            with self._store.reading() as uow:
                held = [held_of(*entry) for entry in uow.requests.held()]
                ends = _ends(uow, tree, now)
            seen = _simulated(latest, tree, held, ends, kind, count, now)
        asked = {"count": count, "demand": dict(kind.demand)}
        return asked | seen.as_json() | _of_round(latest, now)


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

    def as_json(self) -> dict[str, Any]:
        return {
            "quota": self.quota.value,
            "starts_now": self.starts_now,
            "reason": self.reason.value if self.reason else None,
            "text": self.text,
            "bounds": [bound_json(bound) for bound in self.bounds],
            "estimated_first_start": _at(self.first_start_s),
            "estimated_last_start": _at(self.last_start_s),
        }


def _simulated(
    latest: Latest,
    tree: QuotaTree,
    held: Sequence[Held],
    ends: Sequence[End],
    kind: RequestClass,
    count: int,
    now: datetime,
) -> _Outcome:
    ids = [str(uuid.UUID(int=2**128 - count + n)) for n in range(count)]  # behind every other id
    snapshot = _what_if(latest, tree, QuotaBook(tree, held), kind, ids, now)
    # A round that other requests fill would say nothing of these.
    policy = replace(latest.policy, round_size=count + snapshot.waiting.request_count)
    plan = schedule(snapshot, policy)
    mine = [d for d in plan.decisions if d.request_id in set(ids)]
    started = [d.quota for d in mine if d.quota is not None]
    if len(started) == count:
        text = f"{'It' if count == 1 else 'All'} would start now."
        return _Outcome(quota=started[-1], starts_now=count, text=text)
    row = len(snapshot.waiting) - 1
    refused = next((d.reason for d in mine if d.outcome is Outcome.REJECT), None)
    reason, quota = refused or plan.reason_of(row), plan.quota_of(row)
    leaf, demand = int(snapshot.leaf[kind.association_id]), tree.amounts(kind.demand)
    bounds = explain.bounds_of(reason, snapshot.book, leaf, demand, quota)
    text = words.why_waiting(reason, bounds, {}, ahead=None)
    if refused:
        return _Outcome(
            quota=quota,
            starts_now=len(started),
            reason=reason,
            text=f"It would be refused. {text}",
            bounds=bounds,
        )
    wanted = frozenset(ids) - {d.request_id for d in mine}
    every = [*ends, *ends_of(snapshot, plan)]
    found = forecast(snapshot, plan, every, policy, wanted=wanted, most_rounds=_FORECAST_ROUNDS)
    starts_s = sorted(found.starts_s.values())
    return _Outcome(
        quota=quota,
        starts_now=len(started),
        reason=reason,
        text=text,
        bounds=bounds,
        first_start_s=starts_s[0] if starts_s else None,
        last_start_s=starts_s[-1] if len(starts_s) == len(wanted) else None,
    )


class _Seen:
    """One queued request as a round saw it."""

    def __init__(self, latest: Latest, request: Request, row: int) -> None:
        self.latest, self.request, self.row = latest, request, row
        snapshot = latest.snapshot
        self.quota = latest.plan.quota_of(row)
        self.leaf = int(snapshot.leaf[snapshot.waiting.association[row]])
        self.demand: Ints = snapshot.demand[snapshot.waiting.shape[row]]
        self._queued_s = request.queued_at.timestamp()

    @property
    def private(self) -> bool:
        return self.quota is QuotaKind.PRIVATE

    def bounds(self, reason: Reason | None) -> list[explain.Bound]:
        book = self.latest.snapshot.book
        return explain.bounds_of(reason, book, self.leaf, self.demand, self.quota)

    def ahead(self) -> int:
        key = uuid.UUID(self.request.request_id).bytes
        latest = self.latest
        return explain.ahead(
            latest.snapshot, latest.plan, latest.policy, self.row, key, self._queued_s
        )

    def terms(self) -> Json:
        latest = self.latest
        terms = explain.terms_at(
            latest.snapshot, latest.plan, latest.policy, self.row, self._queued_s
        )
        return terms.as_dict()

    def covers(self, demand: Resources) -> bool:
        """Tell whether the round knows every resource class of a demand."""
        return set(demand) <= set(self.latest.tree.resource_classes)


def _what_if(
    latest: Latest,
    tree: QuotaTree,
    book: QuotaBook,
    kind: RequestClass,
    ids: Sequence[str],
    now: datetime,
) -> Snapshot:
    """Return the queue as it is now with more requests in it, over the classes of `tree`."""
    before = latest.snapshot
    waiting = without(before.waiting, latest.plan.taken)
    demand = np.zeros((len(waiting.demand), len(tree.resource_classes)), dtype=np.int64)
    place = [tree.resource_classes.index(name) for name in waiting.resource_classes]
    demand[:, place] = waiting.demand
    width = max(len(before.leaf), kind.association_id + 1)
    leaf = np.zeros(width, dtype=np.int64)
    for association_id in {*map(int, np.unique(waiting.association)), kind.association_id}:
        leaf[association_id] = tree.row.get(user_node(association_id), 0)
    more = width - len(before.leaf)
    now_like = replace(
        before,
        waiting=waiting,
        at_s=now.timestamp(),
        book=book,
        demand=demand,
        leaf=leaf,
        fairshare=np.append(before.fairshare, np.zeros(more)),
        points=np.append(before.points, np.zeros(more)),
        suspended=np.append(before.suspended, np.zeros(more, dtype=np.bool_)),
    )
    return joined(now_like, waiting, kind, ids)


def reason_of(latest: Latest | None, request: Request, now: datetime) -> Reason | None:
    """Return why a request waits, None when it does not."""
    if latest is not None:
        return latest.reason_of(request, now)
    if request.state is State.QUEUED:
        return Reason.PENDING_EVALUATION
    return _held_reason(request) if request.state is State.HELD else None


def _text_of(request: Request, reason: Reason | None) -> str:
    if reason is not None:
        return words.why_waiting(reason, [], {}, ahead=None)
    why = f": {request.why}" if request.why else ""
    return f"It does not wait, it is {request.state.value}{why}."


def _of_round(latest: Latest | None, now: datetime) -> dict[str, Any]:
    return {
        "round_id": latest.round_id if latest else None,
        "round_at": instant_json(latest.at) if latest else None,
        "age_s": (now - latest.at).total_seconds() if latest else None,
    }


def _names(uow: Reading, request: Request) -> dict[str, str]:
    """Return the names that the request's own user knows anyway."""
    project = next((p for p in uow.projects.all() if p.project_id == request.project_id), None)
    named = {user_node(request.request_class.association_id): "its user"}
    if project is not None:
        named[project_node(project.project_id)] = f"project {project.name}"
    return named


def _ends(uow: Reading, tree: QuotaTree, now: datetime) -> list[End]:
    """Return when the shared servers that hold quota now end; one that is built lives from now."""
    found = []
    for kind, expires_at, count in uow.requests.ends():
        if kind.quota is not QuotaKind.SHARED or (expires_at is None and kind.ttl_s <= 0):
            continue
        at = expires_at if expires_at is not None else now + timedelta(seconds=kind.ttl_s)
        found.append(
            End(
                at_s=max(at, now).timestamp(),
                leaf=tree.row.get(user_node(kind.association_id), 0),
                demand=tree.amounts(kind.demand) * count,
                count=count,
            )
        )
    return found


def _ratios(demand: Resources, asked: Resources) -> list[float]:
    return [demand.get(name, 0) / amount for name, amount in asked.items()]


def _at(at_s: float | None) -> str | None:
    return None if at_s is None else instant_json(datetime.fromtimestamp(at_s, UTC))


def bound_json(bound: explain.Bound) -> Json:
    """Return one bound."""
    return {
        "scope": bound.scope.value,
        "node": bound.node_id,
        "resource_class": bound.resource_class,
        "needed": bound.needed,
        "free": bound.free,
        "limit": bound.limit,
        "used": bound.used,
        "own": bound.own,
    }
