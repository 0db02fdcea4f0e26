"""The account tree, root → domain → project → user, as share nodes and as quota nodes.

Why: fair-share and quota walk the same tree and must agree on its node ids. Must not know usage.
"""

from collections.abc import Sequence
from typing import Final

from synergy.core.model import NOTHING, Association, Domain, Project, QuotaKind, Resources
from synergy.core.quota import Claim, QuotaNode
from synergy.core.shares import ShareNode

ROOT: Final = "root"


def domain_node(domain_id: str) -> str:
    """Return the node id of a domain."""
    return f"domain:{domain_id}"


def project_node(project_id: str) -> str:
    """Return the node id of a project."""
    return f"project:{project_id}"


def user_node(association_id: int) -> str:
    """Return the node id of a (project, user) leaf."""
    return f"user:{association_id}"


def _parent_of(project: Project, managed: frozenset[str]) -> str:
    if project.parent_id in managed:
        return project_node(str(project.parent_id))
    return domain_node(project.domain_id)


def _parents_first(projects: Sequence[Project]) -> list[Project]:
    """Order projects so that each follows its parent."""
    managed = frozenset(project.project_id for project in projects)
    below: dict[str | None, list[Project]] = {}
    for project in projects:
        above = project.parent_id if project.parent_id in managed else None
        below.setdefault(above, []).append(project)
    ordered = list(below.get(None, ()))
    for project in ordered:  # the loop appends to the list it walks: breadth first
        ordered.extend(below.get(project.project_id, ()))
    return ordered


def share_nodes(
    domains: Sequence[Domain], projects: Sequence[Project], associations: Sequence[Association]
) -> list[ShareNode]:
    """Return the nodes of the share tree.

    Skips users that are not active, and users of projects that are no longer managed.
    """
    managed = frozenset(project.project_id for project in projects)
    return [
        ShareNode(ROOT, None, 1),
        *(ShareNode(domain_node(d.domain_id), ROOT, d.raw_shares) for d in domains),
        *(
            ShareNode(project_node(p.project_id), _parent_of(p, managed), p.raw_shares)
            for p in projects
        ),
        *(
            ShareNode(user_node(a.association_id), project_node(a.project_id), a.raw_shares, True)
            for a in associations
            if a.active and a.project_id in managed
        ),
    ]


def usage_node(association: Association) -> str:
    """Return the node of the share tree that an association's usage is recorded on."""
    if association.active:
        return user_node(association.association_id)
    return project_node(association.project_id)


def priorities(projects: Sequence[Project], associations: Sequence[Association]) -> dict[int, int]:
    """Return the priority of each association: its own, or of the nearest project above, or 0."""
    managed = {project.project_id: project for project in projects}

    def inherited(project_id: str | None) -> int:
        project = managed.get(project_id or "")
        if project is None:
            return 0
        return inherited(project.parent_id) if project.priority is None else project.priority

    of_project = {project_id: inherited(project_id) for project_id in managed}
    return {
        a.association_id: of_project.get(a.project_id, 0) if a.priority is None else a.priority
        for a in associations
    }


def quota_nodes(
    domains: Sequence[Domain], projects: Sequence[Project], associations: Sequence[Association]
) -> tuple[QuotaNode, ...]:
    """Return the nodes of the quota tree, parents before children."""
    managed = frozenset(project.project_id for project in projects)
    nodes = [QuotaNode(node_id=ROOT, parent_id=None)]
    for domain in domains:
        nodes.append(
            QuotaNode(
                node_id=domain_node(domain.domain_id),
                parent_id=ROOT,
                borrow_limit=domain.borrow_limit,
                lend_limit=domain.lend_limit,
            )
        )
    for project in _parents_first(projects):
        nodes.append(
            QuotaNode(
                node_id=project_node(project.project_id),
                parent_id=_parent_of(project, managed),
                private=project.private,
                max_servers=project.max_private_servers,
                borrow_limit=project.borrow_limit,
                lend_limit=project.lend_limit,
            )
        )
    for association in associations:
        if association.project_id in managed:
            nodes.append(
                QuotaNode(
                    node_id=user_node(association.association_id),
                    parent_id=project_node(association.project_id),
                )
            )
    return tuple(nodes)


def claim_of(association_id: int, quota: QuotaKind, demand: Resources, count: int) -> Claim:
    """Return what `count` servers of an association hold, separated by quota."""
    amounts = Resources.of({name: amount * count for name, amount in demand.amounts})
    private = quota is QuotaKind.PRIVATE
    return Claim(
        user_node(association_id),
        private=amounts if private else NOTHING,
        shared=NOTHING if private else amounts,
        private_servers=count if private else 0,
    )
