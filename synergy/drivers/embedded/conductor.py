"""How the embedded cloud builds servers: on a host with room, after a while, or not at all.

Why: what fails on the way has to fail as it does in Nova. Must not know ports or messages of users.
All calls are made under the lock of the embedded Nova.
"""

from dataclasses import replace
from typing import Final

from synergy.core.model import Constraints, ServerStatus
from synergy.drivers import nova_message
from synergy.drivers.embedded.fleet import Fleet
from synergy.drivers.embedded.keystone import EmbeddedIdentity
from synergy.drivers.embedded.placement import EmbeddedPlacement
from synergy.drivers.embedded.resizes import Resizes
from synergy.drivers.embedded.spec import CloudSpec
from synergy.drivers.embedded.timers import Timers
from synergy.ports import Clock, NoticeKind, ServerView

_ABORTED: Final = "Build of instance aborted."
_BREAKS: Final = ("build_error", "reschedule")  # the faults that make a build fail on its host


class EmbeddedConductor:
    """Builds servers. orphans: those that a second build made Nova lose."""

    def __init__(
        self,
        spec: CloudSpec,
        clock: Clock,
        identity: EmbeddedIdentity,
        fleet: Fleet,
        placement: EmbeddedPlacement,
        timers: Timers,
        resizes: Resizes,
    ) -> None:
        self._spec, self._clock, self._identity = spec, clock, identity
        self._fleet, self._faults, self._placement = fleet, fleet.faults, placement
        self._timers, self._resizes = timers, resizes
        self.orphans: list[str] = []

    def conduct(self, server_id: str, order: nova_message.Order, token: str) -> None:
        """Build a server, unless it is known already or gone."""
        server, forced = self._fleet.present.get(server_id), order.forced_host
        if server is None:
            return  # deleted while it waited: nothing to build
        if server.status is not ServerStatus.SCHEDULING:
            self._orphan(server)
            return
        if forced is not None and forced not in self._placement:
            self._fail(
                server, f"No valid host was found. No such host - host: {forced} node: None "
            )
        elif self._faults.triggers("no_valid_host"):
            self._fail(server, "No valid host was found. ")
        elif not self._authorized(token):
            self._fail(server, "Not authorized for image.")
        else:
            self._place(server, order.constraints)

    def _orphan(self, server: ServerView) -> None:
        """A second build of a known server: Nova drops its mapping and allocation (observed)."""
        if server.status is ServerStatus.ERROR:
            return
        self.orphans.append(server.server_id)
        self._placement.release(server.server_id)
        self.drop(server)

    def _authorized(self, token: str) -> bool:
        return self._spec.service_tokens or self._identity.check_token(token) is not None

    def _place(self, server: ServerView, constraints: Constraints) -> None:
        host = self._placement.best_host(server.demand, constraints)
        if host is None:
            self._fail(server, "No valid host was found. ")
            return
        self._placement.allocate(server.server_id, host, server.demand)
        self._fleet.put(replace(server, status=ServerStatus.BUILDING, host=host))
        breaks = next((name for name in _BREAKS if self._faults.triggers(name)), "")
        self._timers.after(
            self._spec.boot_s, lambda: self._built(server.server_id, breaks, constraints)
        )

    def _built(self, server_id: str, breaks: str, constraints: Constraints) -> None:
        server = self._fleet.present.get(server_id)
        if server is None or server.status is not ServerStatus.BUILDING:
            return
        if breaks:
            unplaced = self._fail_attempt(server)
            if breaks == "reschedule":
                self._place(unplaced, constraints)
            else:
                self._put_in_error(unplaced, _ABORTED)
            return
        active = replace(server, status=ServerStatus.ACTIVE, launched_at=self._clock.now())
        self._fleet.put(active)
        self._fleet.notify(NoticeKind.BOOTED, server_id, host=server.host)

    def _fail_attempt(self, server: ServerView) -> ServerView:
        """Release the host of a failed attempt. Nova notifies the attempt, but not whether it will
        give up or try another host."""
        self._fleet.notify(
            NoticeKind.ATTEMPT_FAILED, server.server_id, host=server.host, detail=_ABORTED
        )
        self._placement.release(server.server_id)
        return replace(server, host=None)

    def _fail(self, server: ServerView, fault: str) -> None:
        failed = self._put_in_error(server, fault)
        self._fleet.notify(
            NoticeKind.FAILED, server.server_id, detail=fault, failure=failed.failure
        )

    def _put_in_error(self, server: ServerView, fault: str) -> ServerView:
        failure = nova_message.failure_of(fault)
        failed = replace(server, status=ServerStatus.ERROR, fault=fault, failure=failure)
        self._fleet.put(failed)
        return failed

    def drop(self, server: ServerView) -> None:
        """Forget a server that is gone."""
        self._fleet.drop(server)
        self._resizes.forget(server.server_id)
