"""Compares what is stored with what Nova shows, and takes over servers that ran before.

Why: notifications get lost, and a held server's deletion is never told. Must not know when a
reconcile is due.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from synergy.core.lifecycle import Event, Move, transition
from synergy.core.model import OnPrivateFull, Project, QuotaKind, Request, RequestClass
from synergy.managers.nova.following import OPEN, RUNNING, Following
from synergy.managers.nova.moves import Moves
from synergy.ports import Clock, Compute, ServerStatus, ServerView, Store, Writing

LOG = logging.getLogger(__name__)
OVERLAP_S: Final = 300.0  # how far Nova's clock may be behind ours
LOST_S: Final = 600.0  # a server that waits for its conductor that long was lost on the way


class Reconcile:
    """Looks at projects whole, or at what changed in them.

    drain  takes in the notifications that came meanwhile
    """

    def __init__(
        self,
        clock: Clock,
        store: Store,
        compute: Compute,
        moves: Moves,
        following: Following,
        drain: Callable[[], None],
    ) -> None:
        self._clock, self._store, self._compute = clock, store, compute
        self._moves, self._following, self._drain = moves, following, drain
        self._compared: set[str] = set()  # projects that were compared since the start
        self._looked_at: datetime | None = None  # when the last look at changes began
        self._lost: set[str] = set()  # told already

    def reconcile(self, *, full: bool = True) -> bool:
        """Compare open requests with Nova, and adopt servers that ran before.

        `full` compares every one, also the waiting ones, of whose deletion Nova never tells;
        otherwise only what changed in Nova since the last time is looked at. Returns whether all
        were compared.
        """
        began_at = self._clock.now()
        with self._store.reading() as uow:
            managed = {project.project_id: project for project in uow.projects.all()}
            others = set(uow.requests.projects_with(OPEN)) - managed.keys()
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
        return since is None

    def _compare_all(self, project_id: str) -> dict[str, ServerView]:
        """Compare each open request of a project with its server, and return Nova's servers.

        Requests are read first: what Nova does not list then, and does not show when it is asked
        for it, is gone.
        """
        pages = self._moves.pages(OPEN, project_id)
        open_ids = [request.request_id for page in pages for request in page]
        views = {view.server_id: view for view in self._compute.servers_of(project_id)}
        known = views | dict(self._compute.servers([one for one in open_ids if one not in views]))
        self._compare(known, open_ids)
        return views

    def _compare(self, views: Mapping[str, ServerView], request_ids: Sequence[str]) -> None:
        """Mend what differs from Nova and no notification told, also none that came meanwhile."""
        self._drain()
        self._following.compare(views, request_ids)

    def _adopt_servers(self, project: Project, views: Mapping[str, ServerView]) -> None:
        """Take over the servers that a project had before, on its private quota."""
        running = [view for view in views.values() if view.status in RUNNING]
        waiting = [view for view in views.values() if self._looks_lost(view)]
        with self._store.writing() as uow:
            known = uow.requests.known([view.server_id for view in (*running, *waiting)])
            entries = [
                (self._adopted(uow, view), b"") for view in running if view.server_id not in known
            ]
            uow.requests.add(entries)
            uow.commit()
        if entries:
            self._moves.drift["adopted"] += len(entries)
            LOG.info("%d server(s) of project %s adopted", len(entries), project.name)
        lost = {view.server_id for view in waiting} - known - self._lost
        for server_id in sorted(lost):
            self._moves.drift["lost"] += 1
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
