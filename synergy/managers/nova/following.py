"""Lets requests follow what Nova's API shows.

Must not know why Nova was asked.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Final

from synergy.core.batches import handle_individually
from synergy.core.lifecycle import IN_NOVA, WAITING, Event, Move, Unchanged
from synergy.core.model import Request
from synergy.core.reasons import Reason
from synergy.core.reconcile import ABSENT, missed
from synergy.managers.nova.moves import OF_FAILURE, PAGE, Moves, forget_bodies
from synergy.managers.scheduler.changes import resized
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
OPEN: Final = (*WAITING, *IN_NOVA)
SINGLY: Final = 20  # servers of one project that are asked for one by one; more are listed
Missed = tuple[Request, Event]


class Following:
    """Compares requests with views of their servers, and moves those that lag behind."""

    def __init__(self, clock: Clock, store: Store, servers: Servers, moves: Moves) -> None:
        self._clock, self._store, self._servers, self._moves = clock, store, servers, moves

    def look_up(
        self, requests: Sequence[Request], *, since: datetime
    ) -> tuple[dict[str, ServerView], list[str]]:
        """Ask Nova for servers that something happened to after `since`, in few questions.

        Returns views by id, and the ids that Nova was asked about. Of a project with many servers
        what changed is listed, deleted ones included, and SINGLY of what is not among them are
        asked for; the others are left for the next time.
        """
        views: dict[str, ServerView] = {}
        singly: list[str] = []
        by_project: dict[str, list[str]] = {}
        for request in requests:
            by_project.setdefault(request.project_id, []).append(request.request_id)
        for project_id, ids in by_project.items():
            rest: Collection[str] = ids
            if len(ids) > SINGLY:
                wanted = set(ids)
                for view in self._servers.servers_of(project_id, changed_since=since):
                    if view.server_id in wanted:
                        views[view.server_id] = view
                rest = [one for one in ids if one not in views]
            singly += list(rest)[:SINGLY]
        asked = [*views, *singly]
        return views | views_of(self._servers, singly), asked

    def compare(
        self,
        views: Mapping[str, ServerView],
        request_ids: Sequence[str],
        *,
        at_of: Mapping[str, datetime] | None = None,
        drifted: bool = True,
    ) -> set[str]:
        """Let requests follow what Nova shows, and return the ids of those that moved.

        at_of    when it happened, where that is known
        drifted  a notification should have said so
        """
        moved: set[str] = set()
        for start in range(0, len(request_ids), PAGE):
            with self._store.reading() as uow:
                page = uow.requests.find(request_ids[start : start + PAGE])
            lagging = [
                (request, event)
                for request in page.values()
                if (event := missed_by(request, views.get(request.request_id)))
            ]
            before = len(moved)
            handle_individually(
                lagging,
                lambda part: moved.update(self._follow(part, views, at_of or {}, drifted=drifted)),
                _set_aside,
            )
            if drifted and len(moved) > before:
                LOG.warning("the reconcile corrected %d request(s)", len(moved) - before)
        return moved

    def _follow(
        self,
        lagging: Sequence[Missed],
        views: Mapping[str, ServerView],
        at_of: Mapping[str, datetime],
        *,
        drifted: bool,
    ) -> list[str]:
        """Move requests by what they missed, and return the ids of those that moved."""
        before, after, events = {}, {}, []
        with self._store.writing() as uow:
            current = uow.requests.find([request.request_id for request, _ in lagging])
            for read, event in lagging:
                request = current[read.request_id]
                if request.generation != read.generation:
                    continue  # it moved while Nova was asked
                key = request.request_id
                move = self._move(uow, request, event, views.get(key), at_of.get(key))
                if move is not None and move.step is not None:
                    uow.requests.save([move])
                    before[key], after[key] = request, move.request
                    events.append(event)
            forget_bodies(uow, after.values())
            uow.commit()
        failures = {key: view.failure for key, view in views.items() if view.failure is not None}
        self._moves.publish_changes(before, after, failures)
        if drifted:
            self._moves.drift.update(event.value.lower() for event in events)
        return list(after)

    def _move(
        self,
        uow: Writing,
        request: Request,
        event: Event,
        view: ServerView | None,
        notified_at: datetime | None,
    ) -> Move | None:
        now = self._clock.now()
        if event is Event.RESIZED and view is not None:
            return resized(uow, request, view.demand, view.flavor, now=now)
        host = Unchanged.HOST if view is None or event is Event.REMOVED else view.host
        launched_at = view.launched_at if view and event is Event.BOOTED else None
        at = notified_at or launched_at or now
        return self._moves.apply(
            request, event, at, host=host, why=_seen(request, event, view),
            reason=_reason(request, event, view),
        )  # fmt: skip


def missed_by(request: Request, view: ServerView | None) -> Event | None:
    """Return the event that Nova's view shows and the request lacks."""
    if view is None:
        return missed(request, ABSENT)
    return missed(request, view.status, host=view.host, demand=view.demand, in_task=view.in_task)


def _set_aside(lagging: Missed, error: Exception) -> None:
    request, event = lagging
    LOG.error(
        "request %s cannot follow Nova by event %s, and is left unchanged",
        request.request_id, event,
        exc_info=error,
    )  # fmt: skip


def _reason(request: Request, event: Event, view: ServerView | None) -> Reason | None:
    if event is Event.REMOVED and request.state in WAITING:
        return Reason.DELETED_BY_USER
    if event is Event.BUILD_FAILED and view is not None and view.failure is not None:
        return OF_FAILURE[view.failure]
    return None


def _seen(request: Request, event: Event, view: ServerView | None) -> str:
    """Return what the ledger keeps of what Nova's API showed."""
    if view is None:
        return "Nova does not know it"
    if event is Event.BUILD_FAILED and view.fault:
        return f"{view.failure}: {view.fault}" if view.failure else view.fault
    if event is Event.RELOCATED:
        return f"on {view.host or 'no host'}"
    if request.state in WAITING and view.status is not ServerStatus.DELETED:
        return "Nova had it already"
    return "seen in Nova"
