"""Runs the living queue to its end as things are and as somebody supposes them, and compares.

Why: a change of shares, quotas, policy or hosts is judged before it is made, by the function that
decides. Reads the store and the hosts, and writes nothing. Must not know who asks.
"""

import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import inf
from typing import Any, Final, cast

import numpy as np
from oslo_config import cfg

from synergy.core import accounts, courses, shares, usage
from synergy.core.billing import billing
from synergy.core.courses import Change, Course, Effect, World
from synergy.core.declared.answers.supposed import Foreseen, Hypothetical, ShiftedRequest, WhatIf
from synergy.core.declared.supposed import SUPPOSED
from synergy.core.errors import Conflict, InvalidInput, NotFound
from synergy.core.fairshare import Algorithm
from synergy.core.foreseen import ForeseenUsage
from synergy.core.model import Association, Domain, Project, QuotaKind, RequestClass, Resources
from synergy.core.quota import QuotaState, QuotaTree
from synergy.core.rounds import Discipline, Policy
from synergy.core.rounds.timeline import Arrival, Holding, LiveState
from synergy.managers.base import Part
from synergy.managers.project.quota_change import changed_settings
from synergy.managers.scheduler.latest import Latest, at_json, instant_of, round_json
from synergy.managers.scheduler.ranking import SitePoints
from synergy.managers.scheduler.what_if import WhatIf as Asked
from synergy.ports import Capacity, Clock, Reading, Store

MAX_WAITING: Final = 100_000
_MAX_SHOWN: Final = 10
_MAX_CLASSES: Final = 20
_MANY: Final = 10_000_000


@dataclass(frozen=True, eq=False, kw_only=True)
class _Read:
    """What was read of the store at one instant."""

    projects: Sequence[Project]
    domains: Sequence[Domain]
    associations: Sequence[Association]
    waiting: Sequence[Arrival]
    ends: Sequence[tuple[RequestClass, datetime | None, int]]
    history: usage.History


@dataclass(frozen=True, eq=False, kw_only=True)
class _Rules:
    """What a run follows: either as it is, or as it is supposed to be."""

    state: QuotaState
    projects: Sequence[Project]
    policy: Policy
    half_life_s: float
    waiting: Sequence[Arrival]


class Supposing(Part):
    """Questions about the whole queue; reads the store, and changes nothing.

    charging  the options of fair-share, None where no manager of it is loaded
    """

    def __init__(
        self,
        clock: Clock,
        store: Store,
        capacity: Capacity,
        asked: Asked,
        site: SitePoints,
        charging: cfg.ConfigOpts.GroupAttr | None = None,
    ) -> None:
        self._clock, self._store, self._capacity = clock, store, capacity
        self._asked, self._site, self._charging = asked, site, charging

    def answer(
        self, latest: Latest, state: QuotaState, policy: Policy, given: Mapping[str, Any]
    ) -> WhatIf:
        """Return who would start earlier or later. Raises NotFound for what does not exist,
        InvalidInput, and Conflict where too many wait."""
        began_s = time.monotonic()
        if not given:
            raise InvalidInput(f"nothing is supposed: give one of {', '.join(SUPPOSED)}")
        now = self._clock.now()
        with self._store.reading() as uow:
            read = _read(uow)
        before = _Rules(
            state=replace(
                state, nodes=accounts.quota_nodes(read.domains, read.projects, read.associations)
            ),
            projects=read.projects,
            policy=replace(policy, round_size=_MANY),
            half_life_s=self._half_life_s(),
            waiting=read.waiting,
        )
        more = self._requested(read, given.get("requests") or (), now)
        after = _Rules(
            state=self._state(before.state, read, given),
            projects=_projects(read.projects, given.get("projects") or {}, state),
            policy=_policy(before.policy, given.get("policy") or {}),
            half_life_s=given.get("half_life_s", before.half_life_s),
            waiting=[*_left(read.waiting, given.get("withdraw") or ()), *more],
        )
        rate = self._rate()
        was, will = (courses.run(self._world(rules, read, now), rate) for rules in (before, after))
        answer = _compared(read, before, after, was, will, {one.request_id for one in more})
        return cast(
            WhatIf,
            {
                "supposed": [name for name in SUPPOSED if name in given],
                **answer,
                "seconds": time.monotonic() - began_s,
                **round_json(latest, now),
            },
        )

    # --- what is supposed -------------------------------------------------------------------------

    def _state(self, state: QuotaState, read: _Read, given: Mapping[str, Any]) -> QuotaState:
        down = list(dict.fromkeys(given.get("hosts_down") or ()))
        if down:
            hosts = {host.name: host for host in self._capacity.hosts()}
            for name in down:
                if name not in hosts:
                    raise NotFound(f"host {name!r} under hosts_down does not exist")
                if hosts[name].up:
                    state = replace(state, total=state.total - hosts[name].capacity)
        for amounts in given.get("hosts_added") or ():
            host = Resources.demand(amounts, of="hosts_added")
            state = replace(
                state,
                total=state.total + host,
                installed=state.installed + host,
                hosts=tuple(dict.fromkeys((*state.hosts, host))),
            )
        projects = _projects(read.projects, given.get("projects") or {}, state)
        return replace(state, nodes=accounts.quota_nodes(read.domains, projects, read.associations))

    def _requested(
        self, read: _Read, given: Sequence[Mapping[str, Any]], now: datetime
    ) -> list[Arrival]:
        found: list[Arrival] = []
        for one in given:
            project = _project_named(read.projects, one["project"])
            users = [a for a in read.associations if a.project_id == project.project_id]
            user = one.get("user")
            mine = [a for a in users if user in (None, a.user_id, a.user_name) and a.active]
            if not mine:
                raise NotFound(f"project {project.name!r} has no user {user!r}" if user else
                               f"project {project.name!r} has no user yet")  # fmt: skip
            kind = self._asked.class_of(
                project.project_id, mine[0].user_id, one["flavor"], one.get("metadata") or {}
            )
            for _ in range(one.get("count", 1)):  # behind every other that is alike
                key = str(uuid.UUID(int=2**128 - 1 - len(found)))
                found.append(_arrival(key, kind, now.timestamp()))
        return found

    # --- the runs ---------------------------------------------------------------------------------

    def _world(self, rules: _Rules, read: _Read, now: datetime) -> World:
        names = {*rules.state.resource_classes()}
        names |= {name for one in rules.waiting for name in one.kind.demand}
        names |= {name for kind, _, _ in read.ends for name in kind.demand}
        tree = QuotaTree(rules.state, tuple(sorted(names)))
        held, holding = [], []
        for kind, expires_at, count in read.ends:
            end_s = _end_s(kind, expires_at, now)
            leaf = tree.row.get(accounts.user_node(kind.association_id), 0)
            demand = tree.amounts(kind.demand)
            for _ in range(count):
                holding.append(
                    Holding(
                        leaf=leaf, demand=demand, quota=kind.quota, known_end_s=end_s, end_s=end_s
                    )
                )
                held.append(
                    courses.Held(
                        association_id=kind.association_id,
                        demand=kind.demand,
                        quota=kind.quota,
                        end_s=end_s,
                    )
                )
        taking = {one.project_id for one in rules.projects if not one.suspended}
        begin = LiveState(
            at_s=now.timestamp(),
            waiting=rules.waiting,
            holding=holding,
            suspended=frozenset(
                one.association_id for one in read.associations if one.project_id not in taking
            ),
        )
        return World(
            tree=tree,
            policy=rules.policy,
            begin=begin,
            held=held,
            usage=self._usage(rules, read, now),
            capacity=float(rules.state.total.get("VCPU", 0)),
            site=self._site.points if self._site.any else None,
        )

    def _usage(self, rules: _Rules, read: _Read, now: datetime) -> ForeseenUsage:
        managed = {one.project_id for one in rules.projects}
        mine = [one for one in read.associations if one.project_id in managed]
        tree = shares.build(accounts.share_nodes(read.domains, rules.projects, mine))
        row = {node_id: place for place, node_id in enumerate(tree.node_ids)}
        width = 1 + max((one.association_id for one in read.associations), default=0)
        rows, points = np.full(width, -1, dtype=np.int64), np.zeros(width)
        used, own = (
            usage.usage_of(read.history, usage.HalfLife(half_life_s=0), now),
            np.zeros(len(tree)),
        )
        for one in mine:
            place = row[accounts.usage_node(one)]
            if one.association_id < len(used):
                own[place] += used[one.association_id]
            if one.active:
                rows[one.association_id] = place
        for association_id, value in accounts.priorities(rules.projects, mine).items():
            points[association_id] = value
        algorithm = self._charging.algorithm if self._charging else Algorithm.FAIR_TREE.value
        return ForeseenUsage(
            tree, rows, own, points,
            at_s=now.timestamp(), half_life_s=rules.half_life_s, algorithm=Algorithm(algorithm),
        )  # fmt: skip

    def _half_life_s(self) -> float:
        conf = self._charging
        return float(conf.decay_half_life_s) if conf and conf.decay == "half_life" else 0.0

    def _rate(self) -> Callable[[Resources], float]:
        conf = self._charging
        weights = dict(conf.tres_billing_weights) if conf else {"VCPU": 1.0}
        maximum = bool(conf.max_tres) if conf else False
        return lambda demand: billing(demand, weights, maximum=maximum)


def _read(uow: Reading) -> _Read:
    waiting = [
        _arrival(key, line.request_class, at_s)
        for line in uow.requests.lines()
        for key, at_s in zip(line.request_ids(), line.queued_at_s, strict=True)
    ]
    waiting += [
        _arrival(one.request_id, one.request_class, one.queued_at.timestamp())
        for one in uow.requests.delayed()
    ]
    if len(waiting) > MAX_WAITING:
        raise Conflict(
            f"{len(waiting):,} requests wait, but at most {MAX_WAITING:,} can be run to their end "
            "while somebody waits for the answer: replay them with synergy simulate"
        )
    return _Read(
        projects=uow.projects.all(),
        domains=uow.projects.domains(),
        associations=uow.projects.associations(),
        waiting=waiting,
        ends=uow.requests.ends(),
        history=uow.usage.load(),
    )


def _arrival(request_id: str, kind: RequestClass, at_s: float) -> Arrival:
    held_s = float(kind.ttl_s) if kind.ttl_s > 0 else inf
    return Arrival(at_s=at_s, request_id=request_id, kind=kind, held_s=held_s)


def _end_s(kind: RequestClass, expires_at: datetime | None, now: datetime) -> float:
    """Return when a server ends as far as is known; one that is built lives from now."""
    if kind.quota is not QuotaKind.SHARED or (expires_at is None and kind.ttl_s <= 0):
        return inf
    at = expires_at if expires_at is not None else now + timedelta(seconds=kind.ttl_s)
    return max(at, now).timestamp()


def _project_named(projects: Sequence[Project], name: str) -> Project:
    found = [one for one in projects if one.project_id == name]
    found = found or [one for one in projects if one.name == name]
    if not found:
        raise NotFound(f"project {name!r} is not managed by Synergy")
    if len(found) > 1:
        ids = ", ".join(one.project_id for one in found)
        raise InvalidInput(f"project name {name!r} is not unique: give one of {ids}")
    return found[0]


def _projects(
    projects: Sequence[Project], given: Mapping[str, Mapping[str, Any]], state: QuotaState
) -> list[Project]:
    changed = {}
    for name, settings in given.items():
        project = _project_named(projects, name)
        if project.project_id in changed:
            raise InvalidInput(f"projects has {project.name!r} twice, by name and by id")
        changed[project.project_id] = changed_settings(project, settings, state)
    return [changed.get(one.project_id, one) for one in projects]


def _policy(policy: Policy, given: Mapping[str, Any]) -> Policy:
    weights = {
        name.removeprefix("weight_"): value
        for name, value in given.items()
        if name.startswith("weight_")
    }
    others = {name: value for name, value in given.items() if not name.startswith("weight_")}
    if "discipline" in others:
        others["discipline"] = Discipline(others["discipline"])
    max_age_s = others.pop("max_age_s", policy.scales.max_age_s)
    return replace(
        policy,
        **others,
        weights=replace(policy.weights, **weights),
        scales=replace(policy.scales, max_age_s=float(max_age_s)),
    )


def _left(waiting: Sequence[Arrival], withdrawn: Sequence[str]) -> list[Arrival]:
    known = {one.request_id for one in waiting}
    for request_id in withdrawn:
        if request_id not in known:
            raise NotFound(f"request {request_id!r} under withdraw does not wait")
    return [one for one in waiting if one.request_id not in set(withdrawn)]


# --- the answer -----------------------------------------------------------------------------------


def _compared(
    read: _Read,
    before: _Rules,
    after: _Rules,
    was: Course,
    will: Course,
    more: set[str],
) -> dict[str, Any]:
    owner = {one.association_id: one for one in read.associations}
    until_s = max(was.last_s, will.last_s)
    found = courses.changes(was, will)
    by_project: dict[str, list[Change]] = {}
    by_class: dict[tuple[str, str, Resources], list[Change]] = {}
    for one in found:
        who = owner[one.kind.association_id]
        by_project.setdefault(who.project_id, []).append(one)
        key = who.project_id, who.user_id, one.kind.demand
        by_class.setdefault(key, []).append(one)
    named_ = {one.project_id: one.name for one in read.projects}
    classes = [
        {"project_id": p, "user_id": user, "demand": dict(demand), **_shifted(courses.effect(some))}
        for (p, user, demand), some in by_class.items()
    ]
    classes.sort(key=lambda row: (-abs(row["mean_change_s"]), row["project_id"], row["user_id"]))
    order = sorted((one for one in found if one.by_s), key=lambda one: (one.by_s, one.request_id))
    return {
        "until": instant_of(until_s),
        "before": _foreseen(read, before, was, until_s),
        "after": _foreseen(read, after, will, until_s),
        "projects": [
            {"project_id": key, "name": named_.get(key, key), **_shifted(courses.effect(some))}
            for key, some in sorted(by_project.items())
        ],
        "classes": classes[:_MAX_CLASSES],
        "most_earlier": [_request(one, owner) for one in order[:_MAX_SHOWN] if one.by_s < 0],
        "most_later": [_request(one, owner) for one in order[::-1][:_MAX_SHOWN] if one.by_s > 0],
        "hypothetical": _hypothetical(will, more) if more else None,
    }


def _foreseen(read: _Read, rules: _Rules, course: Course, until_s: float) -> Foreseen:
    projects = list(rules.projects)
    row = {one.project_id: place for place, one in enumerate(projects)}
    place = {
        one.association_id: row[one.project_id]
        for one in read.associations
        if one.project_id in row
    }
    raw = [float(one.raw_shares or 0) for one in projects]
    whole = sum(raw) or 1.0
    found = courses.delivered(course, until_s, place, [one / whole for one in raw])
    return {
        "requests": found.requests,
        "starts": found.start,
        "mean_wait_s": found.mean_wait_s,
        "utilisation": found.utilisation,
        "share_error": found.share_error,
        "last_start": at_json(found.last_start_s),
    }


def _shifted(found: Effect) -> dict[str, Any]:
    return {
        "earlier": found.earlier,
        "later": found.later,
        "same": found.same,
        "never": found.never,
        "after_all": found.after_all,
        "mean_change_s": found.mean_s,
    }


def _request(one: Change, owner: Mapping[int, Association]) -> ShiftedRequest:
    return {
        "id": one.request_id,
        "project_id": owner[one.kind.association_id].project_id,
        "before": at_json(one.before_s),
        "after": at_json(one.after_s),
        "change_s": one.by_s if abs(one.by_s) < inf else None,
    }


def _hypothetical(course: Course, more: set[str]) -> Hypothetical:
    starts_s = sorted(at_s for key, at_s in course.starts_s.items() if key in more)
    return {
        "count": len(more),
        "starts": len(starts_s),
        "first_start": at_json(starts_s[0]) if starts_s else None,
        "last_start": at_json(starts_s[-1]) if len(starts_s) == len(more) else None,
    }
