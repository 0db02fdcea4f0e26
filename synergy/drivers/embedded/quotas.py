"""The embedded cloud's limits by project: defaults, and explicit limits of a project.

Must not know servers: their usage is an argument.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from synergy.core.errors import InvalidInput, NotFound
from synergy.core.model import Resources
from synergy.drivers.embedded.spec import ProjectSpec
from synergy.ports import Limits

SERVERS: Final = "servers"


class EmbeddedQuotas:
    """Limits by resource class, and SERVERS for their number; None is unlimited."""

    def __init__(self, projects: Iterable[ProjectSpec]) -> None:
        self._default: dict[str, dict[str, int | None]] = {}
        self._own: dict[str, dict[str, int | None]] = {}
        for one in projects:
            self.add(one)

    def add(self, project: ProjectSpec) -> None:
        """Let a project have its limits."""
        self._default[project.project_id] = dict(project.quota)

    def of(self, project_id: str) -> Limits:
        """Return the effective limits by resource class. Raises NotFound."""
        return {name: limit for name, limit in self._all(project_id).items() if name != SERVERS}

    def server_limit(self, project_id: str) -> int | None:
        """Return how many servers a project may have. Raises NotFound."""
        return self._all(project_id).get(SERVERS)

    def _all(self, project_id: str) -> dict[str, int | None]:
        if project_id not in self._default:
            raise NotFound(f"Nova knows no quota of project {project_id!r}")
        return self._default[project_id] | self._own.get(project_id, {})

    def classes(self) -> frozenset[str]:
        """Return the resource classes that have limits."""
        return frozenset(
            name for quota in self._default.values() for name in quota if name != SERVERS
        )

    def record(self, project_id: str) -> Limits:
        """Return the limits set explicitly for the project."""
        return dict(self._own.get(project_id, {}))

    def lift(self, project_id: str) -> None:
        """Set every class, and the number of servers, to unlimited."""
        self.set(project_id, dict.fromkeys((*self._default[project_id], SERVERS)))

    def restore(self, project_id: str, record: Limits) -> None:
        """Restore a record."""
        self._own[project_id] = dict(record)

    def set(self, project_id: str, limits: Limits) -> None:
        """Set limits of a project, as an administrator of Nova would."""
        self._own.setdefault(project_id, {}).update(limits)

    def check(
        self,
        project_id: str,
        used: Mapping[str, int],
        demand: Resources,
        *,
        servers: int,
        count: int,
    ) -> None:
        """Raise InvalidInput, with Nova's message, when `count` more servers of `demand` exceed the
        limits of a project with `servers` servers that use `used`."""
        has, asks = {**used, SERVERS: servers}, {**demand, SERVERS: 1}
        for name, limit in self._all(project_id).items():
            requested = asks.get(name, 0) * count
            if limit is not None and has.get(name, 0) + requested > limit:
                raise InvalidInput(
                    f"Quota exceeded for {name}: Requested {requested}, "
                    f"but already used {has.get(name, 0)} of {limit}"
                )
