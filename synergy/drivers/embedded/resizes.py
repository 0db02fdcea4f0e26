"""What the embedded cloud's conductor does with resizes and unshelves.

Must not know how they are asked for, nor who decides whether they may.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Final

from synergy.core.errors import Conflict, NotFound
from synergy.core.model import Resources
from synergy.drivers import nova_message
from synergy.drivers.embedded.fleet import Fleet
from synergy.drivers.embedded.placement import EmbeddedPlacement
from synergy.drivers.embedded.spec import FlavorSpec
from synergy.ports import Change, ChangeKind, NoticeKind, ServerStatus, ServerView

_RESIZABLE: Final = frozenset({ServerStatus.ACTIVE, ServerStatus.STOPPED})


class Resizes:
    """Servers that another flavor was asked for, until their users have decided."""

    def __init__(
        self,
        lock: AbstractContextManager[Any],
        fleet: Fleet,
        placement: EmbeddedPlacement,
        flavors: Mapping[str, FlavorSpec],
    ) -> None:
        self._lock, self._fleet = lock, fleet
        self._placement, self._flavors = placement, flavors
        self._before: dict[str, ServerView] = {}  # its resize
        self._failures: dict[str, str] = {}

    def forget(self, server_id: str) -> None:
        """Forget a server that is gone."""
        self._before.pop(server_id, None)
        self._failures.pop(server_id, None)

    def asked(
        self, kind: ChangeKind, server_id: str, flavor: str | None, message_id: str
    ) -> Change:
        """Return the change that a user asks for; without a flavor the server keeps its own.

        Raises NotFound, and Conflict as Nova does where a server is not there yet, or something
        else is done to it.
        """
        server = self._fleet.get(server_id)
        resizable = server.status in _RESIZABLE and not server.in_task
        if kind is ChangeKind.RESIZE and not resizable:
            raise Conflict(f"server {server_id!r} cannot be resized while it is {server.status}")
        wanted = flavor or server.flavor
        if wanted not in self._flavors:
            raise NotFound(f"flavor {wanted!r} does not exist")
        spec = self._flavors[wanted]
        self._fleet.put(replace(server, in_task=True))
        return Change(
            message_id=message_id,
            kind=kind,
            server_id=server_id,
            project_id=server.project_id,
            flavor=wanted,
            demand=nova_message.demand_of(
                spec.as_dict(), spec.extra_specs, boots_from_volume=False
            ),
            body=b"",
        )

    def perform(self, change: Change) -> None:
        """Find a host; a resized server holds the larger of both until its user decided."""
        with self._lock:
            server = self._fleet.present.get(change.server_id)
            if server is None:
                return  # deleted meanwhile
            self._placement.release(change.server_id)
            needed = change.demand
            if change.kind is ChangeKind.RESIZE:
                names = {*server.demand, *change.demand}
                needed = Resources.of(
                    {n: max(server.demand.get(n, 0), change.demand.get(n, 0)) for n in names}
                )
            host = self._placement.best_host(needed)
            if host is None:
                if server.host is not None:
                    self._placement.allocate(server.server_id, server.host, server.demand)
                self.reject(change, "No valid host was found. ")
                return
            self._placement.allocate(server.server_id, host, needed)
            if change.kind is ChangeKind.UNSHELVE:
                self._fleet.put(
                    replace(server, status=ServerStatus.ACTIVE, host=host, in_task=False)
                )
                self._fleet.notify(NoticeKind.UNSHELVED, server.server_id, host=host)
                return
            self._before[server.server_id] = server
            self._fleet.put(replace(server, flavor=change.flavor, demand=change.demand, host=host))

    def reject(self, change: Change, reason: str) -> None:
        """Leave the server as it is, and let its user read why."""
        with self._lock:
            if change.server_id not in self._fleet.present:
                return  # deleted meanwhile
            self._fleet.put(replace(self._fleet.get(change.server_id), in_task=False))
            self._failures[change.server_id] = f"Synergy rejected this request: {reason}"

    def confirm(self, server_id: str) -> None:
        """Keep the new flavor. Raises NotFound, or Conflict when no resize waits for that."""
        self._resized(server_id)
        self._end(server_id, self._fleet.get(server_id))

    def revert(self, server_id: str) -> None:
        """Go back to the old flavor. Raises NotFound, or Conflict when no resize waits for that."""
        self._end(server_id, self._resized(server_id))

    def _resized(self, server_id: str) -> ServerView:
        """Return what a server was before its resize. Raises NotFound and Conflict."""
        self._fleet.get(server_id)
        if server_id not in self._before:
            raise Conflict(f"server {server_id!r} waits for no resize to be confirmed")
        return self._before[server_id]

    def _end(self, server_id: str, final: ServerView) -> None:
        with self._lock:
            del self._before[server_id]
            host = self._placement.host_of(server_id)
            self._placement.release(server_id)
            self._placement.allocate(server_id, host, final.demand)
            self._fleet.put(replace(final, host=host, in_task=False))
            self._fleet.notify(NoticeKind.RESIZED, server_id, host=host)

    def last_failure(self, server_id: str) -> str:
        """Return why the last thing that was asked of a server failed."""
        return self._failures.get(server_id, "")
