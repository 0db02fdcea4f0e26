"""How many requests of a project, and of each of its users, may wait.

Why: a script must not fill the queue. Who waits is counted from the store in each transaction that
admits requests, never up and down beside it, so nothing that moves a request has to tell. Must not
know how a request is admitted.
"""

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from synergy.core.errors import UpstreamUnavailable
from synergy.core.model import Project
from synergy.core.reasons import Reason, coded
from synergy.managers.support.withdrawn import DeletedWaiting
from synergy.ports import BuildRequest, Clock, Reading, Store

LOG = logging.getLogger(__name__)
REST_FACTOR: Final = 10  # a look at Nova takes at most a tenth of the time of the intake
NEAR: Final = 1000  # requests; anyone who has room for more is not counted with every message


class Room:
    """The room of each owner in one transaction: what the store counts, and what it adds.

    project_ids  those that are counted; the others have plenty
    """

    def __init__(self, uow: Reading, project_ids: Collection[str]) -> None:
        self._counted = frozenset(project_ids)
        self._users = Counter(uow.requests.waiting_counts(sorted(project_ids)))
        self._projects: Counter[str] = Counter()
        for (project_id, _), count in self._users.items():
            self._projects[project_id] += count

    def add(self, project_id: str, user_id: str) -> None:
        """Count a request that the transaction admits."""
        self._users[project_id, user_id] += 1
        self._projects[project_id] += 1

    def why_none(self, project: Project, user_id: str) -> tuple[Reason, str] | None:
        """Return why an owner has no room, as a code and in words; None if there is some."""
        if project.project_id not in self._counted:
            return None
        mine, ours = self._users[project.project_id, user_id], self._projects[project.project_id]
        if mine >= project.max_waiting_per_user:
            reason = Reason.USER_WAITING_LIMIT
            return reason, coded(reason, f"{mine} requests of this user wait already")
        if ours >= project.max_waiting:
            reason = Reason.PROJECT_WAITING_LIMIT
            text = f"{ours} requests of project {project.name} wait already"
            return reason, coded(reason, text)
        return None

    def minimum(self, project: Project) -> int:
        """Return how many requests more each of a project's users could ask for, at least."""
        maximum = max(
            (n for (key, _), n in self._users.items() if key == project.project_id), default=0
        )
        ours = self._projects[project.project_id]
        return min(project.max_waiting - ours, project.max_waiting_per_user - maximum)


class WaitingLimits:
    """Who is counted when, and who is asked about in Nova before anybody is refused."""

    def __init__(self, clock: Clock, store: Store, deleted: DeletedWaiting) -> None:
        self._clock, self._store, self._deleted = clock, store, deleted
        self._rests_until_s: dict[str, float] = {}  # by project, monotonic
        self._plenty: dict[str, int] = {}  # by project, how many may come before it is counted

    def forget(self) -> None:
        """Count everybody again: limits may have changed."""
        self._plenty.clear()

    def room(
        self, uow: Reading, builds: Sequence[BuildRequest], projects: Mapping[str, Project]
    ) -> Room:
        """Return the room for these builds. Counting a project costs what waits of it, so one with
        room for many is counted again after half of them; near its limit, every time."""
        coming = self._coming(builds, projects)
        near = self._near(coming)
        room = Room(uow, near)
        for project_id in near:
            minimum = room.minimum(projects[project_id])
            self._plenty[project_id] = minimum // 2 if minimum > NEAR else 0
        for project_id, count in coming.items():
            self._plenty[project_id] = max(0, self._plenty[project_id] - count)
        return room

    def make_room(self, builds: Sequence[BuildRequest], projects: Mapping[str, Project]) -> None:
        """Let go of deleted requests of those projects that have no room for these builds."""
        near = self._near(self._coming(builds, projects))
        if not near:
            return
        with self._store.reading() as uow:
            room = Room(uow, near)
        full: dict[str, None] = {}
        for build in (one for one in builds if one.project_id in near):
            if room.why_none(projects[build.project_id], build.user_id):
                full[build.project_id] = None
            room.add(build.project_id, build.user_id)
        for project_id in full:
            self._ask(project_id)

    def _coming(
        self, builds: Sequence[BuildRequest], projects: Mapping[str, Project]
    ) -> Counter[str]:
        return Counter(one.project_id for one in builds if one.project_id in projects)

    def _near(self, coming: Counter[str]) -> set[str]:
        return {key for key, count in coming.items() if self._plenty.get(key, 0) < count}

    def _ask(self, project_id: str) -> None:
        began_s = self._clock.monotonic_s()
        if began_s < self._rests_until_s.get(project_id, began_s):
            return
        try:
            self._deleted.look_at(project_id)
        except UpstreamUnavailable as error:
            LOG.warning(
                "whether waiting requests of project %s were deleted is not known: %s",
                project_id, error,
            )  # fmt: skip
        now_s = self._clock.monotonic_s()
        self._rests_until_s[project_id] = now_s + REST_FACTOR * (now_s - began_s)
