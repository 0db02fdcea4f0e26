"""Snapshots and decides, one round at a time.

Why: one place knows what waits and when to look at it. The decision is `core.rounds`, acting on it
is `dispatch`. Events are hints that keep the queue current between rounds: whatever goes wrong,
it is read anew from the store.
"""

import heapq
import logging
import uuid
from array import array
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
from synergy.core.model import BuildFailure, Request, State
from synergy.core.never import NeverFits
from synergy.core.queue import WaitingQueue
from synergy.core.quota import Claim, QuotaState, QuotaTree
from synergy.core.rounds import (
    Discipline,
    Facts,
    Outcome,
    Policy,
    Snapshot,
    build_snapshot,
    decide,
)
from synergy.core.rounds.snapshot import NO_FACTORS
from synergy.managers.base import Manager, Publish, Status, command, on
from synergy.managers.scheduler import ranking
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
from synergy.managers.scheduler.ranking import SitePoints
from synergy.managers.scheduler.supposing import Supposing
from synergy.managers.scheduler.what_if import WhatIf
from synergy.managers.support.owners import Owners
from synergy.ports import (
    Capacity,
    Changes,
    Clock,
    Conductor,
    Flavors,
    Identity,
    Reading,
    Servers,
    ServerView,
    SiteFactor,
    Store,
    Wake,
)

LOG = logging.getLogger(__name__)
CONFLICT_REST_S: Final = 1.0
LEAST_LOOK_S: Final = 1.0  # between two rounds of which nothing new is told
TELL_EVERY_S: Final = 60.0
FACTORS_WAIT_S: Final = 10.0
NOVA_SILENT: Final = Facts(silent=True)
_PAGE: Final = 1000


class SchedulerManager(Manager):
    """Rounds over the waiting queue."""

    name = "scheduler"
    needed = True
    stopped_means = "no waiting request starts"
    woken_by = (QuotaReleased,)
    options = (
        cfg.StrOpt(
            "discipline",
            default=Discipline.EASY.value,
            choices=[
                (
                    Discipline.FIFO.value,
                    "Nobody overtakes the first request that the shared quota cannot hold.",
                ),
                (
                    Discipline.GREEDY.value,
                    "What does not fit is passed over, up to backfill_depth times.",
                ),
                (
                    Discipline.EASY.value,
                    (
                        "The first reserve_depth requests that do not fit have a reservation at "
                        "the earliest instant known from lifetimes; who does not delay them passes."
                    ),
                ),
                (
                    Discipline.EASY_SJBF.value,
                    "Likewise, and of those that pass the shortest lifetime goes first.",
                ),
                (
                    Discipline.CONSERVATIVE.value,
                    "Every request has a reservation, up to most_reserved; who delays none passes.",
                ),
            ],
            mutable=True,
            help="How a round goes through the requests that wait for the shared quota, which are "
            "in the order of their priority.",
        ),
        cfg.IntOpt(
            "backfill_depth",
            default=100,
            min=0,
            max=1_000_000,
            mutable=True,
            help="How many different demands of users a greedy round may pass over because they do "
            "not fit; those that differ in lifetime, QOS or nice only count once.",
        ),
        cfg.IntOpt(
            "reserve_depth",
            default=1,
            min=1,
            max=1000,
            mutable=True,
            help="With discipline easy or easy_sjbf: how many requests that the shared quota "
            "cannot hold have a reservation.",
        ),
        cfg.IntOpt(
            "most_reserved",
            default=1000,
            min=1,
            max=100_000,
            mutable=True,
            help="With discipline conservative: how many requests have a reservation; those behind "
            "them wait until some of these have started.",
        ),
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
        cfg.IntOpt(
            "round_size",
            default=1000,
            min=1,
            max=1_000_000,
            mutable=True,
            help="Most requests that one round dispatches; the next one follows at once.",
        ),
        *ranking.OPTIONS,
    )

    def __init__(
        self,
        conf: cfg.ConfigOpts.GroupAttr,
        clock: Clock,
        publish: Publish,
        wake: Wake,
        store: Store,
        conductor: Conductor,
        changes: Changes,
        servers: Servers,
        capacity: Capacity,
        flavors: Flavors,
        identity: Identity,
        site_factors: Mapping[str, SiteFactor],
        owners: Owners,
        charging: cfg.ConfigOpts.GroupAttr | None = None,
    ) -> None:
        self._conf, self._clock, self._publish = conf, clock, publish
        self._store = store
        self.counts: Counter[str] = Counter()
        self._dispatcher = Dispatcher(
            clock, publish, store, conductor, servers, identity, owners, self.counts
        )
        self._changes, self._wake = changes, wake
        self._desk = ChangeDesk(clock, publish, store, changes, self.counts)
        self._queue: WaitingQueue | None = None
        self._delayed: list[tuple[float, str, Request]] = []
        self._state: QuotaState | None = None
        self._tree: QuotaTree | None = None
        self._never = NeverFits(QuotaTree(QuotaState(), ()))
        self._quotas_of: int | None = None  # edition of the projects that the state was found from
        self._suspended_of: int | None = None  # and of those who are suspended
        self._factors: FactorsChanged | None = None
        self._waits_since_s: float | None = None  # for the first factors
        self._site = SitePoints(site_factors)
        self._suspended: frozenset[int] | None = None
        self._cloud = CloudFacts(capacity, servers, clock, self._in_flight)
        self._what_if = WhatIf(clock, store, flavors, self._cloud, self._site)
        self._supposing = Supposing(clock, store, capacity, self._what_if, charging)
        self._answers = Answers(clock, store, flavors, self._what_if)
        self._latest: Latest | None = None
        self._told: dict[str, int] = {}
        self._told_s = float("-inf")
        self._again = False
        self._backoff = NoHostBackoff()
        self._reserved: dict[int, Sequence[float]] = {}

    def setup(self) -> None:
        self._changes.on_arrival(self._wake)

    def hindrance(self) -> str:
        return "" if self._state is not None else "nothing is known of the cloud's capacity yet"

    # --- keeping the queue current ----------------------------------------------------------------

    @on(RequestsQueued)
    def _put_in(self, fact: RequestsQueued) -> None:
        if self._queue is not None:
            for request in fact.requests:
                self._enqueue(self._queue, request)

    @on(RequestsWithdrawn)
    def _take_out(self, fact: RequestsWithdrawn) -> None:
        if self._queue is not None:
            for request in fact.requests:
                self._queue.remove(request.class_id, request.request_id, _seconds(request))

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
        """What a round changed in memory may not be in the store: read the queue anew."""
        self._queue = self._suspended = None

    def _enqueue(self, queue: WaitingQueue, request: Request) -> None:
        if request.retry_at is not None and request.retry_at > self._clock.now():
            entry = (request.retry_at.timestamp(), request.request_id, request)
            heapq.heappush(self._delayed, entry)
        else:
            queue.add(
                request.class_id, request.request_class, request.request_id, _seconds(request)
            )

    def _load(self, uow: Reading) -> WaitingQueue:
        """Read the whole queue, without writing anything."""
        queue, self._delayed = WaitingQueue(), []
        for line in uow.requests.lines():
            queue.load(line.class_id, line.request_class, line.ids, array("d", line.queued_at_s))
        for request in uow.requests.delayed():
            self._enqueue(queue, request)
        LOG.info("%d request(s) wait", len(queue) + len(self._delayed))
        return queue

    def _wake_delayed(self, queue: WaitingQueue) -> None:
        now_s = self._clock.now().timestamp()
        while self._delayed and self._delayed[0][0] <= now_s:
            self._enqueue(queue, replace(heapq.heappop(self._delayed)[2], retry_at=None))

    # --- the round --------------------------------------------------------------------------------

    def task(self) -> float | None:
        if self._state is None:
            return None  # nothing is known of the cloud yet
        state = self._state
        self._desk.decide_all(lambda names: self._tree_for(state, names))
        if self._factors is None and (left_s := self._wait_for_factors()) > 0:
            return left_s
        self._again = True
        while self._again:
            self._again = False
            try:
                self._round(self._state)
            except Conflict as error:
                LOG.info("the round is left to the next one: %s", error)
                self.counts["conflicts"] += 1
                self.resync()
                return CONFLICT_REST_S
        now_s = self._clock.now().timestamp()
        due_s = [max(0.0, self._delayed[0][0] - now_s)] if self._delayed else []
        if self._latest is not None and self._latest.plan.look_at_s < inf:
            # From the end of the round on: one that takes long must not follow at once.
            due_s.append(max(LEAST_LOOK_S, self._latest.plan.look_at_s - now_s))
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
            LOG.warning("no fair-share factors came in %.0f s: all count as 0", FACTORS_WAIT_S)
            self._factors = NO_FACTORS
        return left_s

    def _round(self, state: QuotaState) -> None:
        round_id = str(uuid.UUID(int=self._next_round_number()))
        with self._store.reading() as uow:
            edition = uow.projects.edition()
            if self._queue is None:
                self._queue = self._load(uow)
            if self._suspended is None or not same_edition(self._suspended_of, edition):
                self._suspended_of, self._suspended = edition, suspended_associations(uow)
                self._site.associations = {a.association_id: a for a in uow.projects.associations()}
            claims = [claim_of(*entry) for entry in uow.requests.claims()]
            self._wake_delayed(self._queue)
            policy = policy_of(self._conf)
            snapshot = self._snapshot(state, self._queue, claims, edition)
            ends = ends_known(uow, snapshot.book.tree, policy, self._clock.now())
        snapshot = replace(snapshot, ends=ends, reserved=self._reserved)
        try:
            plan, _ = self._cloud.decide(snapshot, policy)
            views = self._dispatcher.views_of(plan.decisions)
        except StoreUnavailable:
            raise
        except UpstreamUnavailable:
            # Nobody acts on this plan: it tells whoever asks what would start if Nova answered.
            plan = decide(snapshot, NOVA_SILENT, policy)
            self._keep(Latest.of(round_id, self._clock.now(), snapshot, plan, policy))
            raise
        self.counts["rounds"] += 1
        latest = Latest.of(round_id, self._clock.now(), snapshot, plan, policy)
        self._keep(latest)
        self._reserved = latest.reservations()
        self._again |= not plan.complete
        if plan.decisions:
            self._act(self._queue, latest, views, edition)
        self._publish(RoundDecided(round_id))

    def _keep(self, latest: Latest) -> None:
        """Let questions be answered from this round."""
        self._latest = latest
        self._tell_reasons(latest)

    def _tell_reasons(self, latest: Latest) -> None:
        """Log how many wait and why, when it changed and not too often."""
        reasons, now_s = latest.reason_counts(), self._clock.monotonic_s()
        if reasons != self._told and now_s >= self._told_s + TELL_EVERY_S:
            self._told, self._told_s = reasons, now_s
            waiting = ", ".join(f"{name}={count}" for name, count in reasons.items())
            LOG.info("round %s: waiting %s", latest.round_id, waiting or "nothing")

    def _next_round_number(self) -> int:
        """Rounds are numbered by their instant, so that ids grow and never repeat."""
        return (int(self._clock.now().timestamp() * 1e6) << 32) + self.counts["rounds"]

    def _in_flight(self) -> list[Request]:
        found: list[Request] = []
        with self._store.reading() as uow:
            while page := uow.requests.search(
                states=[State.DISPATCHING, State.BUILDING], limit=_PAGE,
                after=found[-1].request_id if found else None,
            ):  # fmt: skip
                found += page
        return found

    def _tree_for(self, state: QuotaState, resource_classes: Sequence[str]) -> QuotaTree:
        needed = {*resource_classes, *state.resource_classes()}
        if self._tree is None or not needed <= set(self._tree.resource_classes):
            self._tree = QuotaTree(state, tuple(sorted(needed)))
            self._never = NeverFits(self._tree)
        return self._tree

    def _snapshot(
        self, state: QuotaState, queue: WaitingQueue, claims: Sequence[Claim], edition: int | None
    ) -> Snapshot:
        waiting, now = queue.snapshot(), self._clock.now()
        tree = self._tree_for(state, waiting.resource_classes)
        snapshot = build_snapshot(
            waiting=waiting,
            at_s=now.timestamp(),
            tree=tree,
            claims=claims,
            factors=self._factors or NO_FACTORS,
            suspended=self._suspended or (),
            rests=self._backoff.rests(now, self._in_flight),
            site=self._site.points(waiting, now.timestamp()),
        )
        if not same_edition(self._quotas_of, edition):  # what never fits may fit into the new ones
            return snapshot
        never = self._never.among(waiting, snapshot.leaf, snapshot.demand)
        return replace(snapshot, never=never)

    def _act(
        self,
        queue: WaitingQueue,
        latest: Latest,
        views: Mapping[str, ServerView],
        edition: int | None,
    ) -> None:
        snapshot, decisions = latest.snapshot, latest.plan.decisions
        for decision in decisions:
            class_id = int(snapshot.waiting.class_id[decision.class_row])
            queue.remove(class_id, decision.request_id, decision.queued_at_s)
        if snapshot.rests:
            rows = {one.class_row for one in decisions if one.outcome is Outcome.DISPATCH}
            self._backoff.tried({snapshot.tried_at(row) for row in rows})
        for request in self._dispatcher.dispatch(latest.round_id, decisions, views, edition):
            self._enqueue(queue, request)

    # --- commands ---------------------------------------------------------------------------------

    @command(answers.rounds.SHOW_ROUND)
    def do_status(self) -> answers.rounds.Round:
        """Show the last round and what was counted since the start."""
        latest, counts = self._latest, self.counts
        return {
            "waiting": len(self._queue) + len(self._delayed) if self._queue is not None else None,
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
        """Tell why requests wait, None for those that do not."""
        with self._store.reading() as uow:
            found = uow.requests.find(request_ids)
        now, latest = self._clock.now(), self._latest
        reasons = {key: reason_of(latest, request, now) for key, request in found.items()}
        return {key: reason.value if reason else None for key, reason in reasons.items()}

    @command(commands.EXPLAIN_REQUEST)
    def do_explain(self, request_id: str, why: str | None = None) -> answers.rounds.Explanation:
        """Tell why a request waits, its place, its priority, and what would unblock it.

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
        """Tell whether servers of a flavor would start now, and if not, why and when at the latest.

        `metadata` is what the server would be created with, such as quota=shared.
        """
        latest, state = self._latest, self._state
        if latest is None or state is None:
            raise UpstreamUnavailable("no round has looked at the queue yet: ask again in a minute")
        kind = self._what_if.class_of(
            project_id, user_id, flavor, dict(metadata or {}),
            zone=availability_zone, group=server_group,
        )  # fmt: skip
        tree = QuotaTree(state, tuple(sorted({*latest.tree.resource_classes, *kind.demand})))
        answer = self._what_if.answer(latest, tree, kind, count)
        if stopped := self._stopped():
            answer["starts_now"], answer["text"] = 0, f"{stopped} {answer['text']}"
        return answer

    @command(commands.WHAT_IF_QUEUE)
    def do_what_if(self, **supposed: object) -> answers.supposed.WhatIf:
        """Tell who would start earlier or later under other rules; nothing of it happens."""
        latest, state = self._latest, self._state
        if latest is None or state is None:
            raise UpstreamUnavailable("no round has looked at the queue yet: ask again in a minute")
        return self._supposing.answer(latest, state, policy_of(self._conf), supposed)


def policy_of(conf: cfg.ConfigOpts.GroupAttr, most: int | None = None) -> Policy:
    """Return how rounds decide by the options of the scheduler; `most` instead of round_size."""
    return Policy(
        discipline=Discipline(conf.discipline),
        backfill_depth=conf.backfill_depth,
        reserve_depth=conf.reserve_depth,
        most_reserved=conf.most_reserved,
        round_size=conf.round_size if most is None else most,
        weights=ranking.read_weights(conf),
        scales=ranking.read_scales(conf),
    )


def _seconds(request: Request) -> float:
    return request.queued_at.timestamp()
