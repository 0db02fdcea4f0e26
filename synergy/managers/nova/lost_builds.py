"""Finds builds of which nobody has heard for long, and does what their project wants.

Why: a conductor that dies with a request in hand tells nobody, and the request would claim quota
for ever. Nothing is ever sent twice: Nova may still build it. Must not know how requests are sent.
"""

import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta

from oslo_config import cfg

from synergy.core.errors import SynergyError
from synergy.core.lifecycle import Event
from synergy.core.model import OnLost, Request, State
from synergy.core.reasons import Reason
from synergy.managers.nova.following import Following, missed_by
from synergy.managers.nova.moves import Moves, forget_bodies
from synergy.managers.support.server_views import views_of
from synergy.ports import (
    Clock,
    Conductor,
    ServerActions,
    Servers,
    ServerStatus,
    ServerView,
    Store,
)

LOG = logging.getLogger(__name__)


class LostBuilds:
    """Requests in BUILDING without a sign of life.

    ids  of those that are lost now
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts.GroupAttr,
        clock: Clock,
        store: Store,
        servers: Servers,
        actions: ServerActions,
        conductor: Conductor,
        moves: Moves,
        following: Following,
    ) -> None:
        self._conf, self._clock, self._store = conf, clock, store
        self._servers, self._actions, self._conductor = servers, actions, conductor
        self._moves, self._following = moves, following
        self.ids: frozenset[str] = frozenset()

    def look(self) -> None:
        """Ask Nova about builds of which nothing was heard, and tell of those that are lost."""
        before = self._clock.now() - timedelta(seconds=self._conf.lost_s)
        silent = [
            request
            for page in self._moves.pages([State.BUILDING])
            for request in page
            if request.changed_at <= before or is_lost(request)
        ]
        if not silent:
            self.ids = frozenset()
            return
        views = views_of(self._servers, [request.request_id for request in silent])
        self._following.compare(views, [request.request_id for request in silent])
        lost = [one for one in silent if _shows_no_progress(one, views.get(one.request_id))]
        self._report([one for one in lost if not is_lost(one)], views)
        self._act(lost, views)
        self.ids = frozenset(request.request_id for request in lost)

    def _report(self, lost: Sequence[Request], views: Mapping[str, ServerView]) -> None:
        """Record once that a request is lost, for everyone who asks."""
        if not lost:
            return
        now = self._clock.now()
        with self._store.writing() as uow:
            found = uow.requests.find([request.request_id for request in lost])
            moves = []
            for request in found.values():
                if request.state is not State.BUILDING:
                    continue  # it moved while Nova was asked
                silent_s = (now - request.changed_at).total_seconds()
                where = _where(views[request.request_id])
                why = f"{Reason.LOST}: {where}, and silent for {silent_s:.0f} s"
                move = self._moves.apply(request, Event.LOST, now, why=why, reason=Reason.LOST)
                moves += [move] if move else []
            uow.requests.save(moves)
            uow.commit()
        for move in moves:
            self._moves.drift["lost"] += 1
            LOG.error(
                "request %s of project %s is %s", move.request.request_id, move.request.project_id,
                move.request.why,
            )  # fmt: skip

    def _act(self, lost: Sequence[Request], views: Mapping[str, ServerView]) -> None:
        """Do what the projects want to servers that no conductor has: one on a host may boot."""
        with self._store.reading() as uow:
            policy_of = {project.project_id: project.on_lost for project in uow.projects.all()}
        idle = [
            request
            for request in lost
            if views[request.request_id].status is ServerStatus.SCHEDULING
            and policy_of.get(request.project_id, OnLost.TELL) is not OnLost.TELL
        ]
        if not idle or self._conductor.backlog():
            return
        for request in idle:
            try:
                if policy_of[request.project_id] is OnLost.ERROR:
                    self._actions.set_error(request.request_id)
                else:
                    self._actions.delete_server(request.request_id)
            except SynergyError as error:
                LOG.warning("lost server %s stays as it is: %s", request.request_id, error)
            else:
                self._end(request, policy_of[request.project_id])

    def _end(self, request: Request, policy: OnLost) -> None:
        """Let a request end whose server was ended."""
        event = Event.BUILD_FAILED if policy is OnLost.ERROR else Event.REMOVED
        why = f"{Reason.LOST}: Nova's conductor has not built it: create the server again"
        with self._store.writing() as uow:
            found = uow.requests.get(request.request_id)
            if found.state is not State.BUILDING:
                return
            move = self._moves.apply(
                found, event, self._clock.now(), why=why, reason=Reason.LOST, host=None
            )
            if move is None:
                return
            uow.requests.save([move])
            forget_bodies(uow, [move.request])
            uow.commit()
        key = request.request_id
        self._moves.publish_changes({key: found}, {key: move.request}, {})


def is_lost(request: Request) -> bool:
    """Return whether a request is known to be lost."""
    return request.state is State.BUILDING and request.reason is Reason.LOST


def _shows_no_progress(request: Request, view: ServerView | None) -> bool:
    """Return whether Nova shows a request's server, and nothing that happened to it."""
    shown = view is not None and view.status is not ServerStatus.UNKNOWN
    return shown and not missed_by(request, view)


def _where(view: ServerView) -> str:
    if view.host is not None:
        return f"Nova builds it on host {view.host}"
    return "Nova's conductor has not started the build"
