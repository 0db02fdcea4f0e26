"""Sizes the shared quota: what the cloud has beyond what its projects own.

Must not know requests, priorities or order. A shortfall disables the shared quota and is told, in
which resource and by how much; nothing that runs is touched.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from synergy.core.accounts import project_node, quota_nodes, user_node
from synergy.core.errors import NotFound, UpstreamUnavailable
from synergy.core.events import ProjectsChanged, QuotaChanged
from synergy.core.model import NOTHING, Project, QuotaKind, Resources, total
from synergy.core.quota import Held, QuotaBook, QuotaState, QuotaTree
from synergy.managers.base import Json, Manager, Publish, command
from synergy.managers.render import limit_json
from synergy.ports import Compute, Host, Identity, Reading, Store

_ID: Final = {"type": "string", "minLength": 1, "maxLength": 64}
_OF_ADMINISTRATORS: Final = ("total", "private_unmanaged", "shortfall", "lent", "shared_used")
LOG = logging.getLogger(__name__)


class QuotaManager(Manager):
    """Capacity from Placement, private quotas from Nova and the store."""

    name = "quota"
    listens = (ProjectsChanged,)

    def __init__(
        self, publish: Publish, store: Store, compute: Compute, identity: Identity
    ) -> None:
        self._publish, self._store = publish, store
        self._compute, self._identity = compute, identity
        self._state: QuotaState | None = None
        self._shortfall = NOTHING

    def task(self) -> float | None:
        with self._store.reading() as uow:
            projects = uow.projects.all()
            nodes = quota_nodes(uow.projects.domains(), projects, uow.projects.associations())
        hosts = self._compute.hosts()
        state = QuotaState(
            total=total(host.capacity for host in hosts if host.up),
            installed=total(host.capacity for host in hosts),
            largest=_largest(hosts),
            unmanaged=self._unmanaged_quota(projects),
            nodes=nodes,
            limited=self._compute.limited_classes(),
        )
        size = state.size()
        if size.shortfall != self._shortfall:
            self._tell_shortfall(size.shortfall)
        if self._state is None or size != self._state.size():
            LOG.info("the shared quota is %s of %s", size.shared, state.total)
        self._state = state
        self._publish(QuotaChanged(state, size))  # at every pass: whoever missed one gets the next
        return None

    def _tell_shortfall(self, shortfall: Resources) -> None:
        self._shortfall = shortfall
        if shortfall:
            LOG.error(
                "the private quotas exceed the cloud by %s: the shared quota is disabled until "
                "capacity comes back or quotas are lowered",
                shortfall,
            )
        else:
            LOG.info("the private quotas fit into the cloud again")

    def _unmanaged_quota(self, managed: Sequence[Project]) -> Resources:
        """Sum the Nova quotas of all other projects; an unlimited class counts with its use."""
        ours = {project.project_id for project in managed}
        quotas = []
        for view in self._identity.projects():
            if view.project_id in ours:
                continue
            try:
                limits = self._compute.quota(view.project_id, fresh=False)
            except NotFound:
                continue  # removed since it was listed
            if None in limits.values():
                used = self._compute.used_by(view.project_id)
                limits = {n: used.get(n, 0) if v is None else v for n, v in limits.items()}
            quotas.append(Resources.of({n: v for n, v in limits.items() if v is not None}))
        return total(quotas)

    @command({"project_id": _ID}, beside=True)
    def do_show(self, project_id: str | None = None) -> Json:
        """Show the cloud's capacity, the shared quota, and what each project holds.

        With a project, only what is its own and the shared quota.
        """
        state = self._state
        if state is None:
            raise UpstreamUnavailable("nobody has looked at the cloud yet: ask again in a minute")
        with self._store.reading() as uow:
            shown = _shown(uow, state)
        if project_id is None:
            return shown
        own = [one for one in shown["projects"] if one["id"] == project_id]
        return dict.fromkeys(_OF_ADMINISTRATORS) | {
            name: own if name == "projects" else value
            for name, value in shown.items()
            if name not in _OF_ADMINISTRATORS
        }


def _largest(hosts: Sequence[Host]) -> Resources:
    """The most of each resource class that a single host has."""
    names = {name for host in hosts for name in host.capacity}
    return Resources.of({n: max(host.capacity.get(n, 0) for host in hosts) for n in names})


def _shown(uow: Reading, state: QuotaState) -> Json:
    held: dict[str, Held] = {}
    for association_id, quota, demand, count in uow.requests.held():
        node = user_node(association_id)
        amounts = Resources.of({name: amount * count for name, amount in demand.amounts})
        one = held.get(node, Held(node))
        if quota is QuotaKind.PRIVATE:
            held[node] = replace(
                one, private=one.private + amounts, private_servers=one.private_servers + count
            )
        else:
            held[node] = replace(one, shared=one.shared + amounts)
    names = {*state.total, *(n for h in held.values() for n in {*h.private, *h.shared})}
    tree = QuotaTree(state, tuple(sorted(names)))
    book, size = QuotaBook(tree, list(held.values())), state.size()
    projects = []
    for project in uow.projects.all():
        row = tree.row.get(project_node(project.project_id))
        if row is None:
            continue
        projects.append(
            {
                "id": project.project_id,
                "name": project.name,
                "private": dict(project.private),
                "private_used": dict(tree.resources(book.private_used[row])),
                "max_private_servers": project.max_private_servers,
                "private_servers": int(book.private_servers[row]),
                "shared_used": dict(tree.resources(book.shared_used[row])),
                "borrow_limit": limit_json(project.borrow_limit),
                "lend_limit": limit_json(project.lend_limit),
            }
        )
    return {
        "total": dict(state.total),
        "private_unmanaged": dict(state.unmanaged),
        "shared": dict(size.shared),
        "shortfall": dict(size.shortfall),
        "lent": dict(tree.resources(book.lendable())),
        "shared_used": dict(tree.resources(book.shared_used[0])),
        "shared_free": dict(tree.resources(np.maximum(book.pool_free(), 0))),
        "projects": projects,
    }
