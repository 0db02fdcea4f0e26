"""Turns what Nova tells into lifecycle events, and repairs what it failed to tell.

Why: notifications get lost and a held server's deletion is never told, so a periodic reconcile
asks Nova and counts the drift it mends. Must not know quotas or priorities.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from oslo_config import cfg

from synergy.core.errors import IllegalTransition
from synergy.core.events import (
    Fact,
    ProjectsChanged,
    QuotaReleased,
    RequestsQueued,
    RequestsWithdrawn,
    ServersActive,
)
from synergy.core.lifecycle import IN_NOVA, TERMINAL, WAITING, Event, Move, holds_quota, transition
from synergy.core.model import (
    OnPrivateFull,
    QuotaKind,
    Request,
    RequestClass,
    State,
)
from synergy.managers.base import Json, Manager, Publish, command
from synergy.ports import (
    Clock,
    Compute,
    Notice,
    NoticeKind,
    Notices,
    OpenUnitOfWork,
    ServerStatus,
    ServerView,
    UnitOfWork,
    Wake,
)

LOG = logging.getLogger(__name__)

_EVENT_OF: Final = {
    NoticeKind.BOOTED: Event.BOOTED,
    NoticeKind.FAILED: Event.BUILD_FAILED,
    NoticeKind.DELETED: Event.REMOVED,
    NoticeKind.SHELVED: Event.PARKED,
    NoticeKind.UNSHELVED: Event.UNPARKED,
}
_PAGE: Final = 1000
SETTLE_S: Final = 120.0  # a hand-over takes seconds; what takes longer was broken off
_RUNNING: Final = (ServerStatus.ACTIVE, ServerStatus.STOPPED)


class NovaManager(Manager):
    """Notifications, and the reconcile that mends what they missed."""

    name = "nova"
    listens = (ProjectsChanged,)
    options = (
        cfg.FloatOpt(
            "reconcile_s",
            default=300.0,
            min=1,
            max=86_400,
            mutable=True,
            help="Seconds between two comparisons of the stored requests with Nova's servers.",
        ),
        cfg.IntOpt(
            "commit_size",
            default=500,
            min=1,
            max=10_000,
            mutable=True,
            help="Most notifications that are stored in one transaction.",
        ),
    )

    def __init__(
        self,
        conf: Any,
        clock: Clock,
        publish: Publish,
        wake: Wake,
        unit_of_work: OpenUnitOfWork,
        notices: Notices,
        compute: Compute,
    ) -> None:
        self._conf, self._clock, self._publish, self._wake = conf, clock, publish, wake
        self._unit_of_work, self._notices, self._compute = unit_of_work, notices, compute
        self._batch: Sequence[Notice] = ()
        self._reconciled_s = float("-inf")
        self.drift: Counter[str] = Counter()

    def setup(self) -> None:
        self._notices.on_arrival(self._wake)
        self._settle(older_than_s=0.0)

    def on_event(self, event: Fact) -> None:
        self.resync()  # a new project's servers are to be adopted

    def resync(self) -> None:
        self._reconciled_s = float("-inf")

    def task(self) -> float | None:
        while True:
            if not self._batch:
                self._batch = self._notices.fetch(limit=self._conf.commit_size)
            if not self._batch:
                break
            self._take_in(self._batch)
            self._notices.acknowledge(self._batch)
            self._batch = ()
        now_s = self._clock.monotonic_s()
        if now_s >= self._reconciled_s + self._conf.reconcile_s:
            self.reconcile()
            self._reconciled_s = now_s
        return float(self._reconciled_s + self._conf.reconcile_s - now_s)

    def _take_in(self, notices: Sequence[Notice]) -> None:
        with self._unit_of_work() as uow:
            current = uow.requests.find(list({notice.server_id for notice in notices}))
            before = dict(current)
            moves = []
            for notice in notices:
                request = current.get(notice.server_id)
                if request is None:
                    continue  # a server that Synergy never had
                move = self._apply(
                    request, _EVENT_OF[notice.kind], notice.at, host=notice.host, why=notice.detail
                )
                if move is not None and move.step is not None:
                    moves.append(move)
                    saved = replace(move.request, generation=request.generation + 1)
                    current[notice.server_id] = saved
            uow.requests.save(moves)
            self._forget(uow, current.values())
            uow.commit()
        self._tell(before, current)

    def _apply(
        self, request: Request, event: Event, at: datetime, *, host: str | None, why: str
    ) -> Move | None:
        """Move a request by what happened `at`, which may be before it became known."""
        seen = replace(request, host=host) if event is Event.BOOTED else request
        try:
            return transition(seen, event, at, why=why)
        except IllegalTransition as error:
            self.drift["illegal"] += 1
            LOG.warning("%s; Nova and Synergy disagree, the reconcile will tell", error)
            return None

    def _forget(self, uow: UnitOfWork, requests: Iterable[Request]) -> None:
        gone = [r.request_id for r in requests if r.state in TERMINAL]
        if gone:
            uow.requests.forget_bodies(gone)

    def _tell(self, before: dict[str, Request], after: dict[str, Request]) -> None:
        pairs = [(before[key], after[key]) for key in before if before[key] is not after[key]]
        active = tuple(new for old, new in pairs if new.state is State.ACTIVE)
        released = tuple(new for old, new in pairs if holds_quota(old) and not holds_quota(new))
        withdrawn = tuple(old for old, new in pairs if old.state in WAITING)
        if active:
            self._publish(ServersActive(active))
        if released:
            self._publish(QuotaReleased(released))
        if withdrawn:
            self._publish(RequestsWithdrawn(withdrawn))

    # --- reconcile --------------------------------------------------------------------------------

    def _settle(self, *, older_than_s: float) -> None:
        """Ask Nova what became of every request that a crash or an error left in DISPATCHING.

        Nova says it is still scheduling: it was never sent, and is queued again. Anything else:
        it was sent, and is what Nova says.
        """
        before = self._clock.now() - timedelta(seconds=older_than_s)
        with self._unit_of_work() as uow:
            found = uow.requests.search(states=[State.DISPATCHING], limit=_PAGE)
            open_ = [request for request in found if request.changed_at <= before]
            if not open_:
                return
            views = self._compute.servers([request.request_id for request in open_])
            moves = []
            for request in open_:
                view = views.get(request.request_id)
                if view is not None and view.status is ServerStatus.SCHEDULING:
                    event, why = Event.HAND_OVER_FAILED, "it was not sent"
                else:
                    event, why = Event.HANDED_OVER, "it was sent"
                moves.append(transition(request, event, self._clock.now(), why=why))
            uow.requests.save(moves)
            uow.requests.forget_bodies(
                [m.request.request_id for m in moves if m.request.state is State.BUILDING]
            )
            uow.commit()
        self.drift["settled"] += len(moves)
        back = tuple(m.request for m in moves if m.request.state is State.QUEUED)
        LOG.info("%d request(s) were being dispatched: %d queued again", len(moves), len(back))
        if back:
            self._publish(RequestsQueued(back))
        self._settle(older_than_s=older_than_s)

    def reconcile(self) -> None:
        """Compare every open request with Nova, and adopt servers that ran before."""
        self._settle(older_than_s=SETTLE_S)
        marker = None
        states = [*WAITING, *(IN_NOVA - {State.DISPATCHING})]
        while True:
            with self._unit_of_work() as uow:
                page = uow.requests.search(states=states, limit=_PAGE, after=marker)
            if not page:
                break
            marker = page[-1].request_id
            views = self._compute.servers([request.request_id for request in page])
            drifted = [(r, e) for r in page if (e := _missed(r, views.get(r.request_id)))]
            if drifted:
                self._mend(drifted, {key: view.host for key, view in views.items()})
        self._adopt_servers()

    def _mend(self, drifted: Sequence[tuple[Request, Event]], hosts: dict[str, str | None]) -> None:
        before, after = {}, {}
        with self._unit_of_work() as uow:
            current = uow.requests.find([request.request_id for request, _ in drifted])
            for read, event in drifted:
                request = current[read.request_id]
                if request.generation != read.generation:
                    continue  # it moved while Nova was asked
                why = "found by the reconcile"
                host = hosts.get(request.request_id)
                move = self._apply(request, event, self._clock.now(), host=host, why=why)
                if move is not None and move.step is not None:
                    uow.requests.save([move])
                    before[request.request_id], after[request.request_id] = request, move.request
                    self.drift[event.value.lower()] += 1
            self._forget(uow, after.values())
            uow.commit()
        LOG.warning("the reconcile mended %d request(s)", len(after))
        self._tell(before, after)

    def _adopt_servers(self) -> None:
        """Take over the servers that managed projects had before, on their private quota."""
        with self._unit_of_work() as uow:
            projects = uow.projects.all()
        for project in projects:
            views = [v for v in self._compute.servers_of(project.project_id) if _adoptable(v)]
            with self._unit_of_work() as uow:
                known = uow.requests.known([view.server_id for view in views])
                entries = [
                    (self._adopted(uow, view), b"") for view in views if view.server_id not in known
                ]
                uow.requests.add(entries)
                uow.commit()
            if entries:
                self.drift["adopted"] += len(entries)
                LOG.info("%d server(s) of project %s adopted", len(entries), project.name)

    def _adopted(self, uow: UnitOfWork, view: ServerView) -> Move:
        now = self._clock.now()
        association = uow.projects.association(view.project_id, view.user_id, view.user_id)
        kind = RequestClass(
            association_id=association.association_id,
            demand=view.demand,
            quota=QuotaKind.PRIVATE,
            on_private_full=OnPrivateFull.QUEUE,
        )
        request = Request(
            request_id=view.server_id,
            class_id=uow.requests.class_id(kind),
            request_class=kind,
            project_id=view.project_id,
            user_id=view.user_id,
            server_name=view.name,
            flavor=view.flavor,
            queued_at=view.created_at,
            changed_at=now,
            ttl_s=0,
            host=view.host,
        )
        return transition(request, Event.ADOPTED, now, why="ran before its project was managed")

    # --- commands ---------------------------------------------------------------------------------

    @command()
    def do_reconcile(self) -> Json:
        """Compare the stored requests with Nova's servers now."""
        self.reconcile()
        return dict(self.drift)

    @command()
    def do_drift(self) -> Json:
        """Show how many differences from Nova were mended since the start."""
        return dict(self.drift)


def _missed(request: Request, view: ServerView | None) -> Event | None:
    """Return the event that Nova's view shows and the request lacks."""
    if view is None:
        return Event.REMOVED
    if request.state is State.BUILDING and view.status in _RUNNING:
        return Event.BOOTED
    if request.state in (State.BUILDING, State.ACTIVE) and view.status is ServerStatus.ERROR:
        return Event.BUILD_FAILED
    if request.state in (State.ACTIVE, State.EXPIRING) and view.status is ServerStatus.SHELVED:
        return Event.PARKED
    if request.state is State.PARKED and view.status in _RUNNING:
        return Event.UNPARKED
    return None


def _adoptable(view: ServerView) -> bool:
    return view.status in _RUNNING
