"""Settles what a crash or an error left between two commits of a dispatch.

Must not know rounds: a request in DISPATCHING tells all that is needed.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from oslo_config import cfg

from synergy.core.ask_each import ask_together
from synergy.core.errors import error_line
from synergy.core.events import RequestsQueued
from synergy.core.ids import NOBODY
from synergy.core.lifecycle import Event, Move, transition
from synergy.core.model import Request, State
from synergy.managers.base import Publish
from synergy.managers.nova.following import Following
from synergy.managers.nova.moves import Moves, forget_bodies
from synergy.managers.support.server_views import views_of
from synergy.ports import (
    Clock,
    Conductor,
    Servers,
    ServerStatus,
    ServerView,
    Store,
)

LOG = logging.getLogger(__name__)


class Settling:
    """Asks Nova whether what was being dispatched was sent."""

    def __init__(
        self,
        conf: cfg.ConfigOpts.GroupAttr,
        clock: Clock,
        publish: Publish,
        store: Store,
        servers: Servers,
        conductor: Conductor,
        moves: Moves,
        following: Following,
    ) -> None:
        self._conf, self._clock, self._publish, self._store = conf, clock, publish, store
        self._servers, self._conductor = servers, conductor
        self._moves, self._following = moves, following

    def settle(self) -> None:
        """Ask Nova what became of every request that a crash or an error left in DISPATCHING.

        Nova still schedules it, and nothing waits for the conductor any longer: it was never sent,
        and is queued again. Anything else: it was sent, and is what Nova says.
        """
        before = self._clock.now() - timedelta(seconds=self._conf.settle_s)
        back, settled = [], 0
        for page in self._moves.pages([State.DISPATCHING]):
            moves = self._settled([r for r in page if r.changed_at <= before])
            settled += len(moves)
            back += [m.request for m in moves if m.request.state is State.QUEUED]
        if settled:
            self._moves.drift["settled"] += settled
            LOG.info("%d request(s) were being dispatched: %d queued again", settled, len(back))
        if back:
            self._publish(RequestsQueued(tuple(back)))

    def _settled(self, requests: Sequence[Request]) -> list[Move]:
        if not requests:
            return []
        views = views_of(self._servers, [request.request_id for request in requests])
        requests = [r for r in requests if not _unknown(views.get(r.request_id))]
        asked = ask_together(
            [one.request_id for one in requests],
            lambda some: dict.fromkeys(self._servers.still_waiting(some)),
            nothing=NOBODY,
        )
        unsent = asked.known.keys()
        if asked.unknown:
            server_id, error = next(iter(asked.unknown.items()))
            LOG.warning(
                "of %d request(s) Nova cannot say whether it got them, such as %s: %s",
                len(asked.unknown), server_id, error_line(error),
            )  # fmt: skip
            requests = [r for r in requests if r.request_id not in asked.unknown]
        if unsent and self._conductor.backlog():
            LOG.info("%d request(s) may still be on their way to the conductor", len(unsent))
            requests = [r for r in requests if r.request_id not in unsent]
        now, moves = self._clock.now(), []
        with self._store.writing() as uow:
            found = uow.requests.find([request.request_id for request in requests])
            for request in found.values():
                if request.state is not State.DISPATCHING:
                    continue  # a notification came meanwhile
                if request.request_id in unsent:
                    event, why = Event.HAND_OVER_FAILED, "it was not sent"
                else:
                    event, why = Event.HANDED_OVER, "it was sent"
                moves.append(transition(request, event, now, why=why))
            uow.requests.save(moves)
            forget_bodies(uow, [move.request for move in moves])
            uow.commit()
        sent = [m.request.request_id for m in moves if m.request.state is State.BUILDING]
        self._following.compare(views, sent, drifted=False)
        return [replace(move, request=move.as_saved()) for move in moves]


def _unknown(view: ServerView | None) -> bool:
    """Return whether Nova has a server but cannot show it: then nobody knows if it was sent."""
    return view is not None and view.status is ServerStatus.UNKNOWN
