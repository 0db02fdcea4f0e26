"""Looks at the cloud for anyone who sizes the shared quota: hosts, account tree, quotas and use.

Why: the pass that sizes the shared quota and the command that says beforehand what a change does to
it must count alike. Asks Keystone, Nova and Placement outside any transaction. Must not know what
is held, nor what follows from a shortfall.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from synergy.core.accounts import quota_nodes
from synergy.core.errors import InvalidInput, NotFound
from synergy.core.model import NOTHING, Project, Resources, total
from synergy.core.quota import Owner, QuotaState
from synergy.managers.base import Part
from synergy.ports import (
    Capacity,
    Clock,
    Host,
    Identity,
    Limits,
    QuotaLimits,
    Store,
)

USE_KEPT_S: Final = 600.0  # what bounded projects use matters only once it exceeds their limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What one look at the cloud showed.

    edition  of the projects that it was made of, see `ports.ReadableProjects`
    """

    state: QuotaState
    edition: int | None
    hosts: tuple[Host, ...]
    managed: tuple[Project, ...]


class QuotaSurvey(Part):
    """Remembers for a while what each project uses, since that is a question for each."""

    def __init__(
        self,
        clock: Clock,
        store: Store,
        capacity: Capacity,
        quota_limits: QuotaLimits,
        identity: Identity,
    ) -> None:
        self._clock, self._store = clock, store
        self._capacity, self._limits, self._identity = capacity, quota_limits, identity
        self._use: dict[str, tuple[float, Limits, Resources]] = {}  # when asked, monotonic

    def look(self, *, fresh: bool = False) -> Survey:
        """Return the cloud as it is now; `fresh` asks for every quota and use again.

        Raises UpstreamUnavailable.
        """
        with self._store.reading() as uow:
            edition, managed = uow.projects.edition(), uow.projects.all()
            nodes = quota_nodes(uow.projects.domains(), managed, uow.projects.associations())
        hosts = tuple(self._capacity.hosts())
        state = QuotaState(
            total=total(host.capacity for host in hosts if host.up),
            installed=total(host.capacity for host in hosts),
            hosts=tuple(dict.fromkeys(host.capacity for host in hosts)),
            unmanaged=self._unmanaged({project.project_id for project in managed}, fresh=fresh),
            nodes=nodes,
            limited=self._limits.limited_classes(),
        )
        return Survey(state=state, edition=edition, hosts=hosts, managed=tuple(managed))

    def _unmanaged(self, managed: Collection[str], *, fresh: bool) -> tuple[Owner, ...]:
        """Return all other projects, with their Nova quotas."""
        owners = []
        for view in self._identity.projects():
            if view.project_id in managed:
                continue
            try:
                owners.append(self._owner(view.project_id, view.name, fresh=fresh))
            except (NotFound, InvalidInput):
                self._use.pop(view.project_id, None)  # removed since it was listed
        return tuple(owners)

    def _owner(self, project_id: str, name: str, *, fresh: bool) -> Owner:
        limits = self._limits.quota(project_id, fresh=fresh)
        used = self._used_by(project_id, limits, fresh=fresh)
        return Owner(
            project_id=project_id,
            name=name,
            private=Resources.of({n: v for n, v in limits.items() if v is not None}),
            used=used,
            unlimited=frozenset(n for n in {*limits, *used} if limits.get(n) is None),
        )

    def _used_by(self, project_id: str, limits: Limits, *, fresh: bool) -> Resources:
        """Return what a project uses; where limits bound it, as it was a while ago."""
        now_s = self._clock.monotonic_s()
        asked_s, then, used = self._use.get(project_id, (float("-inf"), {}, NOTHING))
        bounded = all(
            limit is not None and used.get(name, 0) <= limit for name, limit in limits.items()
        )
        if fresh or not bounded or limits != then or now_s > asked_s + USE_KEPT_S:
            used = self._limits.used_by(project_id)
            self._use[project_id] = (now_s, dict(limits), used)
        return used
