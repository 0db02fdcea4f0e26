"""Answers questions about the last round: why a request waits, and when it starts.

Why: a round is a value, so anyone who asks reads it without stopping the scheduler. Every answer
names the round that it comes from and its age. Must not know who asks.
"""

import logging
import uuid
from collections.abc import Sequence
from itertools import islice
from math import inf
from typing import Final

from synergy.core import explain, words
from synergy.core.accounts import project_node, user_node
from synergy.core.declared.answers.rounds import Explanation, Priority, Terms, Unblocked
from synergy.core.errors import UpstreamUnavailable
from synergy.core.explain import End
from synergy.core.forecast import forecast
from synergy.core.model import QuotaKind, Request, Resources, State
from synergy.core.reasons import Reason
from synergy.core.shares import Ints
from synergy.managers.base import Part
from synergy.managers.scheduler.latest import (
    Latest,
    at_json,
    bound_json,
    ends_now,
    instant_of,
    reason_of,
    round_json,
)
from synergy.managers.scheduler.supposing import Supposing
from synergy.managers.scheduler.what_if import FORECAST_ROUNDS, WhatIf
from synergy.managers.support.archived import locate
from synergy.managers.support.render import quotas_json
from synergy.managers.support.starts import starts_shown
from synergy.ports import (
    Clock,
    Flavor,
    Flavors,
    Reading,
    Store,
)

LOG = logging.getLogger(__name__)
_RELEASES: Final = 5
_SMALLER: Final = 3
_MAX_TRIED: Final = 6  # smaller flavors that a round is decided for


class Answers(Part):
    """Questions about one round; reads the store, and changes nothing."""

    def __init__(
        self, clock: Clock, store: Store, flavors: Flavors, what_if: WhatIf, supposing: Supposing
    ) -> None:
        self._clock, self._store, self._flavors = clock, store, flavors
        self.what_if, self.supposing = what_if, supposing

    def explain(
        self, latest: Latest | None, request_id: str, why: str | None = None
    ) -> Explanation:
        """Explain why a request waits: its position, its priority, and what would unblock it.

        why  prose to tell instead of the request's own, which may not be for the one who asks
        """
        now = self._clock.now()
        with self._store.reading() as uow:
            found = locate(uow, request_id)
            request = found.request
            starts = starts_shown(uow, [request], now)
            waits = request.state in (State.QUEUED, State.HELD)
            names = _names(uow, request) if waits else {}
            ends = (
                ends_now(uow, latest.tree, now) if latest and request.state is State.QUEUED else []
            )
        reason = reason_of(latest, request, now)
        answer: Explanation = {
            "id": request_id,
            "state": request.state.value,
            "quotas": quotas_json(request),
            "reason": known.value if (known := reason or _kept(request)) else None,
            "text": "",
            "bounds": [],
            "position": None,
            "priority": None,
            "unblocked_by": None,
            **starts[request.request_id],
            **round_json(latest, now),
        }
        row = latest.row.get(request.class_id) if latest else None
        if latest is None or row is None or request.state is not State.QUEUED:
            answer["text"] = _text_of(request, reason, request.why if why is None else why)
            return answer
        seen = _Seen(latest, request, row)
        bounds = seen.bounds(reason)
        ahead = seen.ahead()
        if seen.private and reason is not Reason.AWAITING_EXPIRY:
            ends = []  # no end of a shared server gives a private quota anything back
        answer["text"] = words.why_waiting(reason, bounds, names, ahead=ahead)
        answer["bounds"] = [bound_json(bound) for bound in bounds]
        answer["position"] = ahead + 1
        answer["priority"] = seen.terms()
        answer["unblocked_by"] = self._unblocked_by(seen, ends)
        return answer

    def _unblocked_by(self, seen: "_Seen", ends: Sequence[End]) -> Unblocked:
        """Return what comes free and when, the latest start, and flavors that would start now."""
        latest, book = seen.latest, seen.book
        enough_s = None if seen.private else explain.enough_at_s(book, seen.demand, ends)
        found = forecast(
            latest.snapshot,
            latest.plan,
            ends,
            latest.policy,
            wanted=frozenset({seen.request.request_id}),
            max_rounds=FORECAST_ROUNDS,
        )
        next_ends = explain.releases(book, ends, limit=_RELEASES)
        return {
            "releases": [
                {"at": instant_of(one.at_s), "freed": dict(one.freed), "servers": one.servers}
                for one in next_ends
            ],
            "enough_at": at_json(enough_s),
            "reserved_at": at_json(seen.reserved_at_s()),
            "estimated_start": at_json(found.starts_s.get(seen.request.request_id)),
            "smaller_flavors": [
                {"name": flavor.name, "demand": dict(flavor.demand)}
                for flavor in self._smaller(seen)
            ],
        }

    def _smaller(self, seen: "_Seen") -> list[Flavor]:
        """Return the largest flavors below the one asked for that would start now."""
        try:
            fitting = {flavor.demand: flavor for flavor in reversed(self._fitting(seen))}
            tried = [*reversed(fitting)][:_MAX_TRIED]
            starting = self.what_if.starting(seen.latest, seen.request, tried)
            return [fitting[demand] for demand in islice(starting, _SMALLER)]
        except UpstreamUnavailable as error:
            LOG.info("smaller flavors cannot be named: %s", error)
            return []

    def _fitting(self, seen: "_Seen") -> list[Flavor]:
        """Return the flavors below the one asked for that a quota could hold, the largest first."""
        asked, book, kind = seen.request.demand, seen.book, seen.request.request_class
        fitting = [
            flavor
            for flavor in self._flavors.flavors()
            if flavor.demand.fits_in(asked)
            and flavor.demand != asked
            and seen.covers(flavor.demand)
            and explain.fits(book, seen.leaf, book.tree.amounts(flavor.demand), kind)
        ]
        fitting.sort(key=lambda flavor: (-sum(_ratios(flavor.demand, asked)), flavor.name))
        return fitting

    def priorities(self, latest: Latest | None, requests: Sequence[Request]) -> list[Priority]:
        """Return the weighted terms of queued requests, as sprio -l shows them."""
        found: list[Priority] = []
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
                    "quotas": quotas_json(request),
                    "priority": seen.terms() if seen else None,
                }
            )
        return found


class _Seen:
    """One queued request as a round saw it."""

    def __init__(self, latest: Latest, request: Request, row: int) -> None:
        self.latest, self.request, self.row = latest, request, row
        snapshot = latest.snapshot
        self.quota = latest.plan.quota_of(row)
        self.book = latest.plan.book.copy()  # to ask it tries things out, beside other threads
        self.leaf = int(snapshot.leaf[snapshot.waiting.association[row]])
        self.demand: Ints = snapshot.demand[snapshot.waiting.shape[row]]
        self._queued_s = request.queued_at.timestamp()

    @property
    def private(self) -> bool:
        return self.quota is QuotaKind.PRIVATE

    def bounds(self, reason: Reason | None) -> list[explain.Bound]:
        return explain.bounds_of(reason, self.book, self.leaf, self.demand, self.quota)

    def ahead(self) -> int:
        key = uuid.UUID(self.request.request_id).bytes
        latest = self.latest
        return explain.ahead(
            latest.snapshot, latest.plan, latest.policy, self.row, key, self._queued_s
        )

    def reserved_at_s(self) -> float | None:
        """Return from when it has what it asks for, None when nothing is reserved for it."""
        key, snapshot = uuid.UUID(self.request.request_id).bytes, self.latest.snapshot
        at_s = explain.reserved_at_s(snapshot, self.latest.plan, self.row, key, self._queued_s)
        return None if at_s == inf else at_s

    def terms(self) -> Terms:
        latest = self.latest
        terms = explain.terms_at(
            latest.snapshot, latest.plan, latest.policy, self.row, self._queued_s
        )
        return terms.as_dict()

    def covers(self, demand: Resources) -> bool:
        """Return whether the round knows every resource class of a demand."""
        return set(demand) <= set(self.latest.tree.resource_classes)


def _kept(request: Request) -> Reason | None:
    """Return what is stored of one that waits for no round; of a queued one a round tells."""
    return None if request.state is State.QUEUED else request.reason


def _text_of(request: Request, reason: Reason | None, why: str) -> str:
    if reason is not None:
        return words.why_waiting(reason, [], {}, ahead=None)
    because = f": {why}" if why else ""
    return f"It does not wait, it is {request.state.value}{because}."


def _names(uow: Reading, request: Request) -> dict[str, str]:
    """Return the names that the request's own user knows anyway."""
    project = next((p for p in uow.projects.all() if p.project_id == request.project_id), None)
    named = {user_node(request.request_class.association_id): "its user"}
    if project is not None:
        named[project_node(project.project_id)] = f"project {project.name}"
    return named


def _ratios(demand: Resources, asked: Resources) -> list[float]:
    return [demand.get(name, 0) / amount for name, amount in asked.items()]
