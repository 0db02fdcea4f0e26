"""Snapshots and decides, one round at a time.

Why: one place knows what waits and when to look at it. The decision is `core.rounds`, acting on it
is `dispatch`.
"""

import logging
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Final

from oslo_config import cfg

from synergy.core import words
from synergy.core.accounts import claim_of
from synergy.core.declared import answers, commands
from synergy.core.declared.filters import USUAL_PAGE
from synergy.core.editions import same_edition
from synergy.core.errors import Conflict, StoreUnavailable, UpstreamUnavailable
from synergy.core.events import (
    BuildsFailed,
    FactorsChanged,
    ProjectsChanged,
    QuotaChanged,
    QuotaReleased,
    RequestsQueued,
    RequestsWithdrawn,
    RoundDecided,
)
from synergy.core.lifecycle import WAITING
from synergy.core.model import BuildFailure, State
from synergy.core.never import NeverFits
from synergy.core.queue import Waiting
from synergy.core.quota import Claim, QuotaState, QuotaTree
from synergy.core.rounds import (
    Facts,
    Outcome,
    Snapshot,
    build_snapshot,
    decide,
)
from synergy.core.rounds.snapshot import NO_FACTORS
from synergy.managers.base import Manager, Publish, Status, command, on
from synergy.managers.scheduler.answers import Answers
from synergy.managers.scheduler.backoff import NoHostBackoff
from synergy.managers.scheduler.changes import ChangeDesk
from synergy.managers.scheduler.dispatch import Dispatcher
from synergy.managers.scheduler.facts import CloudFacts
from synergy.managers.scheduler.latest import (
    Latest,
    ends_known,
    reason_of,
    suspended_associations,
)
from synergy.managers.scheduler.live_queue import LiveQueue
from synergy.managers.scheduler.policy import OPTIONS, policy_of
from synergy.managers.scheduler.ranking import SitePoints
from synergy.ports import Clock, ServerView, Store

LOG = logging.getLogger(__name__)
CONFLICT_REST_S: Final = 1.0
MIN_LOOK_S: Final = 1.0  # between two rounds of which nothing new is told
LOG_EVERY_S: Final = 60.0
FACTORS_WAIT_S: Final = 10.0
NOVA_SILENT: Final = Facts(silent=True)


class SchedulerManager(Manager):
    """Rounds over the waiting queue."""

    name = "scheduler"
    needed = True
    stopped_means = "no waiting request starts"
    woken_by = (QuotaReleased,)
    options = (
        *OPTIONS,
        cfg.FloatOpt(
            "debounce_s",
            default=0.2,
            min=0,
            max=3600,
            mutable=True,
            help="Shortest time in seconds between two rounds that events ask for.",
        ),
        cfg.FloatOpt(
            "stall_s",
            default=60.0,
            min=1,
            max=86_400,
            mutable=True,
            help="Seconds after which a round that has not ended makes the scheduler STALLED. The "
            "service is not ready while it was unable to decide for as long as this.",
        ),
    )

    def __init__(
        self,
        conf: cfg.ConfigOpts.GroupAttr,
        clock: Clock,
        publish: Publish,
        store: Store,
        cloud: CloudFacts,
        site: SitePoints,
        dispatcher: Dispatcher,
        desk: ChangeDesk,
        questions: Answers,
    ) -> None:
        self._conf, self._clock, self._publish, self._store = conf, clock, publish, store
        self._cloud, self._site, self._answers = cloud, site, questions
        self._dispatcher, self._desk = dispatcher, desk
        self._counts = dispatcher.counts
        self._queue = LiveQueue(clock)
        self._backoff = NoHostBackoff()
        self._state: QuotaState | None = None
        self._tree: QuotaTree | None = None
        self._never = NeverFits(QuotaTree(QuotaState(), ()))
        self._quotas_of: int | None = None  # edition of the projects that the state was found from
        self._suspended: frozenset[int] | None = None
        self._suspended_of: int | None = None  # and of those who are suspended
        self._factors: FactorsChanged | None = None
        self._waits_since_s: float | None = None  # for the first factors
        self._latest: Latest | None = None
        self._reserved: dict[int, Sequence[float]] = {}
        self._logged: dict[str, int] = {}
        self._logged_s = float("-inf")
        self._again = False

    @property
    def counts(self) -> Counter[str]:
        """What was counted since the start."""
        return self._counts + self._desk.counts

    def setup(self) -> None:
        self._desk.open()

    def hindrance(self) -> str:
        return "" if self._state is not None else "the capacity of the cloud is not known yet"

    # --- keeping the queue current ----------------------------------------------------------------

    @on(RequestsQueued)
    def _put_in(self, fact: RequestsQueued) -> None:
        self._queue.put_in(fact.requests)

    @on(RequestsWithdrawn)
    def _take_out(self, fact: RequestsWithdrawn) -> None:
        self._queue.take_out(fact.requests)

    @on(QuotaChanged)
    def _size_by(self, fact: QuotaChanged) -> None:
        self._quotas_of = fact.edition
        if fact.state != self._state:
            self._state, self._tree = fact.state, None

    @on(FactorsChanged)
    def _order_by(self, fact: FactorsChanged) -> None:
        self._factors = fact

    @on(ProjectsChanged)
    def _read_projects_anew(self, _: ProjectsChanged) -> None:
        self._suspended = None

    @on(BuildsFailed)
    def _let_rest(self, fact: BuildsFailed) -> None:
        if fact.failure is BuildFailure.NO_VALID_HOST:
            self._backoff.failed(fact.requests, self._clock.now())

    def resync(self) -> None:
        """What a round changed in memory may not be in the store: read the queue again."""
        self._queue.forget()
        self._suspended = None

    # --- the round --------------------------------------------------------------------------------

    def task(self) -> float | None:
        if self._state is None:
            return None  # nothing is known of the cloud yet
        state = self._state
        # 1. Resizes and unshelves: their servers run already, so they go before all that waits.
        self._desk.decide_all(lambda names: self._tree_for(state, names))
        # 2. Without the first factors a round would go by age alone; it waits for them a while.
        if self._factors is None and (left_s := self._wait_for_factors()) > 0:
            return left_s
        # 3. Rounds, until one has decided on everything: a round dispatches `round_size` at most.
        self._again = True
        while self._again:
            self._again = False
            try:
                self._round(self._state)
            except Conflict as error:
                LOG.info("the round is postponed: %s", error)
                self._counts["conflicts"] += 1
                self.resync()
                return CONFLICT_REST_S
        # 4. When to look again though no fact arrives.
        retry_s = self._queue.next_retry_s()
        due_s = [] if retry_s is None else [retry_s]
        if self._latest is not None and self._latest.plan.look_at_s < inf:
            # From the end of the round on: one that takes long must not follow at once.
            now_s = self._clock.now().timestamp()
            due_s.append(max(MIN_LOOK_S, self._latest.plan.look_at_s - now_s))
        return min(due_s, default=None)

    def _wait_for_factors(self) -> float:
        """Return how long to wait for the first factors: without them, the first round after each
        start would hand everything out by age. Where they have no weight there is no need."""
        if not (self._conf.weight_fairshare or self._conf.weight_association):
            return 0.0
        now_s = self._clock.monotonic_s()
        if self._waits_since_s is None:
            self._waits_since_s = now_s
        left_s = self._waits_since_s + FACTORS_WAIT_S - now_s
        if left_s <= 0:
            LOG.warning(
                "no fair-share factors arrived within %.0f s: all count as 0", FACTORS_WAIT_S
            )
            self._factors = NO_FACTORS
        return left_s

    def _round(self, state: QuotaState) -> None:
        round_id = str(uuid.UUID(int=self._next_round_number()))
        # 1. One reading transaction for all of it, or queue and claims would not fit together.
        with self._store.reading() as uow:
            edition = uow.projects.edition()
            self._queue.read(uow)
            if self._suspended is None or not same_edition(self._suspended_of, edition):
                self._suspended_of, self._suspended = edition, suspended_associations(uow)
                self._site.associations = {a.association_id: a for a in uow.projects.associations()}
            claims = [claim_of(*entry) for entry in uow.requests.claims()]
            policy = policy_of(self._conf)
            snapshot = self._snapshot(state, self._queue.waiting(), claims, edition)
            ends = ends_known(uow, snapshot.book.tree, policy, self._clock.now())
        snapshot = replace(snapshot, ends=ends, reserved=self._reserved)
        # 2. Decide. Only here Nova and Placement are asked, and no transaction is open.
        try:
            plan, _ = self._cloud.decide(snapshot, policy)
            views = self._dispatcher.views_of(plan.decisions)
        except StoreUnavailable:
            raise
        except UpstreamUnavailable:
            # Nobody acts on this plan: it shows what would start if Nova answered.
            plan = decide(snapshot, NOVA_SILENT, policy)
            self._keep(Latest.of(round_id, self._clock.now(), snapshot, plan, policy))
            raise
        # 3. Keep what was decided before acting on it: "why" is answered from it meanwhile.
        self._counts["rounds"] += 1
        latest = Latest.of(round_id, self._clock.now(), snapshot, plan, policy)
        self._keep(latest)
        self._reserved = latest.reservations()
        self._again |= not plan.complete
        # 4. Act. A request that somebody changed meanwhile raises Conflict, and nothing is sent.
        if plan.decisions:
            self._act(latest, views, edition)
        if len(self._queue):
            self._publish(RoundDecided(round_id))

    def _keep(self, latest: Latest) -> None:
        """Let questions be answered from this round."""
        self._latest = latest
        self._log_reasons(latest)

    def _log_reasons(self, latest: Latest) -> None:
        """Log how many wait and why, when it changed and not too often."""
        reasons, now_s = latest.reason_counts(), self._clock.monotonic_s()
        if reasons != self._logged and now_s >= self._logged_s + LOG_EVERY_S:
            self._logged, self._logged_s = reasons, now_s
            waiting = ", ".join(f"{name}={count}" for name, count in reasons.items())
            LOG.info("round %s: waiting %s", latest.round_id, waiting or "nothing")

    def _next_round_number(self) -> int:
        """Rounds are numbered by their instant, so that ids grow and never repeat."""
        return (int(self._clock.now().timestamp() * 1e6) << 32) + self._counts["rounds"]

    def _tree_for(self, state: QuotaState, resource_classes: Sequence[str]) -> QuotaTree:
        needed = {*resource_classes, *state.resource_classes()}
        if self._tree is None or not needed <= set(self._tree.resource_classes):
            self._tree = QuotaTree(state, tuple(sorted(needed)))
            self._never = NeverFits(self._tree)
        return self._tree

    def _snapshot(
        self, state: QuotaState, waiting: Waiting, claims: Sequence[Claim], edition: int | None
    ) -> Snapshot:
        now = self._clock.now()
        tree = self._tree_for(state, waiting.resource_classes)
        snapshot = build_snapshot(
            waiting=waiting,
            at_s=now.timestamp(),
            tree=tree,
            claims=claims,
            factors=self._factors or NO_FACTORS,
            suspended=self._suspended or (),
            rests=self._backoff.rests(now, self._cloud.in_flight),
            site=self._site.points(waiting, now.timestamp()),
        )
        if not same_edition(self._quotas_of, edition):  # what never fits may fit into the new ones
            return snapshot
        never = self._never.among(waiting, snapshot.leaf, snapshot.demand)
        return replace(snapshot, never=never)

    def _act(self, latest: Latest, views: Mapping[str, ServerView], edition: int | None) -> None:
        snapshot, decisions = latest.snapshot, latest.plan.decisions
        for decision in decisions:
            class_id = int(snapshot.waiting.class_id[decision.class_row])
            self._queue.remove(class_id, decision.request_id, decision.queued_at_s)
        if snapshot.rests:
            rows = {one.class_row for one in decisions if one.outcome is Outcome.DISPATCH}
            self._backoff.tried({snapshot.tried_at(row) for row in rows})
        back = self._dispatcher.dispatch(latest.round_id, decisions, views, edition)
        self._queue.put_in(back)

    # --- commands ---------------------------------------------------------------------------------

    @command(answers.rounds.SHOW_ROUND)
    def do_status(self) -> answers.rounds.Round:
        """Show the last round and the counters since the start."""
        latest, counts = self._latest, self.counts
        return {
            "waiting": len(self._queue) if self._queue.is_known else None,
            "classes": len(latest.row) if latest else 0,
            "round_id": latest.round_id if latest else None,
            "round_at": latest.at.isoformat() if latest else None,
            "rounds": counts["rounds"],
            "dispatched": counts["dispatched"],
            "conflicts": counts["conflicts"],
            "unknown": counts["unknown"],
            "changes_passed": counts["changes_passed"],
            "changes_refused": counts["changes_refused"],
            "site_factor_errors": dict(self._site.errors),
            "reasons": latest.reason_counts() if latest else {},
        }

    @command(commands.REASONS_OF)
    def do_reasons(self, request_ids: Sequence[str]) -> dict[str, str | None]:
        """Show why requests wait; None for those that do not."""
        with self._store.reading() as uow:
            found = uow.requests.standings(request_ids)
        now, latest = self._clock.now(), self._latest
        reasons = {key: reason_of(latest, standing, now) for key, standing in found.items()}
        return {key: reason.value if reason else None for key, reason in reasons.items()}

    @command(commands.EXPLAIN_REQUEST)
    def do_explain(self, request_id: str, why: str | None = None) -> answers.rounds.Explanation:
        """Explain why a request waits: its position, its priority, and what would unblock it.

        `why` is told instead of the request's own, which may not be for the one who asks.
        """
        answer = self._answers.explain(self._latest, request_id, why)
        if answer["state"] in WAITING and (stopped := self._stopped()):
            answer["text"] = f"{stopped} {answer['text']}"
        return answer

    def _stopped(self) -> str:
        """Return why no round follows the last one, in words for who waits, or ""."""
        goes_on = self.status() in (Status.RUNNING, Status.DEGRADED)
        return words.scheduling_stopped(stopped=not goes_on)

    @command(answers.rounds.LIST_PRIORITIES)
    def do_priorities(
        self,
        project_id: str | None = None,
        user_id: str | None = None,
        limit: int = USUAL_PAGE,
        marker: str | None = None,
    ) -> list[answers.rounds.Priority]:
        """List queued requests with each weighted term of their priority, as sprio -l does."""
        with self._store.reading() as uow:
            found = uow.requests.search(
                states=[State.QUEUED],
                project_id=project_id,
                user_id=user_id,
                limit=limit,
                after=marker,
            )
        return self._answers.priorities(self._latest, found)

    @command(commands.SIMULATE)
    def do_simulate(
        self,
        project_id: str,
        flavor: str,
        user_id: str | None = None,
        count: int = 1,
        metadata: Mapping[str, str] | None = None,
        availability_zone: str | None = None,
        server_group: str | None = None,
    ) -> answers.rounds.Simulation:
        """Show whether servers of a flavor would start now, and if not, why, and when they would.

        `metadata` is what the server would be created with, such as quota=shared.
        """
        latest, state = self._latest, self._state
        if latest is None or state is None:
            raise UpstreamUnavailable("no scheduling round has run yet: try again in a minute")
        kind = self._answers.what_if.class_of(
            project_id, user_id, flavor, dict(metadata or {}),
            zone=availability_zone, group=server_group,
        )  # fmt: skip
        tree = QuotaTree(state, tuple(sorted({*latest.tree.resource_classes, *kind.demand})))
        answer = self._answers.what_if.answer(latest, tree, kind, count)
        if stopped := self._stopped():
            answer["starts_now"], answer["text"] = 0, f"{stopped} {answer['text']}"
        return answer

    @command(commands.WHAT_IF_QUEUE)
    def do_what_if(self, **supposed: object) -> answers.supposed.WhatIf:
        """Show which requests would start earlier or later under other rules; nothing changes."""
        latest, state = self._latest, self._state
        if latest is None or state is None:
            raise UpstreamUnavailable("no scheduling round has run yet: try again in a minute")
        return self._answers.supposing.answer(latest, state, policy_of(self._conf), supposed)
