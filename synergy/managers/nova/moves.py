"""Moves requests by what happened to their servers, and tells everyone what follows.

Why: a notification and a look at Nova lead to the same moves. Must not know which of them it was.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

from synergy.core.errors import IllegalTransition
from synergy.core.events import BuildsFailed, QuotaReleased, RequestsWithdrawn, ServersActive
from synergy.core.lifecycle import WAITING, Event, Move, Unchanged, holds_quota, transition
from synergy.core.model import BuildFailure, Request, State
from synergy.core.reasons import Reason
from synergy.core.reconcile import possible_instant
from synergy.managers.base import Publish
from synergy.ports import Clock, Store, Writing

LOG = logging.getLogger(__name__)
PAGE: Final = 1000
_TO_BE_SENT: Final = WAITING | {State.DISPATCHING}

OF_FAILURE: Final[Mapping[BuildFailure, Reason]] = {
    BuildFailure.NO_VALID_HOST: Reason.NO_VALID_HOST,
    BuildFailure.RETRIES_EXHAUSTED: Reason.RETRIES_EXHAUSTED,
    BuildFailure.BUILD_ERROR: Reason.BUILD_ERROR,
}


class Moves:
    """What moves do beyond the request itself.

    drift  differences from Nova that were corrected, by kind
    """

    def __init__(
        self, clock: Clock, publish: Publish, store: Store, on_failed: Callable[[], None]
    ) -> None:
        """on_failed: called when builds were given up."""
        self._clock, self._publish, self._store = clock, publish, store
        self._on_failed = on_failed
        self.drift: Counter[str] = Counter()

    def apply(
        self,
        request: Request,
        event: Event,
        at: datetime,
        *,
        why: str,
        reason: Reason | None = None,
        host: str | Unchanged | None = Unchanged.HOST,
    ) -> Move | None:
        """Move a request by what happened `at`, as far as that is possible, and left it on `host`.

        Returns None, and counts it, when that cannot happen to it.
        """
        happened_at = possible_instant(request, at, self._clock.now())
        try:
            return transition(request, event, happened_at, why=why, reason=reason, host=host)
        except IllegalTransition as error:
            self.drift["illegal"] += 1
            LOG.warning("%s; Nova and Synergy disagree: the next reconcile decides", error)
            return None

    def publish_changes(
        self,
        before: Mapping[str, Request],
        after: Mapping[str, Request],
        failures: Mapping[str, BuildFailure],
    ) -> None:
        """Publish what follows from the moves that were committed."""
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
                if n.state is State.ERROR and o.state != n.state and failed_to_build(n)
                and failures.get(n.request_id) is failure
            )  # fmt: skip
            if failed:
                self._on_failed()
                self._publish(BuildsFailed(failed, failure))

    def pages(
        self, states: Sequence[State], project_id: str | None = None
    ) -> Iterator[Sequence[Request]]:
        """Walk the requests in these states, in transactions of their own."""
        marker = None
        while True:
            with self._store.reading() as uow:
                page = uow.requests.search(
                    states=states, project_id=project_id, limit=PAGE, after=marker
                )
            if not page:
                return
            marker = page[-1].request_id
            yield page


def forget_bodies(uow: Writing, requests: Iterable[Request]) -> None:
    """Delete the bodies of those that nobody will send any more."""
    gone = [r.request_id for r in requests if r.state not in _TO_BE_SENT]
    if gone:
        uow.requests.forget_bodies(gone)


def failed_to_build(request: Request) -> bool:
    """Return whether the server never ran: what is on its disk is nobody's work."""
    return request.active_at is None


def _holds_less(after: Request, before: Request) -> bool:
    return not holds_quota(after) or (
        after.demand != before.demand and after.demand.fits_in(before.demand)
    )
