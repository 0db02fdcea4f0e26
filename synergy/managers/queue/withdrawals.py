"""Takes requests out of the queue that are not to be built any more, for a reason found elsewhere.

Must not know how the reason was found.
"""

import logging
from collections.abc import Iterable, Sequence

from synergy.core.events import RequestsWithdrawn
from synergy.core.lifecycle import WAITING, Event, transition
from synergy.core.model import State
from synergy.core.reasons import Reason, coded
from synergy.managers.base import Publish
from synergy.managers.queue.refusals import Refusals
from synergy.ports import Clock, Store

LOG = logging.getLogger(__name__)
_PAGE = 1000


class Withdrawals:
    """Their users are told in the next run of the queue."""

    def __init__(self, clock: Clock, publish: Publish, store: Store, refusals: Refusals) -> None:
        self._clock, self._publish, self._store = clock, publish, store
        self._refusals = refusals

    def refuse(self, request_ids: Sequence[str], reason: Reason, text: str) -> None:
        """Refuse those that still wait."""
        why = coded(reason, text)
        with self._store.writing() as uow:
            found = uow.requests.find(request_ids).values()
            waiting = [one for one in found if one.state is State.QUEUED]
            now = self._clock.now()
            uow.requests.save(
                [transition(one, Event.REFUSED, now, why=why, reason=reason) for one in waiting]
            )
            uow.commit()
        if waiting:
            self._publish(RequestsWithdrawn(tuple(waiting)))
            self._refusals.left = True

    def cancel_of(self, owners: Iterable[tuple[str, str, str]]) -> None:
        """Cancel what waits for owners (project_id, user_id, why) who are gone.

        Page by page, since all of the queue may be theirs.
        """
        for project_id, user_id, why in owners:
            while self._cancel_page(project_id, user_id, why):
                pass

    def _cancel_page(self, project_id: str, user_id: str, why: str) -> bool:
        with self._store.writing() as uow:
            page = uow.requests.search(
                states=tuple(WAITING), project_id=project_id, user_id=user_id, limit=_PAGE
            )
            now, reason = self._clock.now(), Reason.OWNER_GONE
            said = coded(reason, why)
            uow.requests.save(
                [transition(one, Event.CANCELLED, now, why=said, reason=reason) for one in page]
            )
            uow.commit()
        if not page:
            return False
        LOG.warning(
            "%d request(s) of user %s in project %s are cancelled: %s",
            len(page), user_id, project_id, why,
        )  # fmt: skip
        self._refusals.left = True
        queued = tuple(one for one in page if one.state is State.QUEUED)
        if queued:
            self._publish(RequestsWithdrawn(queued))
        return True
