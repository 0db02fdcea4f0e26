"""Lets requests follow what Nova's API shows.

Must not know why Nova was asked.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Final

from synergy.core.lifecycle import IN_NOVA, WAITING, Event, Move
from synergy.core.model import Request, State
from synergy.managers.changes import resized
from synergy.managers.nova.moves import PAGE, Moves, forget_bodies
from synergy.ports import Clock, ServerStatus, ServerView, Store

LOG = logging.getLogger(__name__)
OPEN: Final = (*WAITING, *(IN_NOVA - {State.DISPATCHING}))
RUNNING: Final = (ServerStatus.ACTIVE, ServerStatus.STOPPED)
_SIZED: Final = (State.ACTIVE, State.EXPIRING)


class Following:
    """Compares requests with views of their servers, and moves those that lag behind."""

    def __init__(self, clock: Clock, store: Store, moves: Moves) -> None:
        self._clock, self._store, self._moves = clock, store, moves

    def compare(
        self,
        views: Mapping[str, ServerView],
        request_ids: Sequence[str],
        *,
        drifted: bool = True,
    ) -> None:
        """Let requests follow what Nova shows; `drifted` when a notification should have told."""
        for start in range(0, len(request_ids), PAGE):
            with self._store.reading() as uow:
                page = uow.requests.find(request_ids[start : start + PAGE])
            missed = [
                (request, event)
                for request in page.values()
                if request.state in OPEN
                and (event := _missed(request, views.get(request.request_id)))
            ]
            if not missed:
                continue
            events = self._follow(missed, views)
            if drifted:
                self._moves.drift.update(event.value.lower() for event in events)
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
                    why = _seen(event, view)
                    move = self._moves.apply(request, event, now, host=host, why=why)
                if move is not None and move.step is not None:
                    uow.requests.save([move])
                    before[request.request_id], after[request.request_id] = request, move.request
                    events.append(event)
            forget_bodies(uow, after.values())
            uow.commit()
        failures = {key: view.failure for key, view in views.items() if view.failure is not None}
        self._moves.tell(before, after, failures)
        return events


def _missed(request: Request, view: ServerView | None) -> Event | None:
    """Return the event that Nova's view shows and the request lacks."""
    if view is None or view.status is ServerStatus.DELETED:
        return Event.REMOVED
    if request.state is State.BUILDING and view.status in RUNNING:
        return Event.BOOTED
    if request.state in (State.BUILDING, State.ACTIVE) and view.status is ServerStatus.ERROR:
        return Event.BUILD_FAILED
    if request.state in (State.ACTIVE, State.EXPIRING) and view.status is ServerStatus.SHELVED:
        return Event.PARKED
    if request.state is State.PARKED and view.status in RUNNING:
        return Event.UNPARKED
    if request.state in _SIZED and not view.in_task and view.demand != request.demand:
        return Event.RESIZED
    return None


def _seen(event: Event, view: ServerView | None) -> str:
    """Return what the ledger keeps of what Nova's API showed."""
    if event is Event.BUILD_FAILED and view is not None and view.failure is not None:
        return f"{view.failure}: {view.fault}"
    return "seen in Nova"
