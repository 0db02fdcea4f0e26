"""Compares what is stored with what Nova shows, and takes over servers that ran before.

Why: notifications get lost, and Nova sends none when a server that waits is deleted. Must not know
when a reconcile is due.
"""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final

from oslo_config import cfg

from synergy.core.batches import handle_individually
from synergy.core.errors import Conflict, StoreUnavailable, SynergyError, UpstreamUnavailable
from synergy.core.ids import NOBODY
from synergy.core.lifecycle import Event, Move, transition
from synergy.core.model import OnPrivateFull, Project, QuotaKind, Request, RequestClass
from synergy.core.reconcile import RUNNING
from synergy.managers.nova.following import OPEN, Following
from synergy.managers.nova.moves import Moves
from synergy.managers.nova.notifications import OVERLAP
from synergy.managers.support.server_views import views_of
from synergy.ports import (
    Clock,
    Servers,
    ServerStatus,
    ServerView,
    Store,
    Writing,
)

LOG = logging.getLogger(__name__)
_SILENT: Final = 3  # projects in a row that Nova cannot list, then it is Nova that is away


class Reconcile:
    """Looks at projects whole, or at what changed in all of them.

    drain  takes in the notifications that came meanwhile
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts.GroupAttr,
        clock: Clock,
        store: Store,
        servers: Servers,
        moves: Moves,
        following: Following,
        drain: Callable[[], None],
    ) -> None:
        self._conf, self._clock, self._store, self._servers = conf, clock, store, servers
        self._moves, self._following, self._drain = moves, following, drain
        self._compared: set[str] = set()  # projects that were compared since the start
        self._looked_at: datetime | None = None  # when the last look at changes began
        self._stray: set[str] = set()  # logged already

    def reconcile(self, *, full: bool = True) -> None:
        """Compare requests with Nova, and adopt servers that ran before.

        `full` compares every one, also the waiting ones, of whose deletion Nova never tells;
        otherwise only what changed in Nova since the last time is looked at, in one question for
        all projects.
        """
        began_at, looked_at = self._clock.now(), self._looked_at
        with self._store.reading() as uow:
            managed = {project.project_id: project for project in uow.projects.all()}
            others = set(uow.requests.projects_with(OPEN)) - managed.keys()
        every = managed.keys() | others
        whole = every if full or looked_at is None else every - self._compared
        failed = self._each_of(whole, managed, self._compare_all)
        if looked_at is not None and not full:
            failed |= self._look_at_changes(looked_at - OVERLAP, managed, every)
        self._looked_at, self._compared = began_at, every - failed

    def _each_of(
        self,
        project_ids: Collection[str],
        managed: Mapping[str, Project],
        compare: Callable[[str], dict[str, ServerView]],
    ) -> set[str]:
        """Compare projects, and return those with which that failed: they keep no other from it.

        Raises UpstreamUnavailable where Nova does not answer at all: then it is no project's fault.
        """
        failed: set[str] = set()
        is_there = False
        for compared, project_id in enumerate(sorted(project_ids), start=1):
            try:
                views = compare(project_id)
                if project_id in managed:
                    self._adopt_servers(managed[project_id], views)
                is_there = True
            except (StoreUnavailable, Conflict):
                raise
            except Exception as error:
                failed.add(project_id)
                away = isinstance(error, UpstreamUnavailable) and not is_there
                if away and compared >= min(_SILENT, len(project_ids)):
                    self._servers.servers([NOBODY])  # raises where it is Nova that is away
                    is_there = True
                expected = isinstance(error, SynergyError)
                LOG.error(
                    "project %s cannot be compared with Nova now: %s", project_id, error,
                    exc_info=None if expected else error,
                )  # fmt: skip
        return failed

    def _look_at_changes(
        self, since: datetime, managed: Mapping[str, Project], every: Collection[str]
    ) -> set[str]:
        """Compare what changed in Nova, of everybody's servers in one question, and return the
        projects with which that failed: they are compared whole the next time."""
        changed: dict[str, dict[str, ServerView]] = {}
        try:
            for view in self._servers.servers_of(None, changed_since=since):
                if view.project_id in every:
                    changed.setdefault(view.project_id, {})[view.server_id] = view
        except UpstreamUnavailable as error:
            # Nova is away, or fails for one server: then the projects that it can list are listed.
            LOG.warning("what changed in Nova is listed project by project: %s", error)
            return self._each_of(every, managed, partial(self._compare_changed, since))

        def compare(project_id: str) -> dict[str, ServerView]:
            return self._compare(changed[project_id], list(changed[project_id]))

        return self._each_of(changed, managed, compare)

    def _compare_changed(self, since: datetime, project_id: str) -> dict[str, ServerView]:
        """Compare what changed of one project, and return its views."""
        listed = self._servers.servers_of(project_id, changed_since=since)
        views = {view.server_id: view for view in listed}
        return self._compare(views, list(views))

    def _compare_all(self, project_id: str) -> dict[str, ServerView]:
        """Compare each request of a project with its server, and return Nova's servers.

        Requests are read first: what Nova does not list then, and does not show when it is asked
        for it, is gone.
        """
        pages = self._moves.pages(OPEN, project_id)
        open_ids = [request.request_id for page in pages for request in page]
        views = {view.server_id: view for view in self._servers.servers_of(project_id)}
        missing = [one for one in open_ids if one not in views]
        known = views | views_of(self._servers, missing)
        self._compare(known, [*views, *missing])
        return views

    def _compare(
        self, views: dict[str, ServerView], request_ids: Sequence[str]
    ) -> dict[str, ServerView]:
        """Correct what differs from Nova although every notification that came was taken in."""
        self._drain()
        self._following.compare(views, request_ids)
        return views

    def _adopt_servers(self, project: Project, views: Mapping[str, ServerView]) -> None:
        """Take over the servers that a project had before, on its private quota."""
        living = [view for view in views.values() if _lives(view)]
        waiting = [view for view in views.values() if self._looks_stray(view)]
        if not living and not waiting:
            return
        with self._store.reading() as uow:
            known = uow.requests.known([view.server_id for view in (*living, *waiting)])
        unknown = [view for view in living if view.server_id not in known]
        handle_individually(unknown, lambda part: self._adopt(project, part), _set_aside)
        stray = {view.server_id for view in waiting} - known - self._stray
        for server_id in sorted(stray):
            self._moves.drift["lost"] += 1
            LOG.error(
                "server %s of project %s waits for a conductor, but its request never came here: "
                "delete it and ask again", server_id, project.name,
            )  # fmt: skip
        self._stray |= stray

    def _adopt(self, project: Project, views: Sequence[ServerView]) -> None:
        with self._store.writing() as uow:
            known = uow.requests.known([view.server_id for view in views])
            fresh = [view for view in views if view.server_id not in known]
            uow.requests.add([(self._adopted(uow, view), b"") for view in fresh])
            uow.commit()
        self._moves.drift["adopted"] += len(fresh)
        LOG.info("%d server(s) of project %s adopted", len(fresh), project.name)

    def _looks_stray(self, view: ServerView) -> bool:
        waited_s = (self._clock.now() - view.created_at).total_seconds()
        return view.status is ServerStatus.SCHEDULING and waited_s > self._conf.lost_s

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
            queued_at=min(view.created_at, now),
            changed_at=now,
            ttl_s=0,
            host=view.host,
        )
        return transition(request, Event.ADOPTED, now, why="ran before its project was managed")


def _lives(view: ServerView) -> bool:
    """Return whether a server holds something that has to be counted."""
    failed = view.status is ServerStatus.ERROR and view.launched_at and view.host
    return view.status in RUNNING or bool(failed)


def _set_aside(view: ServerView, error: Exception) -> None:
    LOG.error("server %s cannot be adopted", view.server_id, exc_info=error)
