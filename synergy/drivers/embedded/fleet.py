"""The servers of the embedded cloud, those that were deleted, and what is notified of them.

Whoever changes them holds the lock of the cloud. Must not know hosts, quotas or what a server does.
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
_MOST_DELETED: Final = 10_000  # that are remembered; Nova's own are archived some day, too


class Fleet:
    """Servers by id, when each changed, and the notifications that nobody took yet."""

    def __init__(self, clock: Clock, faults: Faults) -> None:
        self._clock, self._faults = clock, faults
        self.present: dict[str, ServerView] = {}
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
        """Return a project's servers, or everybody's; with `changed_since` those that changed,
        deleted ones too."""
        known = [*self.present.values()]
        if changed_since is not None:
            known += self.deleted.values()
            known = [one for one in known if self.changed_at[one.server_id] >= changed_since]
        return [one for one in known if project_id in (None, one.project_id)]

    def unbuilt(self, project_id: str | None) -> list[str]:
        """Return the ids of a project's servers, or everybody's, that are not built yet."""
        return [one.server_id for one in self.of(project_id) if one.status in _UNBUILT]

    def put(self, server: ServerView) -> None:
        """Add or replace a server."""
        self.present[server.server_id] = server
        self.changed_at[server.server_id] = self._clock.now()

    def drop(self, server: ServerView) -> None:
        """Forget a server; Nova tells later that it was there, unless it never left the API."""
        del self.present[server.server_id]
        if server.status is ServerStatus.SCHEDULING:
            del self.changed_at[server.server_id]
            return
        self.deleted[server.server_id] = replace(server, status=ServerStatus.DELETED, host=None)
        self.changed_at[server.server_id] = self._clock.now()
        if len(self.deleted) > _MOST_DELETED:
            oldest = next(iter(self.deleted))
            del self.deleted[oldest], self.changed_at[oldest]

    # --- notifications ----------------------------------------------------------------------------

    def notify(self, kind: NoticeKind, server_id: str, **more: Any) -> None:
        """Send a notification, unless one is to be lost."""
        if self._faults.strikes("lost_notice"):
            return
        self.notices.append(Notice(kind=kind, server_id=server_id, at=self._clock.now(), **more))
        for wake in self._wakes:
            wake()

    def on_notice(self, wake: Wake) -> None:
        """Call `wake` when a notification arrives."""
        self._wakes.append(wake)

    def take_notices(self, limit: int) -> Sequence[Notice]:
        """Return up to `limit` notifications, which are gone then."""
        return [self.notices.popleft() for _ in range(min(limit, len(self.notices)))]
