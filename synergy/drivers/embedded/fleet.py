"""The servers of the embedded cloud, including deleted ones, and their notifications.

The caller must hold the cloud's lock for a change. Must not know hosts, quotas or builds.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from synergy.core.errors import NotFound
from synergy.drivers.embedded.faults import Faults
from synergy.ports import Clock, Notice, NoticeKind, ServerStatus, ServerView, Wake

_UNBUILT: Final = (ServerStatus.SCHEDULING, ServerStatus.BUILDING)
_MAX_DELETED: Final = 10_000  # kept; Nova archives deleted servers some day, too


class Fleet:
    """Servers by id, when each changed, and the notifications that were not fetched yet."""

    def __init__(self, clock: Clock, faults: Faults) -> None:
        self._clock, self.faults = clock, faults
        self.present: dict[str, ServerView] = {}
        self._ids_of: dict[str, dict[str, None]] = {}  # of the servers of each project, in order
        self.deleted: dict[str, ServerView] = {}
        self.changed_at: dict[str, datetime] = {}
        self.notices: deque[Notice] = deque()
        self._wakes: list[Wake] = []

    def get(self, server_id: str) -> ServerView:
        """Return a server. Raises NotFound."""
        if server_id not in self.present:
            raise NotFound(f"server {server_id!r} does not exist")
        return self.present[server_id]

    def of(
        self, project_id: str | None, *, changed_since: datetime | None = None
    ) -> list[ServerView]:
        """Return a project's servers, or all; with `changed_since` only those that changed since,
        including deleted ones."""
        ids = self.present if project_id is None else self._ids_of.get(project_id, ())
        known = [self.present[server_id] for server_id in ids]
        if changed_since is None:
            return known
        known += (one for one in self.deleted.values() if project_id in (None, one.project_id))
        return [one for one in known if self.changed_at[one.server_id] >= changed_since]

    def count(self, project_id: str) -> int:
        """Return how many servers a project has."""
        return len(self._ids_of.get(project_id, ()))

    def unbuilt(self, project_id: str | None) -> list[str]:
        """Return the ids of the servers, of a project or of all, that are not built yet."""
        return [one.server_id for one in self.of(project_id) if one.status in _UNBUILT]

    def put(self, server: ServerView) -> None:
        """Add or replace a server."""
        self.present[server.server_id] = server
        self._ids_of.setdefault(server.project_id, {})[server.server_id] = None
        self.changed_at[server.server_id] = self._clock.now()

    def drop(self, server: ServerView) -> None:
        """Remove a server. It is kept as deleted, unless no conductor ever got it: Nova keeps no
        record of such a server either."""
        del self.present[server.server_id]
        del self._ids_of[server.project_id][server.server_id]
        if server.status is ServerStatus.SCHEDULING:
            del self.changed_at[server.server_id]
            return
        self.deleted[server.server_id] = replace(server, status=ServerStatus.DELETED, host=None)
        self.changed_at[server.server_id] = self._clock.now()
        if len(self.deleted) > _MAX_DELETED:
            oldest = next(iter(self.deleted))
            del self.deleted[oldest], self.changed_at[oldest]

    # --- notifications ----------------------------------------------------------------------------

    def notify(self, kind: NoticeKind, server_id: str, **more: Any) -> None:
        """Send a notification, unless the fault `lost_notice` drops it."""
        if self.faults.triggers("lost_notice"):
            return
        self.notices.append(Notice(kind=kind, server_id=server_id, at=self._clock.now(), **more))
        for wake in self._wakes:
            wake()

    def on_notice(self, wake: Wake) -> None:
        """Call `wake` when a notification arrives."""
        self._wakes.append(wake)

    def take_notices(self, limit: int) -> Sequence[Notice]:
        """Remove and return up to `limit` notifications."""
        return [self.notices.popleft() for _ in range(min(limit, len(self.notices)))]
