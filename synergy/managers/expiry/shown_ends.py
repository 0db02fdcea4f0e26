"""Shows the end of a server in its metadata, where its user can read it.

Why: a user without a command line, and a program on the server, learn of the end in no other way.
Which end is shown is stored, so after a restart, an extension or a failed call every server shows
the right one some day. Must not know why an end moved.
"""

import logging
from typing import Final

from synergy.core.errors import SynergyError, UpstreamUnavailable
from synergy.core.extension import END_KEY
from synergy.core.model import Request
from synergy.ports import Clock, ServerActions, Store

LOG = logging.getLogger(__name__)
AT_ONCE: Final = 50
RETRY_S: Final = 300.0  # a server that is failed, or in a task, has closed metadata
SILENT: Final = 3  # servers in a row for which Nova does not answer, then the others wait


class ShownEnds:
    """`left`: some servers may show another end than they have."""

    def __init__(self, clock: Clock, store: Store, actions: ServerActions) -> None:
        self._clock, self._store, self._actions = clock, store, actions
        self._rests: dict[str, float] = {}  # server -> monotonic seconds until it is tried again
        self.left = True

    def catch_up(self) -> bool:
        """Show some ends, and return whether more are left for now."""
        if not self.left:
            return False
        now_s = self._clock.monotonic_s()
        self._rests = {key: until_s for key, until_s in self._rests.items() if until_s > now_s}
        with self._store.reading() as uow:
            found = uow.requests.unshown_ends(AT_ONCE + len(self._rests))
        due = [request for request in found if request.request_id not in self._rests]
        silent = 0
        for request in due[:AT_ONCE]:
            try:
                self._show(request)
                silent = 0
            except UpstreamUnavailable:
                silent += 1
                if silent == min(SILENT, len(due)):
                    raise
        self.left = bool(due)
        return self.left

    def _show(self, request: Request) -> None:
        server_id, end_at = request.request_id, request.expires_at
        try:
            shown = None if end_at is None else end_at.isoformat(timespec="seconds")
            self._actions.set_metadata(server_id, {END_KEY: shown})
        except SynergyError as error:
            LOG.debug("server %s cannot show its end now: %s", server_id, error)
            self._rests[server_id] = self._clock.monotonic_s() + RETRY_S
            if isinstance(error, UpstreamUnavailable):
                raise  # of this server alone, or of all of Nova
            return
        with self._store.writing() as uow:
            uow.requests.end_shown(server_id, end_at)
            uow.commit()
