"""Turns what Nova tells into lifecycle events, and repairs what it failed to tell.

Why: notifications get lost and a held server's deletion is never told, so a periodic reconcile
asks Nova and counts the drift it mends. Must not know quotas or priorities.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from oslo_config import cfg

from synergy.core.errors import Conflict, IllegalTransition, InvalidInput
from synergy.core.events import (
    BuildsFailed,
    Fact,
    ProjectsChanged,
    QuotaReleased,
    RequestsQueued,
    RequestsWithdrawn,
    ServersActive,
)
from synergy.core.lifecycle import IN_NOVA, TERMINAL, WAITING, Event, Move, holds_quota, transition
from synergy.core.model import (
    BuildFailure,
    OnBuildFailure,
    OnPrivateFull,
    Project,
    QuotaKind,
    Request,
    RequestClass,
    State,
)
from synergy.managers.base import Json, Manager, Publish, command
from synergy.managers.changes import resized
from synergy.ports import (
    Clock,
    Compute,
    Conductor,
    Notice,
    NoticeKind,
    Notices,
    ServerStatus,
    ServerView,
    Store,
    Wake,
    Writing,
)

LOG = logging.getLogger(__name__)

_EVENT_OF: Final = {
    NoticeKind.BOOTED: Event.BOOTED,
    NoticeKind.ATTEMPT_FAILED: Event.ATTEMPT_FAILED,
    NoticeKind.FAILED: Event.BUILD_FAILED,
    NoticeKind.DELETED: Event.REMOVED,
    NoticeKind.SHELVED: Event.PARKED,
    NoticeKind.UNSHELVED: Event.UNPARKED,
}
_PAGE: Final = 1000
OVERLAP_S: Final = 300.0  # how far Nova's clock may be behind ours
BROKEN_ASK_S: Final = 1.0  # what Nova does after a broken attempt it tells in no notification
LOST_S: Final = 600.0  # a server that waits for its conductor that long was lost on the way
_OPEN: Final = (*WAITING, *(IN_NOVA - {State.DISPATCHING}))
_SIZED: Final = (State.ACTIVE, State.EXPIRING)
_BEING_BUILT: Final = (State.DISPATCHING, State.BUILDING)
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
            help="Seconds between two looks at what changed in Nova and no notification told.",
        ),
        cfg.FloatOpt(
            "full_reconcile_s",
            default=3600.0,
            min=1,
            max=7 * 86_400,
            mutable=True,
            help="Seconds between two comparisons of every stored request with Nova's servers.",
        ),
        cfg.FloatOpt(
            "settle_s",
            default=120.0,
            min=0,
            max=86_400,
            mutable=True,
            help="Seconds after which a request whose hand-over was broken off is handed over "
            "again if Nova still waits for it. Longer than Nova's conductor ever needs for what "
            "it took from its queue: two copies of a request destroy a server.",
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
        store: Store,
        notices: Notices,
        compute: Compute,
        conductor: Conductor,
    ) -> None:
        self._conf, self._clock, self._publish, self._wake = conf, clock, publish, wake
        self._store, self._notices, self._compute = store, notices, compute
        self._conductor = conductor
        self._batch: Sequence[Notice] = ()
        self._reconciled_s = self._compared_s = self._settled_s = float("-inf")
        self._compared: set[str] = set()  # projects that were compared since the start
        self._looked_at: datetime | None = None  # when the last look at changes began
        self.drift: Counter[str] = Counter()
        self._lost: set[str] = set()  # told already
        self._broken: dict[str, str | None] = {}  # server -> host on which its last attempt broke
        self._asked_s = self._cleaned_s = float("-inf")

    def setup(self) -> None:
        self._notices.on_arrival(self._wake)

    def on_event(self, event: Fact) -> None:
        self._reconciled_s = float("-inf")  # a new project's servers are to be adopted

    def resync(self) -> None:
        self._reconciled_s = self._compared_s = float("-inf")

    def task(self) -> float | None:
        self._drain()
        conf, now_s = self._conf, self._clock.monotonic_s()
        if now_s >= self._reconciled_s + conf.reconcile_s:
            self.reconcile(full=now_s >= self._compared_s + conf.full_reconcile_s)
            self._reconciled_s = self._settled_s = now_s
        settle_every_s = max(1.0, conf.settle_s / 4)
        if now_s >= self._settled_s + settle_every_s:
            self._settle()
            self._settled_s = now_s
        if self._broken and now_s >= self._asked_s + BROKEN_ASK_S:
            self._ask_about_broken()
            self._asked_s = now_s
        if now_s >= self._cleaned_s + settle_every_s:
            self._cleaned_s = now_s
            self._delete_failed()
        dues_s = [
            self._reconciled_s + conf.reconcile_s,
            self._settled_s + settle_every_s,
            self._cleaned_s + settle_every_s,
        ]
        if self._broken:
            dues_s.append(self._asked_s + BROKEN_ASK_S)
        return float(min(dues_s) - now_s)

    def _drain(self) -> None:
        """Take in every notification that arrived."""
        while True:
            if not self._batch:
                self._batch = self._notices.fetch(limit=self._conf.commit_size)
            if not self._batch:
                return
            self._take_in(self._batch)
            self._notices.acknowledge(self._batch)
            self._batch = ()

    def _take_in(self, notices: Sequence[Notice]) -> None:
        with self._store.writing() as uow:
            current = uow.requests.find(list({notice.server_id for notice in notices}))
            before = dict(current)
            moves, broken = [], dict(self._broken)
            for notice in notices:
                request = current.get(notice.server_id)
                if request is None or notice.kind is NoticeKind.RESIZED:
                    continue  # a server that Synergy never had, or one that Nova is asked about
                if notice.kind is NoticeKind.ATTEMPT_FAILED:
                    if notice.server_id in broken and broken[notice.server_id] == notice.host:
                        continue  # told in the other format already
                    broken[notice.server_id] = notice.host
                move = self._apply(
                    request, _EVENT_OF[notice.kind], notice.at, host=notice.host, why=_why(notice)
                )
                if move is not None and move.step is not None:
                    moves.append(move)
                    saved = replace(move.request, generation=request.generation + 1)
                    current[notice.server_id] = saved
            uow.requests.save(moves)
            self._forget(uow, current.values())
            uow.commit()
        self._broken = broken
        failures = {n.server_id: n.failure for n in notices if n.failure is not None}
        self._tell(before, current, failures)
        sized = [n.server_id for n in notices if n.kind is NoticeKind.RESIZED]
        if sized:
            self._compare_with(self._compute.servers(sized), sized)

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

    def _forget(self, uow: Writing, requests: Iterable[Request]) -> None:
        gone = [r.request_id for r in requests if r.state in TERMINAL]
        if gone:
            uow.requests.forget_bodies(gone)

    def _tell(
        self,
        before: Mapping[str, Request],
        after: Mapping[str, Request],
        failures: Mapping[str, BuildFailure],
    ) -> None:
        pairs = [(before[key], after[key]) for key in before if before[key] is not after[key]]
        active = tuple(n for o, n in pairs if n.state is State.ACTIVE and o.state != n.state)
        released = tuple(new for old, new in pairs if holds_quota(old) and _holds_less(new, old))
        withdrawn = tuple(old for old, new in pairs if old.state in WAITING)
        if active:
            self._publish(ServersActive(active))
        if released:
            self._publish(QuotaReleased(released))
        if withdrawn:
            self._publish(RequestsWithdrawn(withdrawn))
        for failure in BuildFailure:
            failed = tuple(
                n for o, n in pairs
                if n.state is State.ERROR and o.state != n.state and _failed_to_build(n)
                and failures.get(n.request_id) is failure
            )  # fmt: skip
            if failed:
                self._cleaned_s = float("-inf")
                self._publish(BuildsFailed(failed, failure))

    def _pages(
        self, states: Sequence[State], project_id: str | None = None
    ) -> Iterator[Sequence[Request]]:
        """Walk the requests in these states, in transactions of their own."""
        marker = None
        while True:
            with self._store.reading() as uow:
                page = uow.requests.search(
                    states=states, project_id=project_id, limit=_PAGE, after=marker
                )
            if not page:
                return
            marker = page[-1].request_id
            yield page

    # --- failed builds ----------------------------------------------------------------------------

    def _ask_about_broken(self) -> None:
        """Ask Nova what it does after a build broke on a host: it gives up, or tries another."""
        with self._store.reading() as uow:
            found = uow.requests.find(list(self._broken))
        building = [key for key, one in found.items() if one.state in _BEING_BUILT]
        views = self._compute.servers(building)
        self._compare_with(views, building, drifted=False)
        self._broken = {
            key: self._broken[key]
            for key in building
            if (view := views.get(key)) is not None and _still_on(view, self._broken[key])
        }

    def _delete_failed(self) -> None:
        """Delete the servers whose builds Nova gave up, where their project wants it so."""
        with self._store.reading() as uow:
            projects = uow.projects.all()
        failed = [
            request.request_id
            for project in projects
            if project.on_build_failure is OnBuildFailure.DELETE
            for page in self._pages([State.ERROR], project.project_id)
            for request in page
            if _failed_to_build(request)
        ]
        if not failed:
            return
        views = self._compute.servers(failed)
        for server_id in views:
            try:
                self._compute.delete_server(server_id)
            except (Conflict, InvalidInput) as error:
                LOG.warning("failed server %s cannot be deleted now: %s", server_id, error)
            else:
                LOG.info("server %s deleted, whose build failed", server_id)
        self._compare_with(views, failed, drifted=False)

    # --- reconcile --------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Ask Nova what became of every request that a crash or an error left in DISPATCHING.

        Nova still schedules it, and nothing waits for the conductor any longer: it was never sent,
        and is queued again. Anything else: it was sent, and is what Nova says.
        """
        before = self._clock.now() - timedelta(seconds=self._conf.settle_s)
        back, settled = [], 0
        for page in self._pages([State.DISPATCHING]):
            moves = self._settled([r for r in page if r.changed_at <= before])
            settled += len(moves)
            back += [m.request for m in moves if m.request.state is State.QUEUED]
        if settled:
            self.drift["settled"] += settled
            LOG.info("%d request(s) were being dispatched: %d queued again", settled, len(back))
        if back:
            self._publish(RequestsQueued(tuple(back)))

    def _settled(self, requests: Sequence[Request]) -> list[Move]:
        if not requests:
            return []
        unsent = self._compute.still_waiting([request.request_id for request in requests])
        if unsent and self._conductor.backlog():
            LOG.info("%d request(s) may still be on their way to the conductor", len(unsent))
            requests = [r for r in requests if r.request_id not in unsent]
        now, moves = self._clock.now(), []
        with self._store.writing() as uow:
            found = uow.requests.find([request.request_id for request in requests])
            for request in found.values():
                if request.state is not State.DISPATCHING:
                    continue  # a notification told meanwhile
                if request.request_id in unsent:
                    event, why = Event.HAND_OVER_FAILED, "it was not sent"
                else:
                    event, why = Event.HANDED_OVER, "it was sent"
                moves.append(transition(request, event, now, why=why))
            uow.requests.save(moves)
            uow.requests.forget_bodies(
                [m.request.request_id for m in moves if m.request.state is State.BUILDING]
            )
            uow.commit()
        return [replace(move, request=move.as_saved()) for move in moves]

    def reconcile(self, *, full: bool = True) -> None:
        """Compare open requests with Nova, and adopt servers that ran before.

        `full` compares every one, also the waiting ones, of whose deletion Nova never tells;
        otherwise only what changed in Nova since the last time is looked at.
        """
        began_at = self._clock.now()
        self._settle()
        with self._store.reading() as uow:
            managed = {project.project_id: project for project in uow.projects.all()}
            others = set(uow.requests.projects_with(_OPEN)) - managed.keys()
        since = None
        if self._looked_at is not None and not full:
            since = self._looked_at - timedelta(seconds=OVERLAP_S)
        for project_id in (*managed, *sorted(others)):
            if since is None or project_id not in self._compared:
                views = self._compare_all(project_id)
            else:
                views = {
                    view.server_id: view
                    for view in self._compute.servers_of(project_id, changed_since=since)
                }
                self._compare(views, list(views))
            if project_id in managed:
                self._adopt_servers(managed[project_id], views)
        self._looked_at, self._compared = began_at, managed.keys() | others
        if since is None:
            self._compared_s = self._clock.monotonic_s()

    def _compare_all(self, project_id: str) -> dict[str, ServerView]:
        """Compare each open request of a project with its server, and return Nova's servers.

        Requests are read first: what Nova does not list then, and does not show when it is asked
        for it, is gone.
        """
        pages = self._pages(_OPEN, project_id)
        open_ids = [request.request_id for page in pages for request in page]
        views = {view.server_id: view for view in self._compute.servers_of(project_id)}
        known = views | dict(self._compute.servers([one for one in open_ids if one not in views]))
        self._compare(known, open_ids)
        return views

    def _compare(self, views: Mapping[str, ServerView], request_ids: Sequence[str]) -> None:
        """Mend what differs from Nova and no notification told, also none that came meanwhile."""
        self._drain()
        self._compare_with(views, request_ids)

    def _compare_with(
        self,
        views: Mapping[str, ServerView],
        request_ids: Sequence[str],
        *,
        drifted: bool = True,
    ) -> None:
        """Let requests follow what Nova shows; `drifted` when a notification should have told."""
        for start in range(0, len(request_ids), _PAGE):
            with self._store.reading() as uow:
                page = uow.requests.find(request_ids[start : start + _PAGE])
            missed = [
                (request, event)
                for request in page.values()
                if request.state in _OPEN
                and (event := _missed(request, views.get(request.request_id)))
            ]
            if not missed:
                continue
            events = self._follow(missed, views)
            if drifted:
                self.drift.update(event.value.lower() for event in events)
                LOG.warning("the reconcile mended %d request(s)", len(events))

    def _follow(
        self, missed: Sequence[tuple[Request, Event]], views: Mapping[str, ServerView]
    ) -> list[Event]:
        """Move requests by what they missed, and return the events that moved one."""
        before, after, events = {}, {}, []
        with self._store.writing() as uow:
            current = uow.requests.find([request.request_id for request, _ in missed])
            for read, event in missed:
                request = current[read.request_id]
                if request.generation != read.generation:
                    continue  # it moved while Nova was asked
                view, now = views.get(request.request_id), self._clock.now()
                if event is Event.RESIZED and view is not None:
                    move: Move | None = resized(uow, request, view.demand, view.flavor, now=now)
                else:
                    host = view.host if view else None
                    move = self._apply(request, event, now, host=host, why=_seen(event, view))
                if move is not None and move.step is not None:
                    uow.requests.save([move])
                    before[request.request_id], after[request.request_id] = request, move.request
                    events.append(event)
            self._forget(uow, after.values())
            uow.commit()
        failures = {key: view.failure for key, view in views.items() if view.failure is not None}
        self._tell(before, after, failures)
        return events

    def _adopt_servers(self, project: Project, views: Mapping[str, ServerView]) -> None:
        """Take over the servers that a project had before, on its private quota."""
        running = [view for view in views.values() if view.status in _RUNNING]
        waiting = [view for view in views.values() if self._looks_lost(view)]
        with self._store.writing() as uow:
            known = uow.requests.known([view.server_id for view in (*running, *waiting)])
            entries = [
                (self._adopted(uow, view), b"") for view in running if view.server_id not in known
            ]
            uow.requests.add(entries)
            uow.commit()
        if entries:
            self.drift["adopted"] += len(entries)
            LOG.info("%d server(s) of project %s adopted", len(entries), project.name)
        lost = {view.server_id for view in waiting} - known - self._lost
        for server_id in sorted(lost):
            self.drift["lost"] += 1
            LOG.error(
                "server %s of project %s waits for a conductor, but its request never came here: "
                "delete it and ask again", server_id, project.name,
            )  # fmt: skip
        self._lost |= lost

    def _looks_lost(self, view: ServerView) -> bool:
        waited_s = (self._clock.now() - view.created_at).total_seconds()
        return view.status is ServerStatus.SCHEDULING and waited_s > LOST_S

    def _adopted(self, uow: Writing, view: ServerView) -> Move:
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
    if view is None or view.status is ServerStatus.DELETED:
        return Event.REMOVED
    if request.state is State.BUILDING and view.status in _RUNNING:
        return Event.BOOTED
    if request.state in (State.BUILDING, State.ACTIVE) and view.status is ServerStatus.ERROR:
        return Event.BUILD_FAILED
    if request.state in (State.ACTIVE, State.EXPIRING) and view.status is ServerStatus.SHELVED:
        return Event.PARKED
    if request.state is State.PARKED and view.status in _RUNNING:
        return Event.UNPARKED
    if request.state in _SIZED and not view.in_task and view.demand != request.demand:
        return Event.RESIZED
    return None


def _failed_to_build(request: Request) -> bool:
    """Tell whether the server never ran: what is on its disk is nobody's work."""
    return request.active_at is None


def _still_on(view: ServerView, host: str | None) -> bool:
    """Tell whether nobody knows yet what Nova does after a build broke on a host."""
    open_ = view.status in (ServerStatus.SCHEDULING, ServerStatus.BUILDING)
    return open_ and view.host in (None, host)


def _why(notice: Notice) -> str:
    """Return what the ledger keeps of a notification."""
    if notice.kind is NoticeKind.ATTEMPT_FAILED:
        return f"{notice.host}: {notice.detail}"
    return f"{notice.failure}: {notice.detail}" if notice.failure else notice.detail


def _seen(event: Event, view: ServerView | None) -> str:
    """Return what the ledger keeps of what Nova's API showed."""
    if event is Event.BUILD_FAILED and view is not None and view.failure is not None:
        return f"{view.failure}: {view.fault}"
    return "seen in Nova"


def _holds_less(after: Request, before: Request) -> bool:
    return not holds_quota(after) or (
        after.demand != before.demand and after.demand.fits_in(before.demand)
    )
