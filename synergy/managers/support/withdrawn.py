"""Finds waiting requests whose servers their users deleted, of which Nova sends no notification.

Why: they count against limits and stand in the queue. Nova lists the servers that are not built yet
a thousand at a time; what waits here and is in no page is asked about by itself before it is let
go, since a request that is dropped by mistake is lost. So a look costs a question for each page and
for each deletion, however many wait. Must not know limits or the queue.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import Final

from synergy.core.batches import handle_individually
from synergy.core.errors import Conflict
from synergy.core.events import RequestsWithdrawn
from synergy.core.lifecycle import WAITING, Event, transition
from synergy.core.model import Request
from synergy.core.reasons import Reason
from synergy.managers.base import Publish
from synergy.managers.support.server_views import views_of
from synergy.ports import (
    Clock,
    Servers,
    Store,
)

LOG = logging.getLogger(__name__)
ASKED_AT_ONCE: Final = 500


class DeletedWaiting:
    """Cancels what waits for a server that is gone."""

    def __init__(self, clock: Clock, publish: Publish, store: Store, servers: Servers) -> None:
        self._clock, self._publish = clock, publish
        self._store, self._servers = store, servers
        self._look: Iterator[None] | None = None

    def step(self) -> bool:
        """Go on with a look at all projects, or begin one; tell whether it has to go on. A step is
        one question, so that anyone who has other work can do it."""
        look, self._look = self._look or self._walk(None), None
        for _ in look:
            self._look = look  # forgotten when it fails: the next one begins again
            return True
        return False

    def look_at(self, project_id: str) -> None:
        """Look at the requests of one project, now."""
        for _ in self._walk(project_id):
            pass

    def _walk(self, project_id: str | None) -> Iterator[None]:
        # Read first: what is stored was in Nova then, and is listed unless it was deleted, or
        # dispatched since.
        with self._store.reading() as uow:
            waiting = uow.requests.ids_of(tuple(WAITING), project_id)
        if not waiting:
            return
        missing = dict.fromkeys(waiting)
        for page in self._servers.unbuilt(project_id):
            for server_id in page:
                missing.pop(server_id, None)
            yield
        unlisted = list(missing)
        for start in range(0, len(unlisted), ASKED_AT_ONCE):
            still = self._still_waiting(unlisted[start : start + ASKED_AT_ONCE])
            living = views_of(self._servers, still)
            handle_individually(
                [one for one in still if one not in living], self._withdraw, _set_aside
            )
            if len(living) > ASKED_AT_ONCE // 2:
                LOG.warning(
                    "Nova did not list %d servers that are not built yet, and has them: deleted "
                    "ones among those that wait are found late", len(living),
                )  # fmt: skip
                return
            yield

    def _still_waiting(self, request_ids: Sequence[str]) -> list[str]:
        with self._store.reading() as uow:
            found = uow.requests.find(request_ids)
        return [key for key, request in found.items() if request.state in WAITING]

    def _withdraw(self, request_ids: Sequence[str]) -> None:
        gone: list[Request] = []
        try:
            with self._store.writing() as uow:
                found = uow.requests.find(request_ids).values()
                gone = [request for request in found if request.state in WAITING]
                now = self._clock.now()
                uow.requests.save(
                    [
                        transition(
                            one,
                            Event.REMOVED,
                            now,
                            why="deleted by its user",
                            reason=Reason.DELETED_BY_USER,
                        )
                        for one in gone
                    ]
                )
                uow.requests.forget_bodies([one.request_id for one in gone])
                uow.commit()
        except Conflict as error:
            LOG.info("the search for deleted waiting servers is postponed: %s", error)
            return
        if gone:
            self._publish(RequestsWithdrawn(tuple(gone)))
            LOG.info("%d waiting request(s) cancelled whose servers were deleted", len(gone))


def _set_aside(request_id: str, error: Exception) -> None:
    LOG.error("request %s, whose server is gone, cannot be cancelled: %s", request_id, error)
