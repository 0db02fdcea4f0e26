"""Snapshots, decides, dispatches: one round at a time.

Why: the only place that lets a request hold quota. The decision is `core.schedule`; here are the
queue it looks at, the two commits around the hand-over, and what becomes of a failure. Events are
hints that keep the queue current between rounds: whatever goes wrong, it is read anew from the
store.
"""

import heapq
import logging
import uuid
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from oslo_config import cfg

from synergy.core import priority
from synergy.core.accounts import user_node
from synergy.core.admission import retry_delay_s
from synergy.core.errors import Conflict, HandOverFailed, NotFound, SealBroken
from synergy.core.events import (
    Fact,
    FactorsChanged,
    ProjectsChanged,
    QuotaChanged,
    QuotaHeld,
    QuotaReleased,
    RequestsQueued,
    RequestsWithdrawn,
)
from synergy.core.lifecycle import Event, Move, transition
from synergy.core.model import NOTHING, OnPrivateFull, QuotaKind, Request, Resources, State
from synergy.core.queue import Waiting, WaitingQueue
from synergy.core.quota import Held, QuotaBook, QuotaState, QuotaTree
from synergy.core.reasons import Reason
from synergy.core.schedule import (
    Decision,
    Discipline,
    Outcome,
    Plan,
    Policy,
    Snapshot,
    schedule,
)
from synergy.managers.base import Json, Manager, Publish, command
from synergy.ports import Clock, Compute, Conductor, Identity, OpenUnitOfWork, UnitOfWork

LOG = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Latest:
    """The last round, kept to answer questions about it."""

    round_id: str
    at: datetime
    snapshot: Snapshot
    plan: Plan
    row: Mapping[int, int]  # class_id -> row


@dataclass(frozen=True, slots=True)
class _Parcel:
    """One message to be handed over, or why it cannot be."""

    request_id: str
    body: bytes = field(repr=False)
    token: str | None = field(repr=False)
    unreadable: str = ""


class SchedulerManager(Manager):
    """Rounds over the waiting queue."""

    name = "scheduler"
    listens = (
        RequestsQueued,
        RequestsWithdrawn,
        QuotaReleased,
        QuotaChanged,
        FactorsChanged,
        ProjectsChanged,
    )
    options = (
        cfg.StrOpt(
            "discipline",
            default=Discipline.GREEDY.value,
            choices=[one.value for one in Discipline],
            mutable=True,
            help="fifo: nobody overtakes the first request that does not fit. "
            "greedy: pass over it, up to backfill_depth times.",
        ),
        cfg.IntOpt(
            "backfill_depth",
            default=100,
            min=0,
            max=1_000_000,
            mutable=True,
            help="Classes of equal requests that a greedy round may pass over because they do not "
            "fit.",
        ),
        cfg.FloatOpt(
            "debounce_s",
            default=0.2,
            min=0,
            max=3600,
            mutable=True,
            help="Shortest time in seconds between two rounds that events ask for.",
        ),
        cfg.IntOpt("round_size", default=1000, min=1, max=1_000_000, mutable=True,
                   help="Most requests that one round dispatches; the next one follows at once."),
        cfg.IntOpt("weight_age", default=1_000, min=0, max=2**31, mutable=True,
                   help="Weight of the age factor."),
        cfg.IntOpt("weight_fairshare", default=100_000, min=0, max=2**31, mutable=True,
                   help="Weight of the fair-share factor."),
        cfg.IntOpt("weight_size", default=0, min=0, max=2**31, mutable=True,
                   help="Weight of the size factor, the part of the cloud that is asked for."),
        cfg.IntOpt("weight_qos", default=0, min=0, max=2**31, mutable=True,
                   help="Weight of the QOS factor."),
        cfg.BoolOpt("favor_small", default=False, mutable=True,
                    help="Let the size factor favor small requests."),
        cfg.FloatOpt("max_age_s", default=7 * 86_400.0, min=0, max=366 * 86_400, mutable=True,
                     help="Seconds in the queue after which the age factor is 1."),
        cfg.DictOpt("qos_priorities", default={"normal": "0"}, mutable=True,
                    help="Points of each QOS, such as normal:0,urgent:100."),
    )  # fmt: skip

    def __init__(
        self,
        conf: Any,
        clock: Clock,
        publish: Publish,
        unit_of_work: OpenUnitOfWork,
        conductor: Conductor,
        compute: Compute,
        identity: Identity,
    ) -> None:
        self._conf, self._clock, self._publish = conf, clock, publish
        self._unit_of_work, self._conductor = unit_of_work, conductor
        self._compute, self._identity = compute, identity
        self._queue: WaitingQueue | None = None
        self._delayed: list[tuple[float, str, Request]] = []
        self._state: QuotaState | None = None
        self._tree: QuotaTree | None = None
        self._factors: Mapping[int, float] = {}
        self._suspended: frozenset[int] | None = None
        self._latest: _Latest | None = None
        self._again = False
        self.counts: Counter[str] = Counter()

    # --- keeping the queue current ----------------------------------------------------------------

    def on_event(self, event: Fact) -> None:
        if isinstance(event, RequestsQueued) and self._queue is not None:
            for request in event.requests:
                self._enqueue(self._queue, request)
        elif isinstance(event, RequestsWithdrawn) and self._queue is not None:
            for request in event.requests:
                self._queue.remove(request.class_id, request.request_id, _seconds(request))
        elif isinstance(event, QuotaChanged) and event.state != self._state:
            self._state, self._tree = event.state, None
        elif isinstance(event, FactorsChanged):
            self._factors = event.factors
        elif isinstance(event, ProjectsChanged):
            self._suspended = None

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

    def _load(self, uow: UnitOfWork) -> WaitingQueue:
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
        self._again = True
        while self._again:
            self._again = False
            self._round(self._state)
        if self._delayed:
            return max(0.0, self._delayed[0][0] - self._clock.now().timestamp())
        return None

    def _round(self, state: QuotaState) -> None:
        round_id = str(uuid.UUID(int=self._next_round_number()))
        with self._unit_of_work() as uow:
            if self._queue is None:
                self._queue = self._load(uow)
            if self._suspended is None:
                self._suspended = _suspended(uow)
            held = uow.requests.held()
        self._wake_delayed(self._queue)
        waiting = self._queue.snapshot()
        snapshot, plan = self._decide(state, waiting, held)
        self.counts["rounds"] += 1
        rows = {int(class_id): row for row, class_id in enumerate(waiting.class_id)}
        self._latest = _Latest(round_id, self._clock.now(), snapshot, plan, rows)
        self._again |= not plan.complete
        if plan.decisions:
            self._act(round_id, plan.decisions, waiting)

    def _next_round_number(self) -> int:
        """Rounds are numbered by their instant, so that ids grow and never repeat."""
        return (int(self._clock.now().timestamp() * 1e6) << 32) + self.counts["rounds"]

    def _decide(
        self,
        state: QuotaState,
        waiting: Waiting,
        held: Sequence[tuple[int, QuotaKind, Resources, int]],
    ) -> tuple[Snapshot, Plan]:
        """Decide, ask Placement about the shapes that were chosen, and decide again without those
        that no host has room for."""
        tree = self._tree_for(state, waiting.resource_classes)
        book_held = [_held(*entry) for entry in held]
        fragmented = np.zeros(len(waiting.demand), dtype=np.bool_)
        checked: set[int] = set()
        while True:
            snapshot = self._snapshot(waiting, tree, QuotaBook(tree, book_held), fragmented)
            plan = schedule(snapshot, self._policy())
            chosen = {
                int(waiting.shape[decision.class_row])
                for decision in plan.decisions
                if decision.outcome is Outcome.DISPATCH
            }
            lacking = {
                shape
                for shape in chosen - checked
                if not self._compute.fits_on_a_host(tree.resources(snapshot.demand[shape]))
            }
            checked |= chosen
            if not lacking:
                return snapshot, plan
            fragmented[list(lacking)] = True

    def _tree_for(self, state: QuotaState, resource_classes: Sequence[str]) -> QuotaTree:
        needed = set(resource_classes) | set(state.total)
        if self._tree is None or not needed <= set(self._tree.resource_classes):
            self._tree = QuotaTree(state, tuple(sorted(needed)))
        return self._tree

    def _snapshot(
        self, waiting: Waiting, tree: QuotaTree, book: QuotaBook, fragmented: Any
    ) -> Snapshot:
        width = 1 + max(int(waiting.association.max(initial=0)), max(self._factors, default=0))
        fairshare, leaf = np.zeros(width), np.zeros(width, dtype=np.int64)
        for association_id, factor in self._factors.items():
            fairshare[association_id] = factor
        for association_id in np.unique(waiting.association):
            leaf[association_id] = tree.row.get(user_node(int(association_id)), 0)
        suspended = np.zeros(width, dtype=np.bool_)
        suspended[[one for one in self._suspended or () if one < width]] = True
        demand = np.zeros((len(waiting.demand), len(tree.resource_classes)), dtype=np.int64)
        place = [tree.resource_classes.index(name) for name in waiting.resource_classes]
        demand[:, place] = waiting.demand
        return Snapshot(
            waiting=waiting,
            at_s=self._clock.now().timestamp(),
            fairshare=fairshare,
            leaf=leaf,
            suspended=suspended,
            book=book,
            demand=demand,
            fragmented=fragmented,
        )

    def _policy(self) -> Policy:
        conf = self._conf
        return Policy(
            discipline=Discipline(conf.discipline),
            backfill_depth=conf.backfill_depth,
            round_size=conf.round_size,
            weights=priority.Weights(
                age=conf.weight_age,
                fairshare=conf.weight_fairshare,
                size=conf.weight_size,
                qos=conf.weight_qos,
                max_age_s=conf.max_age_s,
                favor_small=conf.favor_small,
                qos_priorities={name: int(points) for name, points in conf.qos_priorities.items()},
            ),
        )

    # --- acting on decisions ----------------------------------------------------------------------

    def _act(self, round_id: str, decisions: Sequence[Decision], waiting: Waiting) -> None:
        queue = self._queue
        assert queue is not None  # a round has one
        for decision in decisions:
            class_id = int(waiting.class_id[decision.class_row])
            queue.remove(class_id, decision.request_id, decision.queued_at_s)
        chosen = {decision.request_id: decision for decision in decisions}
        alive = self._compute.servers(chosen)
        try:
            moved, parcels = self._record(round_id, chosen, frozenset(alive))
        except Conflict:
            self.counts["conflicts"] += 1
            raise
        self._tell(moved)
        if parcels:
            self._hand_over(parcels, round_id)

    def _record(
        self, round_id: str, chosen: Mapping[str, Decision], alive: frozenset[str]
    ) -> tuple[list[Request], list[_Parcel]]:
        """Commit what was decided before anything is sent; return it, and what is to be sent."""
        now = self._clock.now()
        with self._unit_of_work() as uow:
            found = uow.requests.find(list(chosen))
            moves = []
            for request_id, decision in chosen.items():
                request = found[request_id]
                if request.state is not State.QUEUED:
                    self.counts["conflicts"] += 1  # withdrawn meanwhile: nothing to do
                elif request_id not in alive:
                    moves.append(transition(request, Event.REMOVED, now, why="deleted by its user"))
                else:
                    moves.append(self._decided(uow, request, decision, now, round_id))
            uow.requests.save(moves)
            gone = [m.request.request_id for m in moves if m.request.state is State.CANCELLED]
            uow.requests.forget_bodies(gone)
            leaving = [m.request for m in moves if m.request.state is State.DISPATCHING]
            parcels = self._pack(uow, leaving)
            uow.commit()
        return [_saved(move) for move in moves], parcels

    def _decided(
        self, uow: UnitOfWork, request: Request, decision: Decision, now: datetime, round_id: str
    ) -> Move:
        if decision.outcome is Outcome.DISPATCH:
            return transition(request, Event.SELECTED, now, round_id=round_id)
        if decision.outcome is Outcome.REJECT:
            why = f"{decision.reason}: the private quota cannot hold it"
            return transition(request, Event.REFUSED, now, why=why, round_id=round_id)
        kind = replace(
            request.request_class, quota=QuotaKind.SHARED, on_private_full=OnPrivateFull.QUEUE
        )
        shared = replace(request, request_class=kind, class_id=uow.requests.class_id(kind))
        return transition(shared, Event.MOVED_TO_SHARED, now, round_id=round_id)

    def _tell(self, moved: Sequence[Request]) -> None:
        by_state: dict[State, list[Request]] = {}
        for request in moved:
            by_state.setdefault(request.state, []).append(request)
        if State.QUEUED in by_state:
            assert self._queue is not None  # a round has one
            for request in by_state[State.QUEUED]:
                self._enqueue(self._queue, request)
            self._again = True  # they may start at once on the shared quota
        if State.DISPATCHING in by_state:
            self._publish(QuotaHeld(tuple(by_state[State.DISPATCHING])))
        gone = by_state.get(State.CANCELLED, []) + by_state.get(State.REJECTED, [])
        if gone:
            self._publish(RequestsWithdrawn(tuple(gone)))

    def _pack(self, uow: UnitOfWork, requests: Sequence[Request]) -> list[_Parcel]:
        tokens = self._tokens(uow, {(r.project_id, r.user_id) for r in requests})
        bodies, broken = _bodies(uow, [request.request_id for request in requests])
        return [
            _Parcel(
                request.request_id,
                bodies.get(request.request_id, b""),
                tokens.get((request.project_id, request.user_id)),
                broken.get(request.request_id, ""),
            )
            for request in requests
        ]

    def _hand_over(self, parcels: Sequence[_Parcel], round_id: str) -> None:
        """Send committed requests to the conductor, and commit what became of them.

        When one hand-over fails the rest are not tried: they go back without it counting as a
        try of theirs.
        """
        outcome: dict[str, tuple[Event, str]] = {}
        down = ""
        for parcel in parcels:
            if parcel.unreadable:
                outcome[parcel.request_id] = (Event.UNREADABLE, parcel.unreadable)
            elif down:
                outcome[parcel.request_id] = (Event.HAND_OVER_FAILED, down)
            else:
                try:
                    self._conductor.build(parcel.body, token=parcel.token)
                    outcome[parcel.request_id] = (Event.HANDED_OVER, "")
                except HandOverFailed as error:
                    down = f"{Reason.BROKER_DOWN}: another request's hand-over failed"
                    why = f"{Reason.BROKER_DOWN}: {error}"
                    outcome[parcel.request_id] = (Event.HAND_OVER_FAILED, why)
                    LOG.warning("request %s: %s", parcel.request_id, why)
        self._record_outcome(outcome, round_id, down)

    def _tokens(
        self, uow: UnitOfWork, owners: Iterable[tuple[str, str]]
    ) -> dict[tuple[str, str], str]:
        trusts = {(t.project_id, t.user_id): t.trust_id for t in uow.trusts.all()}
        tokens: dict[tuple[str, str], str] = {}
        for owner in owners:
            if owner in trusts:
                try:
                    tokens[owner] = self._identity.token_from_trust(trusts[owner])
                except NotFound as error:
                    LOG.warning("%s: the token of the request itself is used", error)
        return tokens

    def _record_outcome(
        self, outcome: Mapping[str, tuple[Event, str]], round_id: str, collateral: str
    ) -> None:
        now = self._clock.now()
        sent = [one for one, (event, _) in outcome.items() if event is Event.HANDED_OVER]
        with self._unit_of_work() as uow:
            found = uow.requests.find(list(outcome))
            moves = []
            for request_id, (event, why) in outcome.items():
                request = found[request_id]
                if request.state is State.DISPATCHING:
                    counts = why != collateral
                    moves.append(_after_hand_over(request, event, why, now, round_id, counts))
            uow.requests.save(moves)
            uow.requests.forget_bodies(sent)
            uow.commit()
        back = [_saved(move) for move in moves if move.request.state is not State.BUILDING]
        self.counts["dispatched"] += len(sent)
        if back:
            self._publish(QuotaReleased(tuple(back)))
            assert self._queue is not None  # a round has one
            for request in back:
                if request.state is State.QUEUED:
                    self._enqueue(self._queue, request)

    # --- commands ---------------------------------------------------------------------------------

    @command()
    def do_status(self) -> Json:
        """Show the last round and what was counted since the start."""
        latest = self._latest
        return {
            "waiting": len(self._queue) + len(self._delayed) if self._queue is not None else None,
            "classes": len(latest.row) if latest else 0,
            "round_id": latest.round_id if latest else None,
            "round_at": latest.at.isoformat() if latest else None,
            **{name: self.counts[name] for name in ("rounds", "dispatched", "conflicts")},
        }

    @command(
        {"class_ids": {"type": "array", "items": {"type": "integer"}, "maxItems": 1000}},
        required=["class_ids"],
    )
    def do_reasons(self, class_ids: Sequence[int]) -> Json:
        """Tell for classes of requests why those that still wait do so."""
        return {str(class_id): self._reason(class_id) for class_id in class_ids}

    def _reason(self, class_id: int) -> str:
        latest = self._latest
        if latest is None or class_id not in latest.row:
            return Reason.PENDING_EVALUATION.value
        return latest.plan.reason_of(latest.row[class_id]).value

    @command({"request_id": {"type": "string"}}, required=["request_id"])
    def do_explain(self, request_id: str) -> Json:
        """Tell why a request waits, with its priority term by term."""
        with self._unit_of_work() as uow:
            request = uow.requests.get(request_id)
        latest = self._latest
        if request.state is not State.QUEUED or latest is None:
            return {"reason": None, "round_id": None, "priority": None}
        if request.retry_at is not None and request.retry_at > self._clock.now():
            reason = Reason.DISPATCH_RETRY.value
        else:
            reason = self._reason(request.class_id)
        tree = latest.snapshot.book.tree
        terms = priority.terms(
            age_s=(self._clock.now() - request.queued_at).total_seconds(),
            fairshare=self._factors.get(request.request_class.association_id, 0.0),
            demand=tree.amounts(request.demand),
            capacity=tree.amounts(tree.state.total),
            qos=request.request_class.qos,
            nice=request.request_class.nice,
            weights=self._policy().weights,
        )
        return {"reason": reason, "round_id": latest.round_id, "priority": terms.as_dict()}


def _seconds(request: Request) -> float:
    return request.queued_at.timestamp()


def _saved(move: Move) -> Request:
    """Return the request as the store has it after the commit of this move."""
    generation = move.request.generation + (move.step is not None)
    return replace(move.request, generation=generation)


def _held(association_id: int, quota: QuotaKind, demand: Resources, count: int) -> Held:
    amounts = Resources.of({name: amount * count for name, amount in demand.amounts})
    private = quota is QuotaKind.PRIVATE
    return Held(
        user_node(association_id),
        private=amounts if private else NOTHING,
        shared=NOTHING if private else amounts,
    )


def _suspended(uow: UnitOfWork) -> frozenset[int]:
    """The associations of suspended projects, and of projects that left."""
    taking = {p.project_id for p in uow.projects.all() if not p.suspended}
    return frozenset(
        a.association_id for a in uow.projects.associations() if a.project_id not in taking
    )


def _bodies(uow: UnitOfWork, request_ids: Sequence[str]) -> tuple[dict[str, bytes], dict[str, str]]:
    """Return the bodies, and why the others are missing: one that cannot be opened stops none."""
    bodies: dict[str, bytes] = {}
    broken: dict[str, str] = {}
    try:
        bodies = uow.requests.bodies(request_ids)
    except SealBroken:
        for request_id in request_ids:
            try:
                bodies |= uow.requests.bodies([request_id])
            except SealBroken as error:
                broken[request_id] = str(error)
    for request_id in request_ids:
        if request_id not in bodies:
            broken.setdefault(request_id, "its message is not stored")
    return bodies, broken


def _after_hand_over(
    request: Request, event: Event, why: str, now: datetime, round_id: str, counts: bool
) -> Move:
    if event is not Event.HAND_OVER_FAILED:
        return transition(request, event, now, why=why, round_id=round_id)
    attempts = request.attempts + counts
    delay_s = retry_delay_s(max(attempts, 1))
    if delay_s is None:
        given_up = replace(request, attempts=attempts)
        return transition(given_up, Event.GAVE_UP, now, why=why, round_id=round_id)
    retry_at = now + timedelta(seconds=delay_s)
    delayed = replace(request, attempts=attempts, retry_at=retry_at)
    return transition(delayed, event, now, why=why, round_id=round_id)
