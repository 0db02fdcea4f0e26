"""Resizes and unshelves in the embedded cloud's conductor.

Must not know how they arrive, nor who decides whether they are allowed.
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
    """Resized servers, until their users confirm or revert."""

    def __init__(
        self,
        lock: AbstractContextManager[Any],
        fleet: Fleet,
        placement: EmbeddedPlacement,
        flavors: Mapping[str, FlavorSpec],
    ) -> None:
        self._lock, self._fleet = lock, fleet
        self._placement, self._flavors = placement, flavors
        self._before: dict[str, ServerView] = {}  # each resized server as it was before
        self._failures: dict[str, str] = {}

    def forget(self, server_id: str) -> None:
        """Forget a server that is gone."""
        self._before.pop(server_id, None)
        self._failures.pop(server_id, None)

    def request(
        self, kind: ChangeKind, server_id: str, flavor: str | None, message_id: str
    ) -> Change:
        """Return the change that a user requests; without a flavor the server keeps its own.

        Raises NotFound, or Conflict, as Nova does, when the server is not built yet or has another
        task.
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
        """Find a host. Until its user confirms or reverts, a resized server is allocated the larger
        of its old and new amounts."""
        with self._lock:
            server = self._fleet.present.get(change.server_id)
            if server is None:
                return  # deleted in the meantime
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
        """Leave the server as it is, and show its user the reason."""
        with self._lock:
            if change.server_id not in self._fleet.present:
                return  # deleted in the meantime
            self._fleet.put(replace(self._fleet.get(change.server_id), in_task=False))
            self._failures[change.server_id] = f"Synergy rejected this request: {reason}"

    def confirm(self, server_id: str) -> None:
        """Keep the new flavor. Raises NotFound, or Conflict without a resize to confirm."""
        self._resized(server_id)
        self._end(server_id, self._fleet.get(server_id))

    def revert(self, server_id: str) -> None:
        """Go back to the old flavor. Raises NotFound, or Conflict without a resize to revert."""
        self._end(server_id, self._resized(server_id))

    def _resized(self, server_id: str) -> ServerView:
        """Return a server as it was before its resize. Raises NotFound and Conflict."""
        self._fleet.get(server_id)
        if server_id not in self._before:
            raise Conflict(f"server {server_id!r} has no resize to confirm or revert")
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
        """Return why the server's last resize or unshelve failed, "" if none did."""
        return self._failures.get(server_id, "")
