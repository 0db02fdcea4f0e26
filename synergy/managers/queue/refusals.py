"""Lets Nova tell the users of refused and cancelled requests.

Why: a server that waits for nothing any longer must not look as if it were being built. A refusal
whose body is still stored was not sent yet, so a crash loses none. Must not know why a request is
refused.
"""

import logging
from typing import Final

from synergy.core.errors import UpstreamUnavailable, error_line
from synergy.core.model import Request, State
from synergy.ports import Conductor, Store

LOG = logging.getLogger(__name__)
REFUSALS: Final = (State.REJECTED, State.CANCELLED)


class Refusals:
    """`left`: some may have to be sent."""

    def __init__(self, store: Store, conductor: Conductor) -> None:
        self._store, self._conductor = store, conductor
        self.left = True

    def send(self) -> None:
        """Send what is left; what the broker does not take now stays."""
        self.left = True
        with self._store.reading() as uow:
            refused = [r for state in REFUSALS for r in uow.requests.with_body(state)]
            bodies = uow.requests.bodies([request.request_id for request in refused])
        done = []
        try:
            for request in refused:
                if request.request_id in bodies:  # else no key opens it, which is logged once
                    self._send_one(request, bodies[request.request_id])
                    done.append(request.request_id)
        except UpstreamUnavailable as error:
            LOG.warning("a rejection could not be sent to Nova and is retried: %s", error)
        else:
            self.left = False
        if done:
            with self._store.writing() as uow:
                uow.requests.forget_bodies(done)
                uow.commit()

    def _send_one(self, request: Request, body: bytes) -> None:
        try:
            self._conductor.refuse(body, request.why)
        except UpstreamUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - one that cannot be sent must not stop the others
            LOG.error(
                "the fault of server %s cannot be set to say why it is %s: %s; delete the server",
                request.request_id, request.state, error_line(error),
            )  # fmt: skip
